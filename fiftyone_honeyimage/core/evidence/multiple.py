"""Several verifications: the probability that any of them accuses an innocent model.

Source: Holm, Scandinavian Journal of Statistics 6(2), 1979. Valid under any dependence between the
p-values, so that verifications may share models, images or owners.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import ParameterError


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns Holm's adjusted p-values, in the order given.

    Rejecting every hypothesis whose adjusted p-value is at most alpha keeps the probability of one
    or more wrong rejections at most alpha.

    Args:
        p_values: the p-values of the whole family, each in [0, 1]

    Raises:
        ParameterError: if one of them is not a probability
    """
    checked = _checked(p_values)
    adjusted = [1.0] * len(checked)
    largest = 0.0
    for step, index in enumerate(sorted(range(len(checked)), key=checked.__getitem__)):
        largest = max(largest, (len(checked) - step) * checked[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


def adjusted_p(p_value: float, others: Iterable[float]) -> float:
    """Returns Holm's adjusted p-value of one verification among the others of its family."""
    return holm([p_value, *others])[0]


def alpha_effective(alpha: float, others: Iterable[float]) -> float:
    """Returns the level at which one more p-value is rejected by Holm within its family.

    The largest ``a`` such that ``p <= a`` gives an adjusted p-value of at most alpha, but for
    rounding. With ``m`` in the family and the ``j`` smallest of the others rejected before it, that
    is ``alpha / (m - j)``.

    Args:
        alpha: the family's level
        others: the p-values of the other members
    """
    ordered = sorted(_checked(others))
    left = len(ordered) + 1
    for p_value in ordered:
        if left * p_value > alpha:
            break
        left -= 1
    return alpha / left


def _checked(p_values: Iterable[float]) -> list[float]:
    values = [float(value) for value in p_values]
    for value in values:
        # Written so that NaN fails
        if not 0 <= value <= 1:
            raise ParameterError(f"A p-value must lie in [0, 1], not {value!r}")
    return values
