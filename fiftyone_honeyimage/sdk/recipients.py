"""Whose release a model or a folder of images comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..public import public

if TYPE_CHECKING:
    from ..core.evidence.collusion import RecipientPlan


@public
def plan_recipients(
    recipients: int,
    colluders: int = 2,
    readable: float = 0.9,
    alpha: float = 0.001,
    power: float = 0.9,
    attempt: int = 1,
) -> RecipientPlan:
    """How many tracing pairs name one of the recipients who leak, whatever they do with their copies.

    Markings are played through: code words, colluders who compare their copies and give out what most of them have, what
    fewest have, one side always, either at random, or both; and a suspect of which each pair is read rightly with some
    probability. The worst of these counts.

    Args:
        recipients: how many there are
        colluders (2): how many of them compare and mix their copies, at most 5
        readable (0.9): with what probability a pair is read rightly: the share of pairs on which a model that had one
            side does better on it, or of a found folder how many of its images are recognised
        alpha (0.001): the probability with which anybody may be named wrongly
        power (0.9): the probability with which one of the colluders is to be named
        attempt (1): which attempt it is planned for; the j-th is held to α/(j(j+1))

    Returns:
        a :class:`~..core.evidence.collusion.RecipientPlan`: ``num_pairs``, None if 2,000 do not reach it; ``print`` it

    Raises:
        ParameterError: if a number is out of range
    """
    from ..core.evidence.collusion import plan_recipients as plan

    return plan(recipients, colluders, readable, alpha, power, attempt)
