"""What the likelihood-ratio attacks share: φ under reference models as a normal distribution an image.

Source: Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022, algorithm 1, and section V-C for
one variance of all images where reference models are few.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from .base import Score
from .confidence import phi
from .references import FloatArray, References, mean_where, residual_std

#: From so many reference models on each image has a spread of its own
PER_IMAGE = 64

#: Spreads below this are no spread but equal answers
LEAST_STD = 1e-6


class Gaussian(Score):
    """φ under reference models as a normal distribution an image, in and out."""

    least_references = 4

    def fit(self, references: References) -> Mapping[str, float]:
        """The pooled residual spreads of φ under models that have seen an image and that have not."""
        values = phi(references.losses)
        return {
            "std_in": residual_std(values, references.members),
            "std_out": residual_std(values, ~references.members),
        }


def mean_and_std(
    given: References, chosen: npt.NDArray[np.bool_], name: str
) -> tuple[FloatArray, FloatArray]:
    """Each image's mean of φ over the chosen models and its spread, float64 (n_images,) both."""
    values = phi(given.losses)
    mean = mean_where(values, chosen)
    std = np.full(mean.shape, given.value(name))
    if given.num_models >= PER_IMAGE:
        squares = np.where(chosen, (values - mean) ** 2, 0.0).sum(axis=0)
        std = np.sqrt(squares / np.maximum(chosen.sum(axis=0) - 1, 1))
    return mean, np.maximum(std, LEAST_STD)
