"""How many pairs find a model: from the owner's own proxies, before anything is marked.

The two proxies of a hardness run are a pilot. Each has seen one half of the images and not the other, so that between them
they tell what a model that was trained as they were would show of any pair: the loss of the proxy that has not seen the
one side less that of the proxy that has seen the other. Of answers that are labels alone they tell which sides are told
right.

They promise more than is found: they saw half of the images, and who trains on more remembers each of them less; and of the
hardest images, which are those that the one proxy found hardest, another model finds less hard. :data:`MEMORY` allows for
both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..errors import SamplesError
from ..evidence.alpha_spending import alpha_effective
from ..evidence.exact_tests import TESTS
from ..evidence.plan import Plan, check_alpha
from ..evidence.twins import correctness_differences
from ..limits import Real, Whole, check_choice
from ..methods.selection import IN_ORDER, NO_MEASURES, RULES, select_candidates
from ..printing import time_text
from .thieves import THIEVES, Thief

#: Pairs of a pilot at most
MOST_PAIRS = 300

#: Numbers of pairs that power is computed for, and releases that are played through for each
SIZES = (12, 16, 20, 24, 30, 36, 45, 60, 80, 100, 150, 200, 300)
_PLAYS = 400

_SHARE = Real(0, 1, without_least=True)

#: What a model that was trained on a whole release showed of what pilots promised, as the mean of pairs' differences over their
#: root mean square, three seeds each: CIFAR-10 (800 images, 1,600 others beside them) 0.64 of the hardest and 0.43 of any pairs,
#: digits (600 images) 0.21 and 0.84; by labels 0.59, 0.42, 0.24 and 0.63. See docs/measured.md
MEMORY = 0.5


@dataclass(frozen=True)
class Pilot:
    """What the proxies would show of pairs, chosen by one rule.

    Attributes:
        rule: a name in :data:`..methods.selection.RULES`
        differences: of each pair what it shows if side a is released, and if side b is, shape (n, 2), nats, or for labels
            1 (the released side alone is told right), 0 or -1; by a rule that takes images in an order
            those that are taken first come first
        answers ("scores"): what the proxies answer with, a name in :data:`..evidence.twins.KINDS`
    """

    rule: str
    differences: tuple[tuple[float, float], ...]
    answers: str = "scores"

    @property
    def effect(self) -> float:
        """The mean of the differences over their standard deviation; 0 where they do not differ."""
        values = np.array(self.differences, np.float64)
        spread = float(values.std(ddof=1)) if values.size > 1 else 0.0
        return float(values.mean()) / spread if spread else 0.0


def pilot(
    unseen: np.ndarray,
    seen: np.ndarray,
    labels: np.ndarray,
    rule: str,
    seed: int,
    measures: Mapping[str, np.ndarray] = NO_MEASURES,
    right: tuple[np.ndarray, np.ndarray] | None = None,
) -> Pilot:
    """A pilot of a hardness run.

    Args:
        unseen: float64 (N,), each image's loss under the proxy that has not seen it: its hardness
        seen: float64 (N,), under the one that has
        labels: int (N,)
        rule: how pairs are chosen
        seed: of the choice at random
        measures ({}): see :func:`..methods.selection.select_candidates`
        right (None): whether the one and the other tell the image's class, bool (N,) each, for a pilot of labels alone; by
            default their losses are compared
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
    if right is None:
        shown = unseen[b] - seen[a], unseen[a] - seen[b]
    else:
        before, after = right
        shown = (
            correctness_differences(after[a], before[b]),
            correctness_differences(after[b], before[a]),
        )
    both = np.stack(shown, axis=1).round(4)
    answers = "scores" if right is None else "labels"
    return Pilot(rule, tuple((float(x), float(y)) for x, y in both), answers)


@dataclass(frozen=True)
class Power:
    """The probability of finding a model that remembers the images as the pilot's proxies do.

    Attributes:
        num_pairs: pairs that it would be asked about
        power: 0 to 1
    """

    num_pairs: int
    power: float


