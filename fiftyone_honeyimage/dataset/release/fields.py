"""Further fields that a release carries along, and what of them no release may hold."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.types as fot

from ...core.errors import ParameterError
from ...core.pipeline.labeled import LabeledSamples
from ..checks import media_folders
from ..runs import MADE_BY

_OWN = ("id", "filepath", "tags", "metadata", "created_at", "last_modified_at")

#: What a cell of a CSV file can hold
_PLAIN = (
    fo.StringField,
    fo.IntField,
    fo.FloatField,
    fo.BooleanField,
    fo.DateField,
    fo.DateTimeField,
)

#: Labels that are a value or a list of values → where it is in them
_PLAIN_LABELS = {
    fo.Classification: "label",
    fo.Classifications: "classifications.label",
    fo.Regression: "value",
}

#: Columns of a CSV file that every release has
_COLUMNS = ("filepath", "label")

#: Keys under which FiftyOne's labels and most people's fields keep the place of a file
_PATH_KEY = re.compile(r"(^|_)(file)?paths?$")

#: Places of files on this machine, on a Windows machine, in a home, in a cloud
_PLACE = re.compile(r"^(/|~[/\\]|[A-Za-z]:[/\\]|\\\\|[a-z][a-z0-9+.-]*://)")


@dataclass(frozen=True)
class CarriedField:
    """A field that is carried along.

    Attributes:
        name: its name
        field: FiftyOne's field
        stored: sample id → value as the database has it
        shown: sample id → value of a cell in a CSV file; empty for other types
    """

    name: str
    field: fo.Field
    stored: Mapping[str, Any]
    shown: Mapping[str, Any]

    def raw(self, sample_id: str) -> Any:
        """The value of a sample as the database has it, None if it has none."""
        return self.stored.get(sample_id)

    def text_of(self, sample_id: str) -> str:
        """The value as the text of a cell, as FiftyOne's CSV exporter writes it."""
        value = self.shown.get(sample_id)
        if isinstance(value, (list, tuple)):
            return ",".join(str(item) for item in value)
        return "" if value is None else str(value)


def check_fields(
    samples: fo.core.collections.SampleCollection,
    fields: Sequence[str],
    label_field: str,
    kind: type | None = None,
) -> None:
    """Checks the allow-list of further fields.

    Raises:
        ParameterError: if one does not exist, or would tell something about the marking, or does not fit
            the type
    """
    if isinstance(fields, str):
        raise ParameterError(f"fields must be a list of names, such as ['{fields}']")
    twice = [name for name, count in Counter(fields).items() if count > 1]
    if twice:
        raise ParameterError(f"field '{twice[0]}' is listed twice in fields")
    schema = samples.get_field_schema()
    for name in fields:
        if name not in schema:
            raise ParameterError(
                f"there is no field '{name}' to carry along; there are {sorted(schema)}"
            )
        field = schema[name]
        if (field.info or {}).get(MADE_BY) or name in _OWN or isinstance(field, fo.ObjectIdField):
            raise ParameterError(
                f"field '{name}' may not be carried along: it tells about the working dataset"
            )
        if name == label_field:
            raise ParameterError(f"'{name}' is the label field and is released anyway")
        if kind is fot.CSVDataset:
            _check_column(name, field)


def _check_column(name: str, field: fo.Field) -> None:
    if name in _COLUMNS:
        raise ParameterError(
            f"field '{name}' cannot be carried along into a CSV file, which has a column of that name "
            "already; rename the field, or use FiftyOneDataset"
        )
    if _cell_path(name, field) is None:
        kind = getattr(field, "document_type", None) or type(field)
        raise ParameterError(
            f"field '{name}' holds {kind.__name__}, which no cell of a CSV file can hold; use "
            "FiftyOneDataset, or leave it out"
        )


def _cell_path(name: str, field: fo.Field) -> str | None:
    """What to read of a field for a cell of a CSV file, None if nothing fits."""
    inner = field.field if isinstance(field, fo.ListField) else field
    if isinstance(inner, _PLAIN):
        return name
    value = _PLAIN_LABELS.get(getattr(field, "document_type", None))
    return None if value is None else f"{name}.{value}"


def read_fields(
    samples: fo.core.collections.SampleCollection,
    fields: Sequence[str],
    kind: type,
    labeled: LabeledSamples,
) -> list[CarriedField]:
    """Reads the further fields of all originals, withheld ones too, so that no query tells a coin.

    Raises:
        ParameterError: if a value holds the place of a file or an id of the working dataset, or cannot be
            read back
    """
    if not fields:
        return []
    schema = samples.get_field_schema()
    ids = samples.values("id")
    known = set(labeled.ids)
    folders = sorted(map(str, media_folders(labeled.filepaths)))
    carried = []
    for name in fields:
        stored = dict(zip(ids, samples.values(name, _raw=True), strict=True))
        shown = {}
        if kind is fot.CSVDataset:
            path = _cell_path(name, schema[name]) or name
            shown = dict(zip(ids, samples.values(path), strict=True))
        for sample_id in labeled.ids:
            _check_value(name, sample_id, stored.get(sample_id), known, folders)
            if kind is fot.CSVDataset and re.search("[\r\0]", str(shown.get(sample_id))):
                raise ParameterError(
                    f"field '{name}' of sample {sample_id} holds a carriage return or a zero byte, which "
                    "is not read back from a CSV file; use FiftyOneDataset, or leave the field out"
                )
        carried.append(CarriedField(name, schema[name], stored, shown))
    return carried


def _check_value(
    name: str, sample_id: str, value: Any, known: Collection[str], folders: Sequence[str]
) -> None:
    for key, text in _texts(value, name):
        if text in known:
            raise ParameterError(
                f"field '{name}' of sample {sample_id} holds {text!r}, a sample's id in the working "
                "dataset; leave the field out"
            )
        if _is_place(key, text, folders):
            raise ParameterError(
                f"field '{name}' of sample {sample_id} holds the place of a file, {text!r}: a release "
                "copies images and no masks, maps or other files, and would show where yours are; leave "
                "the field out, or store its content in the field (a mask's pixels, say)"
            )


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text in a stored value, with the key it stands under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for inner_key, inner in value.items():
            yield from _texts(inner, str(inner_key))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner, key)


def _is_place(key: str, text: str, folders: Sequence[str]) -> bool:
    if not text:
        return False
    if _PATH_KEY.search(key):
        return True
    if not _PLACE.match(text):
        return False
    # A caption may start with a slash
    if "://" in text:
        return not text.startswith(("http://", "https://"))
    if any(text.startswith(folder) for folder in folders) or not text.startswith("/"):
        return True
    try:
        return os.path.lexists(Path(text).expanduser())
    except (OSError, ValueError, RuntimeError):
        return False
