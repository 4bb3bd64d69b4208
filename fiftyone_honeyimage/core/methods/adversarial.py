"""Hard images as adversarial examples: an ablation of the HoneyImage paper (its ADV)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import RunSize
from .honeyimage import Ascent, AscentOptions

if TYPE_CHECKING:
    from .request import CraftRequest, CraftResult


class Adversarial(Ascent):
    """Projected gradient ascent on the loss of a model that has not seen the image, without one that has.

    Source: Madry et al., ICLR 2018, on the out-model; within the same budget as a HoneyImage, and with the same room.
    """

    name = "adv"
    title = "Hard images as adversarial examples"
    Options = AscentOptions

    def craft(self, request: CraftRequest) -> CraftResult:
        from .crafting import craft_by_ascent

        return craft_by_ascent(request, with_in_model=False)

    def passes(self, size: RunSize, options: Any) -> int:
        """The out-model's training, and its ascent."""
        rest = size.num_images - size.num_marked
        models = options.num_out_models
        return rest * size.epochs * models + self.ascent_passes(size, options, models)
