"""What a run will cost, before it starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ImageError
from ..images import read_image
from ..methods import Method
from ..methods.base import RunSize
from ..models import weight_bytes
from ..training import TrainingConfig
from .labeled import LabeledSamples

#: Files that are looked at to learn the usual size of an image.
_NUM_PROBES = 16

#: What the manifest and the ledger say of one image, bytes.
_RECORD_BYTES = 1500

#: What they say of one reference model's answer on one image, bytes.
_REFERENCE_BYTES = 60

#: What the smallest file takes on most disks, bytes.
_BLOCK = 4096


@dataclass(frozen=True)
class RunCost:
    """What a run reads, trains and writes.

    Attributes:
        num_images: images that are read
        num_passes: how often an image goes forward and backward through a proxy, over the whole run
        memory_bytes: images that are held in memory at once
        disk_bytes: about this much is written and stays
        peak_bytes: at most this much lies on the disk at once while it runs
    """

    num_images: int
    num_passes: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    peak_bytes: int = 0

    def seconds(self, seconds_per_pass: float) -> float:
        """The time of the training, from the time of one pass."""
        return self.num_passes * seconds_per_pass


def hardness_cost(labeled: LabeledSamples, size: int, config: TrainingConfig) -> RunCost:
    """The cost of :func:`fiftyone_honeyimage.compute_hardness`.

    Two proxies train on one half each, and score the other half once.

    Args:
        labeled: the samples
        size: side of the proxies' input in pixels
        config: the trainer's settings
    """
    count = len(labeled)
    # Scoring is one forward pass, about a third of a training pass.
    return RunCost(
        num_images=count,
        num_passes=count * config.epochs + count // 3,
        memory_bytes=_memory(count, size),
    )


def marking_cost(
    labeled: LabeledSamples,
    size: int,
    config: TrainingConfig,
    *,
    method: Method,
    options: Any,
    num_honeyimages: int,
    num_pairs: int,
    trade_off: int = 0,
    num_references: int = 0,
    proxy: str | None = None,
) -> RunCost:
    """The cost of :func:`fiftyone_honeyimage.generate_honeyimages`.

    Args:
        labeled: the samples
        size: side of the proxies' input in pixels
        config: the trainer's settings
        method, options: the marking method and its own parameters
        num_honeyimages: N
        num_pairs: M
        num_references (0): reference models, each trained on all but half of what is marked
        trade_off (0): candidates for the plot of loss gap against visibility, at most
        proxy (None): the proxies' architecture, whose weights are kept; None leaves them out
    """
    count = len(labeled)
    pixel_bytes = mean_pixel_bytes(labeled.filepaths)
    weights = 0 if proxy is None else weight_bytes(proxy, len(labeled.classes), size)
    marked = num_honeyimages + num_pairs * method.files_a_side(num_honeyimages, num_pairs)
    run = RunSize(
        num_images=count,
        num_marked=marked,
        num_pairs=num_pairs,
        epochs=config.epochs,
        trade_off=trade_off,
        relative_size=pixel_bytes / 3 / size**2,
    )
    return RunCost(
        num_images=count,
        num_passes=method.passes(run, options)
        + num_references * config.epochs * (count - marked // 2),
        memory_bytes=_memory(count, size),
        # A HoneyImage takes about as much as its source; both models are kept
        disk_bytes=marked
        * (mean_file_bytes(labeled.filepaths) + _RECORD_BYTES + _REFERENCE_BYTES * num_references)
        + method.num_models * weights,
        peak_bytes=peak_bytes(weights, marked * pixel_bytes, marked),
    )


def peak_bytes(weights: int, values: int, num_files: int) -> int:
    """At most so many bytes lie on the disk at once while a marking is made.

    Args:
        weights: of one proxy, bytes
        values: of all candidates' pixels, three a pixel
        num_files: HoneyImages, withheld ones too
    """
    # Both models' checkpoints, the newer of the in-model's beside the older, and both models once
    # more. Perturbations are kept twice, in one or two bytes a value, and finished files twice; a file
    # and its folder take whole blocks.
    return 5 * weights + (2 * 2 + 2) * values + 3 * _BLOCK * num_files


def release_cost(labeled: LabeledSamples, num_withheld: int) -> RunCost:
    """The cost of :func:`fiftyone_honeyimage.export_release`.

    Args:
        labeled: the samples
        num_withheld: how many of them are withheld
    """
    count = len(labeled) - num_withheld
    return RunCost(num_images=count, disk_bytes=count * mean_file_bytes(labeled.filepaths))


def mean_file_bytes(filepaths: Sequence[str]) -> int:
    """Bytes of an image's file, on average over a few that are there; 0 without any."""
    sizes = [os.path.getsize(path) for path in _some(filepaths) if os.path.isfile(path)]
    return sum(sizes) // len(sizes) if sizes else 0


def mean_pixel_bytes(filepaths: Sequence[str]) -> int:
    """Bytes of an image's uncompressed pixels, on average over a few readable files; 0 without any."""
    sizes = []
    for path in _some(filepaths):
        try:
            sizes.append(read_image(path).nbytes)
        except ImageError:
            continue  # the run itself says which file it is
    return sum(sizes) // len(sizes) if sizes else 0


def _some(filepaths: Sequence[str]) -> Sequence[str]:
    return filepaths[:: max(1, len(filepaths) // _NUM_PROBES)]


def _memory(count: int, size: int) -> int:
    return count * 3 * size * size
