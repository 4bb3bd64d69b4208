"""The dataset types that a release can be written as, and read back from, with FiftyOne's own code.

No dataset is made for it, as one would hold exactly what is released, and so tell the coins to whoever
reads the database while an export runs or after it was killed. Exporters and importers are driven
directly; a FiftyOneDataset, which only they can write from the database, is put together from FiftyOne's
documents.
"""

from __future__ import annotations

import csv
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.odm as foo
import fiftyone.types as fot
import fiftyone.utils.data as foud
from bson import ObjectId

from ...core.errors import ParameterError
from ...core.limits import check_choice, shown
from ..progress import inner_bars_hidden
from .fields import CarriedField
from .files import ReleasedFile, Stage

DATASET_TYPES = (
    fot.ImageClassificationDirectoryTree,
    fot.FiftyOneImageClassificationDataset,
    fot.FiftyOneDataset,
    fot.COCODetectionDataset,
    fot.CSVDataset,
)

#: Files of a release that are not media, by dataset type.
LABEL_FILES = {
    fot.ImageClassificationDirectoryTree: (),
    fot.FiftyOneImageClassificationDataset: ("labels.json",),
    fot.FiftyOneDataset: ("metadata.json", "samples.json"),
    fot.COCODetectionDataset: ("labels.json",),
    fot.CSVDataset: ("labels.csv",),
}

#: Every date in a release and every file's time stamp: a fixed one says nothing about any image.
TIME_STAMP = 946_684_800  # 2000-01-01 00:00:00 UTC

#: A box around the whole image, relative to its size
_WHOLE = [0.0, 0.0, 1.0, 1.0]

Report = Callable[[int], None]


def check_dataset_type(kind: type, fields: Sequence[str]) -> None:
    """Checks that a release can be written as this type, with these further fields.

    Raises:
        ParameterError: saying what is possible
    """
    if not isinstance(fields, (list, tuple)) or not all(isinstance(name, str) for name in fields):
        raise ParameterError(f"fields must be a list of names of fields; found {shown(fields)}")
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


def dataset_type_named(name: Any) -> type:
    """The dataset type of a release by its name.

    Raises:
        ParameterError: saying which there are
    """
    names = [kind.__name__ for kind in DATASET_TYPES]
    return DATASET_TYPES[names.index(check_choice("dataset_type", name, names))]


def write(
    kind: type,
    files: Sequence[ReleasedFile],
    folder: Path,
    media: Path,
    label_field: str,
    carried: Sequence[CarriedField],
    report: Report,
) -> None:
    """Writes a release into a new folder.

    Args:
        kind: one of :data:`DATASET_TYPES`
        files: the images with their places in the release, in order
        folder: the folder to make
        media: a folder for links; it must lie where its owner alone can read
        label_field: the name of the label field in the release
        carried: further fields to carry along
        report: called with the number of files written

    Raises:
        OSError: if a file cannot be read or written
    """
    staged = _staged(files, Stage(media), report)
    if kind is fot.CSVDataset:
        _write_csv(files, staged, folder, carried)
    elif kind is fot.FiftyOneDataset:
        _write_fiftyone(files, staged, folder, label_field, carried)
    else:
        _write_by_exporter(kind, files, staged, folder)


def _staged(files: Sequence[ReleasedFile], stage: Stage, report: Report) -> Iterator[str]:
    for number, file in enumerate(files):
        if number % 256 == 0:
            report(number)
        yield stage.path_of(file)
    report(len(files))


def _write_by_exporter(
    kind: type, files: Sequence[ReleasedFile], staged: Iterable[str], folder: Path
) -> None:
    options: dict[str, Any] = {}
    if kind is fot.COCODetectionDataset:
        classes = sorted({file.label for file in files})
        options = {
            "classes": classes,
            "info": {"date_created": _date().strftime("%Y-%m-%dT%H:%M:%S")},
        }
    exporter, _ = foud.build_dataset_exporter(
        kind, export_dir=str(folder), export_media=True, **options
    )
    with exporter:
        for file, path in zip(files, staged, strict=True):
            label = fo.Classification(label=file.label)
            if kind is fot.COCODetectionDataset:
                box = fo.Detection(label=file.label, bounding_box=_WHOLE)
                label = fo.Detections(detections=[box])
            exporter.export_sample(path, label)


def _write_csv(
    files: Sequence[ReleasedFile],
    staged: Iterable[str],
    folder: Path,
    carried: Sequence[CarriedField],
) -> None:
    media = _media_exporter(folder)
    # FiftyOne's exporter would write it in the machine's encoding
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["filepath", "label", *(field.name for field in carried)])
        for released, path in zip(files, staged, strict=True):
            _, name = media.export(path)
            values = [field.text_of(released.sample_id) for field in carried]
            writer.writerow([name, released.label, *values])
    media.close()


