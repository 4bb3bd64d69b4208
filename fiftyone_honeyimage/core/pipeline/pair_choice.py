"""Which pairs of twins a verification asks about, and whether so many can decide anything."""

from __future__ import annotations

import math

from ..errors import ParameterError
from ..evidence.alpha_spending import alpha_effective
from ..evidence.reach import can_reach, pairs_needed
from ..ledger.ledger import Ledger
from ..limits import Whole

PAIRS = ("all", "unused")


def check_choice(pairs: str, num_pairs: int | None) -> None:
    """Checks what is asked for, before the ledger is looked at.

    Raises:
        ParameterError: if it is unknown, or a number of used pairs is asked for
    """
    if pairs not in PAIRS:
        raise ParameterError(f"pairs must be 'all' or 'unused'; found {pairs!r}")
    if num_pairs is None:
        return
    Whole(1, math.inf).check("num_pairs", num_pairs)
    if pairs == "all":
        raise ParameterError(
            "num_pairs goes with pairs='unused'. Pairs that were used can only be asked about all "
            "together: a number chosen after earlier results would be a choice among p-values"
        )


def choose_pairs(ledger: Ledger, pairs: str, num_pairs: int | None) -> list[int]:
    """The pairs' indices in the committed order: all, or the first so many that no verification has used.

    Raises:
        ParameterError: if there are not so many, or see :func:`check_choice`
    """
    check_choice(pairs, num_pairs)
    if pairs == "all":
        return [index for index, _ in ledger.query_order]
    left = ledger.pairs_left
    if not left and ledger.pairs:
        raise ParameterError(
            f"all {len(ledger.pairs)} pairs of this marking were used by earlier "
            "verifications; pass pairs='all' to use them again, or mark the dataset again"
        )
    if num_pairs is not None and num_pairs > len(left):
        raise ParameterError(
            f"num_pairs is {num_pairs}, and {len(left)} of {len(ledger.pairs)} pairs have not been used "
            f"yet; pass at most {len(left)}"
        )
    return left[:num_pairs]


def check_reach(ledger: Ledger, num_pairs: int, alpha: float) -> None:
    """Checks that so many pairs can reach the level of the next verification.

    Raises:
        ParameterError: saying how many are needed and what can be done
    """
    position = next_position(ledger)
    if can_reach(ledger.plan, num_pairs, alpha, position):
        return
    needed = pairs_needed(ledger.plan, alpha, position)
    left = len(ledger.pairs_left)
    if num_pairs < needed <= left:
        remedy = f"Pass num_pairs={needed} or more; {left} are left"
    elif num_pairs < needed <= len(ledger.pairs):
        remedy = f"Pass pairs='all', which asks about all {len(ledger.pairs)} again"
    else:
        remedy = (
            f"The marking has {len(ledger.pairs)}: mark the dataset again with num_pairs={needed} or more, "
            "which gives a new release and a ledger that counts from 1"
        )
    raise ParameterError(
        f"{num_pairs} pairs of twins cannot show anything: as verification number {position} with this ledger "
        f"it is held to the level {alpha_effective(alpha, position):.2g}, which at least {needed} pairs can "
        f"reach. {remedy}. Nothing was asked or counted"
    )


def next_position(ledger: Ledger) -> int:
    """Which verification with the ledger the next one is, counted from 1."""
    return len(ledger.verifications) + 1
