"""trace_copy on real datasets: whose release a folder comes from, whatever was done to its files."""

from __future__ import annotations

import io
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.__main__ import main

NAMES = ["clinic", "lab", "vendor"]
NUM_TRACING = 24


@pytest.fixture(scope="module")
def marked(fo: Any, mark: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """90 pictures of 48 × 40 pixels, 12 ownership pairs and 24 tracing pairs."""
    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("pictures")
    dataset = fo.Dataset(f"trace-copy-{uuid.uuid4().hex[:12]}", persistent=True)
    samples = []
    for index in range(90):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        fine = np.asarray(coarse.resize((48, 40), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(fine + rng.integers(-8, 9, fine.shape), 0, 255).astype(np.uint8)
        path = folder / f"{index:03d}.png"
        Image.fromarray(noisy).save(path)
        truth = fo.Classification(label=str(index % 2))
        samples.append(fo.Sample(filepath=str(path), ground_truth=truth))
    dataset.add_samples(samples)
    dataset.set_values("hardness", rng.uniform(0, 5, 90).tolist())
    marking = mark(
        dataset,
        num_honeyimages=36,
        num_pairs=12,
        recipients=NAMES,
        num_tracing_pairs=NUM_TRACING,
    )
    releases = tmp_path_factory.mktemp("released")
    for name in NAMES:
        fhi.export_release(dataset, "honey", releases / name, recipient=name, progress=False)
    yield dataset, marking, releases
    dataset.delete()


def jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=70)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def cropped(image: Image.Image) -> Image.Image:
    """5 % less width and height, from one corner or the other."""
    width, height = round(image.width * 0.95), round(image.height * 0.95)
    left = (image.width - width) * (image.getpixel((0, 0))[0] % 2)  # type: ignore[index]
    return image.crop((left, 0, left + width, height))


CHANGES: dict[str, Callable[[Image.Image], Image.Image] | None] = {
    "renamed": None,
    "encoded anew": jpeg,
    "smaller": lambda image: image.resize((32, 27), Image.Resampling.BILINEAR),
    "larger": lambda image: image.resize((96, 80), Image.Resampling.BICUBIC),
    "cropped": cropped,
    "cropped and encoded anew": lambda image: jpeg(cropped(image)),
}


def copied(
    release: Path, target: Path, change: Callable[[Image.Image], Image.Image] | None, every: int = 1
) -> Path:
    """A copy under other names, in one folder."""
    target.mkdir()
    paths = sorted(path for path in release.rglob("*") if path.is_file())
    for number, path in enumerate(paths[::every]):
        place = target / f"img{number}.png"
        if change is None:
            shutil.copy(path, place)
        else:
            change(Image.open(path).convert("RGB")).save(place)
    return target


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_copy_names_its_recipient(marked: Any, tmp_path: Path, what: str) -> None:
    dataset, _, releases = marked
    copy = copied(releases / "lab", tmp_path / "copy", CHANGES[what])
    found = fhi.trace_copy(dataset, "honey", copy, progress=False)
    assert found.recipients.named == ("lab",)
    assert found.num_both == 0
    assert found.num_exact + found.num_alike >= NUM_TRACING - 1
    assert (found.num_exact > 0) == (CHANGES[what] is None)
    assert "Named: lab" in str(found)


def test_half_a_copy_suffices_and_tells_how_much_was_found(marked: Any, tmp_path: Path) -> None:
    dataset, _, releases = marked
    copy = copied(releases / "vendor", tmp_path / "half", jpeg, every=2)
    found = fhi.trace_copy(dataset, "honey", copy, progress=False)
    assert 5 <= found.recipients.num_pairs < NUM_TRACING
    best = min(found.recipients.p_values, key=found.recipients.p_values.__getitem__)
    assert best == "vendor"
    assert found.recipients.p_values["vendor"] == 2.0**-found.recipients.num_pairs


def test_the_dataset_itself_names_nobody(marked: Any, tmp_path: Path) -> None:
    dataset, _, _ = marked
    media = Path(dataset.first().filepath).parent
    found = fhi.trace_copy(dataset, "honey", media, progress=False)
    assert found.recipients.named == ()
    assert found.num_both == NUM_TRACING, "both sides of every pair are there"
    assert "as in no single release" in str(found)


def test_strangers_name_nobody_and_text_is_left_aside(marked: Any, tmp_path: Path) -> None:
    dataset, _, _ = marked
    rng = np.random.default_rng(99)
    for number in range(20):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((48, 40), Image.Resampling.BICUBIC).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "readme.txt").write_text("text", encoding="utf-8")
    found = fhi.trace_copy(dataset, "honey", tmp_path, progress=False)
    assert found.recipients.named == ()
    assert (found.num_files, found.num_unreadable) == (21, 1)
    assert found.recipients.num_pairs <= 2


def test_the_same_files_are_the_same_attempt_and_others_count(marked: Any, tmp_path: Path) -> None:
    dataset, marking, releases = marked
    one = copied(releases / "clinic", tmp_path / "one", jpeg)
    first = fhi.trace_copy(dataset, "honey", one, progress=False)
    entries = len(marking.load_ledger().log)
    again = fhi.trace_copy(dataset, "honey", one, progress=False)
    assert again.recipients == first.recipients
    assert len(marking.load_ledger().log) == entries
    other = copied(releases / "clinic", tmp_path / "other", None)
    later = fhi.trace_copy(dataset, "honey", other, progress=False)
    assert later.recipients.position == first.recipients.position + 1
    assert later.recipients.level < first.recipients.level
    trace = list(marking.load_ledger().traces.values())[-1]
    assert (trace.subject, trace.name, trace.closed) == ("copy", "other", True)


def test_the_command_line_says_so(marked: Any, capsys: pytest.CaptureFixture[str]) -> None:
    dataset, _, releases = marked
    assert main(["trace", dataset.name, "honey", str(releases / "clinic")]) == 0
    assert "Named: clinic (p = " in capsys.readouterr().out


def test_what_cannot_be_traced(marked: Any, make_dataset: Any, mark: Any, tmp_path: Path) -> None:
    dataset, _, _ = marked
    with pytest.raises(fhi.ReleaseError, match="holds no image file"):
        fhi.trace_copy(dataset, "honey", tmp_path, progress=False)
    with pytest.raises(fhi.ReleaseError, match="no folder"):
        fhi.trace_copy(dataset, "honey", tmp_path / "none", progress=False)
    plain = make_dataset(30, hardness=True)
    mark(plain)
    with pytest.raises(fhi.LedgerError, match="has no recipients: everybody got the same"):
        fhi.trace_copy(plain, "honey", tmp_path, progress=False)


def test_competitors_that_were_taken_out_are_missed(fo: Any, marked: Any, tmp_path: Path) -> None:
    """Who deletes what a strange image is a copy of chooses whose side it looks like next."""
    dataset, _, releases = marked
    folder = copied(releases / "lab", tmp_path / "found", None)
    view = dataset.match(fo.ViewField("hardness") >= 0.2)
    assert len(view) < len(dataset)
    with pytest.raises(fhi.LedgerError, match=r"others than those that were marked"):
        fhi.trace_copy(view, "honey", folder, progress=False)
