"""From samples to ids, paths and labels, before their media are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import fiftyone as fo
import numpy as np

from ..core.errors import HoneyImageError, ImageError, SamplesError
from ..core.images import read_image
from ..core.limits import PROXY_SIZE
from .checks import HONEYIMAGE_TAG, check_collection, check_label_field


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


def proxy_input_size(labeled: LabeledSamples, input_size: int | None) -> int:
    """The side of the proxy's input: as asked, or the images' own size up to 64 pixels.

    The first readable images tell the size; larger ones are scaled down for the proxies alone.

    Raises:
        ParameterError: if ``input_size`` is out of range
        ImageError: if none of the first images can be read
    """
    if input_size is not None:
        return PROXY_SIZE.check("input_size", input_size)

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
