"""SSCL-BW: a generator writes an invisible watermark into images of one class, labels kept.

Source: Sample-specific clean-label backdoor watermarking (SSCL-BW). A model that trained on the release takes for the
target class whatever image the generator has marked. There one generator marks up to a tenth of the set; here each key
is a generator of its own, and a coin decides which key of a pair the release holds. See :mod:`.watermark_generator`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import ParameterError
from ..limits import Real, Whole
from .base import RunSize
from .keys import ANY_CLASS, KeyedImages, KeyMethod, Keys, TargetOptions, epsilon_option
from .options import Options, option


@dataclass(frozen=True)
class SSCLBWOptions(TargetOptions):
    """Attributes:
    target_class: the class of the images that get a secret, and keep it
    epsilon: ε, the largest change of any value, 0–255
    num_steps: of training a generator
    weight_target, weight_others, weight_change: a, b and c, the weights of its losses
    """

    target_class: int = option(
        ANY_CLASS,
        Whole(ANY_CLASS, 100_000),
        label="Class",
        help="Of the images that get a secret: 0 for the first in alphabetical order, and so on; -1 takes the classes in turn",
    )
    epsilon: float = epsilon_option(16.0)
    num_steps: int = option(
        150, Whole(1, 10_000), label="Steps", help="Of training what writes each secret"
    )
    weight_target: float = option(
        0.2, Real(0, 100), label="Weight: marked images of the class are not known by themselves"
    )
    weight_others: float = option(
        1.0, Real(0, 100), label="Weight: marked images of other classes pass for the class"
    )
    weight_change: float = option(0.1, Real(0, 100), label="Weight: little is changed")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.weight_target and not self.weight_others:
            raise ParameterError(
                "weight_target and weight_others are both 0, and a secret would learn nothing; make one of them positive"
            )


class SSCLBW(KeyMethod):
    """See the module."""

    name = "sscl_bw"
    title = "SSCL-BW: invisible watermarks, other for every image, labels kept"
    Options: ClassVar[type[Options]] = SSCLBWOptions
    secret = "watermark generators"
    one_class = True

    def draw(self, rng: np.random.Generator, options: Any) -> dict[str, Any]:
        """The seed of a generator, 128 bits in hexadecimal."""
        return {"generator": rng.bytes(16).hex()}

    def put_all(self, keys: Keys) -> KeyedImages:
        from .watermark_generator import watermark

        return watermark(keys)

    def passes(self, size: RunSize, options: Any) -> int:
        """The out-model's training, and of each key's generator; a step sees 64 images."""
        return super().passes(size, options) + 2 * size.num_pairs * 64 * options.num_steps
