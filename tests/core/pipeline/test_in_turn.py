"""A new sequential test goes through: it says itself when to stop, and its test for labels may ask about all pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from answering import Answering

from fiftyone_honeyimage.core.evidence.exact_tests import TESTS, Outcome, Test
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.reach import can_reach
from fiftyone_honeyimage.core.evidence.verdict import Verdict
from fiftyone_honeyimage.core.ledger.ledger import Ledger, load_ledger


class _Doubling(Test):
    """Everything is bet on every pair: the capital doubles, or is lost for ever."""

    __test__ = False

    name, title, meaning = "toy_doubling", "toy betting test", "Bets everything"
    sequential, for_labels = True, "sign"

    def run(self, differences: Any, failed: Any, strata: Any = None) -> Outcome:
        won = np.zeros(len(failed))
        won[~failed] = 2.0 * (np.asarray(differences) > 0)
        capital = np.cumprod(won)
        return Outcome(min(1.0, 1 / capital.max(initial=1.0)), tuple(capital.tolist()))

    def least_p(self, failed: Any, strata: Any = None) -> float:
        return 2.0 ** -len(failed)


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setitem(TESTS, "toy_doubling", _Doubling())
    return Plan(alpha=0.02, test="toy_doubling", min_pairs=3)


def _thief(ledger: Ledger, labels: bool = False) -> Answering:
    known = {image.sample_id for image in ledger.released_images()}
    if labels:
        return Answering(lambda key: 0 if key in known else 1)
    return Answering(lambda key: [4.0, 0.0, 0.0] if key in known else [1.0, 0.0, 0.0])


def test_it_stops_by_its_own_capital(
    plan: Plan, make_pairs: Callable[..., Ledger], run_verification: Callable[..., Verdict]
) -> None:
    ledger = make_pairs(plan)
    verdict = run_verification(ledger, _thief(ledger), outputs="logits")
    assert (verdict.verdict, verdict.test) == ("derived", "toy_doubling")
    assert verdict.num_pairs == 7, "1/128 is the first below 0.02 / 2; betting on a grid takes more"
    assert verdict.e_values[-1] == 128


def test_who_gives_labels_is_asked_about_all_pairs(
    plan: Plan, make_pairs: Callable[..., Ledger], run_verification: Callable[..., Verdict]
) -> None:
    ledger = make_pairs(plan)
    verdict = run_verification(ledger, _thief(ledger, labels=True), outputs="labels")
    assert (verdict.verdict, verdict.test, verdict.num_pairs) == ("derived", "sign", 30)
    again = load_ledger(ledger.path)
    assert again.open_verifications() == []


def test_an_innocent_that_gives_labels_is_accused_no_more_often_than_alpha(
    plan: Plan, make_pairs: Callable[..., Ledger], run_verification: Callable[..., Verdict]
) -> None:
    """Stopping early would make a sign test that is looked at again and again."""
    plan = Plan(alpha=0.05, test=plan.test, min_pairs=5)
    rng = np.random.default_rng(3)
    accused = 0
    for _ in range(40):
        ledger = make_pairs(plan, num_pairs=16)
        said = {image.sample_id: int(rng.integers(0, 2)) for image in ledger.marked_images}
        suspect = Answering(lambda key, said=said: said.get(key, 0))
        verdict = run_verification(ledger, suspect, outputs="labels")
        assert verdict.num_pairs == 16
        accused += verdict.verdict == "derived"
    assert accused <= 4, "binomial, 40 at 0.025: 4 or fewer with a probability above 0.996"


def test_so_many_pairs_decide_whichever_kind_of_answer(plan: Plan) -> None:
    assert not can_reach(plan, 6, 0.02, 1)
    assert can_reach(plan, 7, 0.02, 1)
