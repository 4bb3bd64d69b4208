"""Code words of recipients: which side of each tracing pair each of them gets, and what a suspect says of whose it is.

Every recipient's word is drawn on its own: side "a" of pair i with probability p_i. A suspect that did not get anything of
a recipient does not depend on that word, whatever else it depends on, other recipients' words and all p_i included. Given
the suspect's answers the word is then still distributed as it was drawn, and drawing it again gives an exact p-value.

- Up to two colluders: p_i = 1/2, the best code there is for them. The p-value is the exact one of
  :func:`.twins.signed_rank_test` (:func:`.twins.sign_test` for labels), over all words.
- More: p_i is 0.21132 or 0.78868, half each: the zeros of the second Legendre polynomial, moved to [0, 1], which are
  (1 ± 1/√3)/2. With fair coins three colluders who always give out what fewer of them have leave no trace;
  with these they leave the same whatever they do (Nuida, Fujitsu, Hagiwara, Kitagawa, Watanabe, Ogawa and Imai, "An improvement
  of discrete Tardos fingerprinting codes", Designs, Codes and Cryptography 52(3), 2009, for up to four colluders;
  ``tests/core/evidence/test_code_words.py`` computes it again). The score is the symmetric one (Škorić, Katzenbeisser and Celik,
  "Symmetric Tardos fingerprinting codes for arbitrary alphabet sizes", 2008), times d / (1 + d) of the
  difference d, in the score's unit, so that a pair that says much counts more and none counts for more than 1.

Failed queries. Whoever makes queries fail may know the words. A failed pair lowers a recipient's score by all that it could
have raised it over a redrawn one, so that each p-value is at least the one that the answers would have given.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError
from .twins import FloatArray, checked_differences, sign_test, signed_rank_test

#: Colluders that fair coins are best for, at most
FAIR_COLLUDERS = 2
#: Colluders that a code is offered for, at most
MOST_COLLUDERS = 5
MOST_RECIPIENTS = 1000

FAIR = 0.5
#: The zeros of the second Legendre polynomial on [0, 1]
BIASES = (0.5 - 0.5 / math.sqrt(3), 0.5 + 0.5 / math.sqrt(3))

#: Redrawn words beyond which none are drawn: their p-values then reach 1e-7
MOST_DRAWS = 9_999_999
#: Values that are drawn at once
_PIECE = 1 << 22

#: Gives so many numbers from 0 to 1
Uniform = Callable[[int], Sequence[float]]


def system_uniform(number: int) -> list[float]:
    """So many numbers from [0, 1), from the operating system's entropy and from nothing else."""
    return [secrets.randbits(53) / (1 << 53) for _ in range(number)]


@dataclass(frozen=True)
class Code:
    """For whom code words are drawn.

    Attributes:
        recipients: their names
        colluders (2): how many of them may compare and mix their copies, 1 to 5
    """

    recipients: tuple[str, ...]
    colluders: int = 2

    def __post_init__(self) -> None:
        names = self.recipients
        if isinstance(names, str) or not all(isinstance(n, str) and n.strip() for n in names):
            raise ParameterError(
                f"recipients must be a list of names that are not empty, not {names!r:.200}"
            )
        if not 2 <= len(set(names)) == len(names) <= MOST_RECIPIENTS:
            raise ParameterError(
                f"recipients must be 2 to {MOST_RECIPIENTS} different names, not {list(names)!r:.200}; of one alone "
                "there is nobody to tell him from"
            )
        check_colluders(self.colluders)

    def draw_biases(self, num_pairs: int, uniform: Uniform = system_uniform) -> list[float]:
        """p_i of so many pairs."""
        if self.colluders <= FAIR_COLLUDERS:
            return [FAIR] * num_pairs
        return [BIASES[value < 0.5] for value in uniform(num_pairs)]


def draw_word(biases: Sequence[float], uniform: Uniform = system_uniform) -> list[str]:
    """One recipient's word: "a" with probability p_i, else "b", for each pair."""
    drawn = uniform(len(biases))
    return ["a" if value < bias else "b" for value, bias in zip(drawn, biases, strict=True)]


def check_colluders(colluders: int) -> int:
    """Raises ParameterError unless there is a code for so many colluders."""
    if type(colluders) is not int or not 1 <= colluders <= MOST_COLLUDERS:
        raise ParameterError(
            f"colluders must be a whole number from 1 to {MOST_COLLUDERS}, not {colluders!r}"
        )
    return colluders


