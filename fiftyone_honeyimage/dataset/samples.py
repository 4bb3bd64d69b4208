"""From samples to ids, paths and labels, before their media are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import fiftyone as fo
import numpy as np

from ..core.errors import ImageError, SamplesError
from ..core.images import read_image
from ..core.limits import PROXY_SIZE
from ..core.pipeline.labeled import LabeledSamples
from .checks import check_collection, check_label_field
from .identity import Identity, known_markings
from .runs import root_dataset


def read_labels(
    samples: fo.core.collections.SampleCollection, label_field: str, *, contents: bool = True
) -> LabeledSamples:
    """Reads ids, paths and labels, leaving out the HoneyImages of earlier markings.

    Args:
        samples, label_field: to be read
        contents (True): whether copies of a marking's files are known by their bytes too; a form need not
            wait for that

    Raises:
        SamplesError: for every kind of collection that cannot be scored or marked
    """
    check_collection(samples)
    label_path = check_label_field(samples, label_field)
    dataset = root_dataset(samples)
    ids, filepaths, names = samples.values(["id", "filepath", label_path])

    identity = Identity(known_markings(dataset, filepaths))
    honey, chosen = identity.sort(ids, filepaths, contents)
    rows = [row for row, sample_id in enumerate(ids) if sample_id not in honey]
    if not rows:
        raise SamplesError("every sample of the view is a HoneyImage; pass the original samples")

    if len(set(ids)) < len(ids):
        twice, _ = Counter(ids).most_common(1)[0]
        raise SamplesError(
            f"the view holds sample {twice} more than once, so that a proxy would be trained and "
            "tested on one image; pass a view without repetitions"
        )

    if samples is not dataset:
        _check_unchanged(dataset, label_path, ids, filepaths, names)
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
        honey=honey,
        chosen=chosen,
    )


def _check_unchanged(
    dataset: fo.Dataset,
    label_path: str,
    ids: Sequence[str],
    filepaths: Sequence[str],
    labels: Sequence[str | None],
) -> None:
    """Checks that a view shows files and labels as the dataset holds them.

    A marking is written into the dataset, and a later release reads it from there.

    Raises:
        SamplesError: naming the first sample that it shows otherwise
    """
    columns = dataset.select(ids, ordered=True).values(["filepath", label_path])
    held = dict(zip(ids, zip(*columns, strict=True), strict=True))
    for sample_id, *shown in zip(ids, filepaths, labels, strict=True):
        for what, here, there in zip(("file", "label"), shown, held[sample_id], strict=True):
            if here != there:
                raise SamplesError(
                    f"the view changes what the dataset holds: it shows sample {sample_id} with the "
                    f"{what} {here!r}, the dataset has {there!r}. Pass a view that only chooses samples, "
                    "or make a dataset of this one with view.clone()"
                )


def proxy_input_size(labeled: LabeledSamples, input_size: int | None) -> int:
    """The side of the proxy's input: as asked, or the images' own size up to 64 pixels.

    The first readable images tell the size; larger ones are scaled down for the proxies alone.

    Raises:
        ParameterError: if ``input_size`` is out of range
        ImageError: if none of the first images can be read
    """
    if input_size is not None:
        return PROXY_SIZE.check("input_size", input_size)

    size = usual_size(labeled.filepaths)
    if size is None:
        read_image(labeled.filepaths[0])  # which says what is wrong with it
        raise SamplesError("no image could be read")
    return size


def usual_size(paths: Sequence[str | Path]) -> int | None:
    """The longer side of most images, 8 to 64 pixels, from some of them; None if none can be read."""
    sides = []
    for path in paths[:: max(1, len(paths) // 16)]:
        with suppress(ImageError):
            sides.append(max(read_image(path).shape[:2]))
    return int(min(64, max(8, np.median(sides)))) if sides else None
