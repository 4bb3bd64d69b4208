"""Hard images, mirrored: an ablation of the HoneyImage paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .changed import Changed

if TYPE_CHECKING:
    from .request import CraftRequest


class Flip(Changed):
    """The image, left to right; who augments by mirroring cannot tell it from the original."""

    name = "flip"
    title = "Hard images, mirrored"

    def change(self, request: CraftRequest, row: int, rng: np.random.Generator) -> np.ndarray:
        return np.ascontiguousarray(request.candidates[row][:, ::-1])
