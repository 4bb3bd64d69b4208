"""Label files of a release: which fields each image's record has, in which order, with which values.

JSON, JSON lines, CSV and XML are read whatever their layout: a record is whatever names an image, as the key it
stands under or as one of its values. Records that point to such a record by ``image_id`` (COCO's
annotations) are joined to it.
"""

from __future__ import annotations

import csv
import json
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from .features import CONTENT, NUMBER, STRUCTURE, Feature

READABLE = (".csv", ".json", ".jsonl", ".ndjson", ".tsv", ".txt", ".xml")

_OBJECT_ID = re.compile(r"[0-9a-f]{24}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")

#: Fields that software fills in; values of others may go with the scene (a patient, a place), whose images
#: may all be hard
_OWN_FIELDS = {
    "_cls",
    "confidence",
    "created_at",
    "iscrowd",
    "last_modified_at",
    "license",
    "mode",
    "modified",
    "score",
    "source",
    "supercategory",
    "tags",
}
_NAME = re.compile(r"\w+")
_LABEL_NAMES = ("label", "labels", "category_id", "class", "class_name", "category", "ground_truth")
_PROPERTIES = {"size_bytes": 0, "width": 1, "height": 2}

#: The class of a record that holds nothing else, as in ``{"0001": 3}``
_ITSELF = "value"


@dataclass
class Records:
    """What label files say about each image.

    Attributes:
        flat: for each image, path of a field → its values, in the order of the file
        order: for each image, the paths in their order
        positions: for each image, its record's place
        unread: files that were not read, with the reason
        used: files that say something about an image
    """

    flat: list[dict[str, Any]]
    order: list[list[str]]
    positions: list[float]
    unread: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    @property
    def is_empty(self) -> bool:
        """Whether no label file says anything about any image."""
        return not any(self.flat)


def read_records(folder: Path, names: Sequence[str], others: Sequence[str]) -> Records:
    """Reads every label file of a release.

    Args:
        folder: the release
        names: N images relative to it
        others: its other files
    """
    index = _Index(names)
    count = len(names)
    records = Records([{} for _ in range(count)], [[] for _ in range(count)], [np.nan] * count)
    for name in others:
        path = folder / name
        side = index.by_stem(name)
        if side is not None:
            state = os.lstat(path)
            kind = f"side file {path.suffix}"
            found = {"mode": oct(state.st_mode), "modified": state.st_mtime_ns}
            _add(records, side, kind, found)
        if path.suffix.lower() not in READABLE:
            records.unread.append(f"'{name}' was not read: only {', '.join(READABLE)} files are")
            continue
        try:
            content = _parse(path)
        except (OSError, ValueError, ElementTree.ParseError, csv.Error) as error:
            records.unread.append(f"'{name}' was not read: {error}")
            continue
        before = sum(len(entry) for entry in records.order)
        _collect(content, index, records, PurePosixPath(name).name if side is None else "")
        said = sum(len(entry) for entry in records.order) > before
        if side is not None and not said:
            _add(records, side, "side file", content)
        if side is not None or said:
            records.used.add(name)
    return records


def record_features(
    records: Records, names: Sequence[str], sizes: Sequence[tuple[int, int, int]]
) -> list[Feature]:
    """Features of the records of all images.

    Args:
        records: see :func:`read_records`
        names: N images
        sizes: for each image its bytes on disk, width and height, with which fields of these
            names are compared

    Returns:
        for each field its value, its place on a scale where it has one, and its form; the set of fields and
        their order; the record's place among the others
    """
    if records.is_empty:
        return []
    features = [
        Feature("labels: fields", STRUCTURE, [" ".join(sorted(set(o))) for o in records.order]),
        Feature("labels: order of fields", STRUCTURE, [" ".join(o) for o in records.order]),
        Feature("labels: place of the record", NUMBER, records.positions),
    ]
    for path in dict.fromkeys(path for entry in records.flat for path in entry):
        values = [entry.get(path) for entry in records.flat]
        last = path.rpartition(".")[2]
        if last in _PROPERTIES:
            column = _PROPERTIES[last]
            agrees = [
                None if value is None else value == size[column]
                for value, size in zip(values, sizes, strict=True)
            ]
            features.append(Feature(f"labels: {path} is the file's", STRUCTURE, agrees))
            continue
        texts = [_neutral(value, name) for value, name in zip(values, names, strict=True)]
        kind = STRUCTURE if _OWN_FIELDS.intersection(_NAME.findall(path)) else CONTENT
        features.append(Feature(f"labels: {path}", kind, texts))
        features.append(Feature(f"labels: form of {path}", STRUCTURE, [_form(t) for t in texts]))
        numbers = [_number(value) for value in values]
        if not np.isnan(numbers).all():
            features.append(Feature(f"labels: {path}, order", NUMBER, _shifted(numbers)))
    return features


