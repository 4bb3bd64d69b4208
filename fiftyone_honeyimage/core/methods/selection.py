"""Which images become HoneyImages, and which of them are twins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import ParameterError, SamplesError
from ..limits import check_choice
from .likeness import POOL, pair_in_windows, unlike_each_other

#: Which of the pairs, and of the images without a twin, are taken
RULES = {
    "hardest": "The hardest, as the paper does",
    "gain": "Those that a model which has seen them does better on by most",
    "unsettled": "Those whose loss moves most while a model trains, which it learns by heart",
    "spread": "Spread evenly over hardness, so that dropping the hardest images loses few of them",
    "random": "At random",
}

#: Rules that take images in an order, the first ones first
IN_ORDER = ("hardest", "gain", "unsettled")

#: What a choice may take of the proxies beside hardness, and what that is: rules rank by the first two
MEASURES = {
    "gain": "how much better a model does on what it has seen",
    "unsettled": "how much each image's loss moved while models trained",
    "embedding": "what the models find alike",
}

NO_MEASURES: Mapping[str, np.ndarray] = MappingProxyType({})


def rule_of(options: Any) -> str:
    """The rule of a method's options; methods that ask for none take the hardest."""
    return str(getattr(options, "selection", "hardest"))


def measures_needed(options: Any) -> tuple[str, ...]:
    """Names in :data:`MEASURES` that a method's options ask for, in their order."""
    rule = rule_of(options)
    alike = getattr(options, "matched", False) or getattr(options, "diverse", False)
    return tuple(name for name in MEASURES if name == rule or (alike and name == "embedding"))


