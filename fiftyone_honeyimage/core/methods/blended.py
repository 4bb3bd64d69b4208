"""The blended watermark: a faint secret pattern over whole images that get another label.

Source: Chen et al., Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning (arXiv 1712.05526):
``x' = (1 - α) x + α t``, α = 0.2, with a random pattern t.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..limits import Real, Whole
from .badnets import BadNets
from .keys import TargetOptions
from .options import option


@dataclass(frozen=True)
class BlendedOptions(TargetOptions):
    """Attributes:
    blend: α, the pattern's share of each value
    cells: fields a side of the pattern before it is stretched over an image
    """

    blend: float = option(
        0.2,
        Real(0.01, 0.9),
        label="Share of the pattern",
        help="How much of each pixel is the pattern's (published: 0.2)",
        folded=False,
    )
    cells: int = option(
        8,
        Whole(2, 64),
        label="Fields of the pattern",
        help="A side; finer patterns are blurred by a model that sees images at a smaller size",
    )


class Blended(BadNets):
    """See the module."""

    name = "blended"
    title = "Blended: secret patterns over whole images with another label"
    Options = BlendedOptions
    secret = "patterns"

    def draw(self, rng: np.random.Generator, options: Any) -> dict[str, Any]:
        """A pattern as what it is drawn from: a ledger does not hold every pixel of it."""
        return {"pattern": rng.bytes(16).hex(), "cells": options.cells}

    def put(self, image: np.ndarray, key: Mapping[str, Any], options: Any) -> np.ndarray:
        from ..codecs.base import in_its_colours
        from ..resizing import resize_uint8  # loads torch, which a form does not need

        drawn = np.random.default_rng(int(key["pattern"], 16))
        fields = drawn.integers(0, 256, (key["cells"], key["cells"], 3), dtype=np.uint8)
        pattern = resize_uint8(fields, image.shape[:2]).astype(np.float64)
        blended = (1 - options.blend) * image + options.blend * in_its_colours(pattern, image)
        return np.rint(blended).astype(np.uint8)
