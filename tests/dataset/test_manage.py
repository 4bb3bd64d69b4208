"""Listing, renaming and deleting runs on real datasets."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import fiftyone_honeyimage as fhi


@pytest.fixture
def marked(make_dataset: Any, mark: Any, tmp_path: Path) -> tuple[Any, Any]:
    dataset = make_dataset(30, hardness=True)
    marking = mark(dataset, method="unperturbed", output_dir=tmp_path / "marking")
    return dataset, marking


def verification(dataset: Any, key: str, honey_key: str) -> None:
    """Registers a run as verify_model does; what is in it is another test's matter."""
    from fiftyone_honeyimage.dataset.runs import VERIFICATION, save_run

    save_run(dataset, key, VERIFICATION, {"honey_key": honey_key}, {"verdict": {}})


def own_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_list_tells_kinds_in_order(make_dataset: Any, mark: Any, tiny: dict[str, Any]) -> None:
    dataset = make_dataset(30)
    assert fhi.list_runs(dataset) == []
    fhi.compute_hardness(dataset, "ground_truth", **tiny, progress=False)
    mark(dataset, hardness_field="honey_hardness", method="unperturbed")
    verification(dataset, "check", "honey")
    dataset.register_run("foreign", dataset.init_run(method="other"))

    runs = fhi.list_runs(dataset.limit(3))
    assert [(run.key, run.kind) for run in runs] == [
        ("honey_hardness", "hardness"),
        ("honey", "marking"),
        ("check", "verification"),
    ]
    assert all(run.timestamp is not None for run in runs)
    assert runs[1].config["method"] == "honeyimage/marking"


def test_rename_moves_field_tag_view_and_verifications(
    fo: Any, marked: Any, tmp_path: Path
) -> None:
    dataset, before = marked
    verification(dataset, "check", "honey")
    files = own_files(before.output_dir)
    fhi.rename_run(dataset, "honey", "renamed")

    assert not dataset.has_field("honey")
    assert dataset.list_saved_views() == ["renamed"]
    added = dataset.match_tags("honeyimage")
    assert {tuple(sample.tags) for sample in added} == {("honeyimage", "renamed")}
    assert dataset.count_values("tags") == {"mine": 30, "honeyimage": 7, "renamed": 7}
    assert dataset.get_field("renamed").description == "HoneyImage marking 'renamed'"
    assert dataset.get_field("renamed.linf").description
    after = fhi.load_marking(dataset, "renamed")
    assert after.honey_key == after.config["honey_key"] == "renamed"
    assert after.commitment == before.commitment
    assert len(after.view()) == 14
    assert dataset.get_run_info("check").config.honey_key == "renamed"
    assert own_files(after.output_dir) == files
    # The marking works under its new name
    report = fhi.export_release(dataset, "renamed", tmp_path / "release", progress=False)
    assert report.num_images == 27
    with pytest.raises(fhi.SamplesError, match="no marking 'honey'"):
        fhi.load_marking(dataset, "honey")
    fhi.rename_run(dataset, "renamed", "honey")
    assert len(fhi.load_marking(dataset, "honey").view()) == 14


def test_rename_of_a_verification(marked: Any) -> None:
    dataset, _ = marked
    verification(dataset, "check", "honey")
    fhi.rename_run(dataset, "check", "first_check")
    assert [run.key for run in fhi.list_runs(dataset)] == ["honey", "first_check"]


@pytest.mark.parametrize(
    ("key", "new_key", "error", "words"),
    [
        ("honey", "ground_truth", fhi.ParameterError, "'ground_truth' is taken"),
        ("honey", "honey", fhi.ParameterError, "'honey' is taken"),
        ("honey", "check", fhi.ParameterError, "'check' is taken"),
        ("honey", "my key", fhi.ParameterError, "valid identifier"),
        ("honey", "honeyimage", fhi.ParameterError, "reserved"),
        ("check", "honey", fhi.ParameterError, "'honey' is taken"),
        ("nothing", "new", fhi.SamplesError, r"no HoneyImage run 'nothing' .*\['honey', 'check'\]"),
        ("foreign", "new", fhi.SamplesError, "no HoneyImage run 'foreign'"),
    ],
)
def test_rename_that_is_refused(
    marked: Any, unchanged: Any, key: str, new_key: str, error: type[Exception], words: str
) -> None:
    dataset, _ = marked
    verification(dataset, "check", "honey")
    dataset.register_run("foreign", dataset.init_run(method="other"))
    before = unchanged(dataset)
    with pytest.raises(error, match=words):
        fhi.rename_run(dataset, key, new_key)
    assert unchanged(dataset) == before


