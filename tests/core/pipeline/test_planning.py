"""A plan says how many pairs find a model like the proxies: against a model that is trained, and against theory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from fiftyone_honeyimage.core.errors import ParameterError, SamplesError
from fiftyone_honeyimage.core.pipeline.planning import Pilot, pilot, plan_marking, power_of


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
    plain = plan_marking(of)
    assert plain.num_pairs is not None
    assert plain.curve[-1].power >= 0.9 > plain.curve[-2].power
    assert str(plain.num_pairs) in str(plain)
    for harder in (
        plan_marking(of, position=5),
        plan_marking(of, kept=0.6),
        plan_marking(of, power=0.999),
    ):
        assert harder.num_pairs is None or harder.num_pairs >= plain.num_pairs
    never = plan_marking(_normal(0.01))
    assert never.num_pairs is None
    assert "not reached with up to 300" in str(never)


@pytest.mark.parametrize(
    "wrong", [{"power": 0}, {"power": 1.5}, {"kept": 0}, {"alpha": 0.2}, {"position": 0}]
)
def test_wrong_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        plan_marking(_normal(0.5), **wrong)


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
        plan_marking(pilot(unseen[:8], seen[:8], np.zeros(8, int), "hardest", 0))
