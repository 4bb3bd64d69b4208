"""Does a feature separate marked from unmarked files? Exact tests, and one correction for all of them.

Under the null hypothesis a marked image is any image of its matched set (its controls and itself,
:mod:`.matching`) with equal probability. Three tests rest on this and hold whatever the feature's
distribution:

-   *rank*: the sum of the marked images' ranks within their sets, its null distribution computed by
    convolution (the stratified Wilcoxon test, exact with ties);
-   *spread*: the same for the distance from the median, for values that are neither small nor large but in
    the middle, or at both ends;
-   *block*: the longest run of marked images when all matched images are sorted by the feature, as files
    that were written together leave it. Its p-value is a union bound over the places of the run.

A fourth looks for tell-tales, over all files of the release: a value that only marked files carry.
If t files carry it, in a class with m marked among n files, this has the probability C(m, t)/C(n, t)
for a random choice, so that a few marked files are enough.

Many features are tested at once. Tarone's correction (Biometrics 46, 1990) keeps the probability of any false
alarm below α over all of them, and does not count tests that could not reach significance however
the marks lay: with rare values, those are nearly all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

#: No p-value is given as less: products of probabilities underflow.
SMALLEST_P = 1e-300


@dataclass(frozen=True)
class TestResult:
    """One test of one feature.

    Attributes:
        name: "rank", "spread", "block" or "tell-tale"
        p_value: two-sided
        min_p_value: the smallest that these values could have given, however the marks lay
        value: the value of a categorical feature that was tested, None for numbers
        rows: marked files that the finding rests on
    """

    name: str
    p_value: float
    min_p_value: float
    value: Hashable = None
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Auroc:
    """The probability that a marked image has the larger value; ties count half.

    Attributes:
        value: against the controls of the same matched set
        low, high: Wilson's interval of 95 % for the mean over the sets, with the effective number of
            sets ``value·(1 − value)/SE²`` (and their plain number where all sets agree)
    """

    value: float
    low: float
    high: float


def matched_shares(values: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """For each set the share of controls with a smaller value than the marked image's, ties half.

    Args:
        values: float (N,); NaN counts as absent
        sets: int (S, K), see :func:`.matching.match`

    Returns:
        float64 (S,), NaN for sets without two values to compare
    """
    members, valid = _members(values, sets)
    usable = valid[:, 0] & (valid[:, 1:].sum(axis=1) > 0)
    below = (valid[:, 1:] & (members[:, 1:] < members[:, :1])).sum(axis=1)
    ties = (valid[:, 1:] & (members[:, 1:] == members[:, :1])).sum(axis=1)
    count = np.maximum(valid[:, 1:].sum(axis=1), 1)
    return np.where(usable, (below + ties / 2) / count, np.nan)


def matched_auroc(values: np.ndarray, sets: np.ndarray, inflation: float = 1.0) -> Auroc | None:
    """The AUROC against matched controls, None if nothing can be compared.

    Args:
        values, sets: see :func:`matched_shares`
        inflation (1.0): what the standard error is multiplied by, where sets depend on each other
    """
    shares = matched_shares(values, sets)
    shares = shares[~np.isnan(shares)]
    if not len(shares):
        return None
    mean = float(shares.mean())
    size = float(len(shares))
    if len(shares) > 1 and shares.std() > 0:
        variance = float(shares.var(ddof=1)) / len(shares)
        size = mean * (1 - mean) / variance
    size = max(size / inflation**2, 1.0)
    z = float(stats.norm.ppf(0.975))
    centre = (mean + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * math.sqrt(mean * (1 - mean) / size + z * z / (4 * size**2))
    return Auroc(mean, max(0.0, centre - half), min(1.0, centre + half))


def class_auroc(
    values: np.ndarray, marked: np.ndarray, labels: Sequence[str | None]
) -> float | None:
    """The AUROC against all unmarked images of the same class, mean over the marked images."""
    names, classes = np.unique([str(label) for label in labels], return_inverse=True)
    known = ~np.isnan(values)
    shares: list[np.ndarray] = []
    for label in range(len(names)):
        rows = known & (classes == label)
        ours, theirs = values[rows & marked], np.sort(values[rows & ~marked])
        if len(ours) and len(theirs):
            low = np.searchsorted(theirs, ours, "left")
            high = np.searchsorted(theirs, ours, "right")
            shares.append((low + high) / (2 * len(theirs)))
    return float(np.concatenate(shares).mean()) if shares else None


def rank_test(values: np.ndarray, sets: np.ndarray, name: str = "rank") -> TestResult:
    """Tests whether marked images have larger or smaller values than their controls, exactly.

    Args:
        values: float (N,); NaN counts as absent
        sets: int (S, K), see :func:`.matching.match`
        name ("rank"): of the result
    """
    members, valid = _members(values, sets)
    usable = valid[:, 0] & (valid.sum(axis=1) > 1)
    members, valid = members[usable], valid[usable]

    # 2·midrank − 2 of each member: twice the members below it, and once those equal to it
    below = (members[:, :, None] > members[:, None, :]) & valid[:, :, None] & valid[:, None, :]
    equal = (members[:, :, None] == members[:, None, :]) & valid[:, :, None] & valid[:, None, :]
    ranks = np.where(valid, 2 * below.sum(axis=2) + equal.sum(axis=2) - 1, -1)

    # Sets in which all values are equal say nothing
    telling = np.where(valid, ranks, ranks.max(axis=1, initial=-1, keepdims=True)).min(axis=1) < (
        ranks.max(axis=1, initial=-1)
    )
    ranks = ranks[telling]
    rows = tuple(int(row) for row in sets[usable][telling][:, 0])
    if not len(ranks):
        return TestResult(name, 1.0, 1.0)

    null = _null_distribution(ranks)
    observed = int(ranks[:, 0].sum())
    low, high = float(null[: observed + 1].sum()), float(null[observed:].sum())
    ends = np.flatnonzero(null)
    least = float(min(null[ends[0]], null[ends[-1]])) if len(ends) else 0.0
    return TestResult(name, _two_sided(low, high), _two_sided(least, 1.0), rows=rows)


def spread_test(values: np.ndarray, sets: np.ndarray) -> TestResult:
    """Tests whether marked images lie nearer to the middle, or farther out, than their controls."""
    used = np.unique(sets[sets >= 0])
    used = used[~np.isnan(values[used])]
    if not len(used):
        return TestResult("spread", 1.0, 1.0)
    distance = np.full(len(values), np.nan)
    ranks = stats.rankdata(values[used])
    distance[used] = np.abs(ranks - (len(used) + 1) / 2)
    return rank_test(distance, sets, "spread")


def block_test(values: np.ndarray, sets: np.ndarray) -> TestResult:
    """Tests whether marked images stand together when the matched images are sorted.

    The p-value is the sum, over all places where a run of the observed length could be, of the
    probability that all files there are marked: the product of one over their sets' sizes, and 0
    if two are of one set. A tie that includes an unmarked image ends a run.
    """
    valid = sets >= 0
    valid[valid] &= ~np.isnan(values[sets[valid]])
    usable = valid[:, 0] & (valid.sum(axis=1) > 1)
    valid &= usable[:, None]
    rows, set_of = sets[valid], np.nonzero(valid)[0]
    is_marked = np.nonzero(valid)[1] == 0
    if not len(rows):
        return TestResult("block", 1.0, 1.0)

    sizes = valid.sum(axis=1)
    order = np.lexsort((rows, values[rows]))
    rows, set_of, is_marked = rows[order], set_of[order], is_marked[order]
    mixed = _mixed_ties(values[rows], is_marked)
    # Ties that are all marked may stand in any order, so the order above depends on no mark
    start, length = _longest_run(is_marked & ~mixed)
    num_sets = int(usable.sum())
    least = float(np.prod(1.0 / sizes[usable])) * (len(rows) - num_sets + 1)
    if length < 2:
        return TestResult("block", 1.0, min(1.0, least))

    # A window ends at its last place and is of distinct sets if it starts no earlier than the place
    # behind the last repetition
    latest: dict[int, int] = {}
    earliest = np.empty(len(rows), dtype=np.int64)
    begin = 0
    for place, number in enumerate(set_of.tolist()):
        begin = max(begin, latest.get(number, -1) + 1)
        latest[number] = place
        earliest[place] = begin
    logs = np.concatenate(([0.0], np.cumsum(-np.log(sizes[set_of]))))
    firsts = np.arange(len(rows) - length + 1)
    distinct = earliest[firsts + length - 1] <= firsts
    total = float(np.exp(logs[firsts + length] - logs[firsts])[distinct].sum())
    found = tuple(int(row) for row in rows[start : start + length])
    return TestResult("block", _clip(total), min(1.0, least), rows=found)


def tell_tales(
    values: Sequence[Hashable],
    marked: np.ndarray,
    labels: Sequence[str | None],
    by_class: bool = True,
) -> list[TestResult]:
    """Tests each value that two or more files carry: do marked files alone carry it?

    Args:
        values: N values
        marked: bool (N,)
        labels: N classes
        by_class (True): whether a random choice keeps the number of marked images of each class

    Returns:
        a result for each such value; p-value 1 where an unmarked file carries it too
    """
    strata = list(labels) if by_class else [None] * len(values)
    totals: Counter[Hashable] = Counter(strata)
    of_stratum: Counter[Hashable] = Counter(
        stratum for stratum, is_marked in zip(strata, marked, strict=True) if is_marked
    )
    carriers: dict[Hashable, list[int]] = {}
    for row, value in enumerate(values):
        carriers.setdefault(value, []).append(row)
    if len(carriers) < 2:
        return []

    results = []
    for value, rows in carriers.items():
        if len(rows) < 2:
            continue
        chance = 0.0
        for stratum, count in Counter(strata[row] for row in rows).items():
            chance += _log_choose_ratio(of_stratum[stratum], totals[stratum], count)
        least = _clip(math.exp(chance)) if chance > -math.inf else 1.0
        only = bool(marked[rows].all())
        results.append(
            TestResult(
                "tell-tale",
                least if only else 1.0,
                least,
                value,
                tuple(rows) if only else (),
            )
        )
    return results


def tarone_factor(min_p_values: Sequence[float], alpha: float) -> int:
    """How many tests a p-value has to be corrected for.

    Tarone's K: the smallest number such that at most K tests could reach α/K at all.

    Args:
        min_p_values: the smallest p-value that each test could have given
        alpha: the probability of any false alarm

    Returns:
        K, at least 1
    """
    least = np.sort(np.asarray(min_p_values, dtype=np.float64))
    for factor in range(1, len(least) + 1):
        if np.searchsorted(least, alpha / factor, "right") <= factor:
            return factor
    return max(1, len(least))


def _members(values: np.ndarray, sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    members = np.where(sets >= 0, values[sets], np.nan)
    return members, ~np.isnan(members)


def _null_distribution(ranks: np.ndarray) -> np.ndarray:
    """The distribution of a sum with one member drawn from each row; ranks below 0 are no members."""
    patterns = Counter(tuple(sorted(row[row >= 0].tolist())) for row in ranks)
    total = np.ones(1)
    for pattern, count in patterns.items():
        single = np.bincount(pattern).astype(np.float64) / len(pattern)
        total = np.convolve(total, _convolution_power(single, count))
    return total


def _convolution_power(distribution: np.ndarray, power: int) -> np.ndarray:
    result = np.ones(1)
    base = distribution
    while power:
        if power & 1:
            result = np.convolve(result, base)
        power >>= 1
        if power:
            base = np.convolve(base, base)
    return result


def _mixed_ties(values: np.ndarray, is_marked: np.ndarray) -> np.ndarray:
    """bool: whether a row's value is shared by an unmarked one; values are sorted."""
    _, group = np.unique(values, return_inverse=True)
    has_unmarked = np.bincount(group, weights=~is_marked) > 0
    return has_unmarked[group]


def _longest_run(flags: np.ndarray) -> tuple[int, int]:
    """Start and length of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    if not len(edges):
        return 0, 0
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest] - starts[longest])


def _log_choose_ratio(marked: int, total: int, count: int) -> float:
    """log C(marked, count)/C(total, count): that ``count`` given files of a class are all marked."""
    if count > marked:
        return -math.inf
    return float(
        sum(math.log(marked - i) - math.log(total - i) for i in range(count)) if count else 0.0
    )


def _two_sided(low: float, high: float) -> float:
    return _clip(2 * min(low, high))


def _clip(p_value: float) -> float:
    return min(1.0, max(SMALLEST_P, p_value))
