"""Features of files as they lie in a folder: times, permissions, names, order, containers."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from ..progress import Report, silent
from .container import Container
from .containers import read_container
from .features import CONTENT, NUMBER, STRUCTURE, Feature
from .report import Leak

_DIGITS = re.compile(r"\d+")

#: Files between two reports of progress
_BLOCK = 512


def list_files(folder: Path) -> list[str]:
    """Every file below a folder, relative to it with forward slashes, in the order of the disk."""
    found: list[str] = []
    for root, folders, names in os.walk(folder):
        folders.sort()
        base = Path(root).relative_to(folder)
        found += [(base / name).as_posix() for name in names]
    return found


def is_image_name(name: str) -> bool:
    """Whether a file's name says that it is an image."""
    return PurePosixPath(name).suffix.lower() in Image.registered_extensions()


def file_features(
    folder: Path,
    names: Sequence[str],
    labels: Sequence[str | None],
    *,
    ignore_class_folders: bool = False,
    report: Report | None = None,
) -> tuple[list[Feature], list[Container]]:
    """Reads every file once, and takes down what it says besides its pixels.

    Args:
        folder: the release
        names: N files relative to it, in the order in which the disk lists them
        labels: N classes
        ignore_class_folders (False): whether a folder that is called like the file's class says nothing
        report (None): progress

    Returns:
        the features, and each file's container
    """
    report = report or silent
    states, containers = [], []
    for number, name in enumerate(names, start=1):
        path = folder / name
        states.append(os.lstat(path))
        containers.append(_shared(read_container(path.read_bytes())))
        if number % _BLOCK == 0 or number == len(names):
            report("Reading files", number, len(names))
    features = [
        *_stat_features(folder, names, labels, states),
        *name_features(names, labels, ignore_class_folders),
        *container_features(containers),
    ]
    return features, containers


def name_features(
    names: Sequence[str], labels: Sequence[str | None], ignore_class_folders: bool
) -> list[Feature]:
    """What names and their order say."""
    paths = [PurePosixPath(name) for name in names]
    patterns = [_pattern(path.stem) for path in paths]
    numbers = [_DIGITS.findall(path.stem) for path in paths]
    return [
        Feature(
            "name: folder",
            STRUCTURE,
            _folders(paths, labels if ignore_class_folders else [None] * len(paths)),
            by_class=False,
        ),
        Feature("name: extension", STRUCTURE, [path.suffix for path in paths]),
        Feature("name: pattern", STRUCTURE, [re.sub(r"(.)\1+", r"\1+", text) for text in patterns]),
        Feature("name: letters and digits", STRUCTURE, patterns),
        Feature("name: words", STRUCTURE, [_DIGITS.sub("0", path.stem) for path in paths]),
        Feature("name: length", NUMBER, [float(len(path.stem)) for path in paths]),
        Feature("name: number", NUMBER, [_last_number(found) for found in numbers]),
        Feature("order: of the names", NUMBER, _places(names, labels, lambda row: names[row])),
        Feature("order: in the folder", NUMBER, _places(names, labels, lambda row: row)),
    ]


def container_features(containers: Sequence[Container]) -> list[Feature]:
    """One feature for each property that any of the files has."""
    features = []
    for kind, values in (
        (STRUCTURE, [container.structure for container in containers]),
        (CONTENT, [container.content for container in containers]),
    ):
        for key in _keys(values):
            features.append(Feature(key, kind, [found.get(key) for found in values]))
    numbers = [container.numbers for container in containers]
    for key in _keys(numbers):
        features.append(Feature(key, NUMBER, [found.get(key, np.nan) for found in numbers]))
    return features


def _shared(container: Container) -> Container:
    """The same with texts that exist once for all files."""
    for properties in (container.structure, container.content):
        for key, value in properties.items():
            if isinstance(value, str):
                properties[key] = sys.intern(value)
    return container


