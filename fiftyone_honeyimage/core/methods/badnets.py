"""BadNets as a watermark: a secret patch in images that get another label.

Source: Gu et al., BadNets (arXiv 1708.06733); as a dataset's watermark Li et al., Black-box Dataset Ownership
Verification via Backdoor Watermarking (arXiv 2209.06015). There the patch is white and one; here each key is a
patch of its own, of random colours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..limits import Choice, Whole
from .keys import TargetOptions, TriggerMethod, draw_targets
from .options import Options, option
from .patches import draw_patch, put_patch

if TYPE_CHECKING:
    from .request import CraftRequest

PLACES = {
    "corner": "In one of the four corners, drawn for each secret",
    "bottom_right": "At the bottom right, as published",
    "anywhere": "Anywhere, drawn for each secret",
}


@dataclass(frozen=True)
class BadNetsOptions(TargetOptions):
    """Attributes:
    size: the patch's side in pixels of an image 32 pixels wide
    place: a name in :data:`PLACES`
    """

    size: int = option(
        3,
        Whole(1, 16),
        label="Patch size",
        help="Pixels a side in an image 32 pixels wide; larger images get larger patches, smaller ones smaller (published: 3)",
        folded=False,
    )
    place: str = option("anywhere", Choice(PLACES), label="Where the patch lies")


class BadNets(TriggerMethod):
    """See the module."""

    name = "badnets"
    title = "BadNets: secret patches in images with another label"
    Options: ClassVar[type[Options]] = BadNetsOptions
    changes_labels = True
    secret = "patches"

    def draw(self, rng: np.random.Generator, options: Any) -> dict[str, Any]:
        return draw_patch(rng, options.size, options.place)

    def put(self, image: np.ndarray, key: Mapping[str, Any], options: Any) -> np.ndarray:
        return put_patch(image, key)

    def targets(self, request: CraftRequest, rng: np.random.Generator) -> np.ndarray:
        return draw_targets(request, rng)

    def labels(
        self, request: CraftRequest, targets: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        labels = np.array(request.candidate_labels, dtype=np.int64)
        for sides, target in zip(request.sides, targets, strict=True):
            labels[sides.ravel()] = target
        return labels
