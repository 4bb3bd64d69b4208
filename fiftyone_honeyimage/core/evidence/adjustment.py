"""Covariate adjustment: allowing for how hard each image is to begin with, without giving up exactness.

Twins are alike, but not equally hard. What models that never saw the coins say of both sides, ``c``, explains
a part of the difference ``d`` of a suspect's answers; the rest, ``d - SLOPE * c``, shows its memory more clearly.

Why the tests stay exact. The slope is fixed before any coin, and ``c`` and ``d`` change their signs together when
a coin falls the other way. Given their absolute values and relative signs, the sign of ``d - SLOPE * c`` is
a fair coin under the null hypothesis, as that of ``d`` is: every pair's by itself, so that it may be tested in turn,
and whichever pairs fail.

Why the slope is not fitted to the suspect's answers, as covariance adjustment does elsewhere. A line through the
origin takes the very memory that is looked for as a part of hardness: a suspect that knows all released sides answers
with the hardness of the withheld ones. On the answers of three real trainings a fitted slope, by least squares or least
absolute deviations, made p larger (``benchmarks/power.py``, docs/measured.md). And whoever could make chosen queries fail would
move it. One half is what such a suspect calls for: its answers follow the references on one side of the two.

Source: difficulty calibration of membership inference, Watson et al., ICLR 2022, with a slope of 1; covariance
adjustment in randomisation inference, Rosenbaum, Statistical Science 17(3), 2002.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .rounding import rounded

#: How much of a difference between references is taken off a suspect's
SLOPE = 0.5

#: What differences are allowed for: nothing, or what models said of both twins that never saw a coin
ADJUSTMENTS = {
    "none": "Compares the answers as they are",
    "references": "Allows for how hard each image is to models that never saw the coins",
}


def adjust(differences: npt.ArrayLike, covariates: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Returns what a test is made with, rounded (:mod:`.rounding`), shape (n,).

    Args:
        differences: ``d`` of the answered pairs, shape (n,)
        covariates: ``c`` of the same pairs, in the same direction and on the same scale, shape (n,)
    """
    c = np.asarray(covariates, np.float64)
    # No number can be taken off where a score is infinite; whether it is does not depend on a coin
    taken = SLOPE * np.where(np.isfinite(c), c, 0.0)
    d = np.asarray(differences, np.float64)
    return rounded(d - taken, np.maximum(np.abs(d), np.abs(taken)))
