"""Reference models that are trained for real, on noisy handwritten digits, in seconds; shared by the tests of scores."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits

from fiftyone_honeyimage.core.methods.request import CraftRequest, CraftResult
from fiftyone_honeyimage.core.pipeline.reference_models import train_references
from fiftyone_honeyimage.core.scores import References, SideReferences
from fiftyone_honeyimage.core.training import TrainingConfig

NUM_MODELS = 8
NUM_PAIRS = 32
_REST = 60


@cache
def trained(seed: int) -> list[tuple[SideReferences, SideReferences]]:
    """What eight networks say of 32 pairs of unmodified twins, each network trained on half of the sides."""
    rng = np.random.default_rng(seed)
    digits = load_digits()
    rows = rng.permutation(len(digits.images))[: _REST + 2 * NUM_PAIRS]
    noisy = digits.images[rows] * 12 + rng.normal(0, 90, (len(rows), 8, 8))
    images = np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[..., None], 3, axis=3)
    labels, none = digits.target[rows], np.full(2 * NUM_PAIRS, np.nan)
    request = CraftRequest(
        candidates=list(images[_REST:]),
        candidate_labels=labels[_REST:],
        rest=torch.from_numpy(images[:_REST].transpose(0, 3, 1, 2).copy()),
        rest_labels=labels[:_REST],
        num_classes=10,
        options=None,
        proxy="resnet_tiny",
        config=TrainingConfig(epochs=15, batch_size=32, crop_padding=0, flip=False),
        seed=seed,
        device="cpu",
        sides=np.arange(2 * NUM_PAIRS).reshape(NUM_PAIRS, 2, 1),
    )
    unchanged = CraftResult(
        list(images[_REST:]), None, none, none, none, np.empty(0), torch.nn.Identity()
    )
    return train_references(request, unchanged, NUM_MODELS)


def references(seed: int) -> References:
    """The same as one table, sides a and b in turn."""
    return References.of_sides([side for pair in trained(seed) for side in pair])
