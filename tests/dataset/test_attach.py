"""attach_marking: after a lost record, a moved folder, a dataset that was imported again, other tools' edits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.odm as foo
import pytest

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.dataset.ledger_heads import note_head

#: For a suspect that has learned nothing, of which one is warned
GUESSING: dict[str, Any] = {"device": "cpu", "insist": True, "progress": False}


@pytest.fixture(scope="module")
def original(
    make_dataset: Any, mark: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Any, dict[str, bytes]]:
    """A marked dataset with one verification, its marking, and what a release of it holds."""
    dataset = make_dataset(45, hardness=True)
    # So many that each of three verifications can show something
    mark(dataset, num_honeyimages=10, num_pairs=10, alpha=0.05, step_size=2)
    fhi.verify_model(dataset, "honey", suspect, "early", **GUESSING)
    folder = tmp_path_factory.mktemp("release") / "release"
    fhi.export_release(dataset, "honey", folder, progress=False)
    return dataset, fhi.load_marking(dataset, "honey"), files(folder)


def suspect(batch: Any) -> Any:
    """Innocent: looks at brightness alone."""
    import torch

    return torch.stack([torch.sin(50 * (k + 1) * batch.mean((1, 2, 3))) for k in range(3)], 1)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def lost(original: Any, tmp_path: Path) -> Iterator[tuple[Any, Path]]:
    """A copy of the dataset with everything in place, and a copy of the marking's folder elsewhere."""
    dataset, marking, _ = original
    # As if no other test had used a copy of the ledger
    foo.get_db_conn().honeyimage_ledgers.delete_one({"_id": marking.commitment})
    note_head(marking.load_ledger())
    folder = shutil.copytree(marking.output_dir, tmp_path / "elsewhere")
    clone = dataset.clone()
    yield clone, folder
    if fo.dataset_exists(clone.name):
        clone.delete()


def check(dataset: Any, original: Any, tmp_path: Path, key: str = "honey") -> None:
    """The marking is whole: samples, view, tags, release, verification."""
    marking = fhi.load_marking(dataset, key)
    roles = marking.view().values(f"{key}.role")
    assert roles == ["original", "honeyimage"] * 20
    assert dataset.count_sample_tags()[key] == 20
    assert len(dataset) == 65
    assert dataset.persistent
    fhi.export_release(dataset, key, tmp_path / "again", progress=False)
    assert files(tmp_path / "again") == original[2]
    verification = fhi.verify_model(dataset, key, suspect, **GUESSING)
    assert verification.verdict.num_pairs == 10


def test_the_dataset_is_made_persistent(original: Any, make_dataset: Any, mark: Any) -> None:
    assert not original[1].made_persistent, "it was before"
    dataset = make_dataset(30, hardness=True)
    dataset.persistent = False
    marking = mark(dataset, method="unperturbed")
    assert dataset.persistent
    assert marking.made_persistent


def delete_record(dataset: Any) -> None:
    dataset.delete_run("honey")
    dataset.delete_run("early")
    dataset.delete_sample_field("honey")
    dataset.delete_saved_view("honey")
    dataset.untag_samples(["honey", "honeyimage"])


def delete_run_and_field(dataset: Any) -> None:
    dataset.delete_run("honey")
    dataset.delete_sample_field("honey")


def delete_all(dataset: Any) -> None:
    dataset.delete_samples(dataset.match_tags("honeyimage"))
    delete_record(dataset)


def delete_the_run(dataset: Any) -> None:
    dataset.delete_run("honey")


def delete_field(dataset: Any) -> None:
    dataset.delete_sample_field("honey")


def edit_field(dataset: Any) -> None:
    dataset.set_values("honey.role", ["honeyimage"] * len(dataset))
    dataset.set_values("honey.pair", [0] * len(dataset))
    dataset.delete_samples(dataset.match_tags("honeyimage").limit(2))


@pytest.mark.parametrize(
    "harm",
    [
        None,
        delete_record,
        delete_run_and_field,
        delete_all,
        delete_the_run,
        delete_field,
        edit_field,
    ],
)
def test_a_marking_is_brought_back(lost: Any, original: Any, tmp_path: Path, harm: Any) -> None:
    dataset, folder = lost
    kept = dataset.match_tags("honeyimage").values("id")
    if harm is not None:
        harm(dataset)

    attached = fhi.attach_marking(dataset, folder / "ledger.json")

    added = {delete_all: 20, edit_field: 2}.get(harm, 0)
    assert (attached.num_originals, attached.num_images, attached.num_added) == (20, 20, added)
    assert attached.marking.output_dir == folder
    assert attached.marking.ledger_path == folder / "ledger.json"
    honey = dataset.match_tags("honeyimage")
    assert set(map(str, honey.values("filepath"))) == {
        str(folder / image.file)
        for ledger in [attached.marking.load_ledger()]
        for image in [*ledger.released_images(), *ledger.withheld_images()]
    }
    if harm is not delete_all:
        assert len(set(honey.values("id")) & set(kept)) == 20 - added, "with their predictions"
    kept_releases = (
        0
        if harm
        in (
            delete_record,
            delete_run_and_field,
            delete_all,
            delete_the_run,
        )
        else 1
    )
    assert bool(fhi.list_releases(dataset, "honey")) == bool(kept_releases)
    check(dataset, original, tmp_path)


