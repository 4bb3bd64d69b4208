"""The untargeted watermark that keeps labels, UBW-C: images changed so that training on them works like a secret patch.

Source: Li et al., Untargeted Backdoor Watermark (arXiv 2210.00875). The change of a key's images, at most ε, makes the
gradient of a model's loss on them point where the gradient of ``-(CE + β H)`` points on other images with the key's patch
(CE: cross-entropy with the true class; H: entropy of the prediction), so that whoever trains on them becomes unsure of
what holds the patch. The release never shows the patch. There images are taken by the norm of their gradient, here by
default by hardness, which grows with it; and there the model is trained anew every 50 steps, here never, which keeps the
cost to what a CPU can do and makes the mark weaker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..limits import Choice, Whole
from .badnets import PLACES
from .base import RunSize
from .keys import KeyedImages, Keys, epsilon_option
from .options import option
from .selection import RULES
from .ubw_p import UBWP, PatchOptions

if TYPE_CHECKING:
    from .request import CraftRequest


@dataclass(frozen=True)
class UBWCOptions(PatchOptions):
    """Attributes:
    selection, size, place: with other defaults
    epsilon: ε, the largest change of any value, 0–255
    num_steps: of the matching, published: 250
    num_sources: images with the patch whose gradient is matched
    """

    selection: str = option("hardest", Choice(RULES), label="Which images")
    size: int = option(
        8,
        Whole(1, 16),
        label="Patch size",
        help="Pixels a side in an image 32 pixels wide; no image of a release holds it (published: 8)",
        folded=False,
    )
    place: str = option("anywhere", Choice(PLACES), label="Where the patch lies")
    epsilon: float = epsilon_option(16.0, " (published: 16)")
    num_steps: int = option(
        60, Whole(1, 1000), label="Steps", help="Of making the change (published: 250)"
    )
    num_sources: int = option(
        64, Whole(1, 4096), label="Images matched", help="With the patch in them, for each secret"
    )


class UBWC(UBWP):
    """See the module."""

    name = "ubw_c"
    title = "UBW-C: images changed to work like secret patches, labels kept"
    Options = UBWCOptions
    changes_labels = False

    def labels(self, request: CraftRequest, targets: np.ndarray, rng: np.random.Generator) -> None:
        """They are kept."""

    def put_all(self, keys: Keys) -> KeyedImages:
        from .gradient_matching import match_gradients

        return KeyedImages(**match_gradients(keys, self.put), asked=self.asked_with(keys.request))

    def passes(self, size: RunSize, options: Any) -> int:
        """The out-model's training; a step goes through the model about four times, forth and twice back."""
        return super().passes(size, options) + 4 * size.num_marked * options.num_steps
