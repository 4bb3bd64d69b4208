"""Learn-original: an attack model learns from reference models what seen images look like."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from ..errors import ParameterError
from .base import Score
from .confidence import phi
from .references import FloatArray, References, references_of

#: Weight of the squared slope: a fit exists also where seen and unseen are wholly apart
_RIDGE = 1e-2

_STEPS = 100


class LearnOriginal(Score):
    """``-P(seen | φ)``, by a logistic regression that is fitted to all reference models' answers on all images.

    The papers' attack network takes the whole vector of class scores; answers are recorded as losses, so that φ is what
    there is to learn from. Two numbers tell the fit, so that anybody gets the same score from them, which a network of
    random beginnings would not allow.

    Source: Shokri et al., Membership Inference Attacks Against Machine Learning Models, IEEE S&P 2017, section V (shadow
    models and attack model); TDDBench, where the name comes from, trains one attack model for all classes, as here.
    """

    name = "learn_original"
    title = "Learn-original: what reference models' answers teach about seen images"
    least_references = 4
    follows_loss = False

    def fit(self, references: References) -> Mapping[str, float]:
        """Intercept and slope of the log-odds of having been seen, in φ."""
        values = phi(references.losses).ravel()
        center, scale = float(values.mean()), max(float(values.std()), 1e-6)
        intercept, slope = fit_logistic((values - center) / scale, references.members.ravel())
        return {"intercept": intercept - slope * center / scale, "slope": slope / scale}

    def of(
        self, values: npt.ArrayLike, reference: npt.ArrayLike | References | None = None
    ) -> FloatArray:
        suspect = phi(values)
        given = references_of(reference, suspect)
        odds = given.value("intercept") + given.value("slope") * suspect
        return np.asarray(-expit(odds), np.float64)


def fit_logistic(values: FloatArray, seen: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Intercept and slope that minimise ``Σ log(1 + exp(-±(a + b·x))) + RIDGE·b²/2``, by Newton's method.

    Args:
        values: (n,), of mean 0 and spread 1
        seen: (n,)

    Raises:
        ParameterError: if the method does not settle
    """
    design = np.stack([np.ones_like(values), values])
    penalty = np.diag([0.0, _RIDGE])
    weights = np.zeros(2)
    for _ in range(_STEPS):
        chance = expit(weights @ design)
        gradient = design @ (chance - seen) + penalty @ weights
        curvature = (design * (chance * (1 - chance))) @ design.T + penalty
        step = np.linalg.solve(curvature, gradient)
        # Far from the minimum whole steps overshoot
        weights = weights - step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-10:
            return float(weights[0]), float(weights[1])
    raise ParameterError(
        "The attack model of learn_original does not settle on these reference models' losses; use another score"
    )
