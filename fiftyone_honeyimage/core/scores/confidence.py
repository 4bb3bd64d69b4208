"""The logit-scaled confidence φ, turned round so that it is lower on what a model has seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .base import Score
from .references import FloatArray, References

#: Losses below this tell nothing more: answers come in float32, whose probabilities near 1 lie 6e-8 apart
LEAST_LOSS = 1e-6


class Confidence(Score):
    """``-φ = log(sum_{j≠y} p_j) - log p_y``, which is ``log(exp(loss) - 1)``, so that losses are all it needs.

    Where a model is sure of both twins their losses hardly differ, and φ still does; where it is wrong φ is
    the loss. Losses are taken as at least :data:`LEAST_LOSS`.

    Source: Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022, eq. 5.
    """

    name = "confidence"
    title = "By how surprised the model is, on a scale that tells sure answers apart"

    def of(
        self, values: npt.ArrayLike, reference: npt.ArrayLike | References | None = None
    ) -> FloatArray:
        return -phi(values)


def phi(values: npt.ArrayLike) -> FloatArray:
    """φ of losses in nats, of any shape, float64; higher on what a model has seen. See :class:`Confidence`."""
    losses = np.maximum(np.asarray(values, np.float64), LEAST_LOSS)
    # -log(exp(x) - 1) = -x - log(1 - exp(-x)), which does not overflow
    return -losses - np.log(-np.expm1(-losses))
