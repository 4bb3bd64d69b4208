"""From samples to arrays, with every check that must come before anything expensive."""

from __future__ import annotations

import math
import numbers
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.media as fom
import fiftyone.core.odm as foo
import numpy as np
import torch

from ..core.errors import HoneyImageError, ImageError, ParameterError, SamplesError
from ..core.images import read_image
from ..core.progress import Report, silent
from ..core.resizing import resize_uint8

HONEYIMAGE_TAG = "honeyimage"

#: Threads that decode images: Pillow releases the interpreter lock while it decodes.
_WORKERS = 4


@dataclass(frozen=True)
class LabeledSamples:
    """The usable samples of a collection, before their media are read.

    Attributes:
        ids, filepaths: one str a sample, in the collection's order
        labels: int64 (N,), positions in ``classes``
        classes: the distinct labels, sorted: the order that image-folder loaders give them
        num_honeyimages: HoneyImages of earlier markings that were left out
    """

    ids: list[str]
    filepaths: list[str]
    labels: np.ndarray
    classes: list[str]
    num_honeyimages: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def keep(self, rows: Sequence[int] | np.ndarray) -> LabeledSamples:
        """The same with some rows only; classes stay as they are."""
        return LabeledSamples(
            [self.ids[row] for row in rows],
            [self.filepaths[row] for row in rows],
            self.labels[np.asarray(rows, dtype=np.int64)],
            self.classes,
            self.num_honeyimages,
        )


@dataclass(frozen=True)
class LoadedImages:
    """Images at the proxy's input size.

    Attributes:
        samples: the samples whose media could be read
        images: uint8 (N, 3, S, S)
        failures: (sample id, reason) of every sample that was skipped
    """

    samples: LabeledSamples
    images: torch.Tensor
    failures: list[tuple[str, str]] = field(default_factory=list)


def check_collection(samples: Any) -> None:
    """Checks that ``samples`` is a non-empty collection of images.

    Raises:
        SamplesError: with the reason and what to do
    """
    if not isinstance(samples, fo.core.collections.SampleCollection):
        raise SamplesError(
            f"samples must be a FiftyOne dataset or view; found {type(samples).__name__}"
        )
    if fom.GROUP in (samples.media_type, samples._root_dataset.media_type):
        raise SamplesError(
            f"'{samples._root_dataset.name}' is a grouped dataset; make one of a slice of images, for "
            "example dataset.select_group_slices('left').clone('left_only')"
        )
    if len(samples) == 0:
        raise SamplesError("the view is empty; choose a view or dataset that holds samples")
    if samples.media_type != fom.IMAGE:
        raise SamplesError(
            f"HoneyImages need an image dataset; '{samples.name}' has media type "
            f"'{samples.media_type}'"
        )
    if samples._is_generated:
        raise SamplesError(
            f"the samples of this view were made by FiftyOne from others (patches or frames); pass a "
            f"view of whole images of '{samples._root_dataset.name}'"
        )


def check_label_field(samples: fo.core.collections.SampleCollection, label_field: str) -> str:
    """Checks the label field and returns the path of its label strings.

    Raises:
        SamplesError: if it is missing or of a wrong type
    """
    schema = samples.get_field_schema()
    usable = classification_fields(samples)
    hint = f"; this dataset has {usable}" if usable else "; this dataset has none"
    if not isinstance(label_field, str) or label_field not in schema:
        raise SamplesError(
            f"there is no label field '{label_field}'; pass a field of type Classification{hint}"
        )
    if label_field not in usable:
        found = schema[label_field]
        kind = getattr(found, "document_type", None) or type(found)
        raise SamplesError(
            f"label field '{label_field}' has type {kind.__name__}; "
            f"pass a field of type Classification{hint}"
        )
    return f"{label_field}.label"


def classification_fields(samples: fo.core.collections.SampleCollection) -> list[str]:
    """Names of the collection's Classification fields."""
    fields = samples.get_field_schema(
        ftype=fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification
    )
    return list(fields)


def check_key(key: Any, what: str = "key") -> None:
    """Checks that a run key can name what FiftyOne lets a run have: a field, a tag and a saved view.

    Raises:
        ParameterError: if it is not
    """
    # FiftyOne keeps leading underscores to itself, and has no room for other letters in a view's URL
    if (
        not isinstance(key, str)
        or not (key.isascii() and key.isidentifier())
        or key.startswith("_")
    ):
        raise ParameterError(
            f"{what} must be a valid identifier such as 'release_2026' (letters, digits and "
            f"underscores, starting with a letter); found {key!r}"
        )
    # A field called 'clean' or 'save' would stand in front of the method by which samples are saved
    if key == HONEYIMAGE_TAG or hasattr(foo.DatasetSampleDocument, key):
        raise ParameterError(f"{what} '{key}' is reserved; choose another")


