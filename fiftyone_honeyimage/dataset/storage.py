"""Where a marking's files live, and how they appear whole or not at all.

A marking is made in ``<output_dir>.partial`` and renamed to ``<output_dir>`` when it is complete, so
an interrupted run leaves either a partial folder, which the next run resumes, or a complete one
that only has to be entered in the dataset.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fiftyone as fo
from filelock import FileLock, Timeout

from ..core.errors import InterruptedRunError, LedgerError
from ..core.files import write_json_atomic

IMAGES = "images"
LEDGER = "ledger.json"
MANIFEST = "manifest.json"
REQUEST = "request.json"
CHECKPOINTS = "checkpoints"


def default_output_dir(dataset: fo.Dataset, honey_key: str) -> Path:
    """``<FiftyOne's default dataset folder>/honeyimage/<dataset>-<id>/<honey_key>``."""
    name = f"{dataset.slug}-{str(dataset._doc.id)[-6:]}"
    return Path(fo.config.default_dataset_dir).expanduser() / "honeyimage" / name / honey_key


def fingerprint(content: Mapping[str, Any]) -> str:
    """A digest of everything that decides a run's outcome; equal digests may resume each other."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def partial_dir(output_dir: Path) -> Path:
    """Where a marking is made before it is complete."""
    return output_dir.with_name(output_dir.name + ".partial")


def is_ours(folder: Path) -> bool:
    """Whether a folder was made by this package: only such folders are ever resumed or removed."""
    return (folder / REQUEST).is_file()


@contextmanager
def locked(output_dir: Path) -> Iterator[None]:
    """Holds the folder's lock, which the system lifts when the process ends in whatever way.

    Raises:
        InterruptedRunError: if another run holds it
    """
    output_dir.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = output_dir.with_name(f".{output_dir.name}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InterruptedRunError(
            f"another run is writing '{output_dir}' right now; wait for it, or use another key"
        ) from error
    try:
        yield
    finally:
        lock.release()
        path.unlink(missing_ok=True)


def open_partial(output_dir: Path, request: Mapping[str, Any]) -> Path:
    """The partial folder of a run: the one an equal, interrupted run left, or a new one.

    Args:
        output_dir: the marking's folder
        request: what decides the run's outcome; JSON-serialisable

    Returns:
        the partial folder

    Raises:
        InterruptedRunError: if a folder of that name is not one of ours
    """
    folder = partial_dir(output_dir)
    digest = fingerprint(request)
    if folder.exists():
        if not is_ours(folder):
            raise InterruptedRunError(
                f"'{folder}' exists and is not an interrupted run; move it away or choose another "
                "output_dir"
            )
        saved = json.loads((folder / REQUEST).read_text())
        if saved["fingerprint"] == digest:
            return folder
        # Another request under the same key, never completed: nothing refers to it.
        shutil.rmtree(folder)
    folder.mkdir(parents=True, mode=0o700)
    write_json_atomic(folder / REQUEST, {"fingerprint": digest, "request": dict(request)})
    return folder


def complete(folder: Path, output_dir: Path) -> None:
    """Renames a finished partial folder to its final name; checkpoints are dropped first."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    os.rename(folder, output_dir)


def reopen(output_dir: Path) -> None:
    """Turns a complete folder that the dataset does not know of back into a partial one."""
    target = partial_dir(output_dir)
    if target.exists() and is_ours(target):
        shutil.rmtree(target)
    os.rename(output_dir, target)


def read_manifest(output_dir: Path) -> dict[str, Any]:
    """The manifest of a marking: its images with digests and metrics, without any coin.

    Raises:
        LedgerError: if it is missing
    """
    path = output_dir / MANIFEST
    if not path.is_file():
        raise LedgerError(
            f"the marking's files are not at '{output_dir}' (no {MANIFEST}); if the folder was moved, "
            "pass its new place as output_dir"
        )
    return json.loads(path.read_text())


def delete_files(output_dir: Path) -> int:
    """Deletes what a marking's manifest lists, and the folder if nothing else is in it.

    Returns:
        the number of files deleted
    """
    output_dir = output_dir.resolve()
    manifest = read_manifest(output_dir)
    names = [image["file"] for image in manifest["images"]]
    paths = [output_dir / name for name in [*names, *manifest.get("models", []), LEDGER, REQUEST]]
    deleted = 0
    for path in [*paths, output_dir / MANIFEST]:
        if output_dir not in path.resolve().parents:
            continue
        if path.is_file():
            path.unlink()
            deleted += 1
    folders = {(output_dir / name).parent for name in names} | {output_dir / IMAGES, output_dir}
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return deleted
