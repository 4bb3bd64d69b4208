"""A plan says how many pairs find a model like the proxies: against a model that is trained, and against theory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from fiftyone_honeyimage.core.errors import ParameterError, SamplesError
from fiftyone_honeyimage.core.evidence.twins import sign_test, signed_rank_test
from fiftyone_honeyimage.core.pipeline.planning import (
    Pilot,
    _passed,
    find_pairs,
    pilot,
    power_of,
)
from fiftyone_honeyimage.core.pipeline.thieves import THIEVES


def _normal(effect: float, number: int = 300, seed: int = 0) -> Pilot:
    drawn = np.random.default_rng(seed).normal(effect, 1, (number, 2))
    return Pilot("random", tuple(map(tuple, drawn.tolist())))


def test_power_is_that_of_theory_on_normal_differences() -> None:
    # By the t-test's normal approximation, of which the signed-rank test has 0.955 of the efficiency
    level = 0.001 / 2
    for size, effect in ((30, 0.6), (60, 0.5), (100, 0.3)):
        expected = stats.norm.cdf(effect * np.sqrt(0.955 * size) - stats.norm.isf(level))
        found = np.mean([power_of(_normal(effect, seed=s), size, 0.001).power for s in range(6)])
        assert found == pytest.approx(expected, abs=0.12)


def test_a_model_that_learned_nothing_is_found_no_more_often_than_the_level() -> None:
    found = [power_of(_normal(0.8, seed=s), 30, 0.05, kept=1e-9).power for s in range(10)]
    assert np.mean(found) <= 0.025 + 3 * np.sqrt(0.025 / 4000)


def test_plans_grow_with_what_is_asked_of_them() -> None:
    of = _normal(0.8)
    plain = find_pairs(of, memory=0.9)
    assert plain.learned == 0.9
    assert plain.num_pairs is not None
    assert plain.curve[-1].power >= 0.9 > plain.curve[-2].power
    assert str(plain.num_pairs) in str(plain)
    for harder in (
        find_pairs(of, position=5, memory=0.9),
        find_pairs(of, kept=0.6, memory=0.9),
        find_pairs(of, power=0.999, memory=0.9),
        find_pairs(of),
    ):
        assert harder.num_pairs is None or harder.num_pairs >= plain.num_pairs
    never = find_pairs(_normal(0.01))
    assert never.num_pairs is None
    assert "not reached with up to 300" in str(never)


@pytest.mark.parametrize(
    "wrong",
    [
        {"power": 0},
        {"power": 1.5},
        {"power": True},
        {"kept": 0},
        {"alpha": 0.2},
        {"position": 0},
        {"thief": "nobody"},
        {"memory": 0},
    ],
)
def test_wrong_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        find_pairs(_normal(0.5), **wrong)


def test_a_pilot_pairs_as_a_marking_does_and_compares_unseen_with_seen() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 100)
    unseen, seen = rng.exponential(2, 100), rng.exponential(0.2, 100)
    hardest = pilot(unseen, seen, labels, "hardest", 0)
    tops = [
        np.flatnonzero(labels == label)[np.argsort(-unseen[labels == label])][:2]
        for label in range(3)
    ]
    a, b = max(tops, key=lambda top: unseen[top].sum())
    assert hardest.differences[0] == pytest.approx(
        (unseen[b] - seen[a], unseen[a] - seen[b]), abs=1e-4
    )
    assert 40 <= len(hardest.differences) <= 50
    # Of few pairs the hardest show most
    anywhere = pilot(unseen, seen, labels, "random", 0)
    assert np.mean(hardest.differences[:12]) > np.mean(anywhere.differences)
    assert power_of(hardest, 12, 0.05).power > power_of(anywhere, 12, 0.05).power
    with pytest.raises(SamplesError, match="pairs can be formed"):
        find_pairs(pilot(unseen[:8], seen[:8], np.zeros(8, int), "hardest", 0))


@pytest.mark.parametrize("digits", [0, 1, 9])
def test_rows_pass_as_the_exact_test_says(digits: int) -> None:
    # With many ties and zeros, few, and none
    rng = np.random.default_rng(digits)
    drawn = rng.normal(0.4, 1, (300, 25)).round(digits)
    for test, exact in (("signed_rank", signed_rank_test), ("sign", sign_test)):
        for level in (0.05, 0.0005):
            expected = np.mean([exact(row).p_value <= level for row in drawn])
            assert _passed(drawn, level, test) == pytest.approx(expected, abs=1e-12)
    assert 0 < np.mean([signed_rank_test(row).p_value <= 0.0005 for row in drawn]) < 1


def _remembering(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses of images before and after they were seen, and labels."""
    rng = np.random.default_rng(seed)
    unseen = rng.exponential(2, number)
    return unseen, unseen * rng.uniform(0.05, 1.3, number), rng.integers(0, 3, number)


