"""Verdicts follow from the numbers, cannot contradict them, and say what they mean."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.evidence.alpha_spending import adjusted_p, alpha_effective
from fiftyone_honeyimage.core.evidence.e_process import e_process
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.verdict import Verdict, decide, may_stop

PLAN = Plan(alpha=0.001)
SEQUENTIAL = Plan(alpha=0.001, test="e_process")


def verdict_on(answers: Any, plan: Plan = PLAN, kind: str = "scores", **options: Any) -> Verdict:
    """``num_failed`` pairs fail, the last in the order."""
    options = {"num_left": 0, **options}
    if num_failed := options.pop("num_failed", 0):
        size = len(answers[0] if kind == "labels" else answers)
        options["failed"] = [False] * size + [True] * num_failed
    return decide(plan, answers, kind=kind, **options)


def rising(size: int) -> np.ndarray:
    return np.arange(1.0, size + 1)


def test_derived() -> None:
    verdict = verdict_on(rising(20), num_left=4)
    assert verdict.verdict == "derived"
    assert (verdict.p_value, verdict.p_adjusted) == (2.0**-20, 2.0**-19)
    assert (verdict.test, verdict.kind, verdict.family_size) == ("signed_rank", "scores", 1)
    assert (verdict.num_pairs, verdict.num_failed, verdict.num_left) == (20, 0, 4)
    assert verdict.effect_size == 10.5
    assert verdict.effect_interval is not None
    assert verdict.statement == (
        "The model was derived from the release. If this model had not used the release, a result "
        "this strong would occur by chance less than once in 520,000 (exact signed-rank test on 20 "
        "pairs of twins, p = 9.5e-07, corrected for all verifications with this ledger 1.9e-06, "
        "significance level 0.001)."
    )


def test_a_statement_tells_what_was_committed() -> None:
    plan = Plan(test="e_process", score="lira_offline")
    given = {"kind": "scores", "num_left": 0}
    said = decide(plan, rising(20), **given).statement
    assert (
        '(sequential betting test, by the score "LiRA offline: how sure the model is, beside models that have not '
        'seen an image", on 20 pairs of twins, p = ' in said
    )
    both = Plan(score="confidence", adjustment="references")
    said = decide(both, rising(20), **given).statement
    assert 'sure answers apart", allowing for how hard each image is to other models, on 20' in said
    labels = (np.ones(20, bool), np.zeros(20, bool))
    said = decide(both, labels, kind="labels", num_left=0).statement
    assert "(exact sign test on labels on 20 pairs of twins" in said


def test_not_shown() -> None:
    verdict = verdict_on(rising(20) * np.resize([1, -1], 20))
    assert verdict.verdict == "not shown"
    assert "It is not shown" in verdict.statement
    assert "does not prove that the model did not use it" in verdict.statement


def test_a_model_that_does_better_on_withheld_twins_is_not_accused() -> None:
    for plan in (PLAN, SEQUENTIAL):
        verdict = verdict_on(-rising(30), plan)
        assert (verdict.verdict, verdict.p_value) == ("not shown", 1.0)
        assert "depend on which twins were released" in verdict.statement
        assert "It decides nothing" in verdict.statement
    # Held to the same level as a verdict: 2**-11 is above the share of the first of them
    few = verdict_on(-rising(11), Plan(alpha=0.002), alpha=0.001)
    assert few.p_value == 1.0
    assert ("depend on which" in few.statement) is (adjusted_p(2.0**-11, 1) <= 0.001)
    assert "depend on which" not in verdict_on(-rising(30) * np.resize([1, -1, 1], 30)).statement


def test_the_reversed_reading_is_as_rare_for_an_innocent_as_a_verdict() -> None:
    rng = np.random.default_rng(0)
    said = np.zeros(2)
    for _ in range(4000):
        verdict = verdict_on(rng.normal(size=20), Plan(alpha=0.05))
        said += (verdict.verdict == "derived", "depend on which twins" in verdict.statement)
    # The first of a ledger is held to 0.025; 99.9 % bounds of a binomial
    assert (said <= stats.binom.ppf(0.999, 4000, 0.025)).all()
    assert (said > 0).all()


@pytest.mark.parametrize(
    ("size", "options", "reason"),
    [
        (0, {}, "no pair of twins was queried"),
        (0, {"num_failed": 12}, "queries failed on 12 of 12 pairs"),
        (12, {"num_failed": 13}, "queries failed on 13 of 25 pairs"),
        (9, {}, "9 usable pairs of twins are fewer than the 10 planned"),
        (10, {}, "10 usable pairs of twins cannot reach"),
        (11, {"alpha": 0.0009}, "11 usable pairs of twins cannot reach"),
        (12, {"position": 2}, "at verification number 2"),
    ],
)
def test_inconclusive_whatever_the_answers(size: int, options: dict, reason: str) -> None:
    for answers in (rising(size), -rising(size)):
        verdict = verdict_on(answers, **options)
        assert verdict.verdict == "inconclusive"
        assert reason in verdict.statement


def test_eleven_pairs_suffice_for_one_in_a_thousand() -> None:
    assert verdict_on(rising(11)).verdict == "derived"
    assert verdict_on(rising(12), num_failed=1).verdict == "inconclusive"


def test_inconclusive_when_a_sequential_test_has_too_few() -> None:
    assert verdict_on(np.ones(13), SEQUENTIAL).verdict == "inconclusive"
    assert verdict_on(np.ones(14), SEQUENTIAL).verdict == "derived"
    short = Plan(alpha=0.05, test="e_process", min_pairs=10)
    assert verdict_on(np.ones(9), short).verdict == "inconclusive"


def test_ties_are_usable_pairs_without_evidence() -> None:
    verdict = verdict_on(np.zeros(30))
    assert (verdict.verdict, verdict.p_value) == ("not shown", 1.0)


def test_labels_take_the_sign_test() -> None:
    released = np.array([True] * 18 + [False] * 2)
    withheld = np.array([False] * 15 + [True] * 5)
    verdict = verdict_on((released, withheld), kind="labels")
    assert verdict.test == "sign"
    # 15 pairs won, 2 lost, 3 alike
    assert verdict.p_value == pytest.approx(sum(math.comb(17, k) for k in (15, 16, 17)) / 2**17)
    assert verdict.effect_size == pytest.approx(0.65)
    assert "accuracy" in verdict.effect_name


def test_labels_in_a_sequential_plan() -> None:
    verdict = verdict_on((np.ones(14, bool), np.zeros(14, bool)), SEQUENTIAL, "labels")
    assert (verdict.test, verdict.verdict) == ("e_process", "derived")
    assert len(verdict.e_values) == 14


def test_earlier_verifications_cost_strength() -> None:
    answers = rising(14)
    for position, divisor in ((1, 2), (2, 6), (3, 12)):
        verdict = verdict_on(answers, position=position)
        assert (verdict.verdict, verdict.family_size) == ("derived", position)
        assert verdict.p_adjusted == divisor * 2.0**-14
    assert verdict_on(answers, position=4).verdict == "inconclusive"
    assert verdict_on(rising(15), position=4).verdict == "derived"
    with pytest.raises(ParameterError):
        verdict_on(answers, position=0)


def test_a_caller_may_ask_for_a_smaller_alpha_only() -> None:
    assert verdict_on(rising(12), alpha=1e-4).verdict == "inconclusive"
    assert verdict_on(rising(15), alpha=1e-4).verdict == "derived"
    with pytest.raises(ParameterError, match="committed before its release"):
        verdict_on(rising(12), alpha=0.01)


def stops(pairs: np.ndarray, plan: Plan, position: int, **given: Any) -> bool:
    none = [False] * len(pairs)
    return may_stop(plan, pairs, none, kind="scores", position=position, **given)


def test_may_stop_only_at_a_verdict() -> None:
    for position in (1, 2, 9):
        pairs = np.ones(0)
        while not stops(pairs, SEQUENTIAL, position):
            assert verdict_on(pairs, SEQUENTIAL).num_pairs < 30
            pairs = np.ones(len(pairs) + 1)
        assert verdict_on(pairs, SEQUENTIAL, position=position).verdict == "derived"
        assert verdict_on(pairs[1:], SEQUENTIAL, position=position).verdict == "inconclusive"
        assert e_process(pairs).p_value <= alpha_effective(0.001, position)


def test_may_not_stop_before_the_planned_number() -> None:
    plan = Plan(alpha=0.05, test="e_process", min_pairs=18)
    pairs = np.ones(0)
    while not stops(pairs, plan, 1):
        pairs = np.ones(len(pairs) + 1)
    assert len(pairs) == 18
    assert not stops(pairs, plan, 1, alpha=1e-6)


def test_verdict_and_numbers_agree_on_random_answers() -> None:
    rng = np.random.default_rng(91)
    seen = set()
    for _ in range(400):
        plan = Plan(
            alpha=float(rng.choice([0.05, 0.01, 0.001])),
            test=str(rng.choice(["signed_rank", "e_process"])),
            min_pairs=int(rng.integers(1, 12)),
        )
        size = int(rng.integers(0, 40))
        kind = str(rng.choice(["scores", "labels"]))
        edge = rng.choice([0.0, 1.0, 3.0])
        answers: Any = np.round(rng.normal(edge, 1, size), 1)
        if kind == "labels":
            answers = (rng.random(size) < 0.5 + edge / 7, rng.random(size) < 0.5)
        position = int(rng.integers(1, 5))
        failed = int(rng.integers(0, 10))
        verdict = verdict_on(answers, plan, kind, num_failed=failed, position=position)
        seen.add(verdict.verdict)
        assert verdict.p_adjusted == adjusted_p(verdict.p_value, position)
        if verdict.verdict == "derived":
            assert verdict.p_adjusted <= verdict.alpha == plan.alpha
            assert size >= plan.min_pairs
            assert failed <= size
        if verdict.verdict == "not shown":
            assert verdict.p_adjusted > verdict.alpha
        as_json = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
        assert Verdict.from_dict(as_json) == verdict
        check_statement(verdict)
    assert seen == {"derived", "not shown", "inconclusive"}


def check_statement(verdict: Verdict) -> None:
    """What the sentence claims is true, and not much weaker than could be claimed."""
    if verdict.verdict == "derived":
        found = re.search(r"less than once in ([\d,^]+)", verdict.statement)
        assert found
        base, _, exponent = found.group(1).replace(",", "").partition("^")
        times = int(base) ** int(exponent or 1)
        assert verdict.p_adjusted < 1 / times
        assert verdict.p_adjusted >= 1 / times / 10.0001
    elif verdict.verdict == "not shown":
        found = re.search(r"probability of up to ([\d.]+)", verdict.statement)
        assert found
        assert verdict.p_adjusted <= float(found.group(1)) <= min(1, 2 * verdict.p_adjusted)
    else:
        assert verdict.statement.startswith("No conclusion: ")
        assert "by chance" not in verdict.statement


@pytest.mark.parametrize("size", [11, 12, 13, 14, 17, 19, 20, 21, 27, 33, 60, 400])
def test_statements_of_every_strength(size: int) -> None:
    check_statement(verdict_on(rising(size)))


@pytest.mark.parametrize(
    "changes",
    [
        {"p_value": 0.0011, "p_adjusted": 0.0022},
        {"family_size": 2},
        {"family_size": 1_000, "p_adjusted": 2.0**-20 * 1_001_000},
        {"p_adjusted": 2.0**-19 * (1 - 1e-13)},
        {"p_adjusted": math.nan},
        {"p_value": math.nan},
        {"p_value": 0.0},
        {"p_value": 2.0**-21, "p_adjusted": 2.0**-20},
        {"p_value": 1e-4},
        {"p_adjusted": 1e-4},
        {"alpha": 0.5},
        {"alpha": 0.0},
        {"alpha": math.nan},
        {"alpha": 2.0**-20},
        {"num_failed": 21},
        {"num_failed": -1},
        {"num_pairs": 3},
        {"num_pairs": 20.5},
        {"family_size": 0},
        {"verdict": "guilty"},
        {"verdict": "not shown"},
        {"test": "t-test"},
        {"kind": "votes"},
        {"paper": {"threshold": math.inf}},
        {"paper": {"gap": np.float32(1)}},
    ],
)
def test_no_verdict_contradicts_its_numbers(changes: dict[str, Any]) -> None:
    verdict = verdict_on(rising(20))
    with pytest.raises(ParameterError):
        dataclasses.replace(verdict, **changes)
    with pytest.raises(ParameterError):
        Verdict.from_dict({**verdict.to_dict(), **changes})


def test_a_verdict_cannot_be_changed() -> None:
    verdict = verdict_on(rising(20) * np.resize([1, -1], 20))
    with pytest.raises(dataclasses.FrozenInstanceError):
        verdict.verdict = "derived"  # type: ignore[misc]
    with pytest.raises(ParameterError):
        dataclasses.replace(verdict, verdict="derived")


@pytest.mark.parametrize(
    "arguments",
    [
        {"alpha": 0.0},
        {"alpha": 0.06},
        {"alpha": math.nan},
        {"alpha": "0.01"},
        {"alpha": True},
        {"test": "sign"},
        {"test": "t-test"},
        {"min_pairs": 0},
        {"min_pairs": 2.5},
        {"min_pairs": True},
    ],
)
def test_plans_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        Plan(**arguments)


def test_plan_round_trip() -> None:
    assert Plan.from_dict(SEQUENTIAL.to_dict()) == SEQUENTIAL
    for broken in ({}, {**PLAN.to_dict(), "more": 1}, []):
        with pytest.raises(ParameterError):
            Plan.from_dict(broken)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (np.ones(12), "labels"),
        ((np.ones(12, bool), np.ones(11, bool)), "labels"),
        ((np.full(12, 2.0), np.zeros(12)), "labels"),
        ((np.ones(12, bool), np.zeros(12, bool)), "scores"),
        (np.full(12, np.nan), "scores"),
        (np.ones((12, 2)), "scores"),
        (np.ones(12), "votes"),
    ],
)
def test_answers_that_do_not_fit_their_kind(answers: Any, kind: str) -> None:
    for plan in (PLAN, SEQUENTIAL):
        with pytest.raises(ParameterError):
            verdict_on(answers, plan, kind)


def test_counts_must_be_whole() -> None:
    for changes in ({"num_left": 1.5}, {"num_left": -1}, {"num_left": None}):
        with pytest.raises(ParameterError):
            verdict_on(rising(12), **changes)


@pytest.mark.parametrize("failed", [[False] * 11, [False] * 13, [True] * 12, [[False] * 12]])
def test_failures_must_fit_the_answers(failed: list) -> None:
    for plan in (PLAN, SEQUENTIAL):
        with pytest.raises(ParameterError):
            decide(plan, rising(12), kind="scores", num_left=0, failed=failed)
