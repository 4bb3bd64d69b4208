"""Whose release it was: an exact p-value for each recipient, corrected over all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError
from .alpha_spending import alpha_effective, holm
from .code_words import Redraw, p_values


@dataclass(frozen=True)
class RecipientVerdict:
    """What tracing pairs say of each recipient.

    The probability that anybody is named of whose release the suspect has nothing is at most ``level``, whatever the
    suspect is and whoever colluded: p-values are exact, and Holm's correction allows for any dependence.

    Attributes:
        p_values: recipient → exact one-sided p-value
        adjusted: recipient → the same after Holm's correction over all recipients
        named: recipients whose adjusted p-value is at most the level, the smallest first
        alpha: the level of all attempts together
        level: of this attempt, α/(j(j+1)) for the j-th
        position: j
        num_pairs: pairs that say anything
        num_zeros: pairs of which both sides say the same, or neither was found
        num_failed: pairs with a failed query, which count for the recipients
        draws: redrawn code words; 0 for fair ones, of which all are counted
        seed: of these
    """

    p_values: Mapping[str, float]
    adjusted: Mapping[str, float]
    named: tuple[str, ...]
    alpha: float
    level: float
    position: int
    num_pairs: int
    num_zeros: int = 0
    num_failed: int = 0
    draws: int = 0
    seed: int = 0

    def __str__(self) -> str:
        told = f"{self.num_pairs:,} of {self.num_pairs + self.num_zeros + self.num_failed:,} tracing pairs say something"
        if not self.named:
            best = min(self.adjusted, key=self.adjusted.__getitem__)
            return (
                f"No recipient is named: {told}, and the smallest p after Holm's correction is {self.adjusted[best]:.2g}, "
                f"above {self.level:.2g}"
            )
        names = ", ".join(f"{name} (p = {self.adjusted[name]:.2g})" for name in self.named)
        return (
            f"Named: {names}, after Holm's correction over {len(self.p_values)} recipients; {told}. Anybody is named "
            f"wrongly with probability at most {self.level:.2g}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, safe for JSON."""
        values = dataclasses.asdict(self)
        return {**values, "named": list(self.named)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RecipientVerdict:
        """Undoes :meth:`to_dict`.

        Raises:
            ParameterError: if something is missing or unknown
        """
        try:
            return cls(**{**values, "named": tuple(values["named"])})
        except (KeyError, TypeError) as error:
            raise ParameterError(f"This is no verdict on recipients: {error}") from error


def judge_recipients(
    differences: npt.ArrayLike,
    failed: npt.NDArray[np.bool_],
    biases: npt.ArrayLike,
    words: Mapping[str, npt.NDArray[np.bool_]],
    redraw: Redraw,
    *,
    alpha: float,
    position: int = 1,
    ranked: bool = True,
) -> RecipientVerdict:
    """Names the recipients whose release a suspect has something of.

    Args:
        differences, failed, biases, words, redraw, ranked: see :func:`.code_words.p_values`
        alpha: the level of all attempts together
        position (1): which attempt it is, from 1
    """
    found = p_values(differences, failed, biases, words, redraw, ranked=ranked)
    level = alpha_effective(alpha, position)
    adjusted = dict(zip(found, holm(list(found.values())), strict=True))
    named = sorted((name for name in found if adjusted[name] <= level), key=found.__getitem__)
    num_zeros = int((np.asarray(differences) == 0).sum())
    biased = bool((np.asarray(biases) != 0.5).any())
    return RecipientVerdict(
        p_values=found,
        adjusted=adjusted,
        named=tuple(named),
        alpha=alpha,
        level=level,
        position=position,
        num_pairs=int(np.size(differences)) - num_zeros,
        num_zeros=num_zeros,
        num_failed=int(failed.sum()),
        draws=redraw.draws if biased else 0,
        seed=redraw.seed if biased else 0,
    )