def read_labels(records: Records, names: Sequence[str]) -> list[str | None]:
    """The class of each image: from the label files, or else from the folder it lies in.

    Of the label files, the first field is taken that is called like a label, that most images have
    and that tells them apart into classes.
    """
    for path in _label_paths(records):
        values = [entry.get(path) for entry in records.flat]
        distinct = {str(value) for value in values if value is not None}
        known = sum(value is not None for value in values)
        if known >= 0.9 * len(values) and 2 <= len(distinct) <= max(2, len(values) // 2):
            return [None if value is None else str(value) for value in values]
    parents = [PurePosixPath(name).parent.name for name in names]
    if len(set(parents)) > 1:
        return list(parents)
    return [None] * len(names)


class _Index:
    """Which image a text means."""

    def __init__(self, names: Sequence[str]) -> None:
        self._full: dict[str, int | None] = {}
        self._stems: dict[str, int | None] = {}
        for row, name in enumerate(names):
            parts = name.split("/")
            for start in range(len(parts)):
                self._enter(self._full, "/".join(parts[start:]), row)
            stem = PurePosixPath(name).with_suffix("")
            self._enter(self._stems, str(stem), row)
            self._enter(self._stems, stem.name, row)

    @staticmethod
    def _enter(index: dict[str, int | None], key: str, row: int) -> None:
        index[key] = row if index.get(key, row) == row else None

    def by_text(self, text: str) -> int | None:
        """An image by its path, or by the end of one."""
        text = text.replace("\\", "/")
        while text:
            if text in self._full:
                return self._full[text]
            _, slash, text = text.partition("/")
            if not slash:
                break
        return None

    def named(self, values: Iterable[Any]) -> Iterator[int]:
        """The images that some values mean."""
        texts = (value for value in values if isinstance(value, str) and 0 < len(value) < 4096)
        return (row for row in map(self.by_text, texts) if row is not None)

    def by_key(self, text: str) -> int | None:
        """An image by its path or its name, with or without the extension."""
        row = self.by_text(text)
        return row if row is not None else self._stems.get(text)

    def by_stem(self, name: str) -> int | None:
        """The image that a file of another extension stands beside."""
        stem = PurePosixPath(name).with_suffix("")
        row = self._stems.get(str(stem))
        return row if row is not None else self._stems.get(stem.name)


def _parse(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return _from_xml(ElementTree.parse(path).getroot())
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    if suffix in (".csv", ".tsv"):
        rows = csv.reader(text.splitlines(), delimiter="," if suffix == ".csv" else "\t")
        header = next(rows, [])
        return [_from_row(header, row) for row in rows]
    if suffix in (".jsonl", ".ndjson"):
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    if suffix == ".txt":
        return [line.split() for line in text.splitlines()]
    return json.loads(text)


def _from_row(header: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    named = dict(zip(header, row, strict=False))
    extra = row[len(header) :]
    return {**named, **({"more columns": list(extra)} if extra else {})}


def _from_xml(element: ElementTree.Element) -> Any:
    children: dict[str, list[Any]] = {}
    for child in element:
        children.setdefault(child.tag, []).append(_from_xml(child))
    text = (element.text or "").strip()
    if not children and not element.attrib:
        return text
    content: dict[str, Any] = dict(element.attrib)
    content.update({tag: v[0] if len(v) == 1 else v for tag, v in children.items()})
    if text:
        content["text"] = text
    return content


def _collect(content: Any, index: _Index, records: Records, source: str) -> None:
    ids: dict[Any, int] = {}
    loose: list[tuple[str, dict[str, Any], int]] = []
    for path, place, row, value in _walk(content, index, source):
        if row is None:
            loose.append((path, value, place))
            continue
        if np.isnan(records.positions[row]):
            records.positions[row] = float(place)
        _add(records, row, path, value)
        if isinstance(value, dict) and "id" in value and not isinstance(value["id"], (dict, list)):
            ids[value["id"]] = row
    for path, value, place in loose:
        joined = ids.get(value["image_id"])
        if joined is not None:
            _add(records, joined, path, {**value, "place in the file": place})


def _walk(content: Any, index: _Index, path: str) -> Iterator[tuple[str, int, int | None, Any]]:
    """Yields (path, place, image or None, record) of every record of an image, or that points to one."""
    stack: list[tuple[str, int, str | None, Any]] = [(path, 0, None, content)]
    while stack:
        where, place, key, value = stack.pop()
        row = None if key is None else index.by_key(key)
        if row is None and isinstance(value, dict):
            row = next(index.named(value.values()), None)
        if row is None and isinstance(value, list):
            named = list(index.named(value))
            row = named[0] if len(named) == 1 else None  # a list of images is no record of one
        if row is not None:
            yield where, place, row, value
        elif isinstance(value, dict):
            if isinstance(value.get("image_id"), (int, str)):
                yield where, place, None, value
                continue
            base = where if key is None else f"{where}/{key}" if where else key
            children = [(base, n, str(k), v) for n, (k, v) in enumerate(value.items())]
            stack.extend(reversed(children))
        elif isinstance(value, list):
            base = where if key is None else f"{where}/{key}" if where else key
            stack.extend(reversed([(base, n, None, v) for n, v in enumerate(value)]))


def _add(records: Records, row: int, path: str, value: Any) -> None:
    for where, found in _flatten(value, path):
        records.order[row].append(where)
        # A second record of the same kind is told apart by its number
        number, key = 2, where
        while key in records.flat[row]:
            key, number = f"{where} #{number}", number + 1
        records.flat[row][key] = found


def _flatten(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        if set(value) in ({"$oid"}, {"$date"}):
            yield path, next(iter(value.values()))
            return
        if not value:
            yield path, "{}"
        for key, inner in value.items():
            yield from _flatten(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        yield f"{path}.length", len(value)
        if any(isinstance(inner, (dict, list)) for inner in value):
            yield from _flatten(value[0], f"{path}.first")
        elif value:
            yield path, json.dumps(value)
    else:
        yield path or _ITSELF, value


def _label_paths(records: Records) -> list[str]:
    paths = dict.fromkeys(path for entry in records.flat for path in entry)
    return [
        path
        for wanted in _LABEL_NAMES
        for path in paths
        if path.rpartition(".")[2] == wanted or path.rpartition("/")[2] == wanted
    ]


def _neutral(value: Any, name: str) -> Any:
    """A value without the image's own name, which is no news."""
    if not isinstance(value, str):
        return value if isinstance(value, (int, float, bool)) or value is None else str(value)
    path = PurePosixPath(name)
    if path.name in value:
        return value.replace(path.name, "<name>")
    if value == path.stem or value.endswith(f"/{path.stem}"):
        return value.removesuffix(path.stem) + "<name>"
    return value


def _form(value: Any) -> str:
    if not isinstance(value, str):
        return type(value).__name__
    text = re.sub(r"[a-z]", "a", re.sub(r"[A-Z]", "A", re.sub(r"\d", "0", value[:64])))
    return re.sub(r"(.)\1+", r"\1+", text) if len(value) > 32 else text


def _number(value: Any) -> float:
    if isinstance(value, bool) or value is None:
        return np.nan
    if isinstance(value, (int, float)):
        return float(value)
    text = str(value)
    if _OBJECT_ID.fullmatch(text):
        # Seconds and counter; the five bytes between them name a process
        return int(text[:8], 16) + int(text[18:], 16) / 2**24
    if _DATE.fullmatch(text):
        try:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError:
            return np.nan
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return moment.timestamp()
    try:
        return float(text)
    except ValueError:
        return np.nan


def _shifted(numbers: Sequence[float]) -> list[float]:
    """Less their minimum: large identifiers keep their last digits."""
    known = np.asarray(numbers, dtype=np.float64)
    return (known - np.nanmin(known)).tolist()
