"""What cannot end in a verdict is refused before a suspect is asked and before anything is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from answering import Answering

from fiftyone_honeyimage.core.errors import LedgerError, ParameterError
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.verdict import Verdict, judge
from fiftyone_honeyimage.core.ledger.ledger import Ledger, load_ledger
from fiftyone_honeyimage.core.scores import SCORES, Score


def test_a_ledger_by_recipient(
    make_pairs: Callable[..., Ledger], run_verification: Callable[..., Verdict]
) -> None:
    ledger = make_pairs(Plan(), recipients=("alice", "bob"))
    suspect = Answering(lambda key: [1.0, 0.0, 0.0])
    match = r"no release for everybody, but one each for alice, bob.*not supported by this version"
    with pytest.raises(LedgerError, match=match):
        run_verification(ledger, suspect)
    assert suspect.asked == 0
    assert load_ledger(ledger.path).verifications == {}
    for read in (ledger.released_images, ledger.withheld_images, ledger.released):
        with pytest.raises(LedgerError, match=match):
            read()
        with pytest.raises(
            LedgerError, match="no release for 'carol'; it has those of: alice, bob"
        ):
            read("carol")
        assert len(read("bob")) == len(ledger.pairs)
    pairs = ledger.pairs_left
    with pytest.raises(LedgerError, match=match):
        ledger.open_verification("suspect", None, "scores", pairs, protocol={})


class _Toy(Score):
    """A score that is no number of some losses, or infinite."""

    name, title = "toy", "toy"

    def __init__(self, of: Callable[[np.ndarray], np.ndarray]) -> None:
        self._of = of

    def of(self, values: Any, reference: Any = None) -> np.ndarray:
        return self._of(np.asarray(values, np.float64))


def test_a_score_that_is_no_number(
    make_pairs: Callable[..., Ledger],
    run_verification: Callable[..., Verdict],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suspect = Answering(lambda key: [9.0, 0.0, 0.0])
    monkeypatch.setitem(SCORES, "toy", _Toy(np.sqrt))
    ledger = make_pairs(Plan(score="toy"))
    monkeypatch.setitem(SCORES, "toy", _Toy(lambda losses: np.log(losses - 0.5)))
    with pytest.raises(
        ParameterError, match=r"'toy' gives no number for a loss of 0 nats.*Nothing was asked"
    ):
        run_verification(ledger, suspect, outputs="logits")
    assert suspect.asked == 0
    assert load_ledger(ledger.path).verifications == {}
    with pytest.raises(ParameterError, match="gives no number"):
        make_pairs(Plan(score="toy"))


def test_a_score_that_is_no_number_for_one_side_names_no_role(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = PairAnswers("scores", (4, 7), (1.0, 2.0), (3.0, 0.123))
    score = _Toy(lambda losses: np.where(losses == 0.123, np.nan, losses))
    for coins in ("aa", "ab", "ba", "bb"):
        with pytest.raises(ParameterError) as caught:
            answers.score_differences(dict(zip((4, 7), coins, strict=True)), score)
        assert str(caught.value) == "score 'toy' gives no number for a side of pair 7"


@pytest.mark.parametrize("adjustment", ["none", "references"])
def test_an_infinite_score_is_a_large_one(
    adjustment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with np.errstate(all="raise"):
        monkeypatch.setitem(
            SCORES, "toy", _Toy(lambda losses: np.where(losses > 1, np.inf, losses))
        )
        plan = Plan(score="toy", adjustment=adjustment, alpha=0.05)
        covariates = {pair: ({"h": 0.5 * pair}, {"h": 0.4 * pair}) for pair in range(12)}
        answers = PairAnswers("scores", tuple(range(12)), (0.1,) * 12, (*(2.0,) * 6, *(0.5,) * 6))
        verdict = judge(plan, answers, dict.fromkeys(range(12), "a"), covariates, num_left=0)
    assert verdict.p_value == 2.0**-12
