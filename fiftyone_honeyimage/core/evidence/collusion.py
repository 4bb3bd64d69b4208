"""Recipients who compare their copies and mix them, and how many tracing pairs find one of them all the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..errors import ParameterError
from ..limits import check_choice
from .alpha_spending import alpha_effective
from .code_words import BIASES, FAIR_COLLUDERS, Code, check_colluders
from .plan import check_alpha

BoolArray = npt.NDArray[np.bool_]

#: Takes whether each colluder got side "a", shape (colluders, pairs), and says what they give out of each pair: 1 for side
#: "a", -1 for "b", 0 for both, of which nothing can be read
Attack = Callable[[BoolArray, np.random.Generator], npt.NDArray[np.int8]]

#: Numbers of tracing pairs that are tried
SIZES = (
    20,
    30,
    40,
    60,
    80,
    100,
    120,
    160,
    200,
    240,
    320,
    400,
    500,
    640,
    800,
    1000,
    1250,
    1500,
    2000,
)
_PLAYS = 400


def _where_both(words: BoolArray, chosen: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """What all of them have where they have the same, else what they chose."""
    of_all = np.where(words[0], 1, -1).astype(np.int8)
    return np.where((words == words[0]).all(axis=0), of_all, chosen).astype(np.int8)


def _majority(words: BoolArray, rng: np.random.Generator, sign: int = 1) -> npt.NDArray[np.int8]:
    votes = 2 * words.sum(axis=0) - len(words)
    ties = rng.choice([-1, 1], votes.shape)
    return _where_both(words, np.where(votes == 0, ties, sign * np.sign(votes)).astype(np.int8))


def _minority(words: BoolArray, rng: np.random.Generator) -> npt.NDArray[np.int8]:
    return _majority(words, rng, -1)


def _all_one(words: BoolArray, rng: np.random.Generator) -> npt.NDArray[np.int8]:
    return np.where(words.any(axis=0), 1, -1).astype(np.int8)


def _random(words: BoolArray, rng: np.random.Generator) -> npt.NDArray[np.int8]:
    return _where_both(words, rng.choice([-1, 1], words.shape[1]).astype(np.int8))


def _mixed(words: BoolArray, rng: np.random.Generator) -> npt.NDArray[np.int8]:
    return _where_both(words, np.zeros(words.shape[1], np.int8))


#: What colluders do with pairs of which they have both sides
ATTACKS: dict[str, Attack] = {
    "majority": _majority,
    "minority": _minority,
    "all_one": _all_one,
    "random": _random,
    "mixed": _mixed,
}


def read(
    given: npt.NDArray[np.int8], readable: float, rng: np.random.Generator
) -> npt.NDArray[np.int8]:
    """What is read of the sides that were given out, each rightly with some probability."""
    return np.where(rng.random(given.shape) < readable, given, -given).astype(np.int8)


@dataclass(frozen=True)
class RecipientPlan:
    """How many tracing pairs are needed; see :func:`plan_recipients`.

    Attributes:
        num_pairs: the least of :data:`SIZES` that reaches the power whatever they do; None if none does
        recipients: how many there are
        colluders: how many of them collude
        readable: with what probability a pair is read rightly
        alpha: level over all recipients
        power: that was asked for
        worst: number of pairs → attack → how often at least one colluder was named, of those tried
    """

    num_pairs: int | None
    recipients: int
    colluders: int
    readable: float
    alpha: float
    power: float
    worst: dict[int, dict[str, float]]

    def __str__(self) -> str:
        who = f"{self.colluders} of {self.recipients} recipients"
        if self.num_pairs is None:
            answer = f"not reached with up to {SIZES[-1]:,}"
        else:
            answer = f"{self.num_pairs:,}, so that every release lacks as many images"
        return (
            f"Tracing pairs that name one of {who} with a probability of {self.power:.0%}, whatever they do, where a pair "
            f"is read rightly with one of {self.readable:.0%}, at α = {self.alpha:g}: {answer}"
        )


@lru_cache(maxsize=256)
def plan_recipients(
    recipients: int,
    colluders: int = 2,
    readable: float = 0.9,
    alpha: float = 0.001,
    power: float = 0.9,
    position: int = 1,
) -> RecipientPlan:
    """How many tracing pairs name at least one of the colluders, under the worst of :data:`ATTACKS`.

    Reads are taken to be right or wrong; of a suspect that gives losses, whose sizes say more, somewhat fewer pairs suffice.

    Args:
        recipients: how many there are
        colluders (2): how many of them compare and mix their copies
        readable (0.9): with what probability a pair is read rightly, more than 1/2 and at most 1: the share of pairs
            on which a model does better on the side that it has
        alpha (0.001): the probability with which anybody may be named wrongly
        power (0.9): of naming one of them
        position (1): which attempt it is; the j-th is held to α/(j(j+1))

    Raises:
        ParameterError: if a number is out of range
    """
    check_colluders(colluders)
    check_alpha(alpha)
    if type(recipients) is not int or not max(2, colluders) <= recipients:
        raise ParameterError(
            f"recipients must be a whole number of at least 2, and of at least colluders={colluders}, not {recipients!r}"
        )
    Code(tuple(map(str, range(recipients))), colluders)
    for name, value, least in (("readable", readable, 0.5), ("power", power, 0.0)):
        if not isinstance(value, (int, float)) or not least < value <= 1:
            raise ParameterError(f"{name} must be above {least:g} and at most 1, not {value!r}")
    level = alpha_effective(alpha, position) / recipients
    tried: dict[int, dict[str, float]] = {}

    def suffices(size: int) -> bool:
        tried[size] = {}
        for name in ATTACKS:
            tried[size][name] = power_against(name, size, colluders, readable, level)
            if tried[size][name] < power:
                return False
        return True

    low, high = 0, len(SIZES)
    while low < high:
        middle = (low + high) // 2
        if suffices(SIZES[middle]):
            high = middle
        else:
            low = middle + 1
    found = SIZES[low] if low < len(SIZES) else None
    return RecipientPlan(
        found, recipients, colluders, readable, alpha, power, dict(sorted(tried.items()))
    )


def power_against(
    attack: str, num_pairs: int, colluders: int, readable: float, level: float, plays: int = _PLAYS
) -> float:
    """How often at least one colluder's p-value is at most a level.

    Args:
        attack: a name in :data:`ATTACKS`
        num_pairs: tracing pairs
        colluders: see :func:`plan_recipients`, as for ``readable``
        level: of a single recipient
        plays (400): markings that are played through
    """
    act = ATTACKS[check_choice("attack", attack, ATTACKS)]
    rng = np.random.default_rng([num_pairs, colluders, list(ATTACKS).index(attack)])
    fair = colluders <= FAIR_COLLUDERS
    named = 0
    for _ in range(plays):
        biases = np.full(num_pairs, 0.5) if fair else rng.choice(BIASES, num_pairs)
        words = rng.random((colluders, num_pairs)) < biases
        said = read(act(words, rng), readable, rng)
        p = _sign_p(words, said) if fair else _biased_p(words, said, biases)
        named += bool(p.min() <= level)
    return named / plays


def _sign_p(words: BoolArray, said: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    wins = (np.where(words, 1, -1) == said).sum(axis=1)
    return np.asarray(stats.binom.sf(wins - 1, int((said != 0).sum()), 0.5), np.float64)


def _biased_p(
    words: BoolArray, said: npt.NDArray[np.int8], biases: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Exact, from two binomials: pairs that say "a" and have the smaller p, and the like, gain where the rarer side was
    got; the others lose there, and as much."""
    rare = words == (biases < 0.5)
    gains = (said > 0) == (biases < 0.5)
    gaining, losing = gains & (said != 0), ~gains & (said != 0)
    tails = _tails(int(gaining.sum()), int(losing.sum()))
    ahead = (rare & gaining).sum(axis=1) - (rare & losing).sum(axis=1)
    return tails[ahead + int(losing.sum())]


@lru_cache(maxsize=4096)
def _tails(num_gaining: int, num_losing: int) -> npt.NDArray[np.float64]:
    """P(K1 - K2 >= k) for k from -num_losing to num_gaining, of binomials with the smaller bias."""
    one, other = (
        stats.binom.pmf(np.arange(number + 1), number, BIASES[0])
        for number in (num_gaining, num_losing)
    )
    return np.cumsum(np.convolve(one, other[::-1])[::-1])[::-1]
