"""How label files are laid out: quotes, line ends, spaces, the way a number is written.

What a reader of the content does not see can mark single records. A file that one program wrote comes back when
it is written again with that program's settings; whatever else stands in it was put there.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from .report import Leak

_INDENTS = (None, 2, 4, 1, 3, "\t")
_SEPARATORS = ((", ", ": "), (",", ":"), (",", ": "), None)
_QUOTING: tuple[Literal[0, 1, 2, 3], ...] = (
    csv.QUOTE_MINIMAL,
    csv.QUOTE_ALL,
    csv.QUOTE_NONNUMERIC,
    csv.QUOTE_NONE,
)
_ENDS = ("\n", "\r\n")

_NUM_TEXT = 60


def uneven_layouts(folder: Path, others: Sequence[str]) -> list[Leak]:
    """JSON, JSON lines and CSV files that no program with one setting wrote.

    Args:
        folder: the release
        others: its files that are no images
    """
    leaks = []
    for name in others:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix not in (".json", ".jsonl", ".ndjson", ".csv", ".tsv"):
            continue
        try:
            # Line ends as they are
            text = (folder / name).read_bytes().decode("utf-8")
            place = _first_uneven(text, suffix)
        except (OSError, ValueError, csv.Error):
            continue  # what cannot be read is named elsewhere
        if place is not None:
            line = text.count("\n", 0, place) + 1
            column = place - (text.rfind("\n", 0, place) + 1) + 1
            leaks.append(
                Leak(
                    "labels: layout",
                    f"'{name}' is not written alike throughout (quotes, line ends, spaces or numbers): line "
                    f"{line}, column {column}. Export the release again",
                    (name,),
                )
            )
    return leaks


def _first_uneven(text: str, suffix: str) -> int | None:
    """The first character that is not as the rest of the file; None if all is alike."""
    nearest = 0
    for again in _again(text, suffix):
        if again == text:
            return None
        nearest = max(nearest, _common(again, text))
    return nearest


def _again(text: str, suffix: str) -> Iterator[str]:
    """The file as programs with various settings would write it."""
    if suffix in (".csv", ".tsv"):
        yield from _csv_again(text, "," if suffix == ".csv" else "\t")
        return
    end = text[len(text.rstrip("\r\n")) :]
    settings = itertools.product(_INDENTS, _SEPARATORS, (True, False))
    if suffix == ".json":
        content = json.loads(text)
        for indent, separators, ascii_only in settings:
            yield _dumped(content, indent, separators, ascii_only) + end
        yield from _streamed(content, end)
        return
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = [json.loads(line) for line in text.splitlines() if line.strip()]
    for _, separators, ascii_only in itertools.product((None,), _SEPARATORS, (True, False)):
        dumped = (_dumped(line, None, separators, ascii_only) for line in lines)
        yield newline.join(dumped) + end


def _streamed(content: Any, end: str) -> Iterator[str]:
    """One list under one key, record after record, as FiftyOne writes its samples."""
    if not isinstance(content, dict) or len(content) != 1:
        return
    ((key, records),) = content.items()
    if not isinstance(records, list):
        return
    for separators, ascii_only in itertools.product(_SEPARATORS, (True, False)):
        dumped = ",".join(_dumped(record, None, separators, ascii_only) for record in records)
        yield f"{{{json.dumps(key)}: [{dumped}]}}{end}"


def _dumped(content: Any, indent: Any, separators: Any, ascii_only: bool) -> str:
    return json.dumps(content, indent=indent, separators=separators, ensure_ascii=ascii_only)


def _csv_again(text: str, delimiter: str) -> Iterator[str]:
    for end, quoting in itertools.product(_ENDS, _QUOTING):
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator=end)
        try:
            writer.writerows(rows if quoting != csv.QUOTE_NONNUMERIC else map(_numbers, rows))
        except csv.Error:
            continue  # without quotes, it cannot be written
        again = buffer.getvalue()
        yield again
        yield again.removesuffix(end)


def _numbers(row: Sequence[str]) -> list[Any]:
    """Numbers, which such writers leave without quotes, written as they were."""
    return [_Number(value) if _is_number(value) else value for value in row]


class _Number(float):
    """A number that is written as it stood."""

    def __new__(cls, text: str) -> _Number:
        made = super().__new__(cls, text)
        made.text = text  # type: ignore[attr-defined]
        return made

    def __str__(self) -> str:
        return self.text  # type: ignore[attr-defined, no-any-return]

    __repr__ = __str__


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _common(one: str, two: str) -> int:
    """How many characters two texts have in common at their start."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == two[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
