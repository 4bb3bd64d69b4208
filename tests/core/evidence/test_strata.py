"""The stratified signed-rank test: against a count over all signs, what it is for, and how a plan fixes strata."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.evidence.exact_tests import TESTS
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.reach import can_reach
from fiftyone_honeyimage.core.evidence.twins import (
    Strata,
    signed_rank_test,
    stratified_signed_rank_test,
)
from fiftyone_honeyimage.core.evidence.verdict import judge
from fiftyone_honeyimage.core.ledger.creation import create_ledger
from fiftyone_honeyimage.core.ledger.ledger import load_ledger
from fiftyone_honeyimage.core.ledger.sides import MarkedImage, Side

RNG = np.random.default_rng(10)
NAME = "stratified_signed_rank"


def _by_counting(d: np.ndarray, strata: Strata) -> float:
    """P(weighted rank sum >= observed) over every sign pattern of the differences that are not zero."""
    weights = np.zeros(d.size)
    for number, weight in enumerate(strata.weights):
        own = (strata.of_pairs == number) & (d != 0)
        if own.any():
            weights[own] = weight * stats.rankdata(np.abs(d[own]), method="ordinal")
    observed = weights[d > 0].sum()
    patterns = np.array(list(itertools.product((0, 1), repeat=d.size)))
    return float((patterns @ weights >= observed - 1e-9).mean())


@pytest.mark.parametrize("seed", range(12))
def test_it_is_a_count_over_all_signs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    d = rng.normal(0.4, 1, 9)
    if seed % 3 == 0:
        d = np.round(d)  # ties and zeros
    strata = Strata(rng.integers(0, 3, 9), tuple(rng.integers(1, 7, 3).tolist()))
    found = stratified_signed_rank_test(d, np.zeros(9, bool), strata)
    assert found.p_value == pytest.approx(max(_by_counting(d, strata), 2.0**-found.num_pairs))


def test_one_stratum_is_the_signed_rank_test() -> None:
    d, failed = RNG.normal(0.5, 1, 14), np.arange(16) % 8 == 5
    one = stratified_signed_rank_test(d, failed, Strata(np.zeros(16, np.int64), (7,)))
    assert one.p_value == signed_rank_test(d, 2).p_value


def test_a_failed_pair_counts_most_in_its_stratum() -> None:
    d = np.array([3.0, 2.0, 1.0, 0.5])
    strata = Strata(np.array([0, 0, 1, 1, 1]), (1, 10))
    lost = np.array([False, False, False, False, True])
    # Ranks 2 and 1, then 2 and 1 times ten, and 3 times ten against the owner: patterns with as much or more
    weights = np.array([2, 1, 20, 10, 30])
    patterns = np.array(list(itertools.product((0, 1), repeat=5)))
    expected = (patterns @ weights >= 33).mean()
    assert stratified_signed_rank_test(d, lost, strata).p_value == expected
    assert TESTS[NAME].least_p(lost, strata) == 1 / 4 * 4 / 8 <= expected


def test_no_answers_give_less_than_the_bound() -> None:
    """Also where magnitudes tie or are zero; "inconclusive" takes no verdict away that there is."""
    rng = np.random.default_rng(0)
    for trial in range(1500):
        number = int(rng.integers(11, 20))
        hardness = {i: ({"h": float(i % 3)}, {"h": float(i % 3)}) for i in range(number)}
        weights = [(1, 1, 1), (1, 2, 3), (1, 5, 20), (20, 1, 1)][trial % 4]
        plan = Plan(test=NAME, alpha=0.01, stratum_weights=weights, min_pairs=5).with_strata(
            hardness
        )
        failed = rng.choice(number, int(rng.integers(0, 4)), replace=False)
        losses = [1.0 + float(d) for d in rng.integers(0, 4, number)]
        answers = PairAnswers(
            "scores",
            tuple(range(number)),
            tuple(None if i in failed else 1.0 for i in range(number)),
            tuple(losses),
        )
        verdict = judge(plan, answers, dict.fromkeys(range(number), "a"), hardness, num_left=0)
        strata = plan.strata(answers.pairs, hardness)
        assert verdict.p_value >= TESTS[NAME].least_p(np.array(answers.failed), strata)
        assert verdict.verdict != "inconclusive" or verdict.p_adjusted > verdict.alpha


def test_it_finds_what_lies_in_one_stratum() -> None:
    """Large differences that mean nothing drown small ones that do, unless each is ranked among its own."""
    plain, stratified = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        d = np.concatenate([rng.normal(0, 10, 24), rng.normal(0.06, 0.1, 24)])
        strata = Strata(np.arange(48) // 24, (1, 8))
        plain.append(signed_rank_test(d).p_value)
        stratified.append(stratified_signed_rank_test(d, np.zeros(48, bool), strata).p_value)
    assert np.median(stratified) < np.median(plain) / 10


def test_numbers_that_do_not_fit_are_refused() -> None:
    strata = Strata(np.zeros(3, np.int64), (1,))
    for d, failed in (
        ([1.0, 2.0], 3 * [False]),
        ([1.0, 2.0], 2 * [False]),
        ([np.nan] * 3, 3 * [False]),
    ):
        with pytest.raises(ParameterError):
            stratified_signed_rank_test(d, np.array(failed), strata)


def test_plans_that_are_refused() -> None:
    for wrong, words in (
        ({"stratum_weights": (1, 2)}, "stratified test"),
        ({"test": NAME, "stratum_weights": (0, 21)}, "1 to 20"),
        ({"test": NAME, "stratum_weights": (1.5, 1)}, "1 to 20"),
        ({"test": NAME, "stratum_edges": (1.0,)}, "rising edge"),
        ({"test": NAME, "stratum_edges": (2.0, 1.0)}, "rising edge"),
        ({"test": NAME, "stratum_edges": (1.0, np.inf)}, "rising edge"),
    ):
        with pytest.raises(ParameterError, match=words):
            Plan(**wrong)
    assert Plan(test=NAME).stratum_weights == (1, 1, 1)
    assert "stratum_weights" not in Plan().to_dict(), "plans of other tests stay as they were"
    assert can_reach(Plan(test=NAME), 12, 0.001, 1)


def _side(number: int, twin: str) -> Side:
    image = MarkedImage(
        f"{number}{twin}", "cat", f"{number}{twin}.png", *2 * (f"{number}{twin}".zfill(64),)
    )
    return Side(
        (image,), covariates={"original": float(number), "hardness": number + (twin == "a") / 4}
    )


def test_the_ledger_commits_to_strata_and_weights_before_the_coins(tmp_path: Path) -> None:
    pairs = [(_side(number, "a"), _side(number, "b")) for number in range(12)]
    plan = Plan(test=NAME, stratum_weights=(1, 2, 4, 8))
    ledger = load_ledger(create_ledger(tmp_path / "ledger.json", {}, [], pairs, plan).path)
    assert ledger.plan.stratum_weights == (1, 2, 4, 8)
    strata = ledger.plan.strata(range(12), ledger.covariates())
    assert strata is not None
    assert strata.of_pairs.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]

    # The verdict takes each pair's stratum by its number, in whatever order pairs are asked, failed ones too
    order = tuple(RNG.permutation(12).tolist())
    d = RNG.normal(0.5, 1, 12)
    a = tuple(None if pair == 4 else 5.0 for pair in order)
    b = tuple(5.0 + float(d[pair]) for pair in order)
    answers = PairAnswers("scores", order, a, b)
    released = dict.fromkeys(range(12), "a")
    verdict = judge(ledger.plan, answers, released, ledger.covariates(), num_left=0)
    kept = [pair for pair in order if pair != 4]
    expected = stratified_signed_rank_test(
        np.array([(5.0 + d[pair]) - 5.0 for pair in kept]),
        np.array([pair == 4 for pair in order]),
        Strata(np.array(order) // 3, (1, 2, 4, 8)),
    )
    assert verdict.p_value == expected.p_value
    assert verdict.test == NAME


@pytest.mark.parametrize(
    ("magnitudes", "of_pairs", "weights"),
    [
        ([2, 2, 1, 2, 1, 3, 2, 1, 1, 1], [0, 0, 0, 0, 1, 0, 0, 1, 0, 0], (6, 10)),
        ([1] * 10, [0, 0, 0, 0, 0, 0, 1, 1, 1, 1], (3, 5)),
        ([0, 1, 1, 2, 2, 2, 1, 1, 2], [0, 0, 0, 1, 1, 1, 1, 2, 2], (2, 3, 7)),
    ],
)
def test_it_is_exact_whatever_pairs_somebody_who_knows_the_coins_lets_fail(
    magnitudes: list[int], of_pairs: list[int], weights: tuple[int, ...]
) -> None:
    """By all coins, with equal magnitudes, where up to two lost pairs are made to fail."""
    size, strata = np.array(magnitudes, float), Strata(np.array(of_pairs), weights)
    nobody, p_values = np.zeros(size.size, bool), []
    for signs in itertools.product((1, -1), repeat=size.size):
        d = size * np.array(signs)
        best = stratified_signed_rank_test(d, nobody, strata).p_value
        for number in (1, 2):
            for chosen in itertools.combinations(np.flatnonzero(d <= 0), number):
                failed = nobody.copy()
                failed[list(chosen)] = True
                found = stratified_signed_rank_test(d[~failed], failed, strata).p_value
                best = min(best, found)
        p_values.append(best)
    for level in sorted(set(p_values)):
        assert np.mean(np.array(p_values) <= level) <= level * (1 + 1e-12)


def _of_both_kinds(number: int) -> dict[int, Any]:
    """Every second pair unchanged, with hardness that rises in steps."""
    return {i: 2 * ({"original": float(i // 3), "unchanged": float(i % 2)},) for i in range(number)}


def test_unchanged_pairs_have_strata_of_their_own() -> None:
    covariates = _of_both_kinds(12)
    plan = Plan(test=NAME, stratum_weights=(1, 2), unchanged_weights=(3,)).with_strata(covariates)
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    strata = plan.strata(range(12), covariates)
    assert strata is not None
    assert strata.weights == (1, 2, 3)
    assert (strata.of_pairs[1::2] == 2).all()
    assert set(strata.of_pairs[::2]) == {0, 1}
    # Without weights of their own they stand among the others, whose hardness their kind does not move
    alone = Plan(test=NAME, stratum_weights=(1, 2)).with_strata(covariates)
    plain = {i: tuple({"original": s["original"]} for s in both) for i, both in covariates.items()}
    assert alone == Plan(test=NAME, stratum_weights=(1, 2)).with_strata(plain)
    for wrong, words in (
        ({"unchanged_weights": (1,)}, "unchanged_weights go with"),
        ({"test": NAME, "unchanged_weights": (21,)}, "unchanged_weights must be"),
        ({"test": NAME, "unchanged_weights": (1,), "unchanged_edges": (1.0,)}, "rising edge"),
    ):
        with pytest.raises(ParameterError, match=words):
            Plan(**wrong)


@pytest.mark.parametrize("seed", range(3))
def test_a_plan_of_both_kinds_is_exact_over_all_coins(seed: int) -> None:
    """An innocent model's answers, and every way that nine coins can fall: p <= level as often as the level says."""
    number = 9
    rng = np.random.default_rng(seed)
    covariates = _of_both_kinds(number)
    weights = rng.integers(1, 21, 3).tolist()
    plan = Plan(
        test=NAME, stratum_weights=tuple(weights[:2]), unchanged_weights=(weights[2],), min_pairs=5
    ).with_strata(covariates)
    a, b = np.round(rng.exponential(1.0, (2, number)), 1)  # with ties
    answers = PairAnswers("scores", tuple(range(number)), tuple(a.tolist()), tuple(b.tolist()))
    p_values = []
    for coins in itertools.product("ab", repeat=number):
        released = dict(enumerate(coins))
        p_values.append(judge(plan, answers, released, covariates, num_left=0).p_value)
    for level in sorted(set(p_values)):
        assert np.mean(np.array(p_values) <= level) <= level * (1 + 1e-12)
    zeros = int((a == b).sum())
    assert min(p_values) == 2.0 ** -(number - zeros), "and nothing is given away"
