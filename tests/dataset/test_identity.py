"""Which samples are HoneyImages is told by what a marking wrote down, whatever scripts do to a dataset."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.files import sha256_file
from fiftyone_honeyimage.dataset.samples import read_labels


@pytest.fixture(scope="module")
def first(make_dataset: Any, mark: Any) -> tuple[Any, Any, Any]:
    """A dataset of 30 images with 4 HoneyImages in a release and 3 withheld, two markings' worth."""
    dataset = make_dataset(30, hardness=True)
    marking = mark(dataset, step_size=2)
    return dataset, marking, mark(dataset, "second", step_size=2)


@pytest.fixture(scope="module")
def usual(first: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of the first marking."""
    folder = tmp_path_factory.mktemp("releases") / "usual"
    fhi.export_release(first[0], "honey", folder, progress=False)
    return folder


@pytest.fixture
def marked(first: Any) -> Iterator[tuple[Any, Any]]:
    """A dataset of its own with these two markings, and the first of them."""
    clone = first[0].clone()
    yield clone, first[1]
    clone.delete()


@pytest.fixture
def alone(marked: Any) -> tuple[Any, Any]:
    """The same without the second marking."""
    fhi.delete_run(marked[0], "second")
    return marked


def digests(folder: Path) -> set[str]:
    return {hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def kept_out(*markings: Any) -> set[str]:
    """Digests of everything that markings withhold, and of all the originals that they chose."""
    found = set()
    for marking in markings:
        ledger = marking.load_ledger()
        images = [*ledger.released_images(), *ledger.withheld_images()]
        found |= {image.source_sha256 for image in images}
        found |= {image.marked_sha256 for image in ledger.withheld_images()}
    return found


def untag(dataset: Any, marking: Any) -> None:
    dataset.untag_samples(["honeyimage", "honey"])


def tag_originals(dataset: Any, marking: Any) -> None:
    dataset.tag_samples(["honeyimage", "honey"])


def clear_field(dataset: Any, marking: Any) -> None:
    dataset.clear_sample_field("honey")


def delete_field(dataset: Any, marking: Any) -> None:
    dataset.delete_sample_field("honey")


def swap_roles(dataset: Any, marking: Any) -> None:
    names = {"original": "honeyimage", "honeyimage": "original", None: "honeyimage"}
    for sample in dataset:
        if sample.honey is not None:
            sample.honey["role"] = names[sample.honey.role]
            sample.honey["source"] = sample.id
            sample.save()


def delete_run(dataset: Any, marking: Any) -> None:
    dataset.delete_run("honey")


def copy_sample(dataset: Any, marking: Any) -> None:
    dataset.add_samples([sample.copy() for sample in dataset.match_tags("honeyimage")])
    untag(dataset, marking)


def add_again(dataset: Any, samples: Any, folder: Path) -> None:
    """Adds samples once more, from copies of their files in another folder."""
    folder.mkdir()
    for sample in list(samples):
        copy = folder / f"{sample.id}.png"
        shutil.copy(sample.filepath, copy)
        dataset.add_sample(fo.Sample(filepath=str(copy), ground_truth=sample.ground_truth.copy()))


def copy_files(dataset: Any, marking: Any) -> None:
    add_again(dataset, dataset.match_tags("honey"), Path(tempfile.mkdtemp()) / "copies")


def copy_originals(dataset: Any, marking: Any) -> None:
    own = dataset.select(dataset.match_tags("honey").values("honey.source"))
    add_again(dataset, own, Path(tempfile.mkdtemp()) / "copies")


EDITS = [untag, tag_originals, clear_field, delete_field, swap_roles, copy_sample, copy_files]


@pytest.mark.parametrize("edit", [*EDITS, copy_originals])
def test_a_release_stays_what_it_is(
    marked: tuple[Any, Any], usual: Path, tmp_path: Path, edit: Callable[..., None]
) -> None:
    dataset, marking = marked
    edit(dataset, marking)

    labeled = read_labels(dataset, "ground_truth")
    copies = 7 if edit is copy_originals else 0
    assert len(labeled) == 30 + copies, "no HoneyImage is scored or marked"
    assert len(labeled.chosen) == 14 + copies
    report = fhi.export_release(dataset, "honey", tmp_path / "after", progress=False)

    assert files(tmp_path / "after") == files(usual)
    assert (report.num_images, report.num_honeyimages, report.num_withheld) == (20, 4, 3)
    assert report.num_left_out == 7 + copies
    assert not digests(tmp_path / "after") & kept_out(marking)


def test_a_run_and_a_field_deleted_by_other_tools_give_nothing_away(
    marked: tuple[Any, Any], first: Any, tmp_path: Path
) -> None:
    dataset, marking = marked
    second = first[2]
    dataset.delete_run("honey")
    dataset.delete_sample_field("honey")
    dataset.untag_samples(["honeyimage", "honey"])

    report = fhi.export_release(dataset, "second", tmp_path / "release", progress=False)

    assert (report.num_images, report.num_other_honeyimages, report.num_left_out) == (20, 7, 7)
    assert not digests(tmp_path / "release") & kept_out(marking, second)


def test_a_marking_that_nobody_knows_is_named(
    marked: tuple[Any, Any], first: Any, unchanged: Any, tmp_path: Path
) -> None:
    dataset, marking = marked
    second = first[2]
    dataset.delete_run("honey")
    moved = marking.output_dir.rename(tmp_path / "moved")
    try:
        before = unchanged(dataset, second.output_dir)
        with pytest.raises(fhi.ReleaseError, match=r"marking 'honey' has no run.*attach_marking"):
            fhi.export_release(dataset, "second", tmp_path / "release", progress=False)
        assert unchanged(dataset, second.output_dir) == before
    finally:
        moved.rename(marking.output_dir)


def test_an_original_that_points_to_its_honeyimage_is_named(
    marked: tuple[Any, Any], tmp_path: Path
) -> None:
    dataset, _ = marked
    honey = dataset.match_tags("honey").first()
    original = dataset[honey.honey.source]
    path, original.filepath = original.filepath, honey.filepath
    original.save()
    message = f"sample {original.id} is an original of marking 'honey', but its file"

    with pytest.raises(fhi.SamplesError, match=message):
        fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)
    with pytest.raises(fhi.SamplesError, match=message):
        read_labels(dataset, "ground_truth", contents=False)

    # The same by its bytes alone
    shutil.copy(honey.filepath, tmp_path / "copy.png")
    original.filepath = str(tmp_path / "copy.png")
    original.save()
    with pytest.raises(fhi.SamplesError, match=message):
        fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)
    original.filepath = path
    original.save()
    fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)


def test_another_original_that_points_to_a_honeyimage_stays_out(
    marked: tuple[Any, Any], tmp_path: Path
) -> None:
    dataset, marking = marked
    honey = dataset.match_tags("honey").first()
    own = dataset.match_tags("honeyimage", bool=False)
    other = own.match({"honey": None, "second": None}).first()
    other.filepath = honey.filepath
    other.save()

    report = fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)

    assert report.num_images == 19
    assert not digests(tmp_path / "release") & kept_out(marking)


@pytest.mark.parametrize("reencode", ["marked", "all"])
def test_what_changes_while_it_is_exported_is_found_before_the_rename(
    marked: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reencode: str
) -> None:
    from fiftyone_honeyimage.dataset.release import export as release

    dataset, marking = marked
    withheld = marking.load_ledger().withheld_images()[0]
    target = tmp_path / "release"
    settings = {
        "reencode": reencode,
        "unpublished": [made.export_dir for made in fhi.list_releases(dataset, "honey")],
        "progress": False,
    }

    def hide(folder: Path) -> None:
        """As if an unmarked file had become the withheld HoneyImage after it was compared."""
        name = next(iter(sorted(folder.rglob("*.png"))))
        name.write_bytes((marking.output_dir / withheld.file).read_bytes())

    monkeypatch.setattr(release, "hide_times", hide)
    monkeypatch.setattr(release, "check_leaks", lambda *_, **__: None)
    with pytest.raises(fhi.ReleaseError, match="'honey' keeps out of releases") as caught:
        fhi.export_release(dataset, "honey", target, **settings)
    assert withheld.sample_id not in str(caught.value), "it could tell a coin"
    assert not target.exists()

    released = {image.marked_sha256 for image in marking.load_ledger().released_images()}

    def spoil(folder: Path) -> None:
        """As if the disk had lost an unmarked file."""
        files = sorted(folder.rglob("*.png"))
        next(p for p in files if sha256_file(p) not in released).write_bytes(b"other")

    monkeypatch.setattr(release, "hide_times", spoil)
    with pytest.raises(fhi.ReleaseError, match="changed after they were compared"):
        fhi.export_release(dataset, "honey", target, **settings)
    assert not target.exists()


def test_deleting_a_marking_takes_its_own_samples_alone(alone: tuple[Any, Any]) -> None:
    dataset, marking = alone
    swap_roles(dataset, marking)
    originals = dataset.match_tags("mine").values("id")

    fhi.delete_run(dataset, "honey")

    assert dataset.values("id") == originals


def test_a_suspect_s_predictions_are_those_on_honeyimages(
    fresh: Any,
) -> None:
    dataset, marking, ledger = fresh
    own = dataset.match_tags("honeyimage", bool=False)
    dataset.add_sample_field("early", fo.ListField)
    own.set_values("early", [[1.0, 0.0, 0.0, 0.0]] * len(own))
    try:
        with pytest.raises(fhi.SuspectError, match="no prediction on any HoneyImage of 'honey'"):
            fhi.verify_model(dataset, "honey", "early", ledger_path=ledger, progress=False)
        assert marking.load_ledger().verifications.keys() == set()
    finally:
        dataset.delete_sample_field("early")


def test_a_released_marking_that_was_deleted_is_kept_in_mind(
    alone: tuple[Any, Any], mark: Any, tmp_path: Path
) -> None:
    dataset, first = alone
    fhi.export_release(dataset, "honey", tmp_path / "first", progress=False)
    fhi.delete_run(dataset, "honey")

    second = mark(dataset, "honey")
    report = fhi.export_release(dataset, "honey", tmp_path / "second", progress=False)

    assert report.num_left_out == 7
    assert report.exposed_by[-1] == str(tmp_path / "first")
    assert not digests(tmp_path / "second") & kept_out(first, second)


def test_releases_of_two_markings_do_not_expose_each_other(
    alone: tuple[Any, Any], mark: Any, tmp_path: Path
) -> None:
    dataset, first = alone
    before = fhi.export_release(dataset, "honey", tmp_path / "before", progress=False)
    second = mark(dataset, "second", step_size=2)
    after = fhi.export_release(dataset, "honey", tmp_path / "after", progress=False)
    other = fhi.export_release(dataset, "second", tmp_path / "other", progress=False)

    assert second.excluded["earlier_markings"] == 7
    assert (before.num_images, after.num_images, other.num_images) == (27, 20, 20)
    for name in ("after", "other"):
        withheld = {
            digest
            for marking in (first, second)
            for image in marking.load_ledger().withheld_images()
            for digest in (image.source_sha256, image.marked_sha256)
        }
        assert not digests(tmp_path / name) & withheld
    assert before.exposed_by == after.exposed_by == ()
    assert other.exposed_by[-1] == str(tmp_path / "before"), "it holds the second one's originals"
    assert str(tmp_path / "after") not in other.exposed_by


def test_two_markings_that_chose_one_image_release_nothing(
    alone: tuple[Any, Any], mark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that ends last draws no coins, and chooses others when it is called again."""
    from fiftyone_honeyimage.dataset.marking import generate

    dataset, first = alone
    real = generate.make_images

    def slow(*arguments: Any, **kwargs: Any) -> None:
        real(*arguments, **kwargs)
        monkeypatch.setattr(generate, "make_images", real)
        mark(dataset, "quick", output_dir=first.output_dir.parent / "quick")

    monkeypatch.setattr(generate, "make_images", slow)
    folder = first.output_dir.parent / "slow"
    with pytest.raises(fhi.InterruptedRunError, match="'quick' was finished meanwhile and chose 7"):
        mark(dataset, "slow", output_dir=folder)
    assert not folder.exists()
    again = mark(dataset, "slow", output_dir=folder)
    assert again.excluded["earlier_markings"] == 14
