"""export_release: the dataset as the world may see it.

All images, with released twins in place of their originals and withheld twins absent. FiftyOne's
exporter is given files and labels alone, so no tag, id, field, run, view or time stamp of the
working dataset can get out; and no dataset is made of them, so no coin gets into the database.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.types as fot
import fiftyone.utils.data as foud

from ..core.errors import LedgerError, ParameterError, ReleaseError
from ..core.evidence.ledger import Ledger, load_ledger
from ..core.files import ensure_free_space, sha256_file
from . import storage
from .marking import Marking, load_marking
from .progress import Progress, StageBar
from .runs import catch_up, root_dataset
from .samples import (
    HONEYIMAGE_TAG,
    LabeledSamples,
    check_label_field,
    check_output_folder,
    for_each,
    read_labels,
)

#: Every file of a release carries this time stamp: a fixed one says nothing about any image.
_TIME_STAMP = 946_684_800  # 2000-01-01 00:00:00 UTC

#: What the smallest file takes on most disks, in bytes
_BLOCK = 4096

_FORBIDDEN_MEDIA_OPTIONS = {
    "move": "it would take the originals out of the dataset",
    "symlink": "links show the paths of the working dataset and which files lie elsewhere",
    "manifest": "a manifest lists the paths of the working dataset",
    "False": "labels without media would hold the paths of the working dataset",
}


@dataclass(frozen=True)
class ReleaseReport:
    """What a release holds.

    Attributes:
        export_dir: the folder
        num_images: files in the release
        num_honeyimages: how many of them are HoneyImages
        num_withheld: how many images of the view were withheld
        num_other_honeyimages: HoneyImages of other markings that were left out
        seconds: how long it took
        commitment: of the ledger; publish or time-stamp it before the release
    """

    export_dir: Path
    num_images: int
    num_honeyimages: int
    num_withheld: int
    num_other_honeyimages: int
    seconds: float
    commitment: str


def export_release(
    samples: fo.core.collections.SampleCollection,
    honey_key: str,
    export_dir: str | Path,
    *,
    dataset_type: type | None,
    label_field: str | None,
    ledger_path: str | Path | None,
    export_media: Any,
    progress: Progress,
) -> ReleaseReport:
    """See :func:`fiftyone_honeyimage.export_release`."""
    start = time.monotonic()
    kind = dataset_type or fot.ImageClassificationDirectoryTree
    if kind is not fot.ImageClassificationDirectoryTree:
        raise ParameterError(
            f"dataset_type {getattr(kind, '__name__', kind)} is not supported yet; releases are "
            "image-classification directory trees (fiftyone.types.ImageClassificationDirectoryTree)"
        )
    if export_media is not True:
        reason = _FORBIDDEN_MEDIA_OPTIONS.get(str(export_media), "a release copies its media")
        raise ParameterError(f"export_media={export_media!r} is refused: {reason}")

    catch_up(root_dataset(samples))
    marking = load_marking(samples, honey_key)
    ledger = open_ledger(marking, ledger_path)
    label_field = label_field or marking.config["label_field"]
    check_label_field(samples, label_field)
    labeled = read_labels(samples, label_field)
    if label_field == marking.config["label_field"]:
        _check_labels(labeled, ledger)
    folder = Path(export_dir).expanduser().absolute()
    check_output_folder(folder, labeled.filepaths, "export_dir")
    if marking.output_dir in folder.parents:
        raise ParameterError(
            f"export_dir '{folder}' lies beside the secret ledger, in the marking's own folder; choose "
            "a folder elsewhere"
        )
    _check_marked_files(labeled, ledger, marking.output_dir)
    media = released_media(labeled, ledger, marking.output_dir)
    blocks = sum(os.path.getsize(path) // _BLOCK + 1 for path, _ in media)
    ensure_free_space(folder.parent, blocks * _BLOCK)

    partial = folder.with_name(f".{folder.name}.honeyimage-partial")
    with storage.locked(folder), StageBar({"Exporting": 80, "Checking": 20}, progress) as bar:
        try:
            shutil.rmtree(partial, ignore_errors=True)  # what a killed export left
            _export(partial, media, kind, bar)
            _check_export(partial, media, bar)
            _hide_times(partial)
            os.rename(partial, folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    own = samples.match_tags([HONEYIMAGE_TAG, honey_key], all=True)
    return ReleaseReport(
        export_dir=folder,
        num_images=len(media),
        num_honeyimages=len(ledger.released_images()),
        num_withheld=len(ledger.pairs),
        num_other_honeyimages=labeled.num_honeyimages - len(own),
        seconds=time.monotonic() - start,
        commitment=marking.commitment,
    )


def open_ledger(marking: Marking, ledger_path: str | Path | None) -> Ledger:
    """Loads a marking's ledger, from another place if given, and checks whose it is.

    Raises:
        LedgerError: if it is missing, altered, or of another marking or dataset
    """
    path = Path(ledger_path).expanduser() if ledger_path else marking.ledger_path
    if not path.is_file():
        raise LedgerError(
            f"the ledger of marking '{marking.honey_key}' is not at '{path}'; if it was moved, pass "
            "its place as ledger_path. Without it nothing can be released or verified"
        )
    ledger = load_ledger(path, commitment=marking.commitment)
    if ledger.header["dataset_id"] != marking.config["dataset_id"]:
        raise LedgerError(f"the ledger at '{path}' belongs to another dataset")
    return ledger


def released_media(
    labeled: LabeledSamples, ledger: Ledger, output_dir: Path
) -> list[tuple[str, str]]:
    """(file to copy, label) of every image of the release, in the order of the originals.

    Raises:
        ReleaseError: if a marked image is not among the samples, a file is missing, or a name would
            stand out or fit no folder
    """
    _check_view(labeled, ledger)
    replaced = {image.sample_id: str(output_dir / image.file) for image in ledger.released_images()}
    withheld = {image.sample_id for image in ledger.withheld_images()}
    for label in labeled.classes:
        if label in (".", "..") or not set(label).isdisjoint("/\\\0"):
            raise ReleaseError(
                f"class {label!r} cannot be the name of a folder, as a directory tree needs it; rename "
                "the class"
            )

    media = []
    for sample_id, path, label in zip(labeled.ids, labeled.filepaths, labeled.labels, strict=True):
        if sample_id in withheld:
            continue
        source = replaced.get(sample_id, path)
        if Path(source).name != Path(path).name:
            raise ReleaseError(
                f"sample {sample_id} ({path}) was marked as a PNG file, among files of another "
                "format it would stand out; convert the dataset to PNG and mark it again"
            )
        if not os.path.isfile(source):
            raise ReleaseError(
                f"the file of sample {sample_id} is missing: '{source}'; restore it, or pass a view "
                "without it"
            )
        media.append((source, labeled.classes[label]))
    return media


def _check_view(labeled: LabeledSamples, ledger: Ledger) -> None:
    """Checks that the samples hold every image that was marked, and others.

    Raises:
        ReleaseError: if they do not
    """
    marked = {image.sample_id for image in (*ledger.released_images(), *ledger.withheld_images())}
    absent = sorted(marked - set(labeled.ids))
    if absent:
        raise ReleaseError(
            f"{len(absent)} of the images that were marked are not in these samples (the first is "
            f"{absent[0]}); pass the view that was marked, or the whole dataset"
        )

    if len(marked) == len(labeled):
        raise ReleaseError(
            "every one of these samples was marked, so each image of the release would be a "
            "HoneyImage; pass the view that was marked, or the whole dataset"
        )


def _check_labels(labeled: LabeledSamples, ledger: Ledger) -> None:
    """Checks that the marked images have the labels that they were marked with.

    Raises:
        ReleaseError: naming the first that has not
    """
    now = dict(zip(labeled.ids, labeled.labels, strict=True))
    for image in (*ledger.released_images(), *ledger.withheld_images()):
        if image.sample_id in now and labeled.classes[now[image.sample_id]] != image.label:
            raise ReleaseError(
                f"sample {image.sample_id} was marked as {image.label!r} and is labelled "
                f"{labeled.classes[now[image.sample_id]]!r} now; restore the label, or mark the "
                "dataset again"
            )


def _check_marked_files(labeled: LabeledSamples, ledger: Ledger, output_dir: Path) -> None:
    """Checks that the HoneyImages are those that the ledger lists, and so are their originals.

    Raises:
        ReleaseError: naming the first that is missing or altered
    """
    originals = dict(zip(labeled.ids, map(Path, labeled.filepaths), strict=True))
    for image in ledger.released_images():
        path = output_dir / image.file
        if not path.is_file():
            raise ReleaseError(f"HoneyImage '{path}' is missing; restore it before the release")
        if sha256_file(path) != image.marked_sha256:
            raise ReleaseError(
                f"HoneyImage '{path}' was altered since it was marked; restore it before the release"
            )
        original = originals.get(image.sample_id)
        if original and original.is_file() and sha256_file(original) != image.source_sha256:
            raise ReleaseError(
                f"'{original}' was changed since it was marked, so that its HoneyImage would stand "
                "out among the others; restore it, or mark the dataset again"
            )


def _export(partial: Path, media: Sequence[tuple[str, str]], kind: type, bar: StageBar) -> None:
    """Writes the released files and their labels through FiftyOne's own exporter."""
    exporter, _ = foud.build_dataset_exporter(kind, export_dir=str(partial), export_media=True)
    with exporter:
        for number, (path, label) in enumerate(media, start=1):
            exporter.export_sample(path, fo.Classification(label=label))
            if number % 256 == 0 or number == len(media):
                bar.report("Exporting", number, len(media))