@lru_cache(maxsize=512)
def power_of(found: Pilot, size: int, alpha: float, position: int = 1, kept: float = 1.0) -> Power:
    """Plays releases through: coins, a model like the proxies, the exact test that a verdict would rest on.

    Args:
        found: the pilot
        size: number of pairs, at most those that the pilot has
        alpha: the level
        position (1): which verification with the ledger it would be
        kept (1.0): share of the released twins that the model has really learned from; of the others each side is as likely
            to do better, so that a model that has learned from none is innocent
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
    return Power(size, _passed(drawn, level, Plan().test_for(found.answers)))


def _passed(drawn: npt.NDArray[np.float64], level: float, test: str) -> float:
    """The share of the rows whose p is at most a level."""
    none_failed = np.zeros(drawn.shape[1], dtype=bool)

    def passes(row: npt.NDArray[np.float64]) -> bool:
        return TESTS[test].run(row, none_failed).p_value <= level

    sizes = np.sort(np.abs(drawn), axis=1)
    plain = (sizes[:, 0] > 0) & (np.diff(sizes, axis=1) > 0).all(axis=1)
    if test != "signed_rank":
        plain[:] = False
    num_passed = sum(map(passes, drawn[~plain]))
    # Without ties and zeros p falls as the sum of ranks grows: of rows in its order, some first ones pass
    rows = drawn[plain]
    ranks = np.abs(rows).argsort(axis=1).argsort(axis=1) + 1
    rows = rows[np.argsort(-np.where(rows > 0, ranks, 0).sum(axis=1), kind="stable")]
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if passes(rows[middle]) else (low, middle)
    return float((num_passed + low) / len(drawn))


@dataclass(frozen=True)
class MarkingCost:
    """What a marking of so many pairs costs; see :func:`fiftyone_honeyimage.plan_marking`.

    Attributes:
        method: its name
        num_withheld: images that no release holds
        num_marked: images that are marked, those that are withheld too
        num_passes: how often an image goes forward and backward through a proxy
        seconds: of training, on this machine; None if that was not measured
    """

    method: str
    num_withheld: int
    num_marked: int
    num_passes: int
    seconds: float | None = None

    def __str__(self) -> str:
        time = "" if self.seconds is None else f", about {time_text(self.seconds)} on this machine"
        return (
            f"Cost of it by the method '{self.method}': {self.num_withheld:,} images withheld, {self.num_marked:,} marks to "
            f"make, {self.num_passes:,} training passes{time}"
        )


@dataclass(frozen=True)
class MarkingPlan:
    """What a marking takes; see :func:`find_pairs`.

    Attributes:
        num_pairs: the least of :data:`SIZES` that reaches the power; None if none does
        power: that was asked for
        alpha: the level
        position: which verification with the ledger it is for
        kept: see :func:`find_pairs`
        rule: how pairs are chosen
        curve: of every number of pairs up to it
        answers ("scores"): what the model is taken to answer with
        thief ("none"): what the thief is taken to do, a name in :data:`.thieves.THIEVES`
        memory (1.0): what a suspect is taken to remember, as a share of what the proxies do
        learned (1.0): the share of the pairs whose difference then tells anything: ``memory``, ``kept`` and what the thief
            leaves, multiplied
        cost (None): of a marking with so many pairs; None if there is no such number
    """

    num_pairs: int | None
    power: float
    alpha: float
    position: int
    kept: float
    rule: str
    curve: tuple[Power, ...]
    answers: str = "scores"
    thief: str = "none"
    memory: float = 1.0
    learned: float = 1.0
    cost: MarkingCost | None = None

    def __str__(self) -> str:
        how = "" if self.memory == 1 else f"{self.memory:.0%} as well as "
        like = f"a model that remembers your images {how or 'as '}the models of compute_hardness do"
        if self.kept < 1:
            like = f"{like}, but only {self.kept:.0%} of them"
        if self.thief != "none":
            thief = THIEVES[self.thief]
            left = f"{thief.left(self.rule):.0%} of the pairs still tell"
            like = f'{like}, of somebody who does this: "{thief.title}" ({left})'
        if self.answers == "labels":
            like = f"{like}, and that answers with labels alone"
        curve = ", ".join(f"{one.num_pairs}: {one.power:.0%}" for one in self.curve)
        if self.num_pairs is None:
            answer = (
                f"not reached with up to {self.curve[-1].num_pairs:,}" if self.curve else "no pairs"
            )
        else:
            answer = f"{self.num_pairs:,}, so that as many images are withheld"
        lines = [
            f"Pairs that find {like} with a probability of {self.power:.0%} at α = {self.alpha:g} "
            f"(verification {self.position}): {answer}",
            f"Probability by number of pairs: {curve}",
        ]
        if self.cost is not None:
            lines.append(str(self.cost))
        return "\n".join(lines)


def find_pairs(
    found: Pilot,
    *,
    alpha: float = 0.001,
    power: float = 0.9,
    position: int = 1,
    kept: float = 1.0,
    thief: str = "none",
    memory: float = MEMORY,
) -> MarkingPlan:
    """The number of pairs for a power.

    Args:
        found: the pilot
        alpha (0.001), position (1): see :func:`power_of`
        power (0.9): the probability of finding a model like the proxies
        kept (1.0): the share of the released twins that the model is taken to learn from
        thief ("none"): a name in :data:`.thieves.THIEVES`; what such a thief leaves multiplies ``kept``
        memory (:data:`MEMORY`): what a suspect is taken to remember, as a share of what the proxies do; multiplies ``kept`` too

    Raises:
        ParameterError: if a number is out of range, or there is no such thief
        SamplesError: if the pilot has fewer than 12 pairs
    """
    way = check_wanted(alpha, power, position, kept, thief, memory)
    learned = memory * kept * way.left(found.rule)
    if len(found.differences) < SIZES[0]:
        raise SamplesError(
            f"{len(found.differences)} pairs can be formed of these images, and {SIZES[0]} at least are needed to find a model"
        )
    curve: list[Power] = []
    for size in (size for size in SIZES if size <= len(found.differences)):
        curve.append(power_of(found, size, alpha, position, learned))
        if curve[-1].power >= power:
            break
    enough = [one.num_pairs for one in curve if one.power >= power]
    return MarkingPlan(
        num_pairs=enough[0] if enough else None,
        power=power,
        alpha=alpha,
        position=position,
        kept=kept,
        rule=found.rule,
        curve=tuple(curve),
        answers=found.answers,
        thief=thief,
        memory=memory,
        learned=learned,
    )


def check_wanted(
    alpha: float, power: float, position: int, kept: float, thief: str, memory: float
) -> Thief:
    """Checks what is asked of :func:`find_pairs`; the thief.

    Raises:
        ParameterError: if a number is out of range, or there is no such thief
    """
    check_alpha(alpha)
    _SHARE.check("power", power)
    _SHARE.check("kept", kept)
    _SHARE.check("memory", memory)
    Whole(1).check("verification", position)
    return THIEVES[check_choice("thief", thief, THIEVES)]
