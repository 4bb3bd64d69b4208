"""Exports that are killed: no coin is left where others can read, and the next call of any kind clears up."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fiftyone_honeyimage as fhi

from .conftest import hash_database

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")

FLOOR = "fiftyone_honeyimage.dataset"

TREE, LABELED = "ImageClassificationDirectoryTree", "FiftyOneImageClassificationDataset"

#: Where an export is killed, and what kind of release it was to be
POINTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"before": f"{FLOOR}.running:FileLock"}, {}),
    ({"after": "eta.core.utils:copy_file", "nth": 5}, {"dataset_type": TREE}),
    ({"after": "os:symlink", "nth": 4}, {"dataset_type": LABELED, "names": "renumber"}),
    ({"after": "eta.core.utils:copy_file", "nth": 9}, {"dataset_type": "FiftyOneDataset"}),
    ({"before": "fiftyone.core.odm:export_document"}, {"dataset_type": "FiftyOneDataset"}),
    ({"after": "eta.core.utils:copy_file", "nth": 20}, {"dataset_type": "CSVDataset"}),
    ({"before": "eta.core.serial:write_json"}, {"dataset_type": "COCODetectionDataset"}),
    ({"stage": "Exporting"}, {"dataset_type": "COCODetectionDataset"}),
    ({"before": f"{FLOOR}.release.read_back:read_back"}, {"dataset_type": "FiftyOneDataset"}),
    ({"stage": "Checking"}, {"dataset_type": "CSVDataset"}),
    ({"before": "os:utime", "nth": 4}, {}),
    ({"stage": "Looking for leaks"}, {}),
    ({"before": "os:rename"}, {"names": "renumber"}),
]


@pytest.fixture(scope="module")
def marked(make_dataset: Callable[..., Any], mark: Callable[..., Any]) -> tuple[Any, Any]:
    dataset = make_dataset(30, hardness=True)
    return dataset, mark(dataset, method="unperturbed", num_honeyimages=6, num_pairs=6)


@pytest.fixture
def notes(fo: Any) -> Iterator[Path]:
    """Where runs that write a folder are noted."""
    folder = Path(fo.config.default_dataset_dir) / "honeyimage" / ".running"
    yield folder
    assert not folder.exists()


def open_files(folder: Path) -> Iterator[Path]:
    """What others can read below a folder: nothing of what lies in folders that are their owner's alone."""
    for path in folder.iterdir() if folder.exists() else ():
        if stat.S_IMODE(path.lstat().st_mode) & 0o077:
            yield path
            yield from open_files(path) if path.is_dir() else ()


def temporary_files(folder: Path) -> list[Path]:
    """All but the locks of datasets, which stay. They are empty, and their names tell the dataset alone."""
    locks = set(folder.glob(".honeyimage-[0-9]*-*.lock"))
    assert not any(lock.stat().st_size for lock in locks)
    return sorted(set(folder.rglob("*")) - locks)


def list_no_runs(dataset: Any) -> None:
    assert fhi.list_runs(dataset) == []
    dataset.delete()


NEXT: dict[str, Callable[[Any, Path], Any]] = {
    "list_runs": lambda dataset, folder: fhi.list_runs(dataset),
    "load_marking": lambda dataset, folder: fhi.load_marking(dataset, "honey"),
    "list_releases": lambda dataset, folder: fhi.list_releases(dataset, "honey"),
    "another export": lambda dataset, folder: fhi.export_release(
        dataset, "honey", folder / "another", progress=False
    ),
    "another dataset": lambda dataset, folder: list_no_runs(type(dataset)()),
}


