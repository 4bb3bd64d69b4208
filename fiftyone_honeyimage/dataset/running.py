"""Which folders are being written, and what the next call of any kind clears after a run that was killed.

A run that writes a folder notes it in ``<FiftyOne's default dataset folder>/honeyimage/.running`` before it
makes anything beside it. The note holds paths alone, so it tells no coin. Whatever is made of a release
before it is whole lies in one folder that its owner alone can read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fiftyone as fo
import psutil
from filelock import FileLock, Timeout

from ..core.errors import InterruptedRunError
from ..core.files import write_json_atomic

#: How long to wait for a lock, in seconds: another call may hold it for a moment to see whether a run is dead
_PATIENCE = 0.5

#: After so many seconds a note that is half written is one of a killed process
_STALE = 3600

_logger = logging.getLogger(__name__)


def lock_path(output_dir: Path) -> Path:
    """The lock of a folder that is being written, beside it."""
    return output_dir.with_name(f".honeyimage-{_short(output_dir)}.lock")


def work_folder(output_dir: Path) -> Path:
    """Where a release is made before it is whole: beside it, so that it takes its name in one step."""
    return output_dir.with_name(f".honeyimage-{_short(output_dir)}.partial")


def _short(output_dir: Path) -> str:
    # Not the name itself: one of 255 bytes must still have room
    return hashlib.sha256(os.fsencode(output_dir.name)).hexdigest()[:16]


@contextmanager
def locked(output_dir: Path) -> Iterator[None]:
    """Holds the folder's lock, which the system lifts when the process ends in whatever way.

    Makes the folder's parents; those that are still empty in the end are removed again.

    Raises:
        InterruptedRunError: if another run holds it
        OSError: if parents, lock or note cannot be made
    """
    missing = [parent for parent in output_dir.parents if not parent.exists()]
    with _noted(output_dir, missing):
        output_dir.parent.mkdir(parents=True, exist_ok=True)
        path = lock_path(output_dir)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=_PATIENCE)
        except Timeout as error:
            raise InterruptedRunError(
                f"another run is writing '{output_dir}' right now; wait for it, or use another key"
            ) from error
        try:
            yield
        finally:
            _let_go(lock, path, missing)


@contextmanager
def work_in(output_dir: Path) -> Iterator[Path]:
    """A new folder to make a release in, while its lock is held; it is gone in the end.

    Yields:
        the folder, empty, mode 0700
    """
    folder = work_folder(output_dir)
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed, and not noted here
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clear_leftovers() -> None:
    """Clears what killed runs left: locks, partial releases, empty folders. What cannot go is named in a warning.

    A killed marking's partial folder stays: the same call resumes it.
    """
    try:
        names = os.listdir(_notes())
    except OSError:  # there are none, or they are somebody else's
        return
    for path in (_notes() / name for name in sorted(names)):
        with suppress(OSError):  # it ended meanwhile
            _clear_note(path)
    _remove_empty(_notes())
    _remove_empty(_notes().parent)


def _clear_note(path: Path) -> None:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # half written: now, or by a process that was killed
        if path.stat().st_mtime < time.time() - _STALE:
            path.unlink()
        return
    if path.suffix == ".json":
        _clear(path, note)
    elif not _is_alive(
        note
    ):  # killed before the note had its name, and so before anything was made
        path.unlink()


def _clear(path: Path, note: dict[str, Any]) -> None:
    if _is_alive(note):
        return
    target = Path(note["target"])
    parents = [Path(parent) for parent in note["parents"]]
    if not target.parent.is_dir():
        if target.parent in parents:  # not made yet, or removed again
            path.unlink(missing_ok=True)
        return  # else a drive that is not there now
    lock = FileLock(lock_path(target))
    try:
        lock.acquire(timeout=0)
    except Timeout:  # by a process that cannot be seen from here, in another container
        return
    except OSError as error:
        _logger.warning(
            "What a killed run left beside '%s' cannot be cleared: %s", target, error.strerror
        )
        return
    folder = work_folder(target)
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        _let_go(lock, lock_path(target), parents)
    if folder.exists():
        _logger.warning("'%s' is left of an export that was killed; delete it", folder)
    else:
        path.unlink(missing_ok=True)


def _let_go(lock: FileLock, path: Path, parents: list[Path]) -> None:
    # While it is held: later it may be another run's. (Windows deletes no open file.)
    with suppress(OSError):
        path.unlink()
    lock.release()
    for parent in parents:
        _remove_empty(parent)


@contextmanager
def _noted(output_dir: Path, missing: list[Path]) -> Iterator[None]:
    path = _notes() / f"{uuid.uuid4().hex}.json"
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    process = psutil.Process()
    note = {
        "target": str(output_dir),
        "parents": [str(parent) for parent in missing],
        "pid": process.pid,
        "started": process.create_time(),
    }
    _write(path, note)
    try:
        yield
    finally:
        # Where something could not be removed, the note stays for the call after this process
        if not work_folder(output_dir).exists():
            path.unlink(missing_ok=True)
        for folder in made:
            _remove_empty(folder)


def _write(path: Path, note: dict[str, Any]) -> None:
    for is_last in (False, False, True):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            write_json_atomic(path, note, mode=0o600)
            return
        except FileNotFoundError:  # another run has just removed the folder, which was empty
            if is_last:
                raise


def _is_alive(note: dict[str, Any]) -> bool:
    try:
        return abs(psutil.Process(note["pid"]).create_time() - note["started"]) < 1
    except psutil.Error:
        return False


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _notes() -> Path:
    return Path(fo.config.default_dataset_dir).expanduser() / "honeyimage" / ".running"
