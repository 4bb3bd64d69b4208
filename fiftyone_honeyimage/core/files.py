"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from filelock import FileLock

_CHUNK = 1 << 20

#: Threads that wait for the disk
_SYNCS = 16

#: What is left behind only by a process that was killed while it wrote
TEMPORARY_FILES = ".honeyimage-*.tmp"


def write_atomic(
    path: str | os.PathLike[str], data: bytes, mode: int = 0o644, *, durable: bool = True
) -> None:
    """Writes a file so that a reader sees the old content or the new, never a part.

    The bytes go to a temporary file in the same folder, reach the disk (``fsync``), and take the
    file's name in one step (``rename``). If anything fails, the temporary file is removed and an
    older file stays as it was. Only a process that is killed outright can leave a temporary file
    (``.honeyimage-*.tmp``); it has the permissions 0600 until it is complete.

    Args:
        path: the file to write; its folder must exist
        data: the whole content
        mode (0o644): the file's permissions, whatever the umask
        durable (True): whether to wait for the disk; False leaves that to :func:`sync_files`, which waits for many at once

    Raises:
        OSError: if the file cannot be written (disk full, no permission, no such folder); the
            subclass fits the cause
    """
    path = Path(path)
    temporary = None
    try:
        # Not named after the file: a name of 255 bytes must still have room
        descriptor, temporary = tempfile.mkstemp(
            prefix=".honeyimage-", suffix=".tmp", dir=path.parent
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.chmod(temporary, mode)
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if not isinstance(error, OSError):
            raise
        raise OSError(
            error.errno,
            f"Could not write {len(data):,} bytes, nothing was changed "
            f"({error.strerror or error}); {advice_on(error)}",
            str(path),
        ) from error

    if durable:
        _sync_folder(path.parent)


def sync_files(paths: Sequence[Path]) -> None:
    """Waits until files, and the names that they have in their folders, are on the disk.

    Disks take many at a time in about the time of one.

    Raises:
        OSError: if one cannot be read or written
    """

    def sync(path: Path) -> None:
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
        _sync_folder(path.parent)

    with ThreadPoolExecutor(_SYNCS) as pool:
        list(pool.map(sync, paths))


def write_json_atomic(path: str | os.PathLike[str], value: Any, mode: int = 0o644) -> None:
    """Writes a value as UTF-8 JSON, whole or not at all (see :func:`write_atomic`).

    Args:
        path: the file to write; its folder must exist
        value: anything that JSON can hold; NaN and infinities are refused, since other readers
            of JSON would refuse them
        mode (0o644): the file's permissions

    Raises:
        OSError: if the file cannot be written
        ValueError, TypeError: if the value is not JSON
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text.encode("utf-8") + b"\n", mode)


def sha256_bytes(data: bytes) -> str:
    """Returns the SHA-256 of the bytes in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file's content in lower-case hexadecimal.

    Raises:
        OSError: if the file cannot be read
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def file_states(
    paths: Sequence[str | os.PathLike[str]],
) -> list[tuple[str, int, int] | None]:
    """What tells that a file was changed between an interrupted run and the next: path, size, time of the change.

    Args:
        paths: the files; None stands for one that is not there
    """
    states: list[tuple[str, int, int] | None] = []
    for path in paths:
        try:
            found = os.stat(path)
        except OSError:
            states.append(None)
        else:
            states.append((os.fspath(path), found.st_size, found.st_mtime_ns))
    return states


def advice_on(error: OSError) -> str:
    """What to do about an error of the system; it blames the disk only for what is the disk's."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space and run again"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "create the folder first"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "choose a folder that you may write to"
    if error.errno == errno.ENAMETOOLONG:
        return "choose a shorter name"
    if error.errno in (errno.EIO, errno.ENXIO, errno.ENODEV):
        return "check the disk and run again"
    return "see to that and run again"


def ensure_free_space(folder: str | os.PathLike[str], num_bytes: int) -> None:
    """Checks, before anything expensive, that a folder's disk has room.

    Args:
        folder: the folder to be written to; it need not exist yet
        num_bytes: how many bytes will be written

    Raises:
        OSError: with ``errno.ENOSPC`` if less is free
    """
    existing = Path(folder).absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < num_bytes:
        raise OSError(
            errno.ENOSPC,
            f"{num_bytes / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free; "
            "free some space or choose another folder",
            str(folder),
        )


@contextlib.contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Holds an exclusive lock between processes and threads for a file's read-change-write.

    The lock is taken on ``.<name>.lock`` beside the file, because the file itself is replaced by
    every write. The system lets go of it when a process dies.

    Raises:
        OSError: if the lock file cannot be made
    """
    path = Path(path)
    with FileLock(path.with_name(f".{path.name}.lock"), mode=0o600):
        yield


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable, where the system can (the content is safe either way)."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