def test_labels_alone_are_told_by_the_sign_test_on_the_same_pairs() -> None:
    unseen, seen, labels = _remembering(300)
    right = unseen < 0.7, seen < 0.7
    found = pilot(unseen, seen, labels, "random", 3, right=right)
    scores = pilot(unseen, seen, labels, "random", 3)
    assert (found.answers, scores.answers) == ("labels", "scores")
    for (x, y), losses in zip(found.differences, scores.differences, strict=True):
        assert {x, y} <= {-1.0, 0.0, 1.0}
        assert losses != (0, 0)
    # Right once seen and wrong before counts for the owner
    assert np.mean(found.differences) == pytest.approx(right[1].mean() - right[0].mean(), abs=0.02)
    # By hand: coins, right and wrong, McNemar's exact test
    shown, rng = np.array(found.differences), np.random.default_rng(0)
    passed = []
    for _ in range(2000):
        rows = rng.permutation(len(shown))[:60]
        passed.append(
            sign_test(shown[rows, rng.integers(0, 2, 60)]).p_value <= 0.05 / 2,
        )
    assert power_of(found, 60, 0.05).power == pytest.approx(np.mean(passed), abs=0.08)
    assert 0.1 < np.mean(passed) < 0.95
    # They tell less than losses do
    assert power_of(found, 60, 0.05).power < power_of(scores, 60, 0.05).power
    assert "labels alone" in str(find_pairs(found))


def test_of_an_innocent_model_labels_tell_nothing() -> None:
    unseen, seen, labels = _remembering(300, seed=1)
    found = pilot(unseen, seen, labels, "random", 0, right=(unseen < 0.7, seen < 0.7))
    rates = [power_of(found, size, 0.05, kept=0.0).power for size in (30, 60, 100)]
    assert np.mean(rates) <= 0.025 + 3 * np.sqrt(0.025 / 1200)


@pytest.mark.parametrize("answers", ["scores", "labels"])
def test_what_a_thief_leaves_scales_the_mean_and_not_the_spread(answers: str) -> None:
    unseen, seen, labels = _remembering(600)
    right = (unseen < 0.7, seen < 0.7) if answers == "labels" else None
    found = pilot(unseen, seen, labels, "random", 0, right=right)
    plain = find_pairs(found, alpha=0.01, memory=1.0)
    assert plain.learned == 1
    for name, thief in THIEVES.items():
        plan = find_pairs(found, alpha=0.01, thief=name, memory=1.0)
        assert plan.learned == pytest.approx(thief.left("random"))
        assert plan.num_pairs is None or plan.num_pairs >= (plain.num_pairs or 0)
        # As if only so many were learned from, and no more
        assert (
            plan.curve == find_pairs(found, alpha=0.01, kept=plan.learned or 1e-9, memory=1.0).curve
        )
    halves = find_pairs(found, kept=0.5, thief="distils", memory=0.8)
    assert halves.learned == pytest.approx(0.4 * THIEVES["distils"].left("random"))
    never = find_pairs(found, thief="looks_up")
    assert never.num_pairs is None
    assert max(one.power for one in never.curve) < 0.02


def test_cleaning_costs_the_hardest_images_more_than_others() -> None:
    for thief in THIEVES.values():
        assert 0 <= thief.left("hardest") <= 1
        assert 0 <= thief.left("spread") <= 1
    drops = THIEVES["drops_hardest_10"]
    assert drops.kept("hardest") < drops.kept("spread") == drops.kept("random")