def test_a_hardness_run_keeps_its_name(make_dataset: Any, tiny: Any, unchanged: Any) -> None:
    dataset = make_dataset(12)
    fhi.compute_hardness(dataset, "ground_truth", **tiny, progress=False)
    before = unchanged(dataset)
    with pytest.raises(fhi.SamplesError, match="goes by its field's name"):
        fhi.rename_run(dataset, "honey_hardness", "other")
    assert unchanged(dataset) == before

    fhi.delete_run(dataset, "honey_hardness")
    assert fhi.list_runs(dataset) == []
    assert not dataset.has_field("honey_hardness")
    assert not dataset.has_field("honey_hardness_label_error")


@pytest.mark.parametrize("delete_files", [False, True])
def test_delete_leaves_the_dataset_as_it_was(
    fo: Any, make_dataset: Any, mark: Any, tmp_path: Path, delete_files: bool
) -> None:
    dataset = make_dataset(30, hardness=True)

    def content() -> Any:
        values = [sample.to_mongo_dict(include_id=True) for sample in dataset]
        for value in values:
            value.pop("last_modified_at")
        schema = {name: str(field) for name, field in dataset.get_field_schema().items()}
        return values, schema, dataset.list_runs(), dataset.list_saved_views()

    before = content()
    marking = mark(dataset, output_dir=tmp_path / "below" / "marking")
    files = own_files(marking.output_dir)
    verification(dataset, "check", "honey")
    fhi.delete_run(dataset, "honey", delete_files=delete_files)

    dataset.reload()
    assert content() == before
    if delete_files:
        assert not marking.output_dir.exists()
    else:
        assert own_files(marking.output_dir) == files
    assert all(Path(path).is_file() for path in dataset.values("filepath"))


def test_a_key_and_a_folder_can_be_used_again(marked: Any, mark: Any, tmp_path: Path) -> None:
    dataset, before = marked
    fhi.delete_run(dataset, "honey", delete_files=True)
    after = mark(dataset, method="unperturbed", output_dir=tmp_path / "marking")
    assert after.commitment != before.commitment


def test_the_folder_of_a_deleted_run_is_not_written_over(
    marked: Any, mark: Any, tmp_path: Path
) -> None:
    dataset, marking = marked
    ledger = marking.ledger_path.read_bytes()
    fhi.delete_run(dataset, "honey")
    with pytest.raises(fhi.ParameterError, match="exists; nothing is overwritten"):
        mark(dataset, method="unperturbed", output_dir=tmp_path / "marking")
    assert marking.ledger_path.read_bytes() == ledger


def test_delete_spares_what_is_not_the_markings(marked: Any) -> None:
    dataset, marking = marked
    (marking.output_dir / "notes.txt").write_text("mine", encoding="utf-8")
    (marking.output_dir / "images" / "mine.png").write_bytes(b"mine")
    fhi.delete_run(dataset, "honey", delete_files=True)
    assert own_files(marking.output_dir) == {"notes.txt", "images/mine.png"}


def test_delete_takes_what_a_killed_process_was_writing(marked: Any) -> None:
    """It may be a copy of the ledger."""
    dataset, marking = marked
    shutil.copy(marking.ledger_path, marking.output_dir / ".honeyimage-abc.tmp")
    fhi.delete_run(dataset, "honey", delete_files=True)
    assert not marking.output_dir.exists()


