"""Covariates that know the coins are seen by whoever checks the evidence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.ledger.known_before import (
    SUSPICIOUS,
    balance_fact,
    balance_p,
    references_p,
)
from fiftyone_honeyimage.core.scores import SCORES, SideReferences


def test_covariates_written_after_the_coins_are_told_from_honest_ones() -> None:
    rng = np.random.default_rng(0)
    coins = dict(enumerate(rng.choice(["a", "b"], 20)))
    hard, easy = rng.uniform(7, 10, 20), rng.uniform(0.2, 1.5, 20)
    lie = {
        pair: ({"x": float(h)}, {"x": float(e)}) if coins[pair] == "a" else ({"x": float(e)}, {"x": float(h)})
        for pair, (h, e) in enumerate(zip(hard, easy, strict=True))
    }  # fmt: skip
    for turned in (lie, {pair: (b, a) for pair, (a, b) in lie.items()}):
        found = balance_p(turned, coins)
        assert found == pytest.approx(4 * 2.0**-20)
        assert "FIT THE COINS" in balance_fact(found)
    assert balance_p({pair: ({}, {"x": 1.0}) for pair in coins}, coins) is None


def test_fair_coins_give_a_p_value_that_is_small_as_often_as_it_should_be() -> None:
    rng = np.random.default_rng(1)
    sides = {
        pair: ({"x": float(a)}, {"x": float(b)}) for pair, (a, b) in enumerate(rng.random((15, 2)))
    }
    gaps = np.array([b["x"] - a["x"] for a, b in sides.values()])
    found = []
    for _ in range(2000):
        drawn = rng.choice(["a", "b"], 15)
        found.append(balance_p(sides, dict(enumerate(drawn))))
    assert np.mean(np.array(found) < SUSPICIOUS) <= 0.02
    own = np.where(drawn == "a", gaps, -gaps)
    ranks = stats.wilcoxon(own, method="exact").pvalue
    signs = stats.binomtest(int((own > 0).sum()), 15).pvalue
    assert found[-1] == pytest.approx(min(1.0, 2 * min(ranks, signs)), rel=1e-6)


def test_what_sways_a_betting_test_alone_is_told_too() -> None:
    """Many small gaps that know the coins, and a few large ones that contradict them: an owner's attack on this version."""
    rng = np.random.default_rng(3)
    coins = dict(enumerate(rng.choice(["a", "b"], 100)))
    sides = {}
    for pair, coin in coins.items():
        knows = pair < 75
        small, large = (1.0, 1.1) if knows else (1.0, 8.0)
        first = (coin == "a") == knows
        values = (small, large) if first else (large, small)
        sides[pair] = ({"x": values[0]}, {"x": values[1]})
    gaps = [
        b["x"] - a["x"] if coins[pair] == "a" else a["x"] - b["x"] for pair, (a, b) in sides.items()
    ]
    assert stats.wilcoxon(gaps).pvalue > SUSPICIOUS
    assert balance_p(sides, coins) < SUSPICIOUS


@pytest.mark.parametrize("score", [name for name, s in SCORES.items() if s.least_references])
def test_reference_losses_that_know_the_coins_are_told_from_honest_ones(score: str) -> None:
    """An owner writes of each released side that whoever saw it does far better, and of the withheld side the reverse."""
    rng = np.random.default_rng(2)
    pairs = tuple(range(20))
    told = {"lie": 0, "honest": 0}
    for _ in range(20):
        coins = dict(enumerate(rng.choice(["a", "b"], 20)))
        answers = PairAnswers("scores", pairs, *map(tuple, rng.uniform(0.3, 3, (2, 20)).tolist()))
        for how in told:
            references = {
                pair: (_side(rng, how == "lie" and coin == "a"), _side(rng, how == "lie" and coin == "b"))
                for pair, coin in coins.items()
            }  # fmt: skip
            plan = Plan(score=score).with_fit(
                [side for both in references.values() for side in both]
            )
            told[how] += references_p(plan, answers, coins, references) < SUSPICIOUS
    assert told["honest"] <= 2
    if (
        score != "learn_original"
    ):  # it learns one rule of all images, which such losses leave without any
        assert told["lie"] >= 18


def _side(rng: np.random.Generator, is_released: bool) -> SideReferences:
    members = rng.permutation(np.arange(8) < 4)
    seen, unseen = (0.5, 6.0) if is_released else (0.01, 1.0)
    losses = np.where(members, seen, unseen) * np.exp(rng.normal(0, 0.3, 8))
    return SideReferences(tuple(losses.tolist()), tuple(members.tolist()))
