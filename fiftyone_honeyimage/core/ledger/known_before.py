"""Whether what was committed beside the coins, and should not know them, fits them too well."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from ..evidence.pair_answers import PairAnswers
from ..evidence.plan import Plan, SideCovariates
from ..evidence.twins import UNCHANGED, sign_test, signed_rank_test
from ..evidence.verdict import SidesReferences, tested_differences

#: Below this the figures are said to know the coins; an honest ledger comes below it as often
SUSPICIOUS = 0.01


def balance_p(
    covariates: Mapping[int, SideCovariates], released: Mapping[int, str]
) -> float | None:
    """The exact p-value of the covariates against the coins, see :func:`_two_sided`; None where there are none.

    An owner who writes covariates after the coins, or always releases the easier side, makes ``d - β·c`` favour him
    for every suspect. Fair coins that fell after the covariates give a uniform p.

    Args:
        covariates: for each pair's index, of sides a and b
        released: for each pair's index, which side was released
    """
    gaps = []
    for pair, (a, b) in covariates.items():
        names = sorted((set(a) & set(b)) - {UNCHANGED})
        if names:
            # The same in every version of Python, whose sums of fractions differ
            gap = math.fsum(b[name] - a[name] for name in names) / len(names)
            gaps.append(gap if released[pair] == "a" else -gap)
    return _two_sided(gaps) if gaps else None


def references_p(
    plan: Plan,
    answers: PairAnswers,
    released: Mapping[int, str],
    references: SidesReferences | None,
) -> float:
    """The same of a score with reference models: had the suspect said of both sides of each pair what it said on average.

    Whatever is then left of the difference is made by the reference models' losses alone. Those that know the coins
    favour the owner for every suspect.

    Args:
        plan, answers, released, references: see :func:`.verdict.judge`; the plan's score takes references, and the
            answers are scores
    """
    means = tuple(
        None if a is None or b is None else (a + b) / 2
        for a, b in zip(answers.a, answers.b, strict=True)
    )
    alike = dataclasses.replace(answers, a=means, b=means)
    return _two_sided(tested_differences(plan, alike, released, {}, references).tolist())


def _two_sided(gaps: Sequence[float]) -> float:
    """By ranks and by signs, two-sided, corrected for both: many small gaps that fit the coins sway a betting test, and a
    few large ones that do not would hide them among ranks."""
    found = [
        test([sign * gap for gap in gaps]).p_value
        for test in (signed_rank_test, sign_test)
        for sign in (1, -1)
    ]
    return min(1.0, len(found) * min(found))


def balance_fact(p_value: float, what: str = "figures on how hard each side is") -> str:
    """The same in words, of what the owner gave."""
    if p_value >= SUSPICIOUS:
        return f"p = {p_value:.2g}: the owner's {what} fit the coins no better than chance does (figures made up for one suspect would not show here)"
    return (
        f"p = {p_value:.2g}, BELOW {SUSPICIOUS:g}: the owner's {what} FIT THE COINS, as they do "
        "where they were written after the coins fell, or where the easier side was always released. Do not rely on this "
        f"verdict (an honest ledger comes below {SUSPICIOUS:g} once in {round(1 / SUSPICIOUS)} times)"
    )
