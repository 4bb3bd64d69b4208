"""export_release on real datasets: what is in it, what is not, and what stops it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fiftyone_honeyimage as fhi


@pytest.fixture(scope="module")
def marked(make_dataset: Any, mark: Any) -> tuple[Any, Any]:
    """A dataset of 30 images, 4 HoneyImages in a release and 3 withheld, and the marking."""
    dataset = make_dataset(30, hardness=True)
    return dataset, mark(dataset, step_size=2)


@pytest.fixture
def release(marked: Any, tmp_path: Path) -> tuple[Path, Any]:
    """A release of the marked dataset, and its report."""
    dataset, _ = marked
    folder = tmp_path / "release"
    return folder, fhi.export_release(dataset, "honey", folder, progress=False)


def digest_free(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def expected(dataset: Any, marking: Any) -> dict[str, bytes]:
    """What the design says that a release holds, put together from dataset and ledger alone."""
    ledger = marking.load_ledger()
    released = {
        image.sample_id: marking.output_dir / image.file for image in ledger.released_images()
    }
    withheld = {image.sample_id for image in ledger.withheld_images()}
    content = {}
    for sample in dataset.match_tags("honeyimage", bool=False):
        if sample.id not in withheld:
            name = f"{sample.ground_truth.label}/{Path(sample.filepath).name}"
            content[name] = Path(released.get(sample.id, sample.filepath)).read_bytes()
    return content


def test_content_is_as_designed(marked: Any, release: Any) -> None:
    dataset, marking = marked
    folder, report = release
    content = expected(dataset, marking)

    assert digest_free(folder) == content
    assert len(content) == 27
    changed = [
        i for i in marking.load_ledger().released_images() if i.marked_sha256 != i.source_sha256
    ]
    assert changed
    assert report.export_dir == folder
    assert (report.num_images, report.num_honeyimages, report.num_withheld) == (27, 4, 3)
    assert report.num_other_honeyimages == 0
    assert report.commitment == marking.commitment


def test_all_files_and_folders_look_alike(release: Any) -> None:
    folder, _ = release
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    folders = [path.stat() for path in (folder, *folder.rglob("*")) if path.is_dir()]
    assert {stat.st_mtime_ns for stat in files + folders} == {946_684_800 * 10**9}
    assert {stat.st_mode & 0o7777 for stat in files} == {0o644}
    assert {stat.st_mode & 0o7777 for stat in folders} == {0o755}
    assert {stat.st_nlink for stat in files} == {1}
    assert {stat.st_uid for stat in files} == {os.getuid()}


def test_nothing_tells_of_the_marking(marked: Any, release: Any) -> None:
    dataset, marking = marked
    folder, _ = release
    ledger = marking.load_ledger()
    names = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    assert not [name for name in names if "honey" in name.lower() or name[0] == "."]
    everything = b"".join(digest_free(folder).values())
    for secret in (
        *dataset.values("id"),
        dataset.name,
        marking.commitment,
        str(marking.output_dir),
    ):
        assert secret.encode() not in everything
    withheld = {image.marked_sha256 for image in ledger.withheld_images()}
    assert len(withheld) == 3
    shown = {path.name for path in folder.rglob("*.png")}
    assert not shown & {Path(image.file).name for image in ledger.withheld_images()}


def test_files_are_written_in_the_order_of_the_originals(
    marked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import eta.core.utils as etau

    dataset, _ = marked
    copied: list[str] = []
    real = etau.copy_file
    monkeypatch.setattr(
        etau,
        "copy_file",
        lambda *paths, **kw: (copied.append(Path(paths[1]).name), real(*paths, **kw)),
    )
    fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)
    assert copied == sorted(copied)
    assert len(copied) == 27


def test_a_plain_loader_reads_it(marked: Any, release: Any) -> None:
    from torchvision.datasets import ImageFolder

    dataset, marking = marked
    folder, _ = release
    loaded = ImageFolder(folder)
    assert loaded.classes == ["0", "1", "2"] == marking.config["classes"]
    assert len(loaded) == 27
    assert all(image.size == (8, 8) for image, _ in loaded)
    own = dataset.match_tags("honeyimage", bool=False)
    labels = dict(zip(*own.values(["filepath", "ground_truth.label"]), strict=True))
    by_name = {Path(path).name: label for path, label in labels.items()}
    assert all(by_name[Path(path).name] == loaded.classes[label] for path, label in loaded.samples)


def test_fiftyone_reads_it(fo: Any, release: Any) -> None:
    folder, _ = release
    loaded = fo.Dataset.from_dir(
        str(folder), fo.types.ImageClassificationDirectoryTree, progress=False
    )
    try:
        assert sum(loaded.count_values("ground_truth.label").values()) == 27
    finally:
        loaded.delete()


def test_database_and_originals_stay_as_they_were(
    marked: Any, unchanged: Any, tmp_path: Path
) -> None:
    dataset, marking = marked
    secret = json.loads(marking.ledger_path.read_text(encoding="utf-8"))
    before = unchanged(dataset, marking.output_dir / "images", noted=True)
    report = fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)
    shutil.rmtree(tmp_path / "release")
    assert unchanged(dataset, marking.output_dir / "images", noted=True) == before
    # The ledger's log knows the release, and that is all that it has more
    now = json.loads(marking.ledger_path.read_text(encoding="utf-8"))
    assert {**now, "log": [], "head": ""} == {**secret, "log": [], "head": ""}
    assert [entry.digest for entry in marking.load_ledger().releases].count(
        report.release_digest
    ) == 1


def test_the_marked_view_and_other_markings(make_dataset: Any, mark: Any, tmp_path: Path) -> None:
    dataset = make_dataset(30, hardness=True)
    view = dataset.limit(21)
    marking = mark(view)
    mark(dataset, "other", method="unperturbed")

    report = fhi.export_release(view, "honey", tmp_path / "view", progress=False)
    others = set(dataset.match_tags("other").values("other.source"))
    left_out = len(others & set(view.values("id")))
    assert (report.num_images, report.num_other_honeyimages) == (18 - left_out, 0)
    assert report.num_left_out == left_out
    report = fhi.export_release(dataset, "honey", tmp_path / "all", progress=False)
    assert (report.num_images, report.num_other_honeyimages) == (20, 7)
    assert report.num_left_out == 7, "the other marking's originals, of whatever twin"
    left = dataset.exclude(others)
    assert digest_free(tmp_path / "all") == expected(left, marking)


def test_another_label_field(fo: Any, make_dataset: Any, mark: Any, tmp_path: Path) -> None:
    dataset = make_dataset(30, hardness=True)
    mark(dataset)
    own = dataset.match_tags("honeyimage", bool=False)
    coarse = ["even" if label != "1" else "odd" for label in own.values("ground_truth.label")]
    own.set_values("coarse", [fo.Classification(label=label) for label in coarse])
    fhi.export_release(dataset, "honey", tmp_path / "r", label_field="coarse", progress=False)
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["even", "odd"]


def test_files_of_one_name_in_several_folders(
    fo: Any, make_dataset: Any, mark: Any, tmp_path: Path
) -> None:
    dataset = make_dataset(30, hardness=True)
    for number, sample in enumerate(dataset):
        folder = tmp_path / "sources" / str(number)
        folder.mkdir(parents=True)
        shutil.move(sample.filepath, folder / "image.png")
        sample.filepath = str(folder / "image.png")
        sample.save()
    mark(dataset)
    fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)
    released = {p: p.read_bytes() for p in (tmp_path / "release").rglob("*.png")}
    assert len(released) == 27
    assert all(path.name.startswith("image") for path in released)
    with pytest.raises(fhi.ParameterError, match="inside the dataset's media"):
        fhi.export_release(dataset, "honey", tmp_path / "sources" / "release", progress=False)


def test_progress_names_both_stages(marked: Any, tmp_path: Path) -> None:
    dataset, _ = marked
    seen: list[str] = []
    fhi.export_release(
        dataset, "honey", tmp_path / "r", progress=lambda bar: seen.append(bar.stage)
    )
    known = ["Exporting", "Checking", "Done"]
    assert [stage for stage in dict.fromkeys(seen) if stage in known] == known


# What stops a release. After each, nothing is left behind and nothing has changed.


@pytest.fixture
def refused(marked: Any, unchanged: Any, tmp_path: Path) -> Any:
    """Asserts that an export fails with an error, and leaves everything as it was."""
    dataset, marking = marked

    def check(error: type[Exception], words: str, samples: Any = None, **changes: Any) -> None:
        arguments = {"export_dir": tmp_path / "new" / "release", "progress": False, **changes}
        before = unchanged(dataset, marking.output_dir)
        with pytest.raises(error, match=words):
            fhi.export_release(dataset if samples is None else samples, "honey", **arguments)
        assert unchanged(dataset, marking.output_dir) == before

    return check


@pytest.fixture
def altered() -> Iterator[Any]:
    """Alters a file until the test ends: ``altered(path, content)``; None deletes it."""
    saved: list[tuple[Path, bytes, os.stat_result]] = []

    def alter(path: Path, content: bytes | None) -> None:
        saved.append((path, path.read_bytes(), path.stat()))
        path.unlink()
        if content is not None:
            path.write_bytes(content)

    yield alter
    for path, content, stat in saved:
        path.write_bytes(content)
        path.chmod(stat.st_mode)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_existing_folder(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("mine", "file", "link"):
        refused(fhi.ParameterError, f"{name}' exists", export_dir=tmp_path / name)
    refused(fhi.ParameterError, "is not a folder", export_dir=tmp_path / "file" / "release")


def test_folder_inside_the_media(refused: Any, marked: Any, tmp_path: Path) -> None:
    dataset, _ = marked
    media = Path(dataset.first().filepath).parent
    (tmp_path / "link").symlink_to(media)
    for folder in (
        media / "release",
        media / "deep" / "release",
        media / ".." / media.name / "release",
        tmp_path / "link" / "release",
    ):
        refused(fhi.ParameterError, "inside the dataset's media", export_dir=folder)


def test_folder_beside_the_ledger(refused: Any, marked: Any) -> None:
    _, marking = marked
    refused(
        fhi.ParameterError, "beside the secret ledger", export_dir=marking.output_dir / "release"
    )


def test_folder_that_cannot_be_written(
    refused: Any, read_only_folder: Path, marked: Any, tmp_path: Path
) -> None:
    refused(fhi.ParameterError, "not writable", export_dir=read_only_folder / "release")
    for name in (f"{'x' * 300}/release", "x" * 300):
        refused(fhi.ParameterError, "too long for a file system", export_dir=tmp_path / name)


@pytest.mark.parametrize("how", ["move", "symlink", "manifest", False, None, ["move"]])
def test_other_ways_of_exporting_media(refused: Any, how: Any) -> None:
    refused(fhi.ParameterError, "export_media=.* is refused", export_media=how)


def test_other_types(fo: Any, refused: Any) -> None:
    refused(
        fhi.ParameterError,
        "YOLOv5Dataset cannot hold a release",
        dataset_type=fo.types.YOLOv5Dataset,
    )


def test_missing_and_altered_honeyimages(refused: Any, marked: Any, altered: Any) -> None:
    _, marking = marked
    first, second = marking.load_ledger().released_images()[:2]
    altered(marking.output_dir / second.file, b"other")
    refused(fhi.ReleaseError, f"{Path(second.file).name}' was altered")
    altered(marking.output_dir / first.file, None)
    refused(fhi.ReleaseError, f"{Path(first.file).name}' is missing")


def test_missing_and_altered_ledger(
    refused: Any, marked: Any, altered: Any, tmp_path: Path
) -> None:
    _, marking = marked
    text = marking.ledger_path.read_text(encoding="utf-8")
    edited = text.replace('"": "a"', '"": "b"', 1)
    if edited == text:
        edited = text.replace('"": "b"', '"": "a"', 1)
    (tmp_path / "edited.json").write_text(edited, encoding="utf-8")
    refused(fhi.LedgerError, "was altered", ledger_path=tmp_path / "edited.json")
    (tmp_path / "cut.json").write_text(text[: len(text) // 2], encoding="utf-8")
    refused(fhi.LedgerError, "cut.json", ledger_path=tmp_path / "cut.json")
    refused(fhi.LedgerError, "is not at", ledger_path=tmp_path / "none.json")
    altered(marking.ledger_path, None)
    refused(fhi.LedgerError, "pass its place as ledger_path")


def test_a_moved_ledger_is_found_when_its_place_is_told(
    marked: Any, altered: Any, tmp_path: Path
) -> None:
    dataset, marking = marked
    shutil.copy(marking.ledger_path, tmp_path / "moved.json")
    altered(marking.ledger_path, None)
    report = fhi.export_release(
        dataset, "honey", tmp_path / "r", ledger_path=tmp_path / "moved.json", progress=False
    )
    assert report.num_images == 27


def test_foreign_ledger(refused: Any, make_dataset: Any, mark: Any) -> None:
    other = mark(make_dataset(30, hardness=True), method="unperturbed")
    refused(fhi.LedgerError, "is another ledger", ledger_path=other.ledger_path)


def test_missing_source_media(refused: Any, marked: Any, altered: Any) -> None:
    dataset, _ = marked
    own = dataset.match_tags("honeyimage", bool=False)
    plain = next(sample for sample in own if sample.honey is None)
    altered(Path(plain.filepath), None)
    refused(fhi.ReleaseError, f"{plain.id} is missing")


def test_an_original_that_was_changed_since(refused: Any, marked: Any, altered: Any) -> None:
    dataset, marking = marked
    image = marking.load_ledger().released_images()[0]
    path = Path(dataset[image.sample_id].filepath)
    altered(path, path.read_bytes() + b"more")
    refused(fhi.ReleaseError, f"{path.name}' was altered since it was marked")


@pytest.mark.parametrize("content", [None, b"other"], ids=["missing", "altered"])
@pytest.mark.parametrize("role", ["released_side", "withheld_side"])
def test_errors_are_the_same_for_both_twins(
    refused: Any, marked: Any, altered: Any, role: str, content: bytes | None
) -> None:
    """FiftyOne keeps the error of a delegated export: it must not tell the coin."""
    dataset, marking = marked
    image = getattr(marking.load_ledger().pairs[0], role)().files[0]
    words = "is missing" if content is None else "was altered since it was marked"
    original = Path(dataset[image.sample_id].filepath)
    altered(original, content)
    refused(fhi.ReleaseError, f"{original}' {words}")
    path = marking.output_dir / image.file
    altered(path, content)
    refused(fhi.ReleaseError, f"{path}' {words}")


def test_of_two_wrong_twins_the_one_that_is_named_does_not_depend_on_the_coin(
    marked: Any, refused: Any, altered: Any
) -> None:
    dataset, marking = marked
    for pair in marking.load_ledger().pairs:
        samples = dataset.select([image.sample_id for image in pair.images])
        try:
            samples.set_values("ground_truth.label", ["another"] * 2)
            refused(fhi.ReleaseError, f"sample {pair.a.files[0].sample_id} was marked as")
        finally:
            samples.set_values("ground_truth.label", [pair.a.files[0].label] * 2)


def test_a_leak_is_refused_without_naming_files(
    refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fiftyone_honeyimage.core.audit import Leak

    monkeypatch.setattr(
        "fiftyone_honeyimage.dataset.release.read_back.check_metadata",
        lambda *_, **__: [Leak("time: modified", "it is later", ("0/0007.png",))],
    )
    refused(fhi.ReleaseError, r"released: time: modified: it is later; pass reencode='all'")


def test_a_label_that_was_changed_since(
    fo: Any, make_dataset: Any, mark: Any, tmp_path: Path, unchanged: Any
) -> None:
    dataset = make_dataset(30, hardness=True)
    marking = mark(dataset)
    sample = dataset[marking.load_ledger().pairs[0].a.files[0].sample_id]
    old = sample.ground_truth.label
    sample.ground_truth.label = "2" if old != "2" else "0"
    sample.save()
    before = unchanged(dataset)
    with pytest.raises(fhi.ReleaseError, match=f"{sample.id} was marked as '{old}'"):
        fhi.export_release(dataset, "honey", tmp_path / "r", progress=False)
    assert unchanged(dataset) == before


def test_a_view_without_the_marked_images(refused: Any, marked: Any) -> None:
    dataset, marking = marked
    marked_ids = dataset.match_tags("honeyimage").values("honey.source")
    refused(fhi.ReleaseError, "7 of the images that were marked", dataset.exclude(marked_ids))
    refused(fhi.ReleaseError, "1 of the images that were marked", dataset.exclude(marked_ids[:1]))
    refused(fhi.ReleaseError, "every one of these samples was marked", marking.view())


@pytest.mark.parametrize("label", ["../outside", "a/b", "..", "."])
def test_classes_that_are_no_folder_names(
    make_dataset: Any, mark: Any, tmp_path: Path, unchanged: Any, label: str
) -> None:
    dataset = make_dataset(30, hardness=True)
    names = {"0": label, "1": "one", "2": "two"}
    view = dataset.map_labels("ground_truth", names)
    view.save()
    dataset.reload()
    mark(dataset, method="unperturbed")
    before = unchanged(dataset)
    with pytest.raises(fhi.ReleaseError, match="cannot be the name of a folder"):
        fhi.export_release(dataset, "honey", tmp_path / "r", progress=False)
    assert unchanged(dataset) == before


def test_jpeg_files_are_released_as_they_went_in(
    make_dataset: Any, mark: Any, tmp_path: Path
) -> None:
    dataset = make_dataset(30, hardness=True)
    for sample in dataset:
        path = Path(sample.filepath).with_suffix(".jpg")
        Image.open(sample.filepath).save(path, quality=80)
        sample.filepath = str(path)
        sample.save()
    mark(dataset)
    fhi.export_release(dataset, "honey", tmp_path / "r", progress=False)
    tables = set()
    files = [path for path in (tmp_path / "r").rglob("*") if path.is_file()]
    for path in files:
        assert path.suffix == ".jpg"
        with Image.open(path) as image:
            tables.add((image.format, image.mode, str(image.quantization)))
    assert len(files) == 27
    assert len(tables) == 1


def test_unknown_marking(marked: Any, tmp_path: Path) -> None:
    dataset, _ = marked
    with pytest.raises(fhi.SamplesError, match=r"no marking 'other'.*'honey'"):
        fhi.export_release(dataset, "other", tmp_path / "r", progress=False)


def test_a_source_that_changes_while_it_is_exported(
    refused: Any, marked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import eta.core.utils as etau

    real = etau.copy_file

    def copy(source: str, target: str) -> None:
        real(source, target)
        Path(target).write_bytes(Path(target).read_bytes()[:-1])

    monkeypatch.setattr(etau, "copy_file", copy)
    refused(fhi.ReleaseError, "differ from their sources")


def test_a_progress_callback_that_fails(refused: Any) -> None:
    def fail(bar: Any) -> None:
        raise RuntimeError(f"at {bar.stage}")

    refused(RuntimeError, "at Exporting", progress=fail)


def test_a_disk_that_is_full(refused: Any, small_disk: Any, marked: Any) -> None:
    refused(OSError, "free some space", export_dir=small_disk(64 * 1024) / "release")


def test_a_disk_that_fills_up_meanwhile(
    refused: Any, small_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fiftyone_honeyimage.dataset.release import export as release

    monkeypatch.setattr(release, "ensure_free_space", lambda *_: None)
    disk = small_disk(64 * 1024)
    refused(OSError, "No space left", export_dir=disk / "release")
    assert list(disk.iterdir()) == []


def test_what_a_killed_export_left_is_cleaned_and_other_hidden_folders_stay(
    marked: Any, tmp_path: Path
) -> None:
    from fiftyone_honeyimage.dataset.running import work_folder

    dataset, marking = marked
    (tmp_path / ".release.partial").mkdir()
    (tmp_path / ".release.partial" / "mine").write_text("mine", encoding="utf-8")
    left = work_folder(tmp_path / "release") / "release" / "0"
    left.mkdir(parents=True)
    (left / "old.png").write_bytes(b"old")
    fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".release.partial", "release"]
    assert digest_free(tmp_path / "release") == expected(dataset, marking)


def test_ledger_of_a_renamed_dataset_still_fits(
    make_dataset: Any, mark: Any, tmp_path: Path
) -> None:
    dataset = make_dataset(30, hardness=True)
    mark(dataset, method="unperturbed")
    name = dataset.name
    dataset.name = f"{name}-renamed"
    try:
        report = fhi.export_release(dataset, "honey", tmp_path / "r", progress=False)
        assert report.num_images == 27
        assert json.loads(
            fhi.load_marking(dataset, "honey").ledger_path.read_text(encoding="utf-8")
        )
    finally:
        dataset.name = name


def test_pixels_of_released_twins_differ_from_their_originals(marked: Any, release: Any) -> None:
    dataset, marking = marked
    folder, _ = release
    for image in marking.load_ledger().released_images():
        name = f"{image.label}/{Path(image.file).name}"
        new = np.asarray(Image.open(folder / name)).astype(int)
        old = np.asarray(Image.open(dataset[image.sample_id].filepath)).astype(int)
        assert np.abs(new - old).max() <= 4
