"""Differences of computed scores, rounded so that every processor ranks them alike.

The last bit of a logarithm or of a sum differs between processors and versions. Two pairs whose differences are equal
but for that bit would tie on one machine and not on another, and the p-value of the same answers would differ. So what
is computed from recorded answers is rounded before it is ranked: to :data:`DIGITS` significant digits, and to nothing
where it is smaller than that against what it was computed from. The rule is fixed here, is the same for both signs, and
looks at no coin, so that every test stays exact. Recorded answers themselves are compared as they are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Significant digits that count: 1e-9, as far as an evidence file's checker lets figures differ
DIGITS = 9


def rounded(differences: npt.ArrayLike, sizes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Returns differences rounded, shape (n,); of an opposite sign they are rounded to the opposite.

    Args:
        differences: shape (n,), infinities allowed
        sizes: the largest of what each was computed from, 0 or more, shape (n,)
    """
    values = np.asarray(differences, np.float64)
    with np.errstate(invalid="ignore"):  # 0 * inf, of two that are equal
        negligible = np.abs(values) < 10.0**-DIGITS * np.asarray(sizes, np.float64)
    kept = np.where(negligible & np.isfinite(values), 0.0, values)
    return np.array([float(f"{value:.{DIGITS - 1}e}") for value in kept], np.float64)
