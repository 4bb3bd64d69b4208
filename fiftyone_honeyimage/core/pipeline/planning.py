"""How many pairs find a model: from the owner's own proxies, before anything is marked.

The two proxies of a hardness run are a pilot. Each has seen one half of the images and not the other, so that between them
they tell what a model that was trained as they were would show of any pair: the loss of the proxy that has not seen the
one side less that of the proxy that has seen the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..errors import ParameterError, SamplesError
from ..evidence.alpha_spending import alpha_effective
from ..evidence.plan import check_alpha, is_count
from ..evidence.twins import signed_rank_test
from ..limits import check_choice
from ..methods.selection import IN_ORDER, NO_MEASURES, RULES, select_candidates

#: Pairs of a pilot at most
MOST_PAIRS = 300

#: Numbers of pairs that power is computed for, and releases that are played through for each
SIZES = (12, 16, 20, 24, 30, 36, 45, 60, 80, 100, 150, 200, 300)
_PLAYS = 400


@dataclass(frozen=True)
class Pilot:
    """What the proxies would show of pairs, chosen by one rule.

    Attributes:
        rule: a name in :data:`..methods.selection.RULES`
        differences: of each pair what it shows if side a is released, and if side b is, nats, shape (n, 2); by a rule
            that takes images in an order those that are taken first come first
    """

    rule: str
    differences: tuple[tuple[float, float], ...]


def pilot(
    unseen: np.ndarray,
    seen: np.ndarray,
    labels: np.ndarray,
    rule: str,
    seed: int,
    measures: Mapping[str, np.ndarray] = NO_MEASURES,
) -> Pilot:
    """A pilot of a hardness run.

    Args:
        unseen: float64 (N,), each image's loss under the proxy that has not seen it: its hardness
        seen: float64 (N,), under the one that has
        labels: int (N,)
        rule: how pairs are chosen
        seed: of the choice at random
        measures ({}): see :func:`..methods.selection.select_candidates`
    """
    check_choice("selection", rule, RULES)
    room = sum(int((labels == label).sum()) // 2 for label in np.unique(labels))
    number = min(MOST_PAIRS, room)
    pairs = select_candidates(
        unseen,
        labels,
        num_honeyimages=number,
        num_pairs=number,
        rule=rule,
        seed=seed,
        measures=measures,
    ).pairs
    a, b = pairs.T
    both = np.stack([unseen[b] - seen[a], unseen[a] - seen[b]], axis=1)
    return Pilot(rule, tuple((float(x), float(y)) for x, y in both.round(4)))


@dataclass(frozen=True)
class Power:
    """The probability of finding a model that remembers the images as the pilot's proxies do.

    Attributes:
        num_pairs: pairs that it would be asked about
        power: 0 to 1
    """

    num_pairs: int
    power: float


@lru_cache(maxsize=64)
def power_of(found: Pilot, size: int, alpha: float, position: int = 1, kept: float = 1.0) -> Power:
    """Plays releases through: coins, a model like the proxies, the exact signed-rank test.

    Args:
        found: the pilot
        size: number of pairs, at most those that the pilot has
        alpha: the level
        position (1): which verification with the ledger it would be
        kept (1.0): share of the released twins that the model has really learned from; of the others each side is as likely
            to do better
    """
    level = alpha_effective(alpha, position)
    shown = np.array(found.differences, np.float64)
    rng = np.random.default_rng(size)
    places = np.arange(size)
    if found.rule not in IN_ORDER:  # any of them, so many
        places = rng.random((_PLAYS, len(shown))).argsort(axis=1)[:, :size]
    drawn = shown[places, rng.integers(0, 2, (_PLAYS, size))]
    signs = rng.choice([-1.0, 1.0], drawn.shape)
    drawn = np.where(rng.random(drawn.shape) < kept, drawn, signs * np.abs(drawn))
    passed = [signed_rank_test(own).p_value <= level for own in drawn]
    return Power(size, float(np.mean(passed)))


@dataclass(frozen=True)
class MarkingPlan:
    """What a marking takes; see :func:`plan_marking`.

    Attributes:
        num_pairs: the least of :data:`SIZES` that reaches the power; None if none does
        power: that was asked for
        alpha: the level
        position: which verification with the ledger it is for
        kept: see :func:`power_of`
        rule: how pairs are chosen
        curve: of every number of pairs up to it
    """

    num_pairs: int | None
    power: float
    alpha: float
    position: int
    kept: float
    rule: str
    curve: tuple[Power, ...]

    def __str__(self) -> str:
        like = "a model that remembers your images as the models of compute_hardness do"
        if self.kept < 1:
            like = f"{like}, but only {self.kept:.0%} of them"
        curve = ", ".join(f"{one.num_pairs}: {one.power:.0%}" for one in self.curve)
        if self.num_pairs is None:
            answer = (
                f"not reached with up to {self.curve[-1].num_pairs:,}" if self.curve else "no pairs"
            )
        else:
            answer = f"{self.num_pairs:,}, so that as many images are withheld"
        return (
            f"Pairs that find {like} with a probability of {self.power:.0%} at α = {self.alpha:g} "
            f"(verification {self.position}): {answer}\nProbability by number of pairs: {curve}"
        )


def plan_marking(
    found: Pilot,
    *,
    alpha: float = 0.001,
    power: float = 0.9,
    position: int = 1,
    kept: float = 1.0,
) -> MarkingPlan:
    """The number of pairs for a power.

    Args:
        found: the pilot
        alpha (0.001), position (1), kept (1.0): see :func:`power_of`
        power (0.9): the probability of finding a model like the proxies

    Raises:
        ParameterError: if a number is out of range
        SamplesError: if the pilot has fewer than 12 pairs
    """
    check_alpha(alpha)
    for name, value in (("power", power), ("kept", kept)):
        if not 0 < value <= 1:
            raise ParameterError(f"{name} must be above 0 and at most 1, not {value!r}")
    if not is_count(position) or position < 1:
        raise ParameterError(
            f"the verification must be a whole number of at least 1, not {position!r}"
        )
    if len(found.differences) < SIZES[0]:
        raise SamplesError(
            f"{len(found.differences)} pairs can be formed of these images, and {SIZES[0]} at least are needed to find a model"
        )
    curve: list[Power] = []
    for size in (size for size in SIZES if size <= len(found.differences)):
        curve.append(power_of(found, size, alpha, position, kept))
        if curve[-1].power >= power:
            break
    enough = [one.num_pairs for one in curve if one.power >= power]
    return MarkingPlan(
        enough[0] if enough else None, power, alpha, position, kept, found.rule, tuple(curve)
    )
