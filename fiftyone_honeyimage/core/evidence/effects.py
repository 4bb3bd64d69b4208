"""How much better a suspect does on released twins. These figures are shown and never decide."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from .twins import checked_differences, correctness_differences, sign_flip_distribution


def hodges_lehmann(
    differences: npt.ArrayLike, confidence: float = 0.95
) -> tuple[float | None, tuple[float, float] | None]:
    """How much lower the loss is on released twins: Hodges and Lehmann's median and its interval.

    The estimate is the median of the Walsh averages ``(d_i + d_j) / 2, i <= j``. The interval
    inverts the exact two-sided signed-rank test; it presumes differences that are symmetric around
    their median, which the p-value does not.

    Args:
        differences: ``d`` in nats, shape (n,)
        confidence (0.95): the interval's confidence

    Returns:
        the estimate, None without finite differences, and the interval, None where so few pairs
        cannot give one (fewer than 6 at 0.95)

    Source: Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 2014, sections 3.2-3.3.
    """
    values = checked_differences(differences)
    if not values.size or not np.isfinite(values).all():
        return None, None

    rows, columns = np.triu_indices(values.size)
    walsh = np.sort(values[rows] / 2 + values[columns] / 2)
    distribution = sign_flip_distribution(np.arange(1, values.size + 1))
    # The largest k with P(W <= k - 1) <= (1 - confidence) / 2
    k = int(np.searchsorted(np.cumsum(distribution), (1 - confidence) / 2, side="right"))
    interval = (float(walsh[k - 1]), float(walsh[-k])) if k else None
    return float(np.median(walsh)), interval


def accuracy_difference(
    released_correct: npt.ArrayLike, withheld_correct: npt.ArrayLike, confidence: float = 0.95
) -> tuple[float | None, tuple[float, float] | None]:
    """The accuracy on released twins less that on withheld twins, with Agresti and Min's interval.

    Half a pair is added to each of the four outcomes of a pair, and Wald's interval for paired
    proportions is taken. The p-value does not rest on it.

    Args:
        released_correct: whether the suspect was right on each released twin, shape (n,)
        withheld_correct: the same for the withheld twins, shape (n,)
        confidence (0.95): the interval's confidence

    Source: Agresti and Min, Statistics in Medicine 24(5), 2005.
    """
    differences = correctness_differences(released_correct, withheld_correct)
    n = differences.size
    if not n:
        return None, None
    only_released = ((differences > 0).sum() + 0.5) / (n + 2)
    only_withheld = ((differences < 0).sum() + 0.5) / (n + 2)
    centre = only_released - only_withheld
    variance = (only_released + only_withheld - centre**2) / (n + 2)
    reach = stats.norm.ppf(0.5 + confidence / 2) * np.sqrt(variance)
    return float(differences.mean()), (
        float(max(-1.0, centre - reach)),
        float(min(1.0, centre + reach)),
    )
