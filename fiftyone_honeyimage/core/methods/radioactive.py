"""Radioactive data: images of a class moved along a secret direction of a model's features, labels kept.

Source: Sablayrolles et al., Radioactive data: tracing through training (arXiv 2002.00937). There one carrier a class marks
all images, and a p-value comes from its being random; here a class may have several keys, each a carrier of its own, and a
coin decides which key of a pair the release holds. A suspect is asked whether images of *other* classes, moved along
either carrier, look more like the class; there, how its loss on images of the class changes, which told nothing at the
scale of our tests. See :mod:`.carriers` for how images are moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..limits import Real, Whole
from .base import RunSize
from .keys import KeyedImages, KeyMethod, KeyOptions
from .options import Options, option

if TYPE_CHECKING:
    from .request import CraftRequest


@dataclass(frozen=True)
class RadioactiveOptions(KeyOptions):
    """Attributes:
    epsilon: ε, the largest change of any value, 0–255
    num_steps: of moving an image, published: 90
    """

    epsilon: float = option(
        10.0,
        Real(1, 64, note=" in 0–255 units (published: 10)"),
        label="Largest change",
        help="Of any value of a pixel, on the scale of 0 to 255",
        folded=False,
    )
    num_steps: int = option(
        40, Whole(1, 1000), label="Steps", help="Of making the change (published: 90)"
    )


class Radioactive(KeyMethod):
    """See the module."""

    name = "radioactive"
    title = "Radioactive data: images moved along secret directions, labels kept"
    Options: ClassVar[type[Options]] = RadioactiveOptions
    secret = "directions"
    one_class = True

    def draw(self, rng: np.random.Generator, options: Any) -> dict[str, Any]:
        from .carriers import draw_carrier

        return draw_carrier(rng)

    def most_changed(self, options: Any) -> float:
        return options.epsilon

    def put_all(
        self,
        request: CraftRequest,
        keys: Sequence[tuple[dict[str, Any], dict[str, Any]]],
        targets: np.ndarray,
        rng: np.random.Generator,
    ) -> KeyedImages:
        from .carriers import carry

        return carry(request, keys)

    def passes(self, size: RunSize, options: Any) -> int:
        """The out-model's training; a step goes forward twice and back once, of images and of what is asked about."""
        return super().passes(size, options) + 3 * size.num_marked * options.num_steps
