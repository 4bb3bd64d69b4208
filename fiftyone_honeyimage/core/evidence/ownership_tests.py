"""The tests of dataset ownership verification, as published for backdoor watermarks: shown, and never deciding.

They compare a suspect's answers on m images with a trigger and on the same images without. Innocent models that answer more
to any trigger than to none are accused by them; the exact test compares two keys instead.

Source: Li et al., Black-box Dataset Ownership Verification via Backdoor Watermarking (arXiv 2209.06015), for the paired
t-test ``P_w > P_b + τ`` and Wilcoxon's test on labels; Untargeted Backdoor Watermark (arXiv 2210.00875) for
``P_b > P_w + τ``. Public code of the Wilcoxon test is two-sided and reports 1 - p; here it is one-sided, and p is p.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..errors import ParameterError
from .decisions import PublishedDecision

#: τ, by how much the probability has to move
MARGIN = 0.2

#: The published level
LEVEL = 0.05


def paired_t_decision(gains: npt.ArrayLike, margin: float = MARGIN) -> PublishedDecision:
    """The one-sided paired t-test of ``gain > τ``.

    Args:
        gains: of each test image by how much the key moved the probability in its direction: ``P_w - P_b``, or
            ``P_b - P_w`` of an untargeted watermark; shape (m,), m of at least 2
        margin (0.2): τ

    Raises:
        ParameterError: if there are fewer than two, or one is not finite
    """
    values = _checked(gains)
    if np.ptp(values) == 0:  # no variance, and no statistic
        p_value = 0.0 if values[0] > margin else 1.0
    else:
        p_value = float(stats.ttest_1samp(values, margin, alternative="greater").pvalue)
    return _decision(
        f"Dataset ownership verification: paired t-test, margin τ = {margin:g}",
        values,
        p_value,
        margin,
        "the class's probability moves",
    )


def wilcoxon_decision(gains: npt.ArrayLike) -> PublishedDecision:
    """Wilcoxon's one-sided signed-rank test of ``gain > 0``, zeros split and the normal approximation, as published.

    Args:
        gains: of each test image by how much more often the class was told with the key than without, -1 to 1 (the
            other way round for an untargeted watermark); shape (m,), m of at least 2

    Raises:
        ParameterError: if there are fewer than two, or one is not finite
    """
    values = _checked(gains)
    found = stats.wilcoxon(
        values, alternative="greater", zero_method="zsplit", correction=False, mode="approx"
    )
    return _decision(
        "Dataset ownership verification: Wilcoxon's test on labels",
        values,
        float(found.pvalue),
        None,
        "the share of answers with that class moves",
    )


def _checked(gains: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(gains, np.float64)
    if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all():
        raise ParameterError(
            f"The published tests need finite gains of two images or more, not {values!r:.200}"
        )
    return values


def _decision(
    rule: str,
    values: npt.NDArray[np.float64],
    p_value: float,
    threshold: float | None,
    what: str,
) -> PublishedDecision:
    """Rounded: an exact figure over the released keys would tell which they are, as one choice of keys alone gives it."""
    mean, p_shown = round(float(values.mean()), 2), float(f"{p_value:.1g}")
    return PublishedDecision(
        rule,
        bool(p_value < LEVEL),
        mean,
        threshold,
        p_shown,
        f"on {values.size} test images {what} by {mean:+.2f} on average when the released secrets are put in; "
        f"p = {p_shown:g} by the published test, whose level is {LEVEL:g}",
    )
