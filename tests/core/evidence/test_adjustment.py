"""Adjusted tests are exact: by enumeration of all coins, also where somebody makes chosen pairs fail."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.evidence import verdict
from fiftyone_honeyimage.core.evidence.adjustment import adjust
from fiftyone_honeyimage.core.evidence.exact_tests import TESTS
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.rounding import rounded
from fiftyone_honeyimage.core.evidence.twins import Strata
from fiftyone_honeyimage.core.evidence.verdict import judge
from fiftyone_honeyimage.core.scores import SCORES, Score

ROOT = Path(__file__).resolve().parents[3]
RNG = np.random.default_rng(20)

Sides = tuple[np.ndarray, np.ndarray]


def _sets(num_pairs: int) -> dict[str, tuple[Sides, Sides]]:
    """Name → ((losses of a, of b), (covariates of a, of b))."""
    draw = RNG.exponential
    loss_a, loss_b, hard_a, hard_b = (draw(1.0, num_pairs) for _ in range(4))
    zeros = np.zeros(num_pairs)
    some = RNG.integers(0, 2, num_pairs)
    return {
        "nothing in common": ((loss_a, loss_b), (hard_a, hard_b)),
        "explained in part": ((hard_a + 0.2 * loss_a, hard_b + 0.2 * loss_b), (hard_a, hard_b)),
        "collinear": ((3 * hard_a, 3 * hard_b), (hard_a, hard_b)),
        "the same": ((hard_a, hard_b), (hard_a, hard_b)),
        "constant covariates": ((loss_a, loss_b), (zeros + 2.0, zeros + 2.0)),
        "no covariates": ((loss_a, loss_b), (zeros, zeros)),
        "covariates of some": ((loss_a, loss_b), (hard_a * some, hard_b * some)),
        "equal losses": ((loss_a, loss_a), (hard_a, hard_b)),
        "ties": ((np.round(loss_a), np.round(loss_b)), (np.round(hard_a), np.round(hard_b))),
        "zeros": ((loss_a * some, loss_b * some), (hard_a, hard_b)),
        "one heavy pair": ((loss_a, loss_b), (hard_a * np.r_[1e6, zeros[1:] + 1], hard_b)),
        "tiny and huge": ((loss_a * 1e-12, loss_b * 1e12), (hard_a * 1e9, hard_b * 1e-9)),
    }


def _assert_valid(p_values: list[float]) -> None:
    """``P(p <= t) <= t`` at every t that a p-value can take, over equally likely coins."""
    reached = 0
    for p_value, times in sorted(Counter(p_values).items()):
        reached += times
        assert reached / len(p_values) <= p_value * (1 + 1e-9)


def _coins(num_pairs: int) -> itertools.product[tuple[str, ...]]:
    return itertools.product("ab", repeat=num_pairs)


def _answers(losses: Sides) -> PairAnswers:
    return PairAnswers(
        "scores", tuple(range(len(losses[0]))), *(tuple(values.tolist()) for values in losses)
    )


def _covariates(hardness: Sides) -> dict[int, Any]:
    """Two of a kind, to be averaged, and one that only side a has."""
    return {
        i: ({"out": a, "in": a / 2, "alone": 3.0}, {"out": b, "in": b / 2})
        for i, (a, b) in enumerate(zip(*(values.tolist() for values in hardness), strict=True))
    }


@pytest.mark.parametrize("score", ["loss", "confidence"])
@pytest.mark.parametrize("test", ["signed_rank", "stratified_signed_rank", "e_process"])
@pytest.mark.parametrize("case", _sets(1))
def test_every_verdict_is_exact_under_fair_coins(case: str, test: str, score: str) -> None:
    """The whole way of a verdict, on every outcome of the coins for answers that do not depend on them."""
    num_pairs = 7
    losses, hardness = _sets(num_pairs)[case]
    plan = Plan(test=test, score=score, adjustment="references", min_pairs=1)
    answers, covariates = _answers(losses), _covariates(hardness)
    plan = plan.with_strata(covariates)
    p_values = [
        judge(plan, answers, dict(enumerate(coins)), covariates, num_left=0).p_value
        for coins in _coins(num_pairs)
    ]
    _assert_valid(p_values)


@pytest.mark.parametrize("test", ["signed_rank", "stratified_signed_rank", "sign", "e_process"])
@pytest.mark.parametrize("case", _sets(1))
def test_exact_whichever_pairs_are_made_to_fail(case: str, test: str) -> None:
    """Somebody who knows answers, coins and covariates lets up to two pairs fail, the best for the owner."""
    num_pairs = 6
    losses, hardness = _sets(num_pairs)[case]
    d, c = losses[1] - losses[0], hardness[1] - hardness[0]
    groups = np.array([0, 1, 1, 0, 2, 1])
    subsets = [subset for k in range(3) for subset in itertools.combinations(range(num_pairs), k)]
    best = []
    for coins in _coins(num_pairs):
        signs = np.array([1.0 if coin == "a" else -1.0 for coin in coins])
        p_values = []
        for subset in subsets:
            lost = np.isin(np.arange(num_pairs), subset)
            residuals = adjust((signs * d)[~lost], (signs * c)[~lost])
            p_values.append(TESTS[test].run(residuals, lost, Strata(groups, (1, 2, 5))).p_value)
        best.append(min(p_values))
    _assert_valid(best)


def test_it_would_notice_a_slope_that_is_chosen_after_the_coins() -> None:
    """The check of exactness can fail: of several slopes the best is no exact test."""
    d, c = RNG.normal(size=8), RNG.normal(size=8)
    best = []
    for coins in _coins(8):
        signs = np.array([1.0 if coin == "a" else -1.0 for coin in coins])
        tried = [signs * (d - slope * c) for slope in (-2.0, 0.0, 0.5, 2.0)]
        none = np.zeros(8, bool)
        best.append(min(TESTS["signed_rank"].run(values, none).p_value for values in tried))
    with pytest.raises(AssertionError):
        _assert_valid(best)


def test_what_explains_the_answers_is_taken_away() -> None:
    """A suspect that knows the released sides answers with the hardness of the withheld ones."""
    hard = RNG.exponential(size=(400, 2))
    d = 0.3 * hard[:, 1] + 0.1 * RNG.normal(size=400) - 0.2
    residuals = adjust(d, 0.3 * (hard[:, 1] - hard[:, 0]))
    none = np.zeros(400, bool)
    before, after = (TESTS["signed_rank"].run(x, none).p_value for x in (d, residuals))
    assert after < before / 1e3


def test_covariates_are_averaged_on_the_scale_of_the_score() -> None:
    answers = _answers((np.array([1.0, 2.0, 0.5]), np.array([2.0, 1.0, 0.7])))
    covariates: dict[int, Any] = {
        0: ({"out": 1.0, "in": 3.0, "alone": 9.0}, {"out": 2.0, "in": 7.0}),
        1: ({"out": 1.0}, {"in": 2.0}),  # none in common
        2: ({"out": 4.0}, {"out": 1.0}),
    }
    released = {0: "a", 1: "b", 2: "b"}
    phi = SCORES["confidence"]
    for score in (SCORES["loss"], phi):
        first = (score.of([2.0]) - score.of([1.0]) + score.of([7.0]) - score.of([3.0]))[0] / 2
        last = (score.of([4.0]) - score.of([1.0]))[0]
        found = answers.covariate_differences(released, covariates, score)
        np.testing.assert_allclose(found, [first, 0.0, last])


class _WholeArray(Score):
    """Reads everything that it gets: the largest value, and each one's rank."""

    name, title = "whole array", "in relation to all others"

    def of(self, values: Any, reference: Any = None) -> np.ndarray:
        array = np.asarray(values, np.float64)
        return array / array.max(initial=1e-9) + np.argsort(np.argsort(array)) / 7


