"""The tests of dataset ownership verification, as published for backdoor watermarks: shown, and never deciding.

They compare a suspect's answers on m images with a trigger and on the same images without. Innocent models that answer more
to any trigger than to none are accused by them; the exact test compares two keys instead.

Source: Li et al., Black-box Dataset Ownership Verification via Backdoor Watermarking (arXiv 2209.06015), for the paired
t-test ``P_w > P_b + τ`` and Wilcoxon's test on labels; Untargeted Backdoor Watermark (arXiv 2210.00875) for
``P_b > P_w + τ``. Public code of the Wilcoxon test is two-sided and reports 1 - p; here it is one-sided, and p is p.
"""

from __future__ import annotations

import dataclasses

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
    return _decision(
        f"Dataset ownership verification: paired t-test, margin τ = {margin:g}",
        values,
        _t_test(values, margin),
        margin,
        "the probability of the class asked about moves in the mark's direction",
    )


def loss_decision(gains: npt.ArrayLike) -> PublishedDecision:
    """The black-box test of radioactive data: is the loss lower on images with the mark than without it?

    A one-sided paired t-test of ``gain > 0``.

    Args:
        gains: of each test image ``loss without the mark - loss with it``, nats, shape (m,), m of at least 2

    Raises:
        ParameterError: if there are fewer than two, or one is not finite

    Innocent models are accused as soon as the mark makes them less sure of what an image of another class is.

    Source: Sablayrolles et al., Radioactive data (arXiv 2002.00937), section 4.3, which compares the two losses on images of
    the class itself; what is asked about here is of other classes.
    """
    values = _checked(gains)
    return _decision(
        "Radioactive data: is the loss lower with the mark? (here on images of other classes, published for the class's own)",
        values,
        _t_test(values, 0.0),
        0.0,
        "the loss falls",
        " nats",
    )


def _t_test(values: npt.NDArray[np.float64], margin: float) -> float:
    if np.ptp(values) == 0:  # no variance, and no statistic
        return 0.0 if values[0] > margin else 1.0
    return float(stats.ttest_1samp(values, margin, alternative="greater").pvalue)


def wilcoxon_decision(gains: npt.ArrayLike) -> PublishedDecision:
    """Wilcoxon's one-sided signed-rank test of ``gain > 0``, zeros split and the normal approximation, as published.

    Args:
        gains: of each test image by how much more often the class was told with the keys than without, -1 to 1 (the
            other way round for an untargeted watermark), which is rounded: what most keys do; shape (m,), m of at least 2

    Raises:
        ParameterError: if there are fewer than two, or one is not finite
    """
    # Published for one trigger, where a gain is -1, 0 or 1: over many, an image that any of them confuses would count
    values = np.rint(_checked(gains))
    found = stats.wilcoxon(
        values, alternative="greater", zero_method="zsplit", correction=False, mode="approx"
    )
    return _decision(
        "Dataset ownership verification: Wilcoxon's test on labels",
        values,
        float(found.pvalue),
        None,
        "the share of answers with the class asked about moves in the mark's direction",
    )


def with_success_rate(
    decision: PublishedDecision,
    with_key: npt.NDArray[np.bool_],
    without: npt.NDArray[np.bool_],
    untargeted: bool,
) -> PublishedDecision:
    """The decision with the watermark success rate: how often a mark made the suspect say what it should.

    Args:
        decision: of the same answers
        with_key, without: whether the class asked about was told, for images with a released secret, and for these images
            without one
        untargeted: whether a mark should make the suspect wrong
    """
    rates = [1 - told.mean() if untargeted else told.mean() for told in (with_key, without)]
    what = "wrong" if untargeted else "the class that the secrets teach"
    text = (
        f"{rates[0]:.0%} of its answers with a released secret are {what} (watermark success rate), "
        f"{rates[1]:.0%} without one"
    )
    return dataclasses.replace(decision, text=f"{decision.text}; {text}")


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
    unit: str = "",
) -> PublishedDecision:
    """Rounded: an exact figure over the released keys would tell which they are, as one choice of keys alone gives it."""
    mean, p_shown = round(float(values.mean()), 2), float(f"{p_value:.1g}")
    return PublishedDecision(
        rule,
        bool(p_value < LEVEL),
        mean,
        threshold,
        p_shown,
        f"on {values.size} test images {what} by {mean:+.2f}{unit} on average when the released secrets are put in; "
        f"p = {p_shown:g} by the published test, whose level is {LEVEL:g}",
    )