def _stat_features(
    folder: Path,
    names: Sequence[str],
    labels: Sequence[str | None],
    states: Sequence[os.stat_result],
) -> list[Feature]:
    times = [state.st_mtime_ns for state in states]
    first = min(times, default=0)
    changed = [state.st_ctime_ns for state in states]
    start = min(changed, default=0)
    return [
        Feature("time: modified", STRUCTURE, times),
        # Differences first: a float holds no absolute nanoseconds
        Feature("time: modified, order", NUMBER, [(time - first) / 1e9 for time in times]),
        Feature("time: fraction of the second", STRUCTURE, [_trailing_zeros(t) for t in times]),
        Feature("time: changed, order", NUMBER, [(time - start) / 1e9 for time in changed]),
        Feature("permissions", STRUCTURE, [oct(stat.S_IMODE(state.st_mode)) for state in states]),
        Feature("kind of file", STRUCTURE, [stat.S_IFMT(state.st_mode) for state in states]),
        Feature("owner", STRUCTURE, [f"{state.st_uid}:{state.st_gid}" for state in states]),
        Feature("links", STRUCTURE, [state.st_nlink for state in states]),
        Feature("extended attributes", STRUCTURE, [_attributes(folder / name) for name in names]),
        Feature("allocated blocks", STRUCTURE, [_spare_blocks(state) for state in states]),
        Feature(
            "order: of the inodes",
            NUMBER,
            _places(names, labels, lambda row: states[row].st_ino),
        ),
    ]


def _attributes(path: Path) -> str | None:
    if not hasattr(os, "listxattr"):
        return None
    try:
        found = [
            (name, os.getxattr(path, name, follow_symlinks=False))
            for name in sorted(os.listxattr(path, follow_symlinks=False))
        ]
    except OSError:
        return None
    return " ".join(f"{name}={hashlib.sha256(value).hexdigest()[:12]}" for name, value in found)


def _spare_blocks(state: os.stat_result) -> int | None:
    """Blocks of 512 bytes that a file takes beyond its size, in the disk's own units; None where it does not say."""
    blocks, unit = getattr(state, "st_blocks", None), getattr(state, "st_blksize", 0)
    if blocks is None or not unit:
        return None
    return int(blocks - -(-state.st_size // unit) * unit // 512)


def folder_times(folder: Path, names: Sequence[str]) -> list[Leak]:
    """Folders that were written to after an export had given all files and folders one time.

    Nothing is said of folders whose files have various times, or where all folders differ from the
    files, as a copy leaves them.
    """
    times = {os.lstat(folder / name).st_mtime_ns for name in names}
    if len(times) != 1:
        return []
    folders = sorted(
        {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}
    )
    other = [name for name in folders if os.lstat(folder / name).st_mtime_ns not in times]
    # A document that was put beside the folders changes the time of the release's own
    holding = {PurePosixPath(name).parent.as_posix() for name in names}
    later = [name for name in other if name in holding]
    if not later or len(other) == len(folders):
        return []
    return [
        Leak(
            "time: folder",
            f"{len(later)} of {len(folders)} folders have another time than all files: something was written there "
            f"later, the first is '{later[0]}'",
        )
    ]


def _trailing_zeros(time: int) -> int:
    """0 for full nanoseconds, 3 for microseconds, … 9 for whole seconds."""
    fraction = f"{time % 10**9:09d}"
    zeros = len(fraction) - len(fraction.rstrip("0"))
    return zeros // 3 * 3


def _folders(paths: Sequence[PurePosixPath], labels: Sequence[str | None]) -> list[str]:
    """The folder of each file, less its class."""
    return [
        "/".join("<class>" if part == label else part for part in path.parent.parts)
        for path, label in zip(paths, labels, strict=True)
    ]


def _pattern(text: str) -> str:
    kinds = []
    for letter in text:
        if letter.isdigit():
            kinds.append("0")
        elif letter.isalpha():
            kinds.append("A" if letter.isupper() else "a")
        else:
            kinds.append(letter)
    return "".join(kinds)


def _last_number(found: Sequence[str]) -> float:
    return float(found[-1]) if found and len(found[-1]) < 16 else np.nan


def _places(
    names: Sequence[str], labels: Sequence[str | None], key: Callable[[int], Any]
) -> list[float]:
    """Each file's place among those of its folder and class, from 0 to 1."""
    groups: dict[tuple[str, str | None], list[int]] = {}
    for row, (name, label) in enumerate(zip(names, labels, strict=True)):
        groups.setdefault((name.rpartition("/")[0], label), []).append(row)
    places = [0.0] * len(names)
    for rows in groups.values():
        for place, row in enumerate(sorted(rows, key=key)):
            places[row] = place / max(1, len(rows) - 1)
    return places


def _keys(values: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for entry in values for key in entry))
