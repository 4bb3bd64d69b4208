"""The tests behind the audit, against enumeration and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from fiftyone_honeyimage.core.audit.matching import match
from fiftyone_honeyimage.core.audit.separation import (
    block_test,
    class_auroc,
    matched_auroc,
    matched_shares,
    rank_test,
    spread_test,
    tarone_factor,
    tell_tales,
)
from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.evidence.alpha_spending import holm


def enumerate_sets(sets: np.ndarray) -> list[np.ndarray]:
    """Every way in which the marks could lie: each member of a set in its first place."""
    members = [row[row >= 0].tolist() for row in sets]
    result = []
    for choice in itertools.product(*members):
        swapped = sets.copy()
        for row, chosen in enumerate(choice):
            place = int(np.flatnonzero(sets[row] == chosen)[0])
            swapped[row, [0, place]] = swapped[row, [place, 0]]
        result.append(swapped)
    return result


def rank_sum(values: np.ndarray, sets: np.ndarray) -> float:
    """Written anew, with SciPy's midranks."""
    total = 0.0
    for row in sets:
        members = row[row >= 0]
        total += float(stats.rankdata(values[members])[0])
    return total


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_rank_test_is_exact(seed: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=14)
    if tied:
        values = np.round(values)
    sets = np.array([[0, 1, 2, 3], [4, 5, 6, -1], [7, 8, -1, -1], [9, 10, 11, 12]])
    sums = np.array([rank_sum(values, other) for other in enumerate_sets(sets)])
    p_values = []
    for other, observed in zip(enumerate_sets(sets), sums, strict=True):
        low = np.mean(sums <= observed + 1e-9)
        high = np.mean(sums >= observed - 1e-9)
        p_values.append(min(1.0, 2 * min(low, high)))
        if len(p_values) % 17 == 1:
            assert rank_test(values, other).p_value == pytest.approx(p_values[-1])
    assert rank_test(values, sets).min_p_value == pytest.approx(min(p_values))


def test_rank_test_finds_what_is_there() -> None:
    sets = np.arange(60).reshape(12, 5)
    values = np.zeros(60)
    values[sets[:, 0]] = 1
    result = rank_test(values, sets)
    assert result.p_value == result.min_p_value == pytest.approx(2 * 0.2**12)
    assert matched_auroc(values, sets).value == 1  # type: ignore[union-attr]
    assert rank_test(np.zeros(60), sets).p_value == 1


def test_absent_values_are_left_out() -> None:
    sets = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    values = np.array([5.0, 1, np.nan, np.nan, 1, 2, 3, np.nan, np.nan])
    assert matched_shares(values, sets).tolist()[0] == 1
    assert np.isnan(matched_shares(values, sets)[1:]).all()
    assert rank_test(values, sets).p_value == 1
    assert rank_test(values, sets).min_p_value == 1  # one set of two
    assert matched_auroc(np.full(9, np.nan), sets) is None


def test_spread_test_finds_the_middle() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 1, 90)
    sets = np.arange(90).reshape(15, 6)
    values[sets[:, 0]] *= 0.02
    assert rank_test(values, sets).p_value > 0.05
    assert spread_test(values, sets).p_value < 1e-4


def test_block_test_keeps_its_level() -> None:
    rng = np.random.default_rng(1)
    values = np.round(rng.normal(size=40) * 20)  # with ties
    sets = np.arange(40).reshape(10, 4)
    p_values = []
    for _ in range(1500):
        drawn = np.array([rng.permutation(row) for row in sets])
        p_values.append(block_test(values, drawn).p_value)
    for level in (0.01, 0.05, 0.2):
        assert np.mean(np.array(p_values) <= level) <= level + 3 * math.sqrt(level / 1500)
    assert min(p_values) <= 0.05


def test_block_test_finds_a_block_anywhere() -> None:
    values = np.arange(60.0)
    marked = list(range(17, 27))
    others = [row for row in range(60) if row not in marked]
    sets = np.array([[row, *others[5 * i : 5 * i + 5]] for i, row in enumerate(marked)])
    result = block_test(values, sets)
    assert result.rows == tuple(marked)
    # 51 places for ten files, each of a set of six
    assert result.p_value <= 51 / 6**10 + 1e-12
    assert block_test(np.zeros(60), sets).p_value == 1


