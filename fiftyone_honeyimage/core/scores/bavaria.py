"""BaVarIA's idea: a likelihood ratio whose variances come from a conjugate prior, for few reference models."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import stats

from .base import Score
from .confidence import phi
from .references import FloatArray, References, mean_where, references_of, residual_std

#: Shape α₀ of the prior of the variance: as much as four answers would say
SHAPE = 2.0

_LEAST_STD = 1e-6


class Bavaria(Score):
    """``-Λ``, ``Λ = log t(φ; in) - log t(φ; out)``: each image's posterior predictive under a normal-inverse-gamma prior.

    ``σ² ~ IG(α₀, β₀)``, ``μ | σ² ~ N(μ₀, σ²/κ₀)``. With n answers of mean m and sum of squares S around it
    ``κ = κ₀ + n``, ``μ = (κ₀μ₀ + n·m)/κ``, ``α = α₀ + n/2``, ``β = β₀ + S/2 + κ₀·n·(m - μ₀)²/(2κ)``, and φ is
    Student's t with 2α degrees of freedom, centre μ and scale ``sqrt(β(κ + 1)/(ακ))``.

    Source: Brännvall, Exponential-Family Membership Inference: From LiRA and RMIA to BaVarIA, arXiv 2603.11799, whose
    abstract names the conjugate prior and the Student-t predictive (BaVarIA-t). The paper's own values of the prior could
    not be had. Here they are taken from all images (empirical Bayes), for seen and unseen apart: μ₀ is the mean of the
    images' means, β₀ makes the prior's mean variance the pooled residual one, κ₀ is that variance over the variance
    between images' means, and α₀ is :data:`SHAPE`. The predictive is that of Murphy, Conjugate Bayesian analysis of the
    Gaussian distribution, 2007, eq. 100 and 110.
    """

    name = "bavaria"
    title = "Like LiRA online, with spreads steadied by all images (BaVarIA)"
    least_references = 4
    follows_loss = False

    def fit(self, references: References) -> Mapping[str, float]:
        """μ₀, κ₀ and the prior's mean variance, of seen and of unseen images."""
        fitted = {}
        values = phi(references.losses)
        for name, chosen in (("in", references.members), ("out", ~references.members)):
            means = mean_where(values, chosen)
            variance = max(residual_std(values, chosen), _LEAST_STD) ** 2
            # What the images' means vary beyond what their few answers make them vary
            own = float((variance / chosen.sum(axis=0)).mean())
            between = max(float(means.var()) - own, variance / 100)
            fitted[f"mean_{name}"] = float(means.mean())
            fitted[f"weight_{name}"] = variance / between
            fitted[f"variance_{name}"] = variance
        return fitted

    def of(
        self, values: npt.ArrayLike, reference: npt.ArrayLike | References | None = None
    ) -> FloatArray:
        suspect = phi(values)
        given = references_of(reference, suspect)
        inside = _log_predictive(suspect, given, given.members, "in")
        outside = _log_predictive(suspect, given, ~given.members, "out")
        return np.asarray(outside - inside, np.float64)


def _log_predictive(
    suspect: FloatArray, given: References, chosen: npt.NDArray[np.bool_], name: str
) -> FloatArray:
    values = phi(given.losses)
    center, weight = given.value(f"mean_{name}"), given.value(f"weight_{name}")
    number = chosen.sum(axis=0)
    mean = mean_where(values, chosen)
    squares = np.where(chosen, (values - mean) ** 2, 0.0).sum(axis=0)
    kappa, alpha = weight + number, SHAPE + number / 2
    beta = (SHAPE - 1) * given.value(f"variance_{name}") + squares / 2
    beta = beta + weight * number * (mean - center) ** 2 / (2 * kappa)
    scale = np.sqrt(beta * (kappa + 1) / (alpha * kappa))
    return np.asarray(
        stats.t.logpdf(suspect, 2 * alpha, (weight * center + number * mean) / kappa, scale),
        np.float64,
    )
