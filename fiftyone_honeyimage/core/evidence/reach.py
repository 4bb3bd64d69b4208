"""Whether so many pairs can decide anything at a level, before one of them is spent."""

from __future__ import annotations

import numpy as np

from .alpha_spending import adjusted_p
from .exact_tests import TESTS
from .plan import Plan
from .twins import KINDS, Strata, min_attainable_p


def can_reach(plan: Plan, num_pairs: int, alpha: float, position: int) -> bool:
    """Whether the best answers on so many pairs would be called derived, whichever kind they are.

    Args:
        plan: what was committed
        num_pairs: the pairs to be asked about
        alpha: the verification's level
        position: which verification with the ledger it is, counted from 1
    """
    if num_pairs < plan.min_pairs:
        return False
    least = [min_attainable_p(num_pairs)]
    for test in (TESTS[plan.test_for(kind)] for kind in KINDS):
        if test.sequential:
            strata = Strata(np.zeros(num_pairs, np.int64), plan.stratum_weights)
            none = np.zeros(num_pairs, np.bool_)
            least.append(test.run(np.ones(num_pairs), none, strata).p_value)
    return adjusted_p(max(least), position) <= alpha


def least_p(test: str, num_pairs: int) -> float:
    """The smallest p-value that so many pairs can give.

    Args:
        test: a name in ``TESTS``
        num_pairs: the pairs to be asked about
    """
    if TESTS[test].sequential:
        return TESTS[test].run(np.ones(num_pairs), np.zeros(num_pairs, np.bool_)).p_value
    return min_attainable_p(num_pairs)


def exactness_text(test: str, num_pairs: int, secret: str) -> str:
    """Which secret the exactness of a verdict rests on, and how small a p it can reach: a sentence for everybody.

    Args:
        test: a name in ``TESTS``
        num_pairs: the pairs that are or were asked about
        secret: what a coin chose among, such as "patches"
    """
    return (
        f"The p-value is exact for every innocent model as long as it stays secret which of the two {secret} of each "
        f"pair the release holds, which a fair coin decided. {num_pairs:,} pairs can reach p = "
        f"{least_p(test, num_pairs):.1e} at best, before it is corrected for all verifications with the ledger."
    )


def pairs_needed(plan: Plan, alpha: float, position: int) -> int:
    """The smallest number of pairs that can reach the level, up to 2,000 (for levels beyond floats)."""
    number = plan.min_pairs
    while number < 2_000 and not can_reach(plan, number, alpha, position):
        number += 1
    return number


def checks_left(plan: Plan, num_left: int, num_pairs: int, alpha: float, position: int) -> int:
    """How many verifications on new pairs can follow one another from this position on.

    Args:
        plan: what was committed
        num_left: pairs that no verification has used
        num_pairs: pairs for each of them
        alpha: the verifications' level
        position: which verification with the ledger the first of them is
    """
    checks = 0
    while (checks + 1) * num_pairs <= num_left and can_reach(
        plan, num_pairs, alpha, position + checks
    ):
        checks += 1
    return checks


def proposed_share(plan: Plan, num_left: int, alpha: float, position: int) -> int:
    """Pairs for a verification on new ones: a third of those left, or as many as decide anything.

    More pairs find more; a third leaves two further checks of models whose operators have seen none of
    these images. At most ``num_left``.
    """
    return min(num_left, max(num_left // 3, pairs_needed(plan, alpha, position + 2)))
