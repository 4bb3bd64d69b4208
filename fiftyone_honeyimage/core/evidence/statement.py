"""A verdict in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..scores import SCORES
from .controls import ControlComparison
from .exact_tests import TESTS

DERIVED = "derived"
NOT_SHOWN = "not shown"
INCONCLUSIVE = "inconclusive"
VERDICTS = (DERIVED, NOT_SHOWN, INCONCLUSIVE)


def word_verdict(
    verdict: str,
    reason: str,
    test: str,
    counts: tuple[int, int],
    p_value: float,
    p_adjusted: float,
    alpha: float,
    *,
    score: str = "loss",
    adjusted: bool = False,
) -> str:
    """Returns one or two sentences that hold as they stand, for readers who are no statisticians.

    Args:
        verdict: one of :data:`VERDICTS`
        reason: why it is inconclusive
        test: the test's name in a verdict
        counts: the numbers of pairs that were answered and that failed
        p_value, p_adjusted, alpha: of the verdict
        score ("loss"): the name of the score that the test compares, told unless it is what was recorded of an answer
        adjusted (False): whether the test allows for how hard each image is
    """
    if verdict == INCONCLUSIVE:
        return (
            f"No conclusion: {reason}. This says nothing about whether the model used the release."
        )
    num_pairs, num_failed = counts
    lost = f" and {num_failed} more that failed and count against it" if num_failed else ""
    how = [TESTS[test].title]
    if not SCORES[score].is_recorded:
        how.append(f'by the score "{SCORES[score].title}"')
    if adjusted:
        how.append("allowing for how hard each image is to other models")
    with_what = ", ".join(how) + ("," if len(how) > 1 else "")
    figures = (
        f"{with_what} on {num_pairs} pairs of twins{lost}, p = {p_value:.2g}, corrected for all "
        f"verifications with this ledger {p_adjusted:.2g}, significance level {alpha:g}"
    )
    if verdict == DERIVED:
        return (
            "The model was derived from the release. If this model had not used the release, a "
            f"result this strong would occur by chance less than once in {_odds(p_adjusted)} "
            f"({figures})."
        )
    return (
        "It is not shown that the model used the release. If it had not, a result at least this "
        f"strong would occur by chance with a probability of up to {_rounded_up(p_adjusted)} "
        f"({figures}). This does not prove that the model did not use it."
    )


def word_reversed(p_value: float) -> str:
    """What is said of a suspect whose differences are as clear as a verdict needs, but all the other way round.

    It never decides: a plan commits to better answers alone.

    Args:
        p_value: of the same test with every difference turned round
    """
    return (
        "Yet its answers depend on which twins were released: they turn out the other way round than those of a model that "
        f"remembers them, and as clearly as a verdict needs (p = {p_value:.2g} that way round, as rare for an innocent "
        "model). That is typical of somebody who looks up images that he holds and gives worse answers for them. It decides "
        "nothing: the plan is committed to the one direction."
    )


#: Below this p, two-sided, marked and unmarked images are said to be treated differently
_DIFFERENT = 0.01


def word_controls(compared: Mapping[str, ControlComparison]) -> str:
    """What is said of how released marked images compare with random unmarked ones; empty if that was not compared.

    It never decides: marked images are no random choice, and may be easier or harder to a model for that.

    Args:
        compared: of the "released" and the "withheld" twins, by :func:`.controls.compare_with_controls`
    """
    if not {"released", "withheld"} <= set(compared):
        return ""
    released, withheld = compared["released"], compared["withheld"]
    figures = (
        f"p = {released.p_value:.2g}, by ranks, of {released.num_marked} released marked and {released.num_unmarked} random "
        f"unmarked images; p = {withheld.p_value:.2g} of the withheld ones"
    )
    end = "It decides nothing: marked images are no random choice."
    if released.p_value >= _DIFFERENT:
        seen = withheld.p_value < _DIFFERENT and withheld.share < 0.5
        also = "Those that were withheld it knows less than both. " if seen else ""
        return (
            "No difference is shown between what the model knows of the marked images that were released and of random "
            f"unmarked ones ({figures}). {also}{end}"
        )
    if released.share < 0.5:
        return (
            "The model knows random unmarked images better than the marked ones that were released, beside what other models "
            f"know of them ({figures}). That is typical of somebody who leaves out what looks marked or hard, or answers for "
            f"it otherwise; of an innocent model to which such images are harder than to others, too. {end}"
        )
    alike = withheld.p_value < _DIFFERENT and withheld.share > 0.5
    why = (
        "So it does those that were withheld, which it cannot have seen: they are easier to it than to the model that they "
        "were made with"
        if alike
        else "Those that were withheld it does not: that is typical of a model that has learned the marked ones by heart"
    )
    return f"The model knows the marked images that were released better than random unmarked ones ({figures}). {why}. {end}"


def _odds(p_value: float) -> str:
    """The largest round number N with ``p_value < 1 / N``: "less than once in N" is then true."""
    exponent = max(0, math.ceil(-math.log10(p_value)))
    while p_value >= 10.0**-exponent:
        exponent -= 1
    if exponent >= 6:
        return f"10^{exponent}"
    # Two digits, rounded down
    unit = 10 ** max(0, exponent - 1)
    times = math.floor(1 / p_value / unit)
    while times * unit * p_value >= 1:
        times -= 1
    return f"{times * unit:,}"


def _rounded_up(p_value: float) -> str:
    digits = 1 + max(0, math.ceil(-math.log10(p_value)))
    return f"{min(1.0, math.ceil(p_value * 10**digits) / 10**digits):g}"