def test_delete_never_leaves_the_folder(marked: Any, tmp_path: Path) -> None:
    dataset, marking = marked
    (tmp_path / "precious").write_text("mine", encoding="utf-8")
    manifest = marking.output_dir / "manifest.json"
    text = manifest.read_text(encoding="utf-8").replace('"f_out.pt"', '"../precious"')
    manifest.write_text(text, encoding="utf-8")
    (marking.output_dir / "images" / "link").symlink_to(tmp_path)
    fhi.delete_run(dataset, "honey", delete_files=True)
    assert (tmp_path / "precious").read_text(encoding="utf-8") == "mine"


def test_delete_without_a_manifest_changes_nothing(marked: Any, unchanged: Any) -> None:
    dataset, marking = marked
    (marking.output_dir / "manifest.json").unlink()
    before = unchanged(dataset)
    with pytest.raises(fhi.LedgerError, match=r"no manifest\.json"):
        fhi.delete_run(dataset, "honey", delete_files=True)
    assert unchanged(dataset) == before
    fhi.delete_run(dataset, "honey")
    assert fhi.list_runs(dataset) == []


def test_delete_when_the_folder_is_gone(marked: Any) -> None:
    dataset, marking = marked
    shutil.rmtree(marking.output_dir)
    fhi.delete_run(dataset, "honey", delete_files=True)
    assert fhi.list_runs(dataset) == []
    assert len(dataset) == 30


def test_delete_one_of_two_markings(marked: Any, mark: Any) -> None:
    dataset, first = marked
    second = mark(dataset, "second", method="unperturbed")
    fhi.delete_run(dataset, "honey", delete_files=True)
    assert len(second.view()) == 14
    assert all(Path(path).is_file() for path in dataset.values("filepath"))
    assert not first.output_dir.exists()


def test_delete_of_a_verification_alone(marked: Any) -> None:
    dataset, marking = marked
    verification(dataset, "check", "honey")
    fhi.delete_run(dataset, "check", delete_files=True)
    assert [run.key for run in fhi.list_runs(dataset)] == ["honey"]
    assert marking.ledger_path.is_file()


def test_a_clone_cannot_delete_the_files_of_the_dataset_that_was_marked(
    marked: Any, tmp_path: Path
) -> None:
    dataset, marking = marked
    files = own_files(marking.output_dir)
    clone = dataset.clone()
    try:
        report = fhi.export_release(clone, "honey", tmp_path / "release", progress=False)
        assert report.num_images == 27
        with pytest.raises(fhi.LedgerError, match="is a clone"):
            fhi.delete_run(clone, "honey", delete_files=True)
        fhi.delete_run(clone, "honey")
        assert len(clone) == 30
    finally:
        clone.delete()
    # The export notes which images it was made of; nothing goes
    assert own_files(marking.output_dir) == files | {"released_views.json"}
    assert len(fhi.load_marking(dataset, "honey").view()) == 14


def test_delete_of_an_unknown_run(marked: Any, unchanged: Any) -> None:
    dataset, _ = marked
    dataset.register_run("foreign", dataset.init_run(method="other"))
    before = unchanged(dataset)
    for key in ("nothing", "foreign", "ground_truth"):
        with pytest.raises(fhi.SamplesError, match=f"no HoneyImage run '{key}'"):
            fhi.delete_run(dataset, key, delete_files=True)
    assert unchanged(dataset) == before


def test_what_another_process_did_is_seen_and_unsaved_changes_stay(
    fo: Any, make_dataset: Any, tiny: dict[str, Any]
) -> None:
    import fiftyone.core.odm as foo

    from fiftyone_honeyimage.dataset.runs import catch_up

    dataset = make_dataset(12)
    sample = dataset.first()
    sample.tags.append("unsaved")
    dataset.add_sample_field("known", fo.StringField)
    catch_up(dataset)
    assert sample.tags == ["mine", "unsaved"]

    # As another process would, past this one's copy of the dataset
    field = dict(dataset._doc.to_dict()["sample_fields"][-1], name="foreign", db_field="foreign")
    where = {"_id": dataset._doc.id}
    foo.get_db_conn().datasets.update_one(where, {"$push": {"sample_fields": field}})
    with pytest.raises(fhi.ParameterError, match="'foreign' that no hardness run wrote"):
        fhi.compute_hardness(dataset, "ground_truth", "foreign", **tiny, progress=False)