@pytest.mark.parametrize("adjustment", ["none", "references"])
@pytest.mark.parametrize("case", ["nothing in common", "ties", "one heavy pair"])
def test_a_score_that_reads_its_whole_array_sees_no_coin(
    case: str, adjustment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCORES, "whole array", _WholeArray())
    losses, hardness = _sets(7)[case]
    losses[1][0] = 3 * max(losses[0].max(), losses[1].max())  # one side that is harder than all
    plan = Plan(score="whole array", adjustment=adjustment, min_pairs=1)
    answers, covariates = _answers(losses), _covariates(hardness)
    answers = dataclasses.replace(answers, a=(*answers.a[:-1], None))  # one pair fails
    found = [
        verdict.tested_differences(plan, answers, dict(enumerate(coins)), covariates, None)
        for coins in _coins(7)
    ]
    magnitudes = {tuple(np.abs(differences)) for differences in found}
    assert len(magnitudes) == 1, "a coin changes signs alone"
    judged = [
        judge(plan, answers, dict(enumerate(coins)), covariates, num_left=0).p_value
        for coins in _coins(7)
    ]
    _assert_valid(judged)


class _LastBit(type(SCORES["confidence"])):  # type: ignore[misc]
    """The same formula on another processor: now and then the last bit is another."""

    def of(self, values: Any, reference: Any = None) -> np.ndarray:
        losses = np.asarray(values, np.float64)
        bit = np.spacing(np.maximum(np.abs(super().of(losses)), losses))
        return super().of(losses) + bit * (np.floor(losses * 1e6) % 3 - 1)


