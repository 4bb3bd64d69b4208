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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.types as fot

from ..core.audit.metadata import check_metadata
from ..core.codecs import encode_like
from ..core.errors import ImageError, ParameterError, ReleaseError
from ..core.evidence.ledger import Ledger
from ..core.evidence.marked_images import MarkedImage
from ..core.files import ensure_free_space, sha256_file
from ..core.images import read_image
from ..core.limits import check_choice, check_path
from . import storage
from .checks import HONEYIMAGE_TAG, check_label_field, check_output_folder
from .loading import for_each
from .marked_files import find_wrong_file
from .marking import Marking, load_marking, open_ledger
from .progress import Progress, StageBar
from .release_formats import ReleasedFile, check_dataset_type, check_fields, is_media
from .release_formats import write as write_release
from .release_history import record_release
from .runs import catch_up, root_dataset
from .samples import LabeledSamples, read_labels

#: Every file of a release carries this time stamp: a fixed one says nothing about any image.
_TIME_STAMP = 946_684_800  # 2000-01-01 00:00:00 UTC

#: The probability with which a release is refused although nothing gives it away
_LEAK_ALPHA = 1e-4

#: What the smallest file takes on most disks, in bytes
_BLOCK = 4096

#: What to do about a file of the marking that is missing, or a HoneyImage that was altered
_RESTORE = "restore it before the release"

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
    reencode: str,
    names: str,
    fields: Sequence[str],
    progress: Progress,
) -> ReleaseReport:
    """See :func:`fiftyone_honeyimage.export_release`."""
    start = time.monotonic()
    kind = dataset_type or fot.ImageClassificationDirectoryTree
    check_dataset_type(kind, fields)
    check_policies(reencode, names)
    if export_media is not True:
        reason = _FORBIDDEN_MEDIA_OPTIONS.get(str(export_media), "a release copies its media")
        raise ParameterError(f"export_media={export_media!r} is refused: {reason}")

    catch_up(root_dataset(samples))
    marking = load_marking(samples, honey_key)
    ledger = open_ledger(marking, ledger_path)
    label_field = label_field or marking.config["label_field"]
    check_label_field(samples, label_field)
    check_fields(samples, fields, label_field)
    labeled = read_labels(samples, label_field)
    if label_field == marking.config["label_field"]:
        check_labels(labeled, ledger)
    folder = release_folder(export_dir, labeled, marking)
    check_view(labeled, ledger)
    _check_marked_files(labeled, ledger, marking.output_dir)
    files = released_files(labeled, ledger, marking.output_dir, names)
    if kind is fot.ImageClassificationDirectoryTree:
        _check_folder_names(labeled)
    blocks = sum(os.path.getsize(file.path) // _BLOCK + 1 for file in files)
    ensure_free_space(folder.parent, blocks * _BLOCK * (2 if reencode == "all" else 1))

    partial = folder.with_name(f".{folder.name}.honeyimage-partial")
    stages = {
        "Re-encoding": 60 if reencode == "all" else 0,
        "Exporting": 60,
        "Checking": 20,
        "Looking for leaks": 20,
    }
    with storage.locked(folder), StageBar(stages, progress) as bar:
        encoded = partial.with_name(partial.name + "-encoded")
        leftovers = (partial, partial.with_name(partial.name + "-media"), encoded)
        try:
            for path in leftovers:
                shutil.rmtree(path, ignore_errors=True)  # what a killed export left
            if reencode == "all":
                files = _reencode(files, encoded, bar)
            write_release(
                kind,
                files,
                partial,
                samples,
                label_field,
                fields,
                lambda done: bar.report("Exporting", done, len(files)),
            )
            exported = _check_export(kind, partial, files, bar)
            _hide_times(partial)
            hardness = _known_hardness(samples, marking)
            _check_leaks(partial, exported, labeled, hardness, reencode, bar)
            os.rename(partial, folder)
        finally:
            for path in leftovers:
                shutil.rmtree(path, ignore_errors=True)

    own = samples.match_tags([HONEYIMAGE_TAG, honey_key], all=True)
    report = ReleaseReport(
        export_dir=folder,
        num_images=len(files),
        num_honeyimages=len(ledger.released_images()),
        num_withheld=len(ledger.pairs),
        num_other_honeyimages=labeled.num_honeyimages - len(own),
        seconds=time.monotonic() - start,
        commitment=marking.commitment,
    )
    record_release(samples, honey_key, report, dataset_type=kind, reencode=reencode, names=names)
    return report


def release_folder(export_dir: str | Path, labeled: LabeledSamples, marking: Marking) -> Path:
    """The folder of a release, absolute.

    Raises:
        ParameterError: if it exists, cannot be made, or lies among the media or beside the ledger
    """
    folder = check_path("export_dir", export_dir)
    check_output_folder(folder, labeled.filepaths, "export_dir")
    if marking.output_dir in folder.parents:
        raise ParameterError(
            f"export_dir '{folder}' lies beside the secret ledger, in the marking's own folder; choose "
            "a folder elsewhere"
        )
    return folder


def check_policies(reencode: str, names: str) -> None:
    """Checks the policies of a release.

    Raises:
        ParameterError: if one is unknown
    """
    check_choice("reencode", reencode, ("marked", "all"))
    check_choice("names", names, ("keep", "renumber"))


def released_files(
    labeled: LabeledSamples, ledger: Ledger, output_dir: Path, names: str = "keep"
) -> list[ReleasedFile]:
    """Every image of the release, in the order of the originals.

    Raises:
        ReleaseError: if a file is missing, or a name would stand out
    """
    missing = find_wrong_file(_marked_images(ledger), output_dir, contents=False)
    if missing is not None:
        raise ReleaseError(f"{missing}; {_RESTORE}")
    replaced = {image.sample_id: str(output_dir / image.file) for image in ledger.released_images()}
    withheld = {image.sample_id for image in ledger.withheld_images()}
    rows = [row for row, sample_id in enumerate(labeled.ids) if sample_id not in withheld]
    digits = len(str(len(rows)))

    files = []
    for number, row in enumerate(rows):
        sample_id, path = labeled.ids[row], labeled.filepaths[row]
        source = replaced.get(sample_id, path)
        # No Path here: a form checks every file of the dataset
        name, suffix = os.path.basename(path), os.path.splitext(path)[1]
        if os.path.splitext(source)[1] != suffix:
            raise ReleaseError(
                f"sample {sample_id} ({path}) was marked as a {Path(source).suffix} file; among files of "
                "another format it would stand out. Mark the dataset again with this version"
            )
        if not os.path.isfile(source):
            raise ReleaseError(
                f"the file of sample {sample_id} is missing: '{source}'; restore it, or pass a view "
                "without it"
            )
        if names == "renumber":
            name = f"{number:0{digits}d}{suffix}"
        label = labeled.classes[labeled.labels[row]]
        files.append(ReleasedFile(source, name, label, sample_id, sample_id in replaced))
    return files


def _marked_images(ledger: Ledger) -> list[MarkedImage]:
    """Every HoneyImage, withheld ones too, in an order that knows no coin.

    Errors are kept with a delegated operation. One that only a released twin can cause, or that names
    the released one of two first, would tell which it is.
    """
    return [*ledger.singles, *(image for pair in ledger.pairs for image in (pair.a, pair.b))]


def _check_folder_names(labeled: LabeledSamples) -> None:
    """Checks that every class can be the name of a folder.

    Raises:
        ReleaseError: naming the first that cannot
    """
    for label in labeled.classes:
        if label in (".", "..") or not set(label).isdisjoint("/\\\0"):
            raise ReleaseError(
                f"class {label!r} cannot be the name of a folder, as a directory tree needs it; rename "
                "the class"
            )


def _reencode(files: Sequence[ReleasedFile], folder: Path, bar: StageBar) -> list[ReleasedFile]:
    """Encodes every unmarked image anew, as the HoneyImages were; one process for all.

    Raises:
        ReleaseError: naming the first image that cannot be re-encoded
    """
    folder.mkdir(mode=0o700)  # it holds what is not marked
    result = list(files)

    def encode(row: int) -> None:
        file = files[row]
        if file.is_marked:
            return
        target = folder / f"{row}{Path(file.path).suffix}"
        try:
            target.write_bytes(encode_like(file.path, read_image(file.path)))
        except ImageError as error:
            raise ReleaseError(
                f"{error} (sample {file.sample_id}); it cannot be re-encoded like the HoneyImages: "
                "convert or leave it out, or pass reencode='marked'"
            ) from error
        result[row] = replace(file, path=str(target))

    for_each(encode, range(len(files)), bar.report, "Re-encoding")
    return result


def check_view(labeled: LabeledSamples, ledger: Ledger) -> None:
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


def check_labels(labeled: LabeledSamples, ledger: Ledger) -> None:
    """Checks that the marked images have the labels that they were marked with.

    Raises:
        ReleaseError: naming the first that has not
    """
    now = dict(zip(labeled.ids, labeled.labels, strict=True))
    for image in _marked_images(ledger):
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
    originals = dict(zip(labeled.ids, labeled.filepaths, strict=True))
    wrong = find_wrong_file(_marked_images(ledger), output_dir, originals)
    if wrong is None:
        return
    if wrong.is_original and not wrong.is_missing:
        raise ReleaseError(
            f"{wrong}, so that its HoneyImage would stand out among the others; restore it, or mark "
            "the dataset again"
        )
    raise ReleaseError(f"{wrong}; {_RESTORE}")


def _hide_times(folder: Path) -> None:
    """Gives every file and folder the same time stamp and permissions, one after the other by name."""
    for root, _, files in os.walk(folder, topdown=False):
        for name in sorted(files):
            path = os.path.join(root, name)
            os.chmod(path, 0o644)
            os.utime(path, (_TIME_STAMP, _TIME_STAMP))
        os.chmod(root, 0o755)
        os.utime(root, (_TIME_STAMP, _TIME_STAMP))


def _check_export(
    kind: type, partial: Path, files: Sequence[ReleasedFile], bar: StageBar
) -> dict[Path, ReleasedFile]:
    """Reads every exported file again and compares it with its source.

    Returns:
        exported file → what it was made from

    Raises:
        ReleaseError: if a file is missing, extra or differs
    """
    tree = kind is fot.ImageClassificationDirectoryTree
    exported = sorted(
        Path(root) / name
        for root, _, names in os.walk(partial)
        for name in names
        if is_media(kind, partial, Path(root) / name)
    )
    found: list[tuple[str, str]] = [("", "")] * len(exported)
    expected: list[tuple[str, str]] = [("", "")] * len(files)

    def digest(row: int) -> None:
        if row < len(files):
            file = files[row]
            expected[row] = (sha256_file(file.path), file.label if tree else "")
        else:
            path = exported[row - len(files)]
            found[row - len(files)] = (sha256_file(path), path.parent.name if tree else "")

    for_each(digest, range(len(files) + len(exported)), bar.report, "Checking")
    difference = Counter(expected)
    difference.subtract(Counter(found))
    wrong = sum(abs(count) for count in difference.values())
    if wrong:
        raise ReleaseError(
            f"{wrong} of the exported files differ from their sources; nothing was released. Is a "
            "source changing while it is exported, or the disk faulty?"
        )
    # Files of the same bytes are told apart by their names, as far as the exporter kept them
    sources: dict[tuple[str, str], list[ReleasedFile]] = {}
    for content, file in zip(expected, files, strict=True):
        sources.setdefault(content, []).append(file)
    result = {}
    for path, content in zip(exported, found, strict=True):
        same = sources[content]
        file = next((file for file in same if file.name == path.name), same[0])
        same.remove(file)
        result[path] = file
    return result


def _known_hardness(
    samples: fo.core.collections.SampleCollection, marking: Marking
) -> dict[str, float]:
    """Hardness by sample, of those that have it; none if the field is no longer there."""
    dataset = root_dataset(samples)
    field = marking.config.get("hardness_field")
    if not isinstance(dataset.get_field(field) if field else None, fo.FloatField):
        return {}
    ids, scores = dataset.values(["id", field])
    return {key: score for key, score in zip(ids, scores, strict=True) if score is not None}


def _check_leaks(
    partial: Path,
    exported: Mapping[Path, ReleasedFile],
    labeled: LabeledSamples,
    hardness: Mapping[str, float],
    reencode: str,
    bar: StageBar,
) -> None:
    """Looks for anything but the pixels that tells HoneyImages from other files.

    Raises:
        ReleaseError: naming what it is
    """
    originals = dict(zip(labeled.ids, labeled.filepaths, strict=True))
    released = {path.relative_to(partial).as_posix(): file for path, file in exported.items()}
    marked = {name: file for name, file in released.items() if file.is_marked}
    scores = {
        name: hardness[file.sample_id]
        for name, file in released.items()
        if file.sample_id in hardness
    }
    leaks = check_metadata(
        partial,
        list(marked),
        labels={name: file.label for name, file in released.items()},
        hardness=scores if marked.keys() <= scores.keys() else None,
        sources={name: originals[file.sample_id] for name, file in marked.items()},
        reencoded=reencode == "all",
        alpha=_LEAK_ALPHA,
        report=lambda _, done, total: bar.report("Looking for leaks", done, total),
    )
    if not leaks:
        return
    advice = (
        "pass reencode='all', so that every file is encoded alike"
        if reencode == "marked"
        else ("pass names='renumber' if it is the names, and report it otherwise")
    )
    # Without the names of files: the next release has the same coins
    raise ReleaseError(
        "the files give the HoneyImages away, so nothing was released: "
        f"{leaks[0].feature}: {leaks[0].reason}"
        + (f", and {len(leaks) - 1} more" if len(leaks) > 1 else "")
        + f"; {advice}"
    )