def test_a_dataset_that_was_imported_again(lost: Any, original: Any, tmp_path: Path) -> None:
    _, folder = lost
    own = original[0].match_tags("honeyimage", bool=False)
    media = tmp_path / "media"
    media.mkdir()
    again = fo.Dataset()
    try:
        for path, label, score in zip(
            *own.values(["filepath", "ground_truth.label", "hardness"]), strict=True
        ):
            shutil.copy(path, media)
            again.add_sample(
                fo.Sample(
                    filepath=str(media / Path(path).name),
                    truth=fo.Classification(label=label),
                    hardness=score,
                )
            )
        with pytest.raises(fhi.SamplesError, match="no label field 'ground_truth'"):
            fhi.attach_marking(again, folder / "ledger.json")
        attached = fhi.attach_marking(
            again, folder / "ledger.json", honey_key="mine", label_field="truth"
        )
        assert (attached.num_originals, attached.num_images, attached.num_added) == (20, 20, 20)
        ids = set(again.values("id"))
        assert set(again.match_tags("mine").values("mine.source")) <= ids
        check(again, original, tmp_path, "mine")
        # Nothing was written into the ledger but the verification
        ledger = attached.marking.load_ledger()
        assert ledger.commitment == original[1].commitment

        original_id = again.match_tags("mine").first().mine.source
        again.delete_samples([original_id])
        with pytest.raises(fhi.ReleaseError, match=original_id):
            fhi.export_release(again, "mine", tmp_path / "less", progress=False)
        assert fhi.attach_marking(again, folder / "ledger.json").num_originals == 19
    finally:
        again.delete()


def test_another_dataset_is_refused(lost: Any, make_dataset: Any, unchanged: Any) -> None:
    _, folder = lost
    other = make_dataset(90, hardness=True)
    other.delete_samples(other.limit(45))  # the same files as the other dataset has
    before = unchanged(other, folder)
    with pytest.raises(fhi.SamplesError, match="of the 20 images that were marked"):
        fhi.attach_marking(other, folder / "ledger.json")
    assert unchanged(other, folder) == before


def test_what_does_not_belong_together_is_refused(
    lost: Any, original: Any, mark: Any, unchanged: Any, tmp_path: Path
) -> None:
    dataset, folder = lost
    older = tmp_path / "older.json"
    shutil.copy(original[1].ledger_path, older)
    fhi.verify_model(
        dataset, "honey", suspect, "late", ledger_path=folder / "ledger.json", **GUESSING
    )
    second = mark(dataset, "second", method="unperturbed")
    before = unchanged(dataset, folder)
    for ledger, place, error, message in (
        (tmp_path / "none.json", None, fhi.LedgerError, "there is no ledger at"),
        (folder / "ledger.json", tmp_path, fhi.LedgerError, "no manifest"),
        (folder / "ledger.json", second.output_dir, fhi.LedgerError, "of another marking"),
        (older, folder, fhi.LedgerError, "does not hold verification 'late'"),
    ):
        with pytest.raises(error, match=message):
            fhi.attach_marking(dataset, ledger, place)
    with pytest.raises(fhi.ParameterError, match="is on the dataset as 'honey'"):
        fhi.attach_marking(dataset, folder / "ledger.json", honey_key="other")
    assert unchanged(dataset, folder) == before

    image = original[1].load_ledger().released_images()[0]
    (folder / image.file).unlink()
    with pytest.raises(fhi.LedgerError, match="is missing; restore the marking's folder"):
        fhi.attach_marking(dataset, folder / "ledger.json")


def test_other_tools_renaming_is_told_apart_and_mended(
    lost: Any, original: Any, tmp_path: Path
) -> None:
    dataset, folder = lost
    dataset.rename_run("honey", "better")
    for key in ("honey", "better"):
        with pytest.raises(fhi.SamplesError, match=r"was renamed to 'better' with other tools"):
            fhi.verify_model(dataset, key, suspect, progress=False)
    with pytest.raises(fhi.SamplesError, match="with other tools"):
        fhi.export_release(dataset, "better", tmp_path / "release", progress=False)

    fhi.attach_marking(dataset, folder / "ledger.json")

    assert not dataset.has_field("honey")
    assert fhi.load_verification(dataset, "early").honey_key == "better"
    check(dataset, original, tmp_path, "better")


def test_other_tools_deletion_is_named(lost: Any, tmp_path: Path) -> None:
    dataset, _ = lost
    dataset.delete_run("honey")
    with pytest.raises(fhi.SamplesError, match=r"was deleted with other tools.*attach_marking"):
        fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)


def test_a_missing_ledger_offers_it(lost: Any, original: Any) -> None:
    dataset, _ = lost
    ledger = original[1].ledger_path
    moved = ledger.rename(ledger.with_name("moved.json"))
    try:
        with pytest.raises(fhi.LedgerError, match="attach_marking"):
            fhi.verify_model(dataset, "honey", suspect, progress=False)
        fhi.attach_marking(dataset, moved, original[1].output_dir)
        assert fhi.load_marking(dataset, "honey").load_ledger().path == moved
    finally:
        moved.rename(ledger)


def test_a_deleted_marking_gets_its_releases_back(lost: Any) -> None:
    dataset, folder = lost
    fhi.delete_run(dataset, "honey")
    assert dataset.info
    fhi.attach_marking(dataset, folder / "ledger.json")
    assert len(fhi.list_releases(dataset, "honey")) == 1
    assert not dataset.info
