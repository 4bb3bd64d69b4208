"""Hard images, cropped: an ablation of the HoneyImage paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..limits import Real
from .changed import Changed
from .options import option
from .unperturbed import UnperturbedOptions

if TYPE_CHECKING:
    from .request import CraftRequest


@dataclass(frozen=True)
class CropOptions(UnperturbedOptions):
    """Attributes:
    share: of each side that is kept, 0.1 to 1
    """

    share: float = option(
        0.75, Real(0.1, 1), label="Share kept", help="Of each side, at a random place", folded=False
    )


class Crop(Changed):
    """A random part of the image, enlarged to its size."""

    name = "crop"
    title = "Hard images, cropped: the change is seen"
    Options = CropOptions

    def change(
        self, image: np.ndarray, request: CraftRequest, rng: np.random.Generator
    ) -> np.ndarray:
        from ..resizing import resize_uint8

        height, width = image.shape[:2]
        kept = [max(1, round(request.options.share * side)) for side in (height, width)]
        top, left = (
            int(rng.integers(side - own + 1))
            for side, own in zip((height, width), kept, strict=True)
        )
        part = image[top : top + kept[0], left : left + kept[1]]
        return resize_uint8(np.ascontiguousarray(part), (height, width))
