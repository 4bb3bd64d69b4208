"""Notes on runs: they live as long as their run, wherever it is loaded, and never leave the dataset."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import fiftyone_honeyimage as fhi

SECRET = "found at example.com, ask Kim"


def test_a_note_survives_reload_and_rename_and_goes_with_its_run(make_dataset, mark):
    dataset = make_dataset(hardness=True)
    mark(dataset)
    assert fhi.read_note(dataset, "honey").text == ""
    assert fhi.read_note(dataset, "honey").time is None

    written = fhi.write_note(dataset, "honey", f"  {SECRET}\n", user="Ada")
    dataset.reload()
    assert fhi.read_note(dataset, "honey") == written
    assert (written.text, written.user, str(written)) == (SECRET, "Ada", SECRET)

    fhi.rename_run(dataset, "honey", "sweet")
    assert fhi.read_note(dataset, "sweet").text == SECRET
    fhi.delete_run(dataset, "sweet")
    with pytest.raises(fhi.SamplesError, match="sweet"):
        fhi.read_note(dataset, "sweet")


def test_another_process_reads_and_writes_the_note(fo, make_dataset, mark):
    dataset = make_dataset(hardness=True)
    mark(dataset)
    fhi.write_note(dataset, "honey", "first")
    code = (
        "import sys, fiftyone as fo, fiftyone_honeyimage as fhi\n"
        "dataset = fo.load_dataset(sys.argv[1])\n"
        "assert fhi.read_note(dataset, 'honey').text == 'first'\n"
        "fhi.write_note(dataset, 'honey', 'second')\n"
    )
    subprocess.run([sys.executable, "-c", code, dataset.name], check=True)

    dataset.reload()
    assert fhi.read_note(dataset, "honey").text == "second"
    fhi.write_note(dataset, "honey", "")
    assert fhi.read_note(dataset, "honey").text == ""


def test_no_release_holds_a_note(fo, make_dataset, mark, tmp_path):
    dataset = make_dataset(hardness=True)
    mark(dataset)
    fhi.write_note(dataset, "honey", SECRET)

    fhi.export_release(
        dataset,
        "honey",
        tmp_path / "release",
        dataset_type=fo.types.FiftyOneDataset,
        progress=False,
    )

    files = [path for path in Path(tmp_path / "release").rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if b"example.com" in path.read_bytes()] == []


def test_wrong_notes_are_refused(make_dataset, mark):
    dataset = make_dataset(hardness=True)
    mark(dataset)
    with pytest.raises(fhi.ParameterError, match="10,000"):
        fhi.write_note(dataset, "honey", "x" * 10_001)
    with pytest.raises(fhi.ParameterError, match="text"):
        fhi.write_note(dataset, "honey", None)
    with pytest.raises(fhi.SamplesError, match="nothing"):
        fhi.write_note(dataset, "nothing", "x")


def test_a_note_keeps_what_another_process_noted_on_the_run(make_dataset, mark) -> None:
    """A delegated export notes its release past this process's copy of the run."""
    import fiftyone.core.odm as foo

    dataset = make_dataset(30, hardness=True)
    mark(dataset)
    dataset.get_run_info("honey")  # reads the run
    run = dataset._doc.runs["honey"].id
    where, release = {"_id": run}, {"export_dir": "/r", "commitment": "c"}
    foo.get_db_conn().runs.update_one(where, {"$set": {"config.releases": [release]}})
    fhi.write_note(dataset, "honey", "seen")
    stored = foo.get_db_conn().runs.find_one(where)["config"]
    assert stored["releases"] == [release]

    foo.get_db_conn().runs.update_one(where, {"$set": {"config.releases": [release] * 2}})
    fhi.rename_run(dataset, "honey", "renamed")
    stored = foo.get_db_conn().runs.find_one(where)["config"]
    assert stored["releases"] == [release] * 2
    assert stored["note"]["text"] == "seen"