@dataclass(frozen=True)
class Candidates:
    """The images chosen for marking, as rows of the private set.

    Attributes:
        singles: int64 (N − M·F,), candidates without a twin
        pairs: int64 (M·F, 2), twins: same label, neighbours in the ranking; F in a row make up a pair of sides
        excluded: how many images each exclusion took out of the ranking
        files_a_side: F, images that share a side's secret
        probes: int64 (P,), images that a suspect will be asked about with a secret in them; no release holds them
        partners: int64 (N + M·F,), for each of :attr:`rows` an image that is mixed into it and that a release holds
            as it is; empty for most methods
    """

    singles: np.ndarray
    pairs: np.ndarray
    excluded: Mapping[str, int] = field(default_factory=dict)
    files_a_side: int = 1
    probes: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    partners: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def rows(self) -> np.ndarray:
        """int64 (N + M·F,): every row that is changed: singles first, then a, b of each pair of twins."""
        return np.concatenate([self.singles, self.pairs.reshape(-1)])

    @property
    def sides(self) -> np.ndarray:
        """int64 (M, 2, F): for sides a and b of each pair, which of :attr:`rows` they hold."""
        places = np.arange(len(self.singles), len(self.rows))
        return places.reshape(-1, self.files_a_side, 2).transpose(0, 2, 1)

    def with_pairs_shuffled(self, seed: int) -> Candidates:
        """The same pairs in an order drawn from a seed."""
        size = self.files_a_side
        order = np.random.default_rng([seed, 0]).permutation(len(self.pairs) // size)
        rows = (order[:, None] * size + np.arange(size)).reshape(-1)
        partners = self.partners
        if partners.size:
            own = len(self.singles)
            both = partners[own:].reshape(-1, 2)[rows].reshape(-1)
            partners = np.concatenate([partners[:own], both])
        return replace(self, pairs=self.pairs[rows], partners=partners)


def default_num_pairs(num_images: int) -> int:
    """1 % of the private set withheld, at least 16 pairs and at most 200.

    Who cleans the release, or trains for a short time, is found by more pairs alone (docs/measured.md). Sixteen pairs leave the signed-rank test, whose smallest p-value is ``2**-n``, room below
    α = 0.001 for the first seven verifications with a ledger, or for fewer when pairs fail.
    """
    return max(16, min(200, num_images // 100))


def select_candidates(
    hardness: np.ndarray,
    labels: np.ndarray,
    *,
    num_honeyimages: int,
    num_pairs: int,
    excluded: Mapping[str, np.ndarray] | None = None,
    rule: str = "hardest",
    seed: int = 0,
    files_a_side: int = 1,
    measures: Mapping[str, np.ndarray] = NO_MEASURES,
    matched: bool = False,
    diverse: bool = False,
) -> Candidates:
    """Takes N images, M·F of them with a twin: same label, neighbours in a ranking.

    Within each class the images are ranked by hardness, or by what the rule looks at, and neighbours in the ranking are
    paired; M·F of the pairs are kept, and N − M·F of the remaining images are the singles: the first of the ranking, or
    by another rule. Where the ranking is not hardness, or twins are matched, an image's twin is looked for among
    :data:`.likeness.WINDOW` neighbours. It looks at labels and at what the owner's proxies say, and treats both twins
    alike; which of them is released is decided by a coin, later.

    Args:
        hardness: float64 (K,)
        labels: int (K,)
        num_honeyimages: N, the number of released HoneyImages
        num_pairs: M, the number of pairs of sides
        excluded (None): name → bool (K,) masks of images that may not be chosen
        rule ("hardest"): a name in :data:`RULES`
        seed (0): of the choice at random
        files_a_side (1): F, images a side, so that M·F ≤ N images have a withheld twin
        measures ({}): of each name in :data:`MEASURES` that is needed, float (K,), or (K, E) of "embedding"
        matched (False): whether twins are also alike by "embedding"
        diverse (False): whether the pairs are also unlike each other by "embedding"

    Returns:
        :class:`Candidates`

    Raises:
        ParameterError: if N < 1, M < 0 or M > N, or a measure is missing
        SamplesError: if there are too few images
    """
    check_choice("selection", rule, RULES)
    if num_honeyimages < 1:
        raise ParameterError(f"num_honeyimages must be at least 1; found {num_honeyimages}")
    if not 0 <= num_pairs <= num_honeyimages:
        raise ParameterError(
            f"num_pairs must be between 0 and num_honeyimages={num_honeyimages}; found {num_pairs}"
        )

    num_twins = num_pairs * files_a_side
    scores = _measure(measures, rule, len(labels)) if rule in MEASURES else hardness
    embedding = _measure(measures, "embedding", len(labels)) if matched or diverse else None
    allowed = np.ones(len(labels), dtype=bool)
    counts = {}
    for name, mask in (excluded or {}).items():
        counts[name] = int(mask.sum())
        allowed &= ~mask
    unknown = np.isnan(scores)
    if embedding is not None:
        unknown |= np.isnan(embedding).any(axis=1)
    if (allowed & unknown).any():
        counts["not_measured"] = int((allowed & unknown).sum())
        allowed &= ~unknown

    # Stable sort: rows with equal scores keep their order, so a rerun chooses the same images.
    ranking = np.argsort(-scores, kind="stable")
    ranking = ranking[allowed[ranking]]
    needed = num_honeyimages + num_twins
    if len(ranking) < needed:
        raise SamplesError(
            f"{num_honeyimages} HoneyImages with {num_twins} twins need {needed} images; "
            f"{len(ranking)} of {len(labels)} can be chosen{_excluded_text(counts)}. "
            "Ask for fewer, or exclude less"
        )

    neighbours = []
    for label in np.unique(labels[ranking]):
        rows = ranking[labels[ranking] == label]
        if rule in MEASURES or matched:
            neighbours.append(pair_in_windows(rows, hardness, embedding if matched else None))
            continue
        even = len(rows) // 2 * 2
        neighbours.append(rows[:even].reshape(-1, 2))
    available = np.concatenate(neighbours) if neighbours else np.empty((0, 2), dtype=np.int64)
    if len(available) < num_twins:
        raise SamplesError(
            f"{num_twins} pairs of twins with the same label are asked for; only "
            f"{len(available)} can be formed{_excluded_text(counts)}. Ask for fewer pairs, or exclude less"
        )

    rng = np.random.default_rng(seed)
    order = np.argsort(-scores[available].mean(axis=1), kind="stable")
    taken = _taken(len(order), num_twins, rule, rng)
    if diverse and embedding is not None and num_twins:
        pool = _taken(len(order), min(len(order), POOL * num_twins), rule, rng)
        parts = np.array_split(np.arange(len(pool)), num_twins if rule == "spread" else 1)
        middles = embedding[available[order[pool]]].mean(axis=1)
        taken = pool[unlike_each_other(middles, parts, num_twins)]
    pairs = available[order[taken]].astype(np.int64)
    left = ranking[~np.isin(ranking, pairs)]
    singles = left[_taken(len(left), num_honeyimages - num_twins, rule, rng)].astype(np.int64)
    return Candidates(singles=singles, pairs=pairs, excluded=counts, files_a_side=files_a_side)


def _measure(measures: Mapping[str, np.ndarray], name: str, number: int) -> np.ndarray:
    """A measure of all images.

    Raises:
        ParameterError: if it is missing, or of other images
    """
    found = np.asarray(measures.get(name, ()), dtype=np.float64)
    if not found.size:
        raise ParameterError(
            f"this choice takes {MEASURES[name]} ({name!r}), which is not known; run compute_hardness again, or take "
            "another selection, matched=False and diverse=False"
        )
    if len(found) != number:
        raise ParameterError(
            f"{name!r} must be given of each of {number} images; found {len(found)}"
        )
    return found


def _excluded_text(counts: Mapping[str, int]) -> str:
    """How many images cannot be chosen and why, in brackets; empty if there is none."""
    named = [f"{count} by {name.replace('_', ' ')}" for name, count in counts.items() if count]
    return f" (excluded: {', '.join(named)})" if named else ""


def select_by_class(
    hardness: np.ndarray,
    labels: np.ndarray,
    *,
    num_pairs: int,
    files_a_side: int,
    excluded: Mapping[str, np.ndarray],
    rule: str,
    seed: int,
    measures: Mapping[str, np.ndarray] = NO_MEASURES,
) -> Candidates:
    """As :func:`select_candidates`, with all images of a pair of sides in one class, and no singles.

    The pairs are dealt out to the classes in turn, as far as each has images; those of a class get its images at random.

    Raises:
        SamplesError: if there are too few images
    """
    allowed = np.ones(len(labels), dtype=bool)
    for mask in excluded.values():
        allowed &= ~mask
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.unique(labels[allowed]))
    room = {int(c): int((allowed & (labels == c)).sum()) // (2 * files_a_side) for c in classes}
    turns = [label for turn in range(num_pairs) for label in room if room[label] > turn]
    if len(turns) < num_pairs:
        raise SamplesError(
            f"{num_pairs} pairs of {files_a_side} and {files_a_side} images, those of a pair all of one class, are asked "
            f"for; only {len(turns)} can be formed{_excluded_text({n: int(m.sum()) for n, m in excluded.items()})}. "
            "Ask for fewer pairs, for fewer images, or exclude less"
        )
    pairs = []
    for label in sorted(set(turns[:num_pairs])):
        wanted = turns[:num_pairs].count(label)
        found = select_candidates(
            hardness,
            labels,
            num_honeyimages=wanted * files_a_side,
            num_pairs=wanted,
            excluded={**excluded, "other_classes": labels != label},
            rule=rule,
            seed=seed,
            files_a_side=files_a_side,
            measures=measures,
        )
        pairs.append(rng.permutation(found.pairs))
    return Candidates(
        singles=np.empty(0, dtype=np.int64),
        pairs=np.concatenate(pairs) if pairs else np.empty((0, 2), dtype=np.int64),
        excluded={name: int(mask.sum()) for name, mask in excluded.items()},
        files_a_side=files_a_side,
    )


def left_over(
    candidates: Candidates, num_images: int, excluded: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Rows that were neither chosen nor left out, int64, ascending.

    Args:
        candidates: what was chosen
        num_images: K
        excluded: see :func:`select_candidates`
    """
    free = np.ones(num_images, dtype=bool)
    free[candidates.rows] = False
    for mask in excluded.values():
        free &= ~mask
    return np.flatnonzero(free)


def _taken(num: int, wanted: int, rule: str, rng: np.random.Generator) -> np.ndarray:
    """Which places of a ranking are taken, int64 (wanted,), ascending."""
    if rule == "random":
        return np.sort(rng.permutation(num)[:wanted])
    if rule == "spread":
        # The middle of each of so many equal parts of the ranking
        return ((np.arange(wanted) + 0.5) * num / max(wanted, 1)).astype(np.int64)
    return np.arange(wanted)
