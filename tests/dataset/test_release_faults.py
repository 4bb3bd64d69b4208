"""Faults while a release is made: each ends in an error that says what to do, and that tells no coin."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fiftyone_honeyimage as fhi

ROOT = Path(__file__).parents[2]


@pytest.fixture
def marked(make_dataset: Callable[..., Any], mark: Callable[..., Any]) -> tuple[Any, Any]:
    dataset = make_dataset(24, hardness=True)
    return dataset, mark(dataset, method="unperturbed", num_honeyimages=3, num_pairs=3)


def at(stage: str, action: Callable[[], Any]) -> Callable[[Any], None]:
    """A progress callback that acts once, in this stage."""
    done: list[str] = []

    def look(bar: Any) -> None:
        if bar.stage == stage and not done:
            done.append(stage)
            action()

    return look


@pytest.fixture
def nothing_left(fo: Any, tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.rglob(".honeyimage-*"))
    assert not (Path(fo.config.default_dataset_dir) / "honeyimage" / ".running").exists()


@pytest.mark.parametrize("delete_files", [False, True])
@pytest.mark.usefixtures("nothing_left")
def test_a_marking_that_is_deleted_while_it_is_exported(
    marked: Any, tmp_path: Path, delete_files: bool
) -> None:
    dataset, _ = marked
    delete = at("Exporting", lambda: fhi.delete_run(dataset, "honey", delete_files=delete_files))
    with pytest.raises(fhi.ReleaseError, match=r"deleted or (renamed|moved) while") as caught:
        fhi.export_release(dataset, "honey", tmp_path / "r", progress=delete)
    assert "nothing was released" in str(caught.value)
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, fhi.SamplesError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nothing_left")
def test_a_dataset_that_is_deleted_while_it_is_exported(marked: Any, tmp_path: Path) -> None:
    dataset, _ = marked
    with pytest.raises(fhi.ReleaseError, match="there is no such dataset"):
        fhi.export_release(
            dataset, "honey", tmp_path / "r", progress=at("Checking", dataset.delete)
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nothing_left")
def test_an_original_that_is_lost_while_it_is_exported(marked: Any, tmp_path: Path) -> None:
    dataset, _ = marked
    originals = dataset.match_tags("honeyimage", bool=False)
    plain = next(sample for sample in originals if sample.honey is None)
    lose = at("Exporting", lambda: Path(plain.filepath).unlink())
    with pytest.raises(fhi.ReleaseError, match=f"sample {plain.id} is gone or cannot be read"):
        fhi.export_release(dataset, "honey", tmp_path / "r", progress=lose)


@pytest.mark.usefixtures("nothing_left")
def test_a_honeyimage_that_is_lost_is_not_named(marked: Any, tmp_path: Path) -> None:
    dataset, marking = marked
    lost = marking.load_ledger().pairs[0].released_side().files[0]
    lose = at("Exporting", lambda: (marking.output_dir / lost.file).unlink())
    with pytest.raises(fhi.ReleaseError, match="own files were deleted or moved") as caught:
        fhi.export_release(dataset, "honey", tmp_path / "r", progress=lose)
    # A delegated operation keeps the whole traceback
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None
    assert lost.sample_id not in str(caught.value)
    assert Path(lost.file).name not in str(caught.value)


@pytest.mark.usefixtures("nothing_left")
def test_a_folder_that_appears_meanwhile_is_not_overwritten(marked: Any, tmp_path: Path) -> None:
    dataset, _ = marked
    make = at("Checking", (tmp_path / "r").mkdir)
    with pytest.raises(fhi.ReleaseError, match="appeared while the release was made"):
        fhi.export_release(dataset, "honey", tmp_path / "r", progress=make)
    assert list((tmp_path / "r").iterdir()) == []


def test_an_older_copy_of_the_ledger_is_refused(
    fo: Any, marked: Any, unchanged: Any, tmp_path: Path
) -> None:
    dataset, marking = marked
    older, newest = tmp_path / "older.json", tmp_path / "newest.json"
    shutil.copy(marking.ledger_path, older)
    fhi.export_release(dataset, "honey", tmp_path / "first", progress=False)
    shutil.copy(marking.ledger_path, newest)

    def check_refused(**place: Any) -> None:
        before = unchanged(dataset, marking.output_dir)
        with pytest.raises(fhi.LedgerError, match="an older or another copy"):
            fhi.export_release(dataset, "honey", tmp_path / "other", progress=False, **place)
        assert unchanged(dataset, marking.output_dir) == before

    check_refused(ledger_path=older)
    # The newest copy may lie anywhere; what is noted in it makes the marking's own the older one
    kind = fo.types.FiftyOneImageClassificationDataset
    fhi.export_release(
        dataset, "honey", tmp_path / "second", kind, ledger_path=newest, progress=False
    )
    assert len(fhi.load_marking(dataset, "honey").load_ledger().releases) == 1
    check_refused()


def test_a_full_disk_names_no_file_of_the_release(
    marked: Any, small_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fiftyone_honeyimage.dataset.release import export as release

    dataset, _ = marked
    monkeypatch.setattr(release, "ensure_free_space", lambda *_: None)
    folder = small_disk(48 * 1024) / "release"
    with pytest.raises(OSError, match=r"No space left.*free some space") as caught:
        fhi.export_release(dataset, "honey", folder, progress=False)
    assert caught.value.filename == str(folder)
    assert ".png" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert list(folder.parent.iterdir()) == []


def test_a_source_that_changes_is_blamed_and_not_the_disk(marked: Any, tmp_path: Path) -> None:
    dataset, _ = marked
    originals = dataset.match_tags("honeyimage", bool=False)
    path = Path(next(sample for sample in originals if sample.honey is None).filepath)
    change = at("Checking", lambda: None)

    def edit(bar: Any) -> None:
        if bar.stage == "Exporting" and bar.iteration and not path.read_bytes().endswith(b"more"):
            path.write_bytes(path.read_bytes() + b"more")
        change(bar)

    with pytest.raises(fhi.ReleaseError, match="sources were changed meanwhile") as caught:
        fhi.export_release(dataset, "honey", tmp_path / "r", progress=edit)
    assert "disk" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() != 0, reason="takes two users")
@pytest.mark.parametrize("closed", ["ledger", "folder"])
def test_a_ledger_that_this_user_may_not_read(marked: Any, tmp_path: Path, closed: str) -> None:
    dataset, marking = marked
    folder = tmp_path / "secret"
    folder.mkdir(mode=0o755 if closed == "ledger" else 0o700)
    shutil.copy(marking.ledger_path, folder / "ledger.json")
    (folder / "ledger.json").chmod(0o600)
    for place in (tmp_path, *tmp_path.parents):
        if place.stat().st_mode & 0o005 != 0o005 and place != Path("/"):
            place.chmod(place.stat().st_mode | 0o005)
    os.seteuid(65534)
    try:
        with pytest.raises(fhi.LedgerError, match=r"cannot be read"):
            fhi.export_release(
                dataset, "honey", tmp_path / "r", ledger_path=folder / "ledger.json", progress=False
            )
    finally:
        os.seteuid(0)


def test_a_release_stands_where_its_ledger_cannot_be_written(
    marked: Any, tmp_path: Path, caplog: Any
) -> None:
    dataset, marking = marked
    hide = at("Looking for leaks", lambda: marking.ledger_path.rename(tmp_path / "hidden.json"))
    report = fhi.export_release(dataset, "honey", tmp_path / "r", progress=hide)
    assert report.export_dir.is_dir()
    assert "could not be noted in the ledger" in caplog.text


DEATH = """
import os, sys, tempfile
from pathlib import Path
import numpy as np
from PIL import Image
from private_database import private_database