@pytest.mark.parametrize(
    ("row", "point", "options"),
    [(row, *point) for row, point in enumerate(POINTS)],
    ids=[json.dumps(point) for point, _ in POINTS],
)
def test_a_killed_export_tells_no_coin_and_the_next_call_clears_it(
    fo: Any,
    marked: Any,
    killed: Any,
    worker: Any,
    notes: Path,
    tmp_path: Path,
    row: int,
    point: dict[str, Any],
    options: dict[str, Any],
) -> None:
    dataset, _ = marked
    target = tmp_path / "new" / "release"
    before = hash_database(), temporary_files(worker.temporary)
    arguments = {"honey_key": "honey", "export_dir": str(target), **options}
    killed(dataset, "export_release", arguments, **point)

    assert not target.exists()
    assert (hash_database(), temporary_files(worker.temporary)) == before
    left = {*open_files(tmp_path), *open_files(notes.parent)} - {target.parent}
    assert {path.suffix for path in left} <= {".lock"}
    # The notes are private, and tell no coin either
    (note,) = notes.glob("*.json")
    assert set(json.loads(note.read_text(encoding="utf-8"))) == {
        "target",
        "parents",
        "pid",
        "started",
    }

    name = list(NEXT)[row % len(NEXT)]
    NEXT[name](dataset, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["another"] * (name == "another export")
    options = {**options, "dataset_type": getattr(fo.types, options.get("dataset_type", TREE))}
    report = fhi.export_release(dataset, "honey", target, **options, progress=False)
    assert report.num_images == len(list(target.rglob("*.png"))) == 24
    assert [path.name for path in target.parent.iterdir()] == ["release"]


@pytest.mark.parametrize(
    "kind", [TREE, LABELED, "FiftyOneDataset", "CSVDataset", "COCODetectionDataset"]
)
def test_what_the_database_is_asked_knows_no_coin(
    fo: Any, marked: Any, tmp_path: Path, kind: str
) -> None:
    """MongoDB writes slow queries into its log, and anybody may have it note all of them."""
    import fiftyone.core.odm as foo

    dataset, marking = marked
    database = foo.get_db_conn()
    carried = {"fields": ["hardness"]} if kind in ("FiftyOneDataset", "CSVDataset") else {}
    database.command("profile", 2)
    try:
        fhi.export_release(
            dataset,
            "honey",
            tmp_path / "release",
            getattr(fo.types, kind),
            **carried,
            progress=False,
        )
    finally:
        database.command("profile", 0)
        asked = str(list(database["system.profile"].find({})))
        database["system.profile"].drop()
    assert dataset._sample_collection_name in asked
    names = dict(zip(*dataset.values(["id", "filepath"]), strict=True))
    for pair in marking.load_ledger().pairs:
        for of in (lambda image: image.sample_id, lambda image: Path(names[image.sample_id]).name):
            assert asked.count(of(pair.a.files[0])) == asked.count(of(pair.b.files[0]))


def test_a_run_that_is_alive_is_left_alone(
    marked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fiftyone_honeyimage.dataset import running

    dataset, _ = marked
    seen = []

    def look(bar: Any) -> None:
        fhi.list_runs(dataset)
        with monkeypatch.context() as patch:
            # In another container its process cannot be seen, and its lock still tells
            patch.setattr(running, "_is_alive", lambda note: False)
            fhi.list_runs(dataset)
        seen.append(running.work_folder(tmp_path / "release").exists())

    fhi.export_release(dataset, "honey", tmp_path / "release", progress=look)
    assert any(seen)
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


def test_a_note_that_never_got_its_name_is_cleared(
    marked: Any, killed: Any, notes: Path, tmp_path: Path
) -> None:
    dataset, _ = marked
    arguments = {"honey_key": "honey", "export_dir": str(tmp_path / "release")}
    killed(dataset, "export_release", arguments, before="os:replace")
    assert [path.suffix for path in notes.iterdir()] == [".tmp"]
    # Half written, perhaps by a process that is at it now
    half = notes / "half.tmp"
    half.write_text("{", encoding="utf-8")
    fhi.list_runs(dataset)
    assert list(notes.iterdir()) == [half]
    os.utime(half, (0, 0))
    fhi.list_runs(dataset)


def test_what_cannot_be_cleared_is_named(
    marked: Any, killed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    from fiftyone_honeyimage.dataset import running

    dataset, _ = marked
    arguments = {"honey_key": "honey", "export_dir": str(tmp_path / "release")}
    killed(dataset, "export_release", arguments, before="os:rename")
    left = running.work_folder(tmp_path / "release")
    with monkeypatch.context() as patch:
        patch.setattr(running.shutil, "rmtree", lambda *_, **__: None)
        fhi.list_runs(dataset)
    assert f"'{left}' is left of an export that was killed; delete it" in caplog.text
    fhi.list_runs(dataset)
    assert list(tmp_path.iterdir()) == []