def read_labels(samples: fo.core.collections.SampleCollection, label_field: str) -> LabeledSamples:
    """Reads ids, paths and labels, leaving out the HoneyImages of earlier markings.

    Raises:
        SamplesError: for every kind of collection that cannot be scored or marked
    """
    check_collection(samples)
    label_path = check_label_field(samples, label_field)
    ids, filepaths, names, tags = samples.values(["id", "filepath", label_path, "tags"])

    own = [HONEYIMAGE_TAG in (sample_tags or ()) for sample_tags in tags]
    rows = [row for row, is_own in enumerate(own) if not is_own]
    if not rows:
        raise SamplesError("every sample of the view is a HoneyImage; pass the original samples")

    if len(set(ids)) < len(ids):
        twice, _ = Counter(ids).most_common(1)[0]
        raise SamplesError(
            f"the view holds sample {twice} more than once, so that a proxy would be trained and "
            "tested on one image; pass a view without repetitions"
        )

    unlabeled = [row for row in rows if not names[row]]
    if unlabeled:
        raise SamplesError(
            f"{len(unlabeled)} of {len(rows)} samples have no label in '{label_field}', the first "
            f"is {ids[unlabeled[0]]} ({filepaths[unlabeled[0]]}); label them, or pass "
            f"samples.exists('{label_path}')"
        )

    counts = Counter(names[row] for row in rows)
    if len(counts) < 2:
        raise SamplesError(
            f"'{label_field}' holds one class only ({next(iter(counts))!r}); at least two are needed"
        )
    single = sorted(name for name, count in counts.items() if count < 2)
    if single:
        raise SamplesError(
            f"class {single[0]!r} has one image (so have {len(single)} classes in all); every class "
            "needs at least two, so that a proxy that has not seen an image knows its class"
        )

    classes = sorted(counts)
    index = {name: position for position, name in enumerate(classes)}
    return LabeledSamples(
        ids=[ids[row] for row in rows],
        filepaths=[filepaths[row] for row in rows],
        labels=np.array([index[names[row]] for row in rows], dtype=np.int64),
        classes=classes,
        num_honeyimages=len(ids) - len(rows),
    )


def load_images(
    labeled: LabeledSamples,
    size: int,
    *,
    skip_failures: bool = False,
    report: Report | None = None,
) -> LoadedImages:
    """Decodes every image and resizes it to the proxy's input size.

    Holds N·3·S·S bytes and little more: images are decoded a few at a time.

    Args:
        labeled: the samples
        size: side S of the proxy's square input, in pixels
        skip_failures (False): whether to leave out images that cannot be read, and count them,
            instead of raising an error
        report (None): progress

    Returns:
        :class:`LoadedImages`

    Raises:
        ImageError: naming the first file that cannot be read
        SamplesError: if skipping leaves a class with fewer than two images
    """
    report = report or silent
    images = torch.empty((len(labeled), 3, size, size), dtype=torch.uint8)
    failures: dict[int, str] = {}

    def load(row: int) -> None:
        try:
            pixels = resize_uint8(read_image(labeled.filepaths[row]), size)
        except ImageError as error:
            failures[row] = str(error)
            return
        images[row] = torch.from_numpy(pixels).permute(2, 0, 1)

    for_each(
        load,
        range(len(labeled)),
        report,
        "Reading images",
        lambda: check_failures(labeled, failures, skip_failures),
    )
    check_failures(labeled, failures, skip_failures)
    if not failures:
        return LoadedImages(labeled, images)

    rows = [row for row in range(len(labeled)) if row not in failures]
    kept = labeled.keep(rows)
    counts = np.bincount(kept.labels, minlength=len(labeled.classes))
    if (counts < 2).any():
        name = labeled.classes[int(np.argmin(counts))]
        raise SamplesError(
            f"{len(failures)} images could not be read, which leaves class {name!r} with "
            f"{counts.min()} images; at least two are needed. The first: "
            f"{failures[min(failures)]}"
        )
    skipped = [(labeled.ids[row], reason) for row, reason in sorted(failures.items())]
    return LoadedImages(kept, keep_rows(images, rows), skipped)


