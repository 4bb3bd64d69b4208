"""The ledger in use: what is to be queried, and a log in which every attempt counts."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from fiftyone_honeyimage.core.errors import LedgerError, ParameterError
from fiftyone_honeyimage.core.evidence.ledger import Ledger, load_ledger
from fiftyone_honeyimage.core.evidence.verdict import Plan, decide

MakeLedger = Callable[..., Ledger]
Ask = Callable[..., Any]
Verify = Callable[..., str]


def test_released_and_withheld(make_ledger: MakeLedger) -> None:
    ledger = make_ledger(num_pairs=20, num_singles=3)
    released, withheld = ledger.released_images(), ledger.withheld_images()
    assert (len(released), len(withheld)) == (23, 20)
    assert not {image.file for image in released} & {image.file for image in withheld}
    for pair in ledger.pairs:
        assert {pair.released_twin, pair.withheld_twin} == {pair.a, pair.b}
        assert pair.released_twin is (pair.a if pair.released == "a" else pair.b)
    assert ledger.released()[3] == ledger.pairs[3].released


def test_a_verification_is_on_disk_before_its_first_query(
    make_ledger: MakeLedger, ask: Ask
) -> None:
    ledger = make_ledger()
    verification_id = ledger.open_verification("model.onnx", "cd" * 32, "scores", ledger.pairs_left)
    on_disk = load_ledger(ledger.path).verifications[verification_id]
    assert on_disk == ledger.verifications[verification_id]
    assert (on_disk.suspect_name, on_disk.suspect_digest) == ("model.onnx", "cd" * 32)
    assert (on_disk.closed, on_disk.p_value, on_disk.counts, on_disk.position) == (
        False,
        1.0,
        True,
        1,
    )
    assert load_ledger(ledger.path).pairs_left == []

    verdict = ledger.conclude(verification_id, ask(ledger, list(on_disk.pairs)))
    closed = load_ledger(ledger.path).verifications[verification_id]
    assert closed.result == json.loads(json.dumps(verdict.to_dict()))
    assert (closed.p_value, closed.verdict) == (verdict.p_value, "derived")
    assert (closed.num_queried, closed.num_answers) == (20, 40)


def test_pairs_are_spent_in_the_committed_order(make_ledger: MakeLedger, verify: Verify) -> None:
    ledger = make_ledger(num_pairs=25)
    order = [index for index, _ in ledger.query_order]
    assert ledger.pairs_left == order
    verify(ledger, 10)
    assert ledger.pairs_left == order[10:]
    for wrong in (order[:10], order[11:], order[10:12][::-1], [order[10]] * 2, [99]):
        with pytest.raises(LedgerError, match="next unused pairs"):
            ledger.open_verification("suspect", None, None, wrong)
    verify(ledger)
    assert ledger.pairs_left == []
    assert len(ledger.verifications) == 2
    with pytest.raises(LedgerError):
        ledger.open_verification("suspect", None, None, order)


def test_queries_follow_the_committed_order(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    wanted = ledger.pairs_left[:7]
    queries = ledger.queries(wanted)
    assert [index for index, _, _ in queries[::2]] == wanted
    assert [index for index, _, _ in queries[1::2]] == wanted
    first = dict(ledger.query_order)
    for (index, twin, image), (_, other, _) in zip(queries[::2], queries[1::2], strict=True):
        assert twin == first[index] != other
        assert image is getattr(ledger.pairs[index], twin)


def test_a_sequential_test_gives_back_the_pairs_it_did_not_need(
    make_ledger: MakeLedger, ask: Ask
) -> None:
    ledger = make_ledger(num_pairs=30, plan=Plan(test="e_process"))
    order = ledger.pairs_left
    verification_id = ledger.open_verification("suspect", None, None, order)
    assert ledger.pairs_left == []
    verdict = ledger.conclude(verification_id, ask(ledger, order[:16]))
    assert (verdict.verdict, verdict.num_pairs, verdict.num_left) == ("derived", 16, 14)
    assert ledger.pairs_left == order[16:]


def test_other_tests_may_not_stop_early(make_ledger: MakeLedger, ask: Ask) -> None:
    ledger = make_ledger()
    order = ledger.pairs_left
    verification_id = ledger.open_verification("suspect", None, None, order)
    for pairs in (order[:14], order[1:], order[::-1]):
        answers = ask(ledger, pairs)
        if pairs == order[::-1]:
            # ask() goes by the committed order; turn it round
            answers = dataclasses.replace(
                answers, pairs=answers.pairs[::-1], a=answers.a[::-1], b=answers.b[::-1]
            )
        with pytest.raises(LedgerError, match="but the answers"):
            ledger.conclude(verification_id, answers)
    assert not ledger.verifications[verification_id].closed


def test_every_attempt_counts(make_ledger: MakeLedger, ask: Ask, verify: Verify) -> None:
    ledger = make_ledger(num_pairs=60)

    def open_five(name: str) -> str:
        return ledger.open_verification(name, None, None, ledger.pairs_left[:5])

    never_closed = open_five("first")
    given_up = open_five("second")
    ledger.close_verification(given_up, None, num_queried=3)
    nothing_asked = open_five("third")
    ledger.close_verification(nothing_asked, None, num_queried=0)
    failing = open_five("fourth")
    assert [ledger.position(item) for item in (never_closed, given_up, nothing_asked, failing)] == [
        1,
        2,
        3,
        3,
    ]
    assert len(ledger.pairs_left) == 60 - 5 - 3 - 5
    silent = ask(ledger, ledger.verifications[failing].pairs)
    silent = dataclasses.replace(silent, a=(None,) * 5, b=(None,) * 5)
    assert ledger.conclude(failing, silent).verdict == "inconclusive"

    # Not one answer: the next one takes its position, but the images were shown
    derived = verify(ledger, 20)
    assert ledger.position(derived) == 3
    assert len(ledger.pairs_left) == 60 - 5 - 3 - 5 - 20
    result = ledger.verifications[derived].result
    assert result is not None
    assert result["family_size"] == 3
    assert result["p_adjusted"] == pytest.approx(12 * result["p_value"])
    with pytest.raises(LedgerError, match="no verification"):
        ledger.position("0" * 16)


def test_shares_of_alpha_never_exceed_the_whole(make_ledger: MakeLedger, ask: Ask) -> None:
    """Whatever is opened, closed, given up or left open, in any order."""
    rng = random.Random(0)
    for number in range(10):
        ledger = make_ledger(num_pairs=20, name=f"{number}.json")
        still_open: list[str] = []
        for _ in range(12):
            still_open.append(
                ledger.open_verification("x", None, None, ledger.pairs_left[: rng.randrange(3)])
            )
            while still_open and rng.random() < 0.5:
                closing = still_open.pop(rng.randrange(len(still_open)))
                most = len(ledger.verifications[closing].pairs)
                ledger.close_verification(closing, None, num_queried=rng.randint(0, most))
        counting = [item for item in ledger.verifications.values() if item.counts]
        for rank, item in enumerate(counting, start=1):
            assert item.position >= rank
        assert sum(1 / (item.position * (item.position + 1)) for item in counting) < 1


def test_attempts_on_innocent_models_cost_strength(make_ledger: MakeLedger, verify: Verify) -> None:
    ledger = make_ledger(num_pairs=44)
    for _ in range(3):
        verify(ledger, 11, derived=False)
    derived = verify(ledger, 11)
    # 11 wins of 11 would be enough for the first suspect, and cannot be for the fourth
    assert ledger.verifications[derived].p_value == 2.0**-11
    assert ledger.verifications[derived].verdict == "inconclusive"


def test_all_pairs_may_be_used_again_but_no_choice_of_them(
    make_ledger: MakeLedger, ask: Ask, verify: Verify
) -> None:
    ledger = make_ledger(num_pairs=20)
    order = ledger.pairs_left
    verify(ledger, 15, derived=False)
    for wrong in (order[:15], order[1:], order[::-1], [], [*order, 0]):
        with pytest.raises(LedgerError, match="with reuse=True all pairs"):
            ledger.open_verification("suspect", None, None, wrong, reuse=True)
    again = ledger.open_verification("suspect", None, None, order, reuse=True)
    assert ledger.pairs_left == []
    verdict = ledger.conclude(again, ask(ledger, order))
    assert (verdict.verdict, verdict.num_pairs, verdict.family_size) == ("derived", 20, 2)
    assert verdict.num_left == 0
    once_more = ledger.open_verification("suspect", None, None, order, reuse=True)
    assert ledger.conclude(once_more, ask(ledger, order)).p_adjusted == 12 * 2.0**-20


def test_reuse_with_a_sequential_test_counts_what_is_left(
    make_ledger: MakeLedger, ask: Ask
) -> None:
    ledger = make_ledger(num_pairs=40, plan=Plan(test="e_process"))
    order = ledger.pairs_left
    for asked, left in ((20, 20), (17, 20), (25, 15)):
        verification_id = ledger.open_verification("suspect", None, None, order, reuse=True)
        verdict = ledger.conclude(verification_id, ask(ledger, order[:asked]))
        assert verdict.num_left == left
        assert ledger.pairs_left == order[40 - left :]


def test_alpha_of_a_verification(make_ledger: MakeLedger, ask: Ask) -> None:
    ledger = make_ledger(plan=Plan(alpha=0.01))
    with pytest.raises(ParameterError, match="weaker"):
        ledger.open_verification("suspect", None, None, ledger.pairs_left, alpha=0.05)
    assert ledger.log == []
    verification_id = ledger.open_verification("suspect", None, None, ledger.pairs_left, alpha=1e-9)
    answers = ask(ledger, ledger.verifications[verification_id].pairs)
    assert ledger.conclude(verification_id, answers).verdict == "inconclusive"


def test_a_verdict_must_follow_from_the_answers(make_ledger: MakeLedger, ask: Ask) -> None:
    ledger = make_ledger()
    verification_id = ledger.open_verification("suspect", None, None, ledger.pairs_left)
    pairs = list(ledger.verifications[verification_id].pairs)
    innocent, guilty = ask(ledger, pairs, derived=False), ask(ledger, pairs)
    verdict = decide(
        ledger.plan, guilty.compare(ledger.released()), kind="scores", num_failed=0, num_left=0
    )
    with pytest.raises(LedgerError, match="does not follow"):
        ledger.close_verification(verification_id, verdict, innocent)
    with pytest.raises(LedgerError, match="with the answers"):
        ledger.close_verification(verification_id, verdict)
    with pytest.raises(LedgerError, match="does not follow"):
        ledger.close_verification(verification_id, dataclasses.replace(verdict, num_left=7), guilty)
    ledger.close_verification(verification_id, verdict, guilty)
    assert ledger.verifications[verification_id].verdict == "derived"


def test_what_happens_meanwhile_changes_no_verdict(make_ledger: MakeLedger, ask: Ask) -> None:
    ledger = make_ledger(num_pairs=30)
    verification_id = ledger.open_verification("suspect", None, None, ledger.pairs_left[:20])
    answers = ask(ledger, ledger.verifications[verification_id].pairs)
    elsewhere = load_ledger(ledger.path)
    other = elsewhere.open_verification("elsewhere", None, None, ledger.pairs_left[:1])
    assert ledger.conclude(verification_id, answers).family_size == 1
    assert ledger.position(other) == 2


def test_closed_is_closed(make_ledger: MakeLedger, ask: Ask, verify: Verify) -> None:
    ledger = make_ledger()
    verification_id = verify(ledger)
    answers = ask(ledger, ledger.verifications[verification_id].pairs)
    with pytest.raises(LedgerError, match="is closed"):
        ledger.conclude(verification_id, answers)
    with pytest.raises(LedgerError, match="is closed"):
        ledger.close_verification(verification_id, None)
    with pytest.raises(LedgerError, match="no verification"):
        ledger.close_verification("0" * 16, None)
    opened = ledger.open_verification("suspect", None, None, [])
    for wrong in (-1, 1):
        with pytest.raises(LedgerError, match="num_queried"):
            ledger.close_verification(opened, None, num_queried=wrong)


def test_kind_is_checked(make_ledger: MakeLedger) -> None:
    with pytest.raises(ParameterError):
        make_ledger().open_verification("suspect", None, "votes", [])