def test_tell_tales_have_the_probability_of_a_random_choice() -> None:
    marked = np.zeros(50, dtype=bool)
    marked[[3, 4, 30, 31, 32]] = True
    labels = ["a"] * 25 + ["b"] * 25
    values = ["x"] * 50
    for row in (3, 30, 31):
        values[row] = "odd"
    by_value = {r.value: r for r in tell_tales(values, marked, labels)}
    expected = (2 / 25) * (3 * 2 / (25 * 24))
    assert by_value["odd"].p_value == by_value["odd"].min_p_value == pytest.approx(expected)
    assert by_value["odd"].rows == (3, 30, 31)
    assert by_value["x"].p_value == 1
    assert by_value["x"].min_p_value == 1

    pooled = {r.value: r for r in tell_tales(values, marked, labels, by_class=False)}
    assert pooled["odd"].p_value == pytest.approx(float(stats.hypergeom.pmf(3, 50, 5, 3)))

    values[10] = "odd"
    assert {r.value: r for r in tell_tales(values, marked, labels)}["odd"].p_value == 1
    assert tell_tales(["x"] * 50, marked, labels) == []


def test_tarone_counts_only_tests_that_can_reach_significance() -> None:
    assert tarone_factor([0.5] * 1000, 0.05) == 1
    assert tarone_factor([1e-9] * 10 + [0.5] * 1000, 0.05) == 10
    # Tarone's own definition, by trying
    least = [0.001, 0.02, 0.03, 0.004, 0.011, 0.2]
    brute = next(k for k in range(1, 9) if sum(p <= 0.05 / k for p in least) <= k)
    assert tarone_factor(least, 0.05) == brute
    assert tarone_factor([], 0.05) == 1


def test_holm_in_the_order_given() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


def test_interval_of_the_auroc_covers() -> None:
    """Normal values shifted by 1: the AUROC is Φ(1/√2) = 0.760."""
    truth = float(stats.norm.cdf(1 / math.sqrt(2)))
    rng = np.random.default_rng(3)
    sets = np.arange(150).reshape(25, 6)
    covered = 0
    for _ in range(400):
        values = rng.normal(size=150)
        values[sets[:, 0]] += 1
        found = matched_auroc(values, sets)
        assert found is not None
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 400 <= 0.99


def test_class_auroc_is_the_mean_within_classes() -> None:
    values = np.array([3.0, 1, 2, 10, 20, 10])
    marked = np.array([True, False, False, True, False, False])
    labels = ["a", "a", "a", "b", "b", "b"]
    assert class_auroc(values, marked, labels) == pytest.approx((1.0 + 0.25) / 2)
    assert class_auroc(values, np.zeros(6, dtype=bool), labels) is None


# --- matching ---------------------------------------------------------------------------------------


def test_controls_are_unmarked_of_the_class_and_used_once() -> None:
    rng = np.random.default_rng(0)
    marked = rng.random(200) < 0.1
    labels = [str(x) for x in rng.integers(0, 3, 200)]
    sets = match(marked, labels, rng.random(200))
    used = sets[sets >= 0]
    assert len(set(used.tolist())) == len(used)
    assert set(sets[:, 0].tolist()) == set(np.flatnonzero(marked).tolist())
    for row in sets:
        assert not marked[row[1:][row[1:] >= 0]].any()
        assert len({labels[member] for member in row[row >= 0]}) == 1


def test_controls_are_the_nearest_in_hardness() -> None:
    hardness = np.arange(40.0)
    marked = hardness >= 36
    sets = match(marked, ["a"] * 40, hardness)
    assert set(sets[:, 1:].ravel().tolist()) == set(range(16, 36))
    (hardest,) = sets[sets[:, 0] == 39]
    assert hardest[1] == 35


def test_scarce_controls_are_dealt_out_fairly() -> None:
    marked = np.array([True, True, True, False, False, False, False])
    sets = match(marked, ["a"] * 7)
    assert sorted((sets >= 0).sum(axis=1).tolist()) == [2, 2, 3]
    alone = match(np.array([True, True]), ["a", "b"])
    assert alone.shape == (0, 6)


def test_unknown_hardness_goes_last() -> None:
    hardness = np.array([5.0, np.nan, 4.0, np.nan, 0.0])
    marked = np.array([True, False, False, False, False])
    (row,) = match(marked, ["a"] * 5, hardness, num_controls=2)
    assert row.tolist() == [0, 2, 4]


def test_shapes_are_checked() -> None:
    with pytest.raises(ParameterError, match="labels"):
        match(np.zeros(3, dtype=bool), ["a"])
    with pytest.raises(ParameterError, match="hardness"):
        match(np.zeros(3, dtype=bool), ["a"] * 3, np.zeros(2))