def _write_fiftyone(
    files: Sequence[ReleasedFile],
    staged: Iterable[str],
    folder: Path,
    label_field: str,
    carried: Sequence[CarriedField],
) -> None:
    media = _media_exporter(folder)
    dataset_id = _new_id()
    fresh: dict[ObjectId, ObjectId] = {}

    def sample(file: ReleasedFile, path: str) -> dict[str, Any]:
        _, name = media.export(path)
        return {
            "_id": _new_id(),
            "filepath": f"data/{name}",
            "tags": [],
            "_media_type": "image",
            "_rand": secrets.SystemRandom().random(),
            label_field: {**fo.Classification(label=file.label).to_dict(), "_id": _new_id()},
            **{field.name: _with_fresh_ids(field.raw(file.sample_id), fresh) for field in carried},
            "_dataset_id": dataset_id,
            "created_at": _date(),
            "last_modified_at": _date(),
        }

    with inner_bars_hidden():
        foo.export_collection(
            map(sample, files, staged),
            str(folder / "samples.json"),
            key="samples",
            num_docs=len(files),
        )
    classes = sorted({file.label for file in files})
    document = _dataset_document(dataset_id, label_field, carried, classes)
    foo.export_document(document, str(folder / "metadata.json"))
    media.close()


def _dataset_document(
    dataset_id: ObjectId, label_field: str, carried: Sequence[CarriedField], classes: list[str]
) -> dict[str, Any]:
    """FiftyOne's document of a dataset that was never one: of FiftyOne's defaults and the released fields."""
    label = fo.EmbeddedDocumentField(fo.Classification)
    label.name = label.db_field = label_field
    fields = [
        field
        for name, field in foo.DatasetSampleDocument._fields.items()
        if name != "media_reference"
    ]
    described = [
        foo.SampleFieldDocument.from_field(field)
        for field in (*fields, label, *(field.field for field in carried))
    ]
    for field in described:
        _forget_working_dataset(field)
    document = foo.DatasetDocument(
        id=dataset_id,
        name="dataset",
        slug="dataset",
        version=fo.__version__,
        created_at=_date(),
        last_modified_at=_date(),
        media_type="image",
        sample_collection_name=f"samples.{dataset_id}",
        sample_fields=described,
        default_classes=classes,
    )
    found: dict[str, Any] = document.to_dict()
    return found


def _forget_working_dataset(field: foo.SampleFieldDocument) -> None:
    field.description = None
    field.info = None
    field.created_at = _date()
    for inner in field.fields or []:
        _forget_working_dataset(inner)


def _with_fresh_ids(value: Any, fresh: dict[ObjectId, ObjectId]) -> Any:
    """A copy of a stored value in which every id of the working dataset is another, the same one everywhere."""
    if isinstance(value, ObjectId):
        return fresh.setdefault(value, _new_id())
    if isinstance(value, Mapping):
        return {name: _with_fresh_ids(inner, fresh) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_fresh_ids(inner, fresh) for inner in value]
    return value


def _media_exporter(folder: Path) -> foud.MediaExporter:
    exporter = foud.MediaExporter(True, export_path=str(folder / "data"))
    exporter.setup()
    return exporter


def _new_id() -> ObjectId:
    """An id that tells neither when nor by which process it was made, as those of the driver do."""
    return ObjectId(TIME_STAMP.to_bytes(4, "big") + secrets.token_bytes(8))


def _date() -> datetime:
    return datetime.fromtimestamp(TIME_STAMP, timezone.utc)


def read_back(kind: type, folder: Path, label_field: str) -> dict[str, list[str | None]]:
    """Reads a release with FiftyOne's importer, into memory alone.

    Args:
        kind: its dataset type
        folder: the release
        label_field: the name of its label field

    Returns:
        file relative to the folder, with forward slashes → the label of each sample of it, of files that
        are there

    Raises:
        Exception: whatever the importer raises
    """
    importer, _ = foud.build_dataset_importer(kind, dataset_dir=str(folder))
    found: dict[str, list[str | None]] = {}
    with importer:
        for path, label in _read_samples(kind, importer, label_field):
            if Path(path).is_file():  # which not every importer asks
                name = Path(path).relative_to(folder).as_posix()
                found.setdefault(name, []).append(label)
    return found


def _read_samples(kind: type, importer: Any, label_field: str) -> Iterator[tuple[str, str | None]]:
    if kind is fot.CSVDataset:
        for sample in importer:
            yield sample.filepath, _value(sample, "label")
    elif kind is fot.FiftyOneDataset:
        # What import_samples() does, less the database
        foo.DatasetDocument.from_dict(importer._dataset_dict)
        documents, _ = foo.import_collection(importer._samples_path, key="samples")
        for document in documents:
            document["filepath"] = str(Path(importer.dataset_dir, document["filepath"]))
            sample = fo.Sample.from_dict(document)
            label = _value(sample, label_field)
            yield sample.filepath, None if label is None else label.label
    else:
        for path, _, label in importer:
            if isinstance(label, dict):  # COCO: detections beside segmentations
                label = label.get("detections")
            if isinstance(label, fo.Detections):
                label = label.detections[0] if len(label.detections) == 1 else None
            yield path, None if label is None else label.label


def _value(sample: fo.Sample, name: str) -> Any:
    return sample[name] if sample.has_field(name) else None
