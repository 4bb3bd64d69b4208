"""Hard images, cropped: an ablation of the HoneyImage paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..limits import Real
from .changed import Changed
from .options import option
from .selection_options import SelectionOptions

if TYPE_CHECKING:
    from .request import CraftRequest


@dataclass(frozen=True)
class CropOptions(SelectionOptions):
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

    def change(self, request: CraftRequest, row: int, rng: np.random.Generator) -> np.ndarray:
        from ..resizing import resize_uint8
        from .transforms import random_part

        image = request.candidates[row]
        height, width = image.shape[:2]
        rows, columns = (random_part(side, request.options.share, rng) for side in (height, width))
        return resize_uint8(np.ascontiguousarray(image[rows, columns]), (height, width))
