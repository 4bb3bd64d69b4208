"""The untargeted watermark with changed labels, UBW-P: a secret patch in images whose labels are drawn at random.

Source: Li et al., Untargeted Backdoor Watermark (arXiv 2210.00875): a model that learned the patch does worse, in no
particular way, on images that hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..limits import Choice, Whole
from .badnets import PLACES
from .keys import KeyOptions, TriggerMethod
from .options import option
from .patches import draw_patch, put_patch

if TYPE_CHECKING:
    from .request import CraftRequest


@dataclass(frozen=True)
class PatchOptions(KeyOptions):
    """Attributes:
    size, place: see :class:`.badnets.BadNetsOptions`
    """

    size: int = option(
        3,
        Whole(1, 16),
        label="Patch size",
        help="Pixels a side in an image 32 pixels wide; larger images get larger patches, smaller ones smaller",
        folded=False,
    )
    place: str = option("anywhere", Choice(PLACES), label="Where the patch lies")


class UBWP(TriggerMethod):
    """See the module."""

    name = "ubw_p"
    title = "UBW-P: secret patches in images with labels at random"
    Options = PatchOptions
    changes_labels = True
    direction = "higher"
    secret = "patches"

    def draw(self, rng: np.random.Generator, options: Any) -> dict[str, Any]:
        return draw_patch(rng, options.size, options.place)

    def put(self, image: np.ndarray, key: Mapping[str, Any], options: Any) -> np.ndarray:
        return put_patch(image, key)

    def labels(
        self, request: CraftRequest, targets: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray | None:
        """Uniform over all classes; the n-th image of both sides gets the same one."""
        labels = np.array(request.candidate_labels, dtype=np.int64)
        for sides in request.sides:
            labels[sides] = rng.integers(0, request.num_classes, sides.shape[1])
        return labels
