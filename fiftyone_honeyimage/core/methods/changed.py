"""What the paper's ablations of generation share: hard images, changed by a step that takes no training."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..images import LazyImages
from ..seeds import derive_seed
from .selection_options import SelectionOptions
from .unperturbed import Unperturbed

if TYPE_CHECKING:
    from ..codecs.base import Codec
    from .request import CraftRequest, CraftResult


class Changed(Unperturbed):
    """A method that changes each image by itself, both twins by the same step.

    Source: the HoneyImage paper (arXiv 2508.00892) compares its marks with such changes of the same hard images; it does not
    print their parameters.
    """

    Options = SelectionOptions
    changes_pixels = True
    no_room = "transparent in part, and a changed picture would no longer fit what is transparent"

    @abstractmethod
    def change(self, request: CraftRequest, row: int, rng: np.random.Generator) -> np.ndarray:
        """A candidate as a release holds it, uint8 (H, W, 3), of the same shape.

        Args:
            request: what was asked for
            row: which candidate
            rng: its own generator
        """

    def has_room(self, codec: Codec, options: Any) -> bool:
        return not codec.transparent

    def most_changed(self, options: Any) -> float:
        return 255.0

    def craft(self, request: CraftRequest) -> CraftResult:
        from .changed_images import finish_changed

        def changed(row: int) -> np.ndarray:
            rng = np.random.default_rng(derive_seed(request.seed, self.name, row))
            return self.change(request, row, rng)  # raises IndexError at the end

        return finish_changed(request, LazyImages(len(request.candidates), changed))
