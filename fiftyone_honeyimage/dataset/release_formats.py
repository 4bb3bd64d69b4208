"""The dataset types that a release can be written as, through FiftyOne's own exporters."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.types as fot
import fiftyone.utils.data as foud
from bson import ObjectId

from ..core.errors import ParameterError
from ..core.limits import check_choice, shown
from .progress import inner_bars_hidden
from .runs import MADE_BY, root_dataset

#: Types that FiftyOne writes file by file from paths and labels; no dataset is made of them.
_BY_FILE = (fot.ImageClassificationDirectoryTree, fot.FiftyOneImageClassificationDataset)

#: Types that FiftyOne writes from a dataset; they can carry further fields.
_BY_DATASET = (fot.FiftyOneDataset, fot.COCODetectionDataset, fot.CSVDataset)

DATASET_TYPES = (*_BY_FILE, *_BY_DATASET)

#: Files of a release that are not media, by dataset type.
_LABEL_FILES = {
    fot.ImageClassificationDirectoryTree: (),
    fot.FiftyOneImageClassificationDataset: ("labels.json",),
    fot.FiftyOneDataset: ("metadata.json", "samples.json"),
    fot.COCODetectionDataset: ("labels.json",),
    fot.CSVDataset: ("labels.csv",),
}


@dataclass(frozen=True)
class ReleasedFile:
    """One image of a release.

    Attributes:
        path: the file whose bytes are released
        name: the name that it has in the release
        label: its class
        sample_id: the sample that it stands for, the original's for a HoneyImage
        is_marked: whether it is a HoneyImage
    """

    path: str
    name: str
    label: str
    sample_id: str
    is_marked: bool


def check_dataset_type(kind: type, fields: Sequence[str]) -> None:
    """Checks that a release can be written as this type, with these further fields.

    Raises:
        ParameterError: saying what is possible
    """
    _check_names(fields)
    if kind not in DATASET_TYPES:
        raise ParameterError(
            f"dataset_type {getattr(kind, '__name__', kind)} cannot hold a release; use one of "
            f"{', '.join(known.__name__ for known in DATASET_TYPES)}"
        )
    if fields and kind not in (fot.FiftyOneDataset, fot.CSVDataset):
        raise ParameterError(
            f"{kind.__name__} holds one label field, so fields={list(fields)} cannot be carried along; "
            "use FiftyOneDataset or CSVDataset, or leave them out"
        )


def check_fields(
    samples: fo.core.collections.SampleCollection, fields: Sequence[str], label_field: str
) -> None:
    """Checks the allow-list of further fields.

    Raises:
        ParameterError: if one does not exist, or would tell something about the marking
    """
    _check_names(fields)
    schema = samples.get_field_schema()
    for name in fields:
        if name not in schema:
            raise ParameterError(
                f"there is no field '{name}' to carry along; there are {sorted(schema)}"
            )
        own = (schema[name].info or {}).get(MADE_BY)
        if own or name in ("id", "filepath", "tags", "metadata", "created_at", "last_modified_at"):
            raise ParameterError(
                f"field '{name}' may not be carried along: it tells about the working dataset"
            )
        if name == label_field:
            raise ParameterError(f"'{name}' is the label field and is released anyway")


def dataset_type_named(name: Any) -> type:
    """The dataset type of a release by its name.

    Raises:
        ParameterError: saying which there are
    """
    names = [kind.__name__ for kind in DATASET_TYPES]
    return DATASET_TYPES[names.index(check_choice("dataset_type", name, names))]


def _check_names(fields: Any) -> None:
    if not isinstance(fields, (list, tuple)) or not all(isinstance(name, str) for name in fields):
        raise ParameterError(f"fields must be a list of names of fields; found {shown(fields)}")


def write(
    kind: type,
    files: Sequence[ReleasedFile],
    folder: Path,
    samples: fo.core.collections.SampleCollection,
    label_field: str,
    fields: Sequence[str],
    report: Callable[[int], None],
) -> None:
    """Writes a release into a new folder.

    Args:
        kind: one of :data:`DATASET_TYPES`
        files: the images, in order
        folder: the folder to make
        samples: where the values of ``fields`` are
        label_field: the name of the label field in the release
        fields: further fields to carry along
        report: called with the number of files written
    """
    if kind in _BY_FILE:
        _write_by_file(kind, files, folder, report)
    else:
        _write_by_dataset(kind, files, folder, samples, label_field, fields, report)


def _write_by_file(
    kind: type, files: Sequence[ReleasedFile], folder: Path, report: Callable[[int], None]
) -> None:
    exporter, _ = foud.build_dataset_exporter(kind, export_dir=str(folder), export_media=True)
    stage = Stage(folder.with_name(folder.name + "-media"))
    try:
        with exporter:
            for number, file in enumerate(files, start=1):
                exporter.export_sample(stage.path_of(file), fo.Classification(label=file.label))
                if number % 256 == 0 or number == len(files):
                    report(number)
    finally:
        stage.remove()


def _write_by_dataset(
    kind: type,
    files: Sequence[ReleasedFile],
    folder: Path,
    samples: fo.core.collections.SampleCollection,
    label_field: str,
    fields: Sequence[str],
    report: Callable[[int], None],
) -> None:
    """Exports a new dataset: fresh ids, one batch, the released fields alone.

    Its samples point at neutral copies, so that not even the database learns for a moment which
    twin of a pair is released.
    """
    stage = Stage(folder.with_name(folder.name + "-media"), always=True)
    clean = fo.Dataset()
    try:
        clean.default_classes = sorted({file.label for file in files})
        values = _carried_values(samples, files, fields)
        clean.add_samples(
            [
                fo.Sample(
                    filepath=stage.path_of(file),
                    **{label_field: fo.Classification(label=file.label)},
                    **{name: values[name][row] for name in fields},
                )
                for row, file in enumerate(files)
            ],
            progress=False,
        )
        options: dict[str, Any] = {"export_media": True}
        if kind is fot.CSVDataset:
            options["fields"] = {"filepath": "filepath", f"{label_field}.label": "label"}
            options["fields"].update({name: name for name in fields})
        elif kind is fot.COCODetectionDataset:
            options["label_field"] = label_field
        with inner_bars_hidden():
            clean.export(
                export_dir=str(folder),
                dataset_type=kind,
                progress=lambda bar: report(min(bar.iteration, len(files))),
                **options,
            )
    finally:
        clean.delete()
        stage.remove()


def _carried_values(
    samples: fo.core.collections.SampleCollection,
    files: Sequence[ReleasedFile],
    fields: Sequence[str],
) -> dict[str, list[Any]]:
    """The further fields' values, those of the originals for HoneyImages, with ids of their own."""
    dataset = root_dataset(samples)
    values = {}
    for name in fields:
        ids, found = dataset.values(["id", name])
        by_id = dict(zip(ids, found, strict=True))
        values[name] = [_with_fresh_ids(by_id.get(file.sample_id)) for file in files]
    return values