@pytest.mark.parametrize("adjustment", ["none", "references"])
def test_another_processor_gives_the_same_p(
    adjustment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that rounds its answers: many pairs tie, or differ by nothing but their hardness."""
    own = SCORES["confidence"]
    plan = Plan(score="confidence", adjustment=adjustment, alpha=0.05)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        losses = -np.log(rng.integers(1, 20, (2, 20)) / 20)
        answers = _answers((losses[0], losses[1]))
        hard = -np.log(rng.integers(1, 20, (2, 20)) / 20)
        covariates: dict[int, Any] = {
            i: ({"out": float(a)}, {"out": float(b)}) for i, (a, b) in enumerate(hard.T)
        }
        released = {i: "a" if rng.random() < 0.7 else "b" for i in range(20)}
        p_values = set()
        for score in (own, _LastBit()):
            monkeypatch.setitem(SCORES, "confidence", score)
            p_values.add(judge(plan, answers, released, covariates, num_left=0).p_value)
        assert len(p_values) == 1


def test_rounding_is_the_same_for_both_signs_and_keeps_what_counts() -> None:
    values = RNG.normal(size=500) * 10.0 ** RNG.integers(-8, 8, 500)
    found = rounded(values, np.abs(values))
    assert (found == -rounded(-values, np.abs(values))).all()
    np.testing.assert_allclose(found, values, rtol=5.1e-9)
    assert rounded([0.1 + 0.2 - 0.3], [0.3]).tolist() == [0.0]
    assert rounded([np.inf, -np.inf, 0.0], [np.inf, np.inf, np.inf]).tolist() == [
        np.inf,
        -np.inf,
        0.0,
    ]
    answers = _answers((np.array([0.1 + 0.2]), np.array([0.3])))
    gap = answers.score_differences({0: "a"}, SCORES["loss"])
    assert gap[0] == 0.3 - (0.1 + 0.2) != 0, "what was recorded is compared as it is"


def test_the_plan_is_checked_and_covariates_are_needed() -> None:
    with pytest.raises(ParameterError, match=r"adjustment must be .*references.* found"):
        Plan(adjustment="hardness")
    with pytest.raises(ParameterError, match=r"score must be .* found 'correct'"):
        Plan(score="correct")
    answers = PairAnswers("scores", (0, 1), (0.1, 0.2), (0.3, 0.4))
    with pytest.raises(KeyError):
        judge(Plan(adjustment="references"), answers, {0: "a", 1: "b"}, {}, num_left=0)


def test_labels_are_never_adjusted() -> None:
    answers = PairAnswers("labels", tuple(range(12)), (True,) * 12, (False,) * 12)
    covariates: dict[int, Any] = {i: ({"out": 9.0}, {"out": 0.0}) for i in range(12)}
    released = dict.fromkeys(range(12), "a")
    plain, adjusted = (
        judge(Plan(adjustment=name), answers, released, covariates, num_left=0)
        for name in ("none", "references")
    )
    assert plain == adjusted
    assert adjusted.p_value == 2.0**-12
    assert "allowing for" not in adjusted.statement


def _recorded(name: str) -> list[Mapping[str, Any]]:
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    runs: list[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["figures"]["runs"]
    return runs


def _p_value(run: Mapping[str, Any], plan: Plan) -> float:
    """The p-value of a plan on recorded answers of a model that was really trained."""
    recorded = run["infringing"]["answers"]
    losses = np.array(recorded["losses"])[:, :, 0]
    released = dict(enumerate(recorded["released"]))
    covariates = {
        pair: tuple(
            {name: recorded["covariates"][name][pair][side] for name in ("original", "hardness")}
            for side in (0, 1)
        )
        for pair in released
    }
    answers = PairAnswers("scores", tuple(released), *(tuple(x.tolist()) for x in losses.T))
    return judge(plan, answers, released, covariates, num_left=0).p_value


@pytest.mark.parametrize("name", ["power_cpu", "power_20_epochs_cpu"])
def test_recorded_answers_give_the_recorded_p_values(name: str) -> None:
    for run in _recorded(name):
        for score, adjustment in itertools.product(("loss", "confidence"), ("none", "references")):
            found = _p_value(run, Plan(score=score, adjustment=adjustment))
            assert found == run["infringing"]["p"][f"{score}, {adjustment}"]


def test_p_falls_on_the_answers_of_real_trainings() -> None:
    """Suspects of 20 epochs, on seeds that had no part in the choice of slope and references."""
    runs = _recorded("power_20_epochs_cpu")
    assert [run["seed"] for run in runs] == [6, 7, 8]
    for run in runs:
        assert _p_value(run, Plan(adjustment="references")) < _p_value(run, Plan())


@pytest.mark.parametrize("name", [n for n, score in SCORES.items() if not score.least_references])
def test_scores_know_no_pairs(name: str) -> None:
    """A score of one image does not depend on what else is asked."""
    values = [True, False, True] if name == "correct" else [0.0, 0.3, 80.0]
    references = [2.0, 0.5, 1.0]
    together = SCORES[name].of(values, references)
    alone = [
        SCORES[name].of([value], [other])[0]
        for value, other in zip(values, references, strict=True)
    ]
    np.testing.assert_array_equal(together, alone)
    assert np.isfinite(together).all()