def keep_rows(images: torch.Tensor, rows: Sequence[int] | np.ndarray) -> torch.Tensor:
    """Moves some rows to the front, in place, and returns them: a copy would double the memory.

    Args:
        images: (N, ...)
        rows: ascending, K of them

    Returns:
        a view (K, ...) of ``images``
    """
    for target, row in enumerate(rows):
        if target != row:
            images[target] = images[int(row)]
    return images[: len(rows)]


def check_failures(labeled: LabeledSamples, failures: dict[int, str], skip_failures: bool) -> None:
    """Stops at the first unreadable image unless failures may be skipped."""
    if failures and not skip_failures:
        row = min(failures)
        raise ImageError(
            f"{failures[row]} (sample {labeled.ids[row]}); repair or remove it, or pass "
            "skip_failures=True to leave such images out and count them"
        )


def for_each(
    function: Callable[[int], None],
    rows: Sequence[int],
    report: Report,
    stage: str,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Runs a function on every row in a few threads, in chunks, with progress between them."""
    chunk = 512
    with ThreadPoolExecutor(_WORKERS) as pool:
        for start in range(0, len(rows), chunk):
            list(pool.map(function, rows[start : start + chunk]))
            check()
            report(stage, min(start + chunk, len(rows)), len(rows))


def proxy_input_size(labeled: LabeledSamples, input_size: int | None) -> int:
    """The side of the proxy's input: as asked, or the images' own size up to 64 pixels.

    The first readable images tell the size; larger ones are scaled down for the proxies alone.

    Raises:
        ParameterError: if ``input_size`` is out of range
        ImageError: if none of the first images can be read
    """
    if input_size is not None:
        return whole_number(input_size, "input_size", 8, 512)

    sides: list[int] = []
    error: HoneyImageError | None = None
    for path in labeled.filepaths[:: max(1, len(labeled) // 16)]:
        try:
            sides.append(max(read_image(path).shape[:2]))
        except ImageError as problem:
            error = error or problem
    if not sides:
        raise error or SamplesError("no image could be read")
    return int(min(64, max(8, int(np.median(sides)))))


def whole_number(value: Any, what: str, least: int, most: float = math.inf) -> int:
    """A whole number in a range, as Python's own type, which JSON can hold.

    Raises:
        ParameterError: if it is none
    """
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        number = int(value)
        if least <= number <= most:
            return number
    span = f"from {least} to {most}" if most < math.inf else f"of at least {least}"
    raise ParameterError(f"{what} must be an integer {span}; found {value!r}")


def media_folders(filepaths: Sequence[str]) -> set[Path]:
    """The folders that hold a dataset's media, and the parents that hold several of them."""
    folders = {Path(path).parent for path in filepaths}
    parents = Counter(folder.parent for folder in folders)
    return folders | {parent for parent, count in parents.items() if count > 1}


def check_output_folder(folder: Path, filepaths: Sequence[str], what: str) -> None:
    """Checks that a folder can be made, and that it is not among the dataset's own media.

    Raises:
        ParameterError: if it exists, cannot be made or lies inside the dataset's media
    """
    check_new_folder(folder, what)
    check_output_place(folder, filepaths, what)


def check_new_folder(folder: Path, what: str) -> None:
    """Checks that nothing of that name exists.

    Raises:
        ParameterError: if something does
    """
    if os.path.lexists(folder):
        raise ParameterError(
            f"{what} '{folder}' exists; nothing is overwritten. Choose a new folder, or move it away"
        )


def check_output_place(folder: Path, filepaths: Sequence[str], what: str) -> None:
    """Checks that a folder could be made where it is to be; it may exist already.

    Raises:
        ParameterError: if it cannot be made, or lies inside the dataset's media
    """
    # Through links and "..", by which media could be hidden
    real = Path(os.path.realpath(folder))
    for media in sorted(media_folders(filepaths)):
        if Path(os.path.realpath(media)) in (real, *real.parents):
            raise ParameterError(
                f"{what} '{folder}' lies inside the dataset's media ({media}); choose a folder "
                "elsewhere, so that loaders of the originals do not pick it up"
            )
    try:
        parent = next(path for path in folder.parents if path.exists())
        if not parent.is_dir():
            raise ParameterError(f"{what} '{folder}' cannot be made: '{parent}' is not a folder")
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise ParameterError(f"{what} '{folder}' is not writable: {error}") from error
