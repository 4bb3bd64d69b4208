"""Features of files, and the tests that each of them gets."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from .container import describe
from .report import METADATA, NUM_EXAMPLES, Separation
from .separation import (
    TestResult,
    block_test,
    class_auroc,
    matched_auroc,
    rank_test,
    spread_test,
    tarone_factor,
    tell_tales,
)

STRUCTURE = "structure"
CONTENT = "content"
NUMBER = "number"


@dataclass(frozen=True)
class Feature:
    """One property of every file.

    Attributes:
        name: what it is
        kind: "structure" for what software sets: a value that marked files alone carry is a
            tell-tale; "content" for what goes with the scene, so that files of one scene may share
            it: compared within matched sets alone; "number" for what has an order, likewise
        values: one a file; None or NaN where a file has none
        by_class (True): whether a class may have values of its own
        is_partial (False): whether None stands for files that were not looked at
    """

    name: str
    kind: str
    values: Sequence[Hashable]
    by_class: bool = True
    is_partial: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether it is the same for all files."""
        if self.kind == NUMBER:
            numbers = np.asarray(self.values, dtype=np.float64)
            known = numbers[~np.isnan(numbers)]
            return not len(known) or bool((known == known[0]).all())
        return len(set(self.values)) < 2


def score_features(
    features: Sequence[Feature],
    names: Sequence[str],
    marked: np.ndarray,
    labels: Sequence[str | None],
    sets: np.ndarray,
    alpha: float,
    inherited: Collection[str] = (),
) -> list[Separation]:
    """Tests features and corrects for their number.

    Args:
        features: of all files; those that are constant are left out of the result
        names: N names of files, for the reports
        marked: bool (N,)
        labels: N classes
        sets: int (S, K), see :func:`.matching.match`
        alpha: the probability that any feature is said to separate if none does
        inherited (()): names of features that all marked files have from their originals: whatever they
            separate, the marking did not cause it, so they are shown and not counted

    Returns:
        a :class:`.report.Separation` for each feature that varies, the smallest p-value first
    """
    tested = [
        (feature, _test(feature, marked, labels, sets, alpha), feature.name in inherited)
        for feature in features
        if not feature.is_constant
    ]
    least = [
        result.min_p_value
        for _, results, is_inherited in tested
        for result in results
        if not is_inherited
    ]
    factor = tarone_factor(least, alpha)
    rows = [_separation(*each, names, marked, labels, sets, alpha, factor) for each in tested]
    return sorted(rows, key=lambda row: row.p_value)


def _test(
    feature: Feature,
    marked: np.ndarray,
    labels: Sequence[str | None],
    sets: np.ndarray,
    alpha: float,
) -> list[TestResult]:
    if feature.kind == NUMBER:
        values = np.asarray(feature.values, dtype=np.float64)
        return [rank_test(values, sets), spread_test(values, sets), block_test(values, sets)]

    results = _matched_tests(feature.values, sets, alpha)
    if feature.kind == STRUCTURE:
        results += tell_tales(feature.values, marked, labels, feature.by_class)
        # Names drawn at random among numbers, time stamps among equal ones: each value but once
        counts = Counter(feature.values)
        rare = [counts[value] == 1 for value in feature.values]
        results += [
            TestResult(r.name, r.p_value, r.min_p_value, "a value of its own", r.rows)
            for r in tell_tales(rare, marked, labels, feature.by_class)
            if r.value is True
        ]
    return [result for result in results if result.min_p_value <= alpha]


def _matched_tests(values: Sequence[Hashable], sets: np.ndarray, alpha: float) -> list[TestResult]:
    """Tests for each value whether marked images carry it more or less often than their controls."""
    used = sorted({int(row) for row in sets[sets >= 0]})
    counts = Counter(values[row] for row in used)
    if len(counts) < 2:
        return []

    candidates = list(counts)
    if len(candidates) == 2:
        candidates = [min(candidates, key=lambda value: counts[value])]
    results = []
    for value in candidates:
        # Fewer carriers could not be significant: see the smallest p-value of a rank test
        if counts[value] < 2 or len(used) - counts[value] < 2:
            continue
        carries = np.zeros(len(values))
        carries[[row for row in used if values[row] == value]] = 1
        if _least(carries, sets) > alpha:
            continue
        result = rank_test(carries, sets)
        rows = tuple(row for row in result.rows if carries[row])
        results.append(TestResult("rank", result.p_value, result.min_p_value, value, rows))
    return results


def _least(carries: np.ndarray, sets: np.ndarray) -> float:
    """The smallest two-sided p-value that a yes-or-no feature can reach."""
    valid = sets >= 0
    share = np.where(valid, carries[sets], 0).sum(axis=1) / valid.sum(axis=1)
    telling = share[(share > 0) & (share < 1)]
    return min(1.0, 2 * min(float(np.prod(telling)), float(np.prod(1 - telling))))


def _separation(
    feature: Feature,
    results: Sequence[TestResult],
    is_inherited: bool,
    names: Sequence[str],
    marked: np.ndarray,
    labels: Sequence[str | None],
    sets: np.ndarray,
    alpha: float,
    factor: int,
) -> Separation:
    best = min(results, key=lambda result: result.p_value, default=TestResult("rank", 1.0, 1.0))
    values = _as_numbers(feature, best)
    auroc = None if values is None else matched_auroc(values, sets)
    value = None if auroc is None else auroc.value
    adjusted = min(1.0, factor * best.p_value)
    separates = adjusted <= alpha and not is_inherited
    detail = "as in the originals" if is_inherited else ""
    examples = [names[row] for row in best.rows if marked[row]][:NUM_EXAMPLES]
    return Separation(
        feature=feature.name,
        group=METADATA,
        test=best.name,
        auroc=value,
        interval=None if auroc is None else (auroc.low, auroc.high),
        auroc_class=None if values is None else class_auroc(values, marked, labels),
        p_value=best.p_value,
        p_adjusted=adjusted,
        separates=separates,
        detail=_detail(feature, best, value) if separates else detail,
        files=tuple(examples) if separates else (),
    )


def _as_numbers(feature: Feature, best: TestResult) -> np.ndarray | None:
    """What the AUROC is of: the number, or whether a file carries the value that was tested."""
    if feature.kind == NUMBER:
        return np.asarray(feature.values, dtype=np.float64)
    if best.p_value == 1 and best.value is None:
        return None
    if best.value == "a value of its own":
        counts = Counter(feature.values)
        return np.array([float(counts[value] == 1) for value in feature.values])
    return np.array([float(value == best.value) for value in feature.values])


def _detail(feature: Feature, best: TestResult, auroc: float | None) -> str:
    share = "" if auroc is None or math.isnan(auroc) else f" (AUROC {auroc:.2f})"
    if best.name == "tell-tale":
        return f"{len(best.rows)} files have {_value(best.value)}, and all of them are HoneyImages"
    if best.name == "block":
        return f"{len(best.rows)} HoneyImages stand in one block when files are sorted by it"
    if best.name == "spread":
        return "HoneyImages lie nearer to the middle, or farther out, than other images"
    if feature.kind == NUMBER:
        way = "larger" if auroc is not None and auroc > 0.5 else "smaller"
        return f"HoneyImages have {way} values than other images{share}"
    way = "more" if auroc is not None and auroc > 0.5 else "less"
    return f"HoneyImages have {_value(best.value)} {way} often than other images{share}"


def _value(value: Hashable) -> str:
    text = describe(value)
    return text if value == "a value of its own" else f"the value '{text}'"
