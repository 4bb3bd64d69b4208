"""Several verifications: the probability that any of them accuses an innocent model.

Verifications with one ledger come one after another, and each verdict is given before the next one
is thought of. A correction by the number of verifications so far (Holm's, Bonferroni's) would hold
the j-th to ``alpha / j``, and these add up beyond every bound. So the j-th is held to the share
``1 / (j (j + 1))`` of alpha: 1/2, 1/6, 1/12, ... These add up to 1, and however many verifications
follow, the probability that one of them accuses an innocent model stays at most alpha, under any
dependence between them. A share does not depend on earlier p-values, nor on what happens later.

This holds for suspects named in advance on any pairs, and for suspects chosen after earlier results
on new pairs. Suspects chosen after earlier results and asked the *same* pairs again are not covered
as a group: a choice may favour models that answer alike. Each single innocent model is: its p-value
on these pairs does not depend on when it is asked, and no share exceeds 1/2.

Source: alpha spending over an endless sequence, Foster and Stine, Journal of the Royal Statistical
Society B 70(2), 2008; Tian and Ramdas, Statistical Methods in Medical Research 30(4), 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ParameterError


def adjusted_p(p_value: float, position: int) -> float:
    """Returns the p-value of the ``position``-th verification, to be compared with alpha itself.

    Args:
        p_value: in [0, 1]
        position: which verification it is, counted from 1

    Raises:
        ParameterError: if either is out of range
    """
    # Written so that NaN fails
    if not 0 <= p_value <= 1:
        raise ParameterError(f"A p-value must lie in [0, 1], not {p_value!r}")
    return min(1.0, _divisor(position) * p_value)


def alpha_effective(alpha: float, position: int) -> float:
    """Returns the level to which the ``position``-th verification is held, counted from 1."""
    return alpha / _divisor(position)


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns Holm's adjusted p-values, for a family that is complete when it is judged.

    For instance one suspect verified with several markings, each with its own ledger. Rejecting
    every hypothesis whose adjusted p-value is at most alpha keeps the probability of one or more
    wrong rejections at most alpha, under any dependence.

    Args:
        p_values: the p-values of the whole family, each in [0, 1]

    Returns:
        the adjusted p-values, in the order given

    Raises:
        ParameterError: if one of them is not a probability

    Source: Holm, Scandinavian Journal of Statistics 6(2), 1979.
    """
    for value in p_values:
        if not 0 <= value <= 1:
            raise ParameterError(f"A p-value must lie in [0, 1], not {value!r}")
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, (len(p_values) - step) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


def _divisor(position: int) -> int:
    if not isinstance(position, int) or isinstance(position, bool) or position < 1:
        raise ParameterError(f"Verifications are counted from 1 in whole numbers, not {position!r}")
    return position * (position + 1)
