"""HoneyImages among images that are arrays alone, as benchmarks need them."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.datasets import to_tensor
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.request import CraftRequest
from fiftyone_honeyimage.core.training import TrainingConfig


def with_honeyimages(
    images: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    rest: np.ndarray,
    num_classes: int,
    *,
    proxy: str,
    config: TrainingConfig,
    seed: int,
    device: str | None = None,
    **options: Any,
) -> np.ndarray:
    """A copy of images in which some are HoneyImages.

    Args:
        images: uint8 (N, S, S, 3)
        labels: int64 (N,)
        rows: int64 (K,), which become HoneyImages
        rest: int64 (R,), which the proxies are trained on beside them
        num_classes: C
        proxy, config, seed, device: of the proxies
        **options: of the method
    """
    method = METHODS["honeyimage"]
    result = method.craft(
        CraftRequest(
            candidates=list(images[rows]),
            candidate_labels=labels[rows],
            rest=to_tensor(images[rest]),
            rest_labels=labels[rest],
            num_classes=num_classes,
            proxy=proxy,
            config=config,
            seed=seed,
            device=device,
            options=method.Options(**options),
        )
    )
    marked = images.copy()
    marked[rows] = np.stack(list(result.images))
    return marked