def _hide_times(folder: Path) -> None:
    """Gives every file and folder the same time stamp and permissions."""
    for root, _, files in os.walk(folder, topdown=False):
        for name in files:
            path = os.path.join(root, name)
            os.chmod(path, 0o644)
            os.utime(path, (_TIME_STAMP, _TIME_STAMP))
        os.chmod(root, 0o755)
        os.utime(root, (_TIME_STAMP, _TIME_STAMP))


def _check_export(partial: Path, media: Sequence[tuple[str, str]], bar: StageBar) -> None:
    """Reads every exported file again and compares it with its source.

    Raises:
        ReleaseError: if a file is missing, extra or differs
    """
    exported = [
        (os.path.join(root, name), os.path.basename(root))
        for root, _, files in os.walk(partial)
        for name in files
    ]
    found: list[tuple[str, str]] = [("", "")] * len(exported)
    expected: list[tuple[str, str]] = [("", "")] * len(media)

    def digest(row: int) -> None:
        if row < len(media):
            expected[row] = (sha256_file(media[row][0]), media[row][1])
        else:
            path, label = exported[row - len(media)]
            found[row - len(media)] = (sha256_file(path), label)

    for_each(digest, range(len(media) + len(exported)), bar.report, "Checking")
    difference = Counter(expected)
    difference.subtract(Counter(found))
    wrong = [label for (_, label), count in difference.items() if count]
    if wrong:
        raise ReleaseError(
            f"the exported files differ from their sources (class {wrong[0]!r}, {len(wrong)} files); "
            "nothing was released. Is a source changing while it is exported, or the disk faulty?"
        )
