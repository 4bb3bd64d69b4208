"""From files to tensors: images at the proxy's input size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from ..errors import ImageError, SamplesError
from ..images import read_image
from ..progress import Report, silent
from ..resizing import resize_uint8
from .labeled import LabeledSamples

#: Threads that decode images: Pillow releases the interpreter lock while it decodes.
_WORKERS = 4


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
