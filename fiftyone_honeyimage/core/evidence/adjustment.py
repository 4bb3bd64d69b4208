"""Covariate adjustment: allowing for how hard each image is to begin with, without giving up exactness.

Twins are alike, but not equally hard. What models that never saw the coins say of both, ``c_i``, explains a
part of ``d_i``; the rest, ``d_i - beta * c_i``, shows a suspect's memory more clearly.

Why the tests stay exact. ``c_i`` and ``d_i`` change their signs together when a coin falls the other way, so
that the ratios ``d_i / c_i`` and the weights ``|c_i|`` do not change, and neither does a slope that is
computed from these alone. Given it, the signs of ``d_i - beta * c_i`` are fair coins under the null hypothesis,
as those of ``d_i`` are. A pair without a covariate has ``c_i = 0`` and is left as it is; whether it has one
was decided before the coins.

The slope is the weighted median of ``d_i / c_i`` with weights ``|c_i|``: least absolute deviations through the
origin. Least squares would do as well while every pair is answered. But whoever makes queries fail may know
the coins and the answers, and by leaving out pairs of his choice he could move a least-squares slope
anywhere. A median moves only as far as the weight of the failed pairs allows: it lies between the slopes that
one gets with their ratios at minus and at plus infinity. The test is then made with the smaller of the two
residuals of each pair. Its statistic (signed ranks or signs) falls in no residual, so that its p-value is at
least that of any answers on the failed pairs, and ``P(p <= alpha) <= alpha`` holds whichever pairs fail. Where the
failed pairs hold half of the weight the slope may be anything, and nothing can be shown.

Source: covariance adjustment in randomisation inference, Rosenbaum, Statistical Science 17(3), 2002;
difficulty calibration of membership inference, Watson et al., ICLR 2022.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def adjust(
    differences: npt.ArrayLike, covariates: npt.ArrayLike, failed: npt.ArrayLike = ()
) -> FloatArray:
    """Returns the residuals that a test is made with, shape (n,), float64.

    Args:
        differences: ``d`` of the answered pairs, shape (n,), finite
        covariates: ``c`` of the same pairs, in the same direction, shape (n,), finite
        failed (()): ``c`` of the pairs with a failed query, shape (k,)
    """
    d, c = np.asarray(differences, np.float64), np.asarray(covariates, np.float64)
    low, high = slopes(d, c, np.asarray(failed, np.float64))
    return np.minimum(_residuals(d, c, low), _residuals(d, c, high))


def slopes(
    differences: FloatArray, covariates: FloatArray, failed: FloatArray
) -> tuple[float, float]:
    """The smallest and the largest slope that any answers on the failed pairs would have given."""
    known = covariates != 0
    c = covariates[known]
    lost = float(np.abs(failed).sum())
    if not c.size and not lost:
        return 0.0, 0.0
    ratios = differences[known] / c
    order = np.argsort(ratios, kind="stable")
    return (
        _weighted_median(ratios[order], np.abs(c)[order], below=lost),
        _weighted_median(ratios[order], np.abs(c)[order], above=lost),
    )


def _weighted_median(
    ratios: FloatArray, weights: FloatArray, below: float = 0.0, above: float = 0.0
) -> float:
    """The smallest ratio up to which half of the weight lies, some of it at minus or plus infinity."""
    reached = below + np.cumsum(weights)
    half = (below + float(weights.sum()) + above) / 2
    # Rounding must not tell an exact half from less: the slope of all pairs lies in between in any case
    half += 1e-9 * half * ((above > 0) - (below > 0))
    if below > 0 and below >= half:
        return -np.inf
    place = int(np.searchsorted(reached, half))
    return float(ratios[place]) if place < len(ratios) else np.inf


def _residuals(d: FloatArray, c: FloatArray, slope: float) -> FloatArray:
    if np.isfinite(slope):
        return d - slope * c
    # Wherever there is a covariate, the residual may be as far against the owner as one likes
    return np.where(c == 0, d, -np.inf)