def draws_needed(num_recipients: int, level: float) -> int:
    """How many words are redrawn, so that the least p-value lies well below what Holm asks of the first.

    Args:
        num_recipients: how many there are
        level: of all of them together
    """
    return min(MOST_DRAWS, max(1999, math.ceil(20 * num_recipients / level) - 1))


@dataclass(frozen=True)
class Redraw:
    """How words are drawn again; fixed before a suspect is asked.

    Attributes:
        draws: B, how many
        seed: of ``numpy.random.PCG64``, from which B rows of as many numbers as there are pairs are taken
    """

    draws: int
    seed: int


def p_values(
    differences: npt.ArrayLike,
    failed: npt.NDArray[np.bool_],
    biases: npt.ArrayLike,
    words: Mapping[str, npt.NDArray[np.bool_]],
    redraw: Redraw,
    *,
    ranked: bool = True,
) -> dict[str, float]:
    """Exact one-sided p-values, of each recipient that the suspect has nothing of his.

    Args:
        differences: of the pairs that did not fail, positive where side "a" shows memory, shape (n,)
        failed: whether each pair has a failed query, shape (n + number failed,)
        biases: p_i of all pairs
        words: recipient → whether he got side "a", of all pairs
        redraw: for biased words; fair ones need none
        ranked (True): whether differences have sizes that mean anything, as losses' have and labels' have not

    Raises:
        ParameterError: if the numbers differ or a difference is NaN
    """
    values = checked_differences(differences)
    chances = np.asarray(biases, np.float64)
    if chances.shape != failed.shape or values.size != int((~failed).sum()):
        raise ParameterError(
            f"{failed.size} tracing pairs, {int(failed.sum())} of which failed, have {chances.size} biases and "
            f"{values.size} differences"
        )
    for name, word in words.items():
        if word.shape != failed.shape:
            raise ParameterError(f"{name!r} has a word of {word.size} for {failed.size} pairs")
    lost = int(failed.sum())
    if (chances == FAIR).all():
        test = signed_rank_test if ranked else sign_test
        return {
            name: test(np.where(word[~failed], values, -values), lost).p_value
            for name, word in words.items()
        }
    for_a, for_b = side_scores(chances)
    size = np.abs(values)
    # Infinite differences count 1, as others nearly do
    weights = np.sign(values) * np.divide(
        size, 1 + size, out=np.ones_like(size), where=np.isfinite(size)
    )
    lowered = float((for_a - for_b)[failed].sum())
    own_a, own_b = weights * for_a[~failed], weights * for_b[~failed]
    observed = {
        name: float(np.where(word[~failed], own_a, own_b).sum()) - lowered
        for name, word in words.items()
    }
    # Sums that differ by rounding alone are equal, in favour of the recipient
    slack = 1e-9 * (1 + float(np.abs(own_a).sum() + np.abs(own_b).sum()))
    reached = _count_reaching(
        own_a, own_b, chances[~failed], np.array(list(observed.values())) - slack, redraw
    )
    return {
        name: (1 + int(count)) / (redraw.draws + 1)
        for name, count in zip(observed, reached, strict=True)
    }


def side_scores(biases: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """What a pair that is read as "a" says for who got "a", and for who got "b": mean 0, variance 1."""
    chances = np.asarray(biases, np.float64)
    return np.sqrt((1 - chances) / chances), -np.sqrt(chances / (1 - chances))


def _count_reaching(
    own_a: FloatArray, own_b: FloatArray, biases: FloatArray, sums: FloatArray, redraw: Redraw
) -> npt.NDArray[np.int64]:
    """How many redrawn words' sums reach each of these sums, shape (recipients,)."""
    rng = np.random.Generator(np.random.PCG64(redraw.seed))
    order = np.sort(sums)
    # Of each redrawn word, how many of the sums it reaches
    tally = np.zeros(len(sums) + 1, np.int64)
    rows = max(1, _PIECE // max(1, biases.size))
    for start in range(0, redraw.draws, rows):
        number = min(rows, redraw.draws - start)
        got_a = rng.random((number, biases.size)) < biases
        found = got_a @ (own_a - own_b) + own_b.sum()
        tally += np.bincount(np.searchsorted(order, found, side="right"), minlength=len(sums) + 1)
    reaching = np.cumsum(tally[::-1])[::-1][1:]  # of the k-th smallest sum, words that reach it
    return reaching[np.searchsorted(order, sums, side="left")]
