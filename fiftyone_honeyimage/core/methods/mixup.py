"""Hard images, each mixed with another one: an ablation of the HoneyImage paper."""

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
class MixupOptions(UnperturbedOptions):
    """Attributes:
    weight: λ, the image's own share of each value
    """

    weight: float = option(
        0.7,
        Real(0.05, 1),
        label="Share of the image",
        help="The rest is another image's; the label is kept",
        folded=False,
    )


class Mixup(Changed):
    """``λ x + (1 − λ) x'`` with a random image x' that is not marked (Zhang et al., ICLR 2018), and the label of x."""

    name = "mixup"
    title = "Hard images, mixed with others: the change is seen"
    Options = MixupOptions

    def change(
        self, image: np.ndarray, request: CraftRequest, rng: np.random.Generator
    ) -> np.ndarray:
        from ..resizing import resize_uint8

        weight = request.options.weight
        other = request.rest[int(rng.integers(len(request.rest)))].permute(1, 2, 0).numpy()
        other = resize_uint8(np.ascontiguousarray(other), image.shape[:2])
        return np.rint(weight * image + (1 - weight) * other).astype(np.uint8)
