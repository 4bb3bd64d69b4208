"""Hard images, each mixed with another one: an ablation of the HoneyImage paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..errors import SamplesError
from ..limits import Real
from ..seeds import derive_seed
from .changed import Changed
from .options import option
from .selection import NO_MEASURES, Candidates, left_over
from .selection_options import SelectionOptions

if TYPE_CHECKING:
    from .request import CraftRequest


@dataclass(frozen=True)
class MixupOptions(SelectionOptions):
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
    """``λ x + (1 − λ) x'`` with a random image x' that is not marked (Zhang et al., ICLR 2018), and the label of x.

    The other image is one that a release holds as it is: with a candidate, a released image would hold something of a
    withheld one.
    """

    name = "mixup"
    title = "Hard images, mixed with others: the change is seen"
    Options = MixupOptions

    def choose(
        self,
        hardness: np.ndarray,
        labels: np.ndarray,
        *,
        options: Any,
        num_honeyimages: int,
        num_pairs: int,
        excluded: Mapping[str, np.ndarray],
        seed: int,
        measures: Mapping[str, np.ndarray] = NO_MEASURES,
    ) -> Candidates:
        """Raises:
        SamplesError: if there are too few images, or none is left to be mixed in
        """
        found = super().choose(
            hardness,
            labels,
            options=options,
            num_honeyimages=num_honeyimages,
            num_pairs=num_pairs,
            excluded=excluded,
            seed=seed,
            measures=measures,
        )
        free = left_over(found, len(labels), excluded)
        number = len(found.rows)
        if not len(free):
            raise SamplesError(
                f"no image is left to be mixed into the {number} that are marked; ask for fewer, or exclude less"
            )
        rng = np.random.default_rng(derive_seed(seed, "partners"))
        return replace(found, partners=rng.choice(free, number, replace=number > len(free)))

    def change(self, request: CraftRequest, row: int, rng: np.random.Generator) -> np.ndarray:
        from ..codecs.base import is_grey
        from ..resizing import resize_uint8

        weight, image = request.options.weight, request.candidates[row]
        other = resize_uint8(request.partners[row], image.shape[:2])
        if is_grey(image):  # whose file may have no colours
            other = np.array(Image.fromarray(other).convert("L").convert("RGB"))
        return np.rint(weight * image + (1 - weight) * other).astype(np.uint8)
