"""Where a marking's files live, and how they appear whole or not at all.

A marking is made in ``<output_dir>.partial`` and renamed to ``<output_dir>`` when it is complete, so
an interrupted run leaves either a partial folder, which the next run resumes, or a complete one
that only has to be entered in the dataset.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fiftyone as fo

from ..core.errors import InterruptedRunError, LedgerError
from ..core.files import TEMPORARY_FILES, write_json_atomic
from ..core.limits import check_path
from ..core.pipeline.folder import CHECKPOINTS, IMAGES, LEDGER, MANIFEST, read_manifest
from .running import locked as locked

__all__ = ["CHECKPOINTS", "IMAGES", "LEDGER", "MANIFEST", "TEMPORARY_FILES", "read_manifest"]

VIEWS = "released_views.json"
LEDGER_LOCK = f".{LEDGER}.lock"
REQUEST = "request.json"

_logger = logging.getLogger(__name__)


def output_folder(dataset: fo.Dataset, honey_key: str, output_dir: str | Path | None) -> Path:
    """The marking's folder, absolute.

    By default ``<FiftyOne's default dataset folder>/honeyimage/<dataset>-<id>/<honey_key>``.

    Raises:
        ParameterError: if no folder can have this path
    """
    if output_dir is not None:
        return check_path("output_dir", output_dir)
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
    """Whether a folder was made by a run that has not ended: only such are resumed or removed."""
    return (folder / REQUEST).is_file()


def read_request(folder: Path) -> dict[str, Any]:
    """What the run was asked for that is making, or was killed while it made, this folder.

    Raises:
        InterruptedRunError: if it cannot be read
    """
    try:
        return json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InterruptedRunError(
            f"'{folder}' holds an interrupted run, and its {REQUEST} cannot be read ({error}); move the folder "
            "away, or choose another output_dir"
        ) from error


@contextmanager
def making(output_dir: Path, request: Mapping[str, Any]) -> Iterator[Path]:
    """The partial folder of a run: the one an equal, interrupted run left, or a new one.

    If the run fails, the folder goes, unless it holds what took long and can be resumed: trained
    models or finished images. ``request`` is what decides the run's outcome.

    Yields:
        the partial folder

    Raises:
        InterruptedRunError: if a folder of that name is not one of ours
    """
    folder = partial_dir(output_dir)
    _open_partial(folder, request)
    try:
        yield folder
    except BaseException:
        if is_ours(folder):
            if _is_worth_resuming(folder):
                _logger.warning(
                    "What was finished is kept in '%s': the same call resumes from there", folder
                )
            else:
                remove(folder)
        raise


def _open_partial(folder: Path, request: Mapping[str, Any]) -> None:
    if folder.exists():
        _drop_temporary_files(folder)
        if is_ours(folder):
            check_owner(folder, request)
            if fingerprint(read_request(folder)) == fingerprint(request):
                return
            # Another request under the same key, never completed: nothing refers to it.
            remove(folder)
        elif any(folder.iterdir()):
            raise InterruptedRunError(
                f"'{folder}' exists and is not an interrupted run; move it away or choose another "
                "output_dir"
            )
        else:  # killed while it was made
            folder.rmdir()
    folder.mkdir(mode=0o700)
    try:
        write_json_atomic(folder / REQUEST, dict(request))
    except BaseException:
        folder.rmdir()
        raise


def check_owner(folder: Path, request: Mapping[str, Any]) -> None:
    """Checks that an interrupted run in a folder is one of the same marking.

    Raises:
        InterruptedRunError: saying whose it is
    """
    found = read_request(folder)
    same_dataset = found["dataset_id"] == request["dataset_id"]
    if not same_dataset or found["honey_key"] != request["honey_key"]:
        raise InterruptedRunError(
            f"'{folder}' holds an interrupted run of marking '{found['honey_key']}' of "
            f"{'this' if same_dataset else 'another'} dataset; choose another output_dir, or finish "
            "that run, or delete the folder"
        )


def _is_worth_resuming(folder: Path) -> bool:
    _drop_temporary_files(folder)
    checkpoints = folder / CHECKPOINTS
    return (folder / MANIFEST).exists() or (checkpoints.exists() and any(checkpoints.iterdir()))


def _drop_temporary_files(folder: Path) -> None:
    """Removes what a killed process was writing; one of these files may be a ledger's."""
    for path in folder.rglob(TEMPORARY_FILES):
        path.unlink()


def remove(folder: Path) -> None:
    """Removes one of our folders. What says that it is ours goes last."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != REQUEST:
            path.unlink()
    (folder / REQUEST).unlink(missing_ok=True)
    folder.rmdir()


def complete(folder: Path, output_dir: Path) -> None:
    """Renames a finished partial folder to its final name; checkpoints are dropped first."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    _drop_temporary_files(folder)
    os.rename(folder, output_dir)


def reopen(output_dir: Path) -> None:
    """Turns a complete folder that the dataset does not know of back into a partial one."""
    target = partial_dir(output_dir)
    if target.exists() and is_ours(target):
        remove(target)
    os.rename(output_dir, target)


def delete_files(output_dir: Path) -> int:
    """Deletes what a marking's manifest lists, and the folder if nothing else is in it.

    Returns:
        the number of files deleted

    Raises:
        LedgerError: if there are files and no manifest, which says which of them are the marking's, or if
            one cannot be deleted
    """
    output_dir = output_dir.resolve()
    deleted = 0
    if any(path.is_file() for path in output_dir.rglob("*")):
        manifest = read_manifest(output_dir)
        probes = [probe for side in manifest.get("sides", ()) for probe in side["probes"]]
        written = (*manifest["images"], *probes, *manifest.get("probe_sources", ()))
        names = [image["file"] for image in written]
        _drop_temporary_files(output_dir)
        # The manifest last: a deletion that is killed can be finished
        # Answers of verifications that were interrupted
        answers = [path.name for path in output_dir.glob(f"{LEDGER}.*.answers")]
        answers += [path.name for path in output_dir.glob(f".{LEDGER}.*.answers.lock")]
        ours = (
            *names,
            *manifest["models"],
            *answers,
            REQUEST,
            LEDGER_LOCK,
            VIEWS,
            LEDGER,
            MANIFEST,
        )
        for name in ours:
            path = output_dir / name
            if output_dir in path.resolve().parents and path.is_file():
                _delete(path)
                deleted += 1
    folders = [path for path in output_dir.rglob("*") if path.is_dir()]
    for folder in sorted([output_dir, *folders], key=lambda path: len(path.parts), reverse=True):
        with suppress(OSError):  # holds what is not ours
            folder.rmdir()
    return deleted


def _delete(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise LedgerError(
            f"'{path}' cannot be deleted ({error.strerror}); see to that, and delete the marking again: what is "
            "gone already is not asked for"
        ) from error
