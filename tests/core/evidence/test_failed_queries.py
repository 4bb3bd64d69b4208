"""Failed queries count against the owner: whoever chooses them, no innocent model is accused by it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pytest
from protocols import PROTOCOL
from scipy import stats

from fiftyone_honeyimage.core.evidence.e_process import e_process
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.twins import sign_test, signed_rank_test
from fiftyone_honeyimage.core.evidence.verdict import decide, may_stop
from fiftyone_honeyimage.core.ledger.ledger import Ledger

NUM_INNOCENT = 200
NUM_PAIRS = 36


def choose_failures(differences: np.ndarray) -> np.ndarray:
    """The failures that helped most: half of the pairs, those that the released twin lost most clearly."""
    order = np.argsort(differences)
    chosen = order[: NUM_PAIRS // 2]
    failed = np.zeros(len(differences), bool)
    failed[chosen[differences[chosen] < 0]] = True
    return failed


@pytest.mark.parametrize("test", ["signed_rank", "sign", "e_process"])
def test_innocent_models_whose_failures_are_chosen(test: str) -> None:
    """200 innocents at the level of a first verification; dropping would accuse most of them."""
    rng = np.random.default_rng(4)
    kind = "labels" if test == "sign" else "scores"
    plan = Plan(alpha=0.001, test="e_process" if test == "e_process" else "signed_rank")
    accused = dropped = 0
    for _ in range(NUM_INNOCENT):
        differences = rng.standard_t(2, NUM_PAIRS)
        if kind == "labels":
            differences = np.sign(differences)
        failed = choose_failures(differences)
        kept = differences[~failed]
        answers = (kept > 0, kept < 0) if kind == "labels" else kept
        verdict = decide(plan, answers, kind=kind, failed=failed, num_left=0)
        assert verdict.num_failed == failed.sum()
        accused += verdict.p_value <= 5e-4
        dropped += decide(plan, answers, kind=kind, num_left=0).p_value <= 5e-4
    assert accused <= stats.binom.ppf(0.999, NUM_INNOCENT, 5e-4)
    assert dropped > 0.5 * NUM_INNOCENT, "the chooser is a poor one"


def test_no_choice_of_failures_lowers_the_p_value_of_fixed_tests() -> None:
    """Every pattern of signs, ties and failures of up to five pairs."""
    for size in range(1, 6):
        patterns = {tuple(sorted(p)) for p in itertools.product(range(1, size + 1), repeat=size)}
        # Only the order of the magnitudes matters: 1, 1, 2 and so on
        patterns = {p for p in patterns if set(p) == set(range(1, max(p) + 1))}
        for magnitudes in patterns:
            for signs in itertools.product((-1, 1), repeat=size):
                differences = np.array(magnitudes) * np.array(signs, float)
                whole = (signed_rank_test(differences).p_value, sign_test(differences).p_value)
                for mask in itertools.product((False, True), repeat=size):
                    failed = np.array(mask)
                    kept, count = differences[~failed], int(failed.sum())
                    # Where magnitudes tie, a failure moves the ranks of the others, and large
                    # p-values may become smaller; those near a level do not
                    ranked = signed_rank_test(kept, count).p_value
                    assert ranked >= min(whole[0], 0.05) - 1e-12
                    assert sign_test(kept, count).p_value >= whole[1] - 1e-12
                    if len(set(magnitudes)) == size:
                        assert ranked >= whole[0] - 1e-12


def test_no_choice_of_failures_lowers_a_small_p_value_where_magnitudes_tie() -> None:
    rng = np.random.default_rng(11)
    for _ in range(4000):
        size = int(rng.integers(8, 40))
        magnitudes = rng.integers(0, rng.integers(2, 8), size).astype(float)
        differences = magnitudes * rng.choice([-1, 1], size, p=[0.12, 0.88])
        failed = rng.random(size) < rng.choice([0.03, 0.1, 0.3])
        whole = signed_rank_test(differences).p_value
        ranked = signed_rank_test(differences[~failed], int(failed.sum())).p_value
        assert ranked >= min(whole, 0.05) - 1e-12


def test_no_choice_of_failures_raises_the_capital() -> None:
    """At every step, whatever the magnitudes of the failed pairs were, zero included."""
    rng = np.random.default_rng(5)
    for _ in range(400):
        size = int(rng.integers(1, 40))
        differences = np.round(rng.normal(0.4, 1, size), int(rng.integers(0, 3)))
        failed = rng.random(size) < rng.choice([0.05, 0.3, 0.8])
        whole = e_process(differences)
        partly = e_process(differences[~failed], failed)
        assert (np.array(partly.e_values) <= np.array(whole.e_values) * (1 + 1e-9)).all()
        assert partly.num_failed == failed.sum()


def test_a_derived_model_is_found_though_two_queries_failed() -> None:
    rng = np.random.default_rng(3)
    differences = rng.normal(1.1, 1, NUM_PAIRS)
    whole = decide(Plan(), differences, kind="scores", num_left=0)
    failed = np.zeros(NUM_PAIRS, bool)
    failed[[7, 20]] = True
    verdict = decide(Plan(), differences[~failed], kind="scores", failed=failed, num_left=0)
    assert whole.p_value < 1e-6
    assert whole.p_value < verdict.p_value < 2e-4
    assert (verdict.verdict, verdict.num_pairs, verdict.num_failed) == ("derived", 34, 2)
    assert "and 2 more that failed and count against it" in verdict.statement


def test_too_many_failures_to_reach_the_level() -> None:
    # First, as a sequential test that has seen enough does not take it back
    failed = [True] * 3 + [False] * 14
    for plan in (Plan(), Plan(test="e_process")):
        verdict = decide(plan, np.ones(14), kind="scores", failed=failed, num_left=0)
        assert verdict.verdict == "inconclusive"
        assert "14 usable and 3 failed pairs of twins cannot reach" in verdict.statement


@pytest.mark.parametrize("seed", range(20))
def test_inconclusive_never_takes_a_verdict_away(seed: int) -> None:
    """What "cannot reach" says is a bound for every pattern of magnitudes."""
    rng = np.random.default_rng(seed)
    size, count = int(rng.integers(8, 30)), int(rng.integers(0, 4))
    failed = rng.permutation([False] * size + [True] * count)
    magnitudes = rng.integers(1, rng.integers(2, 40), size).astype(float)
    for test in ("signed_rank", "e_process"):
        plan = Plan(alpha=0.05, test=test, min_pairs=1)
        verdict = decide(plan, magnitudes, kind="scores", failed=failed, num_left=0)
        assert (verdict.verdict == "derived") or verdict.p_adjusted > 0.05


def test_stopping_agrees_with_the_verdict_where_pairs_failed() -> None:
    plan = Plan(test="e_process")
    failed: list[bool] = []
    while not may_stop(plan, np.ones(failed.count(False)), failed, kind="scores", position=1):
        failed.append(len(failed) in (2, 9))
        assert len(failed) < 80
    won = np.ones(len(failed) - 2)
    assert decide(plan, won, kind="scores", failed=failed, num_left=0).verdict == "derived"
    assert decide(plan, won[1:], kind="scores", failed=failed[:-1], num_left=0).verdict != "derived"


def test_a_ledger_counts_failed_pairs(
    make_ledger: Callable[..., Ledger], ask: Callable[..., PairAnswers]
) -> None:
    ledger = make_ledger(num_pairs=14)
    order = ledger.pairs_left
    opened = ledger.open_verification("suspect", None, "scores", order, protocol=PROTOCOL)
    answers = ask(ledger, order)
    answers = dataclasses.replace(answers, a=(*answers.a[:3], None, *answers.a[4:]))
    verdict = ledger.conclude(opened, answers)
    assert verdict.p_value > 2.0**-13
    assert (verdict.num_pairs, verdict.num_failed) == (13, 1)
