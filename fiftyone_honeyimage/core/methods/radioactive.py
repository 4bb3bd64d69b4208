"""Radioactive data: images of a class moved along a secret direction of a model's features, labels kept.

Source: Sablayrolles et al., Radioactive data: tracing through training (arXiv 2002.00937). There one carrier a class marks
all images, and a p-value comes from its being random; here a class may have several keys, each a carrier of its own, and a
coin decides which key of a pair the release holds. A suspect is asked whether images of *other* classes, moved along
either carrier, look more like the class; there, how its loss on images of the class itself changes. See
:mod:`.carriers` for how images are moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..limits import Whole
from .base import RunSize
from .keys import KeyedImages, KeyMethod, KeyOptions, Keys, epsilon_option
from .options import Options, option


@dataclass(frozen=True)
class RadioactiveOptions(KeyOptions):
    """Attributes:
    epsilon: ε, the largest change of any value, 0–255
    num_steps: of moving an image, published: 90
    """

    epsilon: float = epsilon_option(10.0, " (published: 10)")
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
    published_by_loss = True

    def draw(self, rng: np.random.Generator, options: Any) -> dict[str, Any]:
        from .carriers import draw_carrier

        return draw_carrier(rng)

    def put_all(self, keys: Keys) -> KeyedImages:
        from .carriers import carry

        return carry(keys)

    def passes(self, size: RunSize, options: Any) -> int:
        """The out-model's training; a step goes forward twice and back once, of images and of what is asked about."""
        return super().passes(size, options) + 3 * size.num_marked * options.num_steps