folder = Path(sys.argv[1])
with private_database(folder / "db") as uri:
    os.environ["FIFTYONE_DATABASE_URI"] = uri + ("&" if "?" in uri else "/?") + "serverSelectionTimeoutMS=1500"
    os.environ["FIFTYONE_DEFAULT_DATASET_DIR"] = str(folder / "default")
    import psutil
    import fiftyone as fo
    import fiftyone_honeyimage as fhi
    from fiftyone_honeyimage.core.pipeline import crafting
    crafting._load_lpips = lambda file: (None, "")

    rng = np.random.default_rng(0)
    dataset = fo.Dataset("mine")
    (folder / "media").mkdir()
    for number in range(12):
        path = folder / "media" / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
        label = fo.Classification(label=str(number % 2))
        dataset.add_sample(fo.Sample(filepath=str(path), gt=label, hardness=float(number)))
    fhi.generate_honeyimages(
        dataset, "gt", "honey", method="unperturbed", selection="hardest", hardness_field="hardness", num_honeyimages=2,
        num_pairs=2, proxy="resnet_tiny", input_size=8, training={"epochs": 1}, exclude=(),
        device="cpu", output_dir=folder / "honey", progress=False,
    )

    def kill(bar):
        if bar.stage == "Checking":
            for process in psutil.process_iter(["cmdline"]):
                if str(folder / "db") in (process.info["cmdline"] or []):
                    process.kill()
                    process.wait()

    for call in (
        lambda: fhi.export_release(dataset, "honey", folder / "out" / "release", progress=kill),
        lambda: fhi.list_releases(dataset, "honey"),
        lambda: fhi.generate_honeyimages(dataset, "gt", "two", progress=False),
    ):
        try:
            call()
            print("went on")
        except fhi.DatabaseError as error:
            print("DatabaseError", error)
    print(sorted(path.name for path in folder.iterdir()), (folder / "out").exists())
    os._exit(0)
"""


def test_a_database_that_dies_in_the_middle(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEATH, str(tmp_path)],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "scripts")]),
        },
        capture_output=True,
        encoding="utf-8",
        timeout=180,
    )
    lines = [
        line for line in done.stdout.splitlines() if line.startswith(("Database", "went", "["))
    ]
    assert len(lines) == 4, done.stdout + done.stderr
    for line in lines[:3]:
        assert line.startswith("DatabaseError FiftyOne's database does not answer any more")
        assert "Start it again" in line
        assert "opology" not in line
    assert lines[3] == "['db', 'honey', 'media'] False"