def _with_fresh_ids(value: Any) -> Any:
    """A copy of a field's value in which no label keeps its id in the working dataset."""
    if not isinstance(value, fo.core.odm.BaseEmbeddedDocument):
        return value
    fresh = value.copy()
    if isinstance(fresh, fo.Label) and hasattr(fresh, "_id"):
        fresh._id = ObjectId()
    for name in fresh._fields_ordered:
        inner = fresh.get_field(name)
        if isinstance(inner, (list, tuple)) and inner and isinstance(inner[0], fo.Label):
            fresh[name] = [_with_fresh_ids(item) for item in inner]
    return fresh


class Stage:
    """Files under the names that they have in a release, for exporters that keep a file's name.

    Links where the disk can, copies where it cannot. A name that occurs twice gets a folder of its
    own, and the exporter makes it unique as it does for any dataset.

    Args:
        folder: made when it is needed
        always (False): whether also files that have the right name already are staged
    """

    def __init__(self, folder: Path, always: bool = False) -> None:
        self._folder = folder
        self._always = always
        self._seen: Counter[str] = Counter()

    def path_of(self, file: ReleasedFile) -> str:
        """A path of the file that ends in its name in the release."""
        if not self._always and os.path.basename(file.path) == file.name:
            return file.path
        target = self._folder / str(self._seen[file.name]) / file.name
        self._seen[file.name] += 1
        self._folder.mkdir(mode=0o700, exist_ok=True)
        target.parent.mkdir(exist_ok=True)
        try:
            # A hard link would set the time of change of all originals but the marked ones
            os.symlink(os.path.abspath(file.path), target)
        except OSError:
            shutil.copyfile(file.path, target)
        return str(target)

    def remove(self) -> None:
        """Removes what was staged; the originals stay."""
        shutil.rmtree(self._folder, ignore_errors=True)


def is_media(kind: type, folder: Path, path: Path) -> bool:
    """Whether a file of a release is an image and not labels."""
    return not (path.parent == folder and path.name in _LABEL_FILES[kind])
