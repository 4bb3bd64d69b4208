"""What lies in a release's folder and is no file of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from .annotations import Records
from .report import Leak

#: Label files as FiftyOne's exporters name them; not all of them name images
_LABEL_FILES = {"labels.json", "labels.csv", "metadata.json", "samples.json", "info.json"}

_DOCUMENTS = {"", ".md", ".rst", ".txt"}

_NUM_EXAMPLES = 20


def find_strays(
    folder: Path, names: Sequence[str], others: Sequence[str], records: Records
) -> tuple[list[Leak], list[Leak]]:
    """Files that are neither images nor labels, empty folders, links to folders.

    An index of the marked names in any encoding, a database of a file browser, a hidden file: what cannot be read
    here may say anything.

    Args:
        folder: the release
        names: its images
        others: its other files
        records: what was read of them

    Returns:
        leaks, and what is named and fails nothing: plain documents that name no image, and empty folders
    """
    unknown, documents = [], []
    for name in others:
        path = PurePosixPath(name)
        if _is_hidden(name):
            unknown.append(name)
        elif name in records.used or (len(path.parts) == 1 and name in _LABEL_FILES):
            continue
        elif path.suffix.lower() in _DOCUMENTS and _is_text(folder / name):
            documents.append(name)
        else:
            unknown.append(name)
    unknown += filter(_is_hidden, names)
    for root, folders, files in os.walk(folder):
        base = Path(root).relative_to(folder)
        unknown += [
            (base / name).as_posix() + "/" for name in folders if Path(root, name).is_symlink()
        ]
        if not folders and not files:
            documents.append(f"{base.as_posix()}/")  # FiftyOne leaves some for fields without media
    leaks, named = [], []
    if unknown:
        leaks.append(
            Leak(
                "strays",
                "the folder holds what is no file of a release, and what it says was not looked at: "
                f"{_list(unknown)}. Remove it",
            )
        )
    if documents:
        named.append(
            Leak(
                "strays",
                f"the folder holds what is neither image nor label: {_list(documents)}. Look at it before you "
                "publish the folder",
            )
        )
    return leaks, named


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _is_text(path: Path) -> bool:
    try:
        return "\0" not in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _list(names: Sequence[str]) -> str:
    more = len(names) - _NUM_EXAMPLES
    return ", ".join(f"'{name}'" for name in sorted(names)[:_NUM_EXAMPLES]) + (
        f" and {more} more" if more > 0 else ""
    )
