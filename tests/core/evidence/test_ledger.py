"""The ledger in use: what is to be queried, and a log in which every attempt counts."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from protocols import PROTOCOL

from fiftyone_honeyimage.core.errors import LedgerError, ParameterError
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.verdict import decide
from fiftyone_honeyimage.core.ledger.ledger import Ledger, load_ledger
from fiftyone_honeyimage.core.ledger.log import without_words

MakeLedger = Callable[..., Ledger]
Ask = Callable[..., Any]
Verify = Callable[..., str]


def test_released_and_withheld(make_ledger: MakeLedger) -> None:
    ledger = make_ledger(num_pairs=20, num_singles=3)
    released, withheld = ledger.released_images(), ledger.withheld_images()
    assert (len(released), len(withheld)) == (23, 20)
    assert not {image.file for image in released} & {image.file for image in withheld}
    for pair in ledger.pairs:
        assert {pair.released_side().files[0], pair.withheld_side().files[0]} == set(pair.images)
        assert pair.released_side() is (pair.a if pair.released[""] == "a" else pair.b)
    assert ledger.released()[3] == ledger.pairs[3].released[""]


def test_a_verification_is_on_disk_before_its_first_query(
    make_ledger: MakeLedger, ask: Ask
) -> None:
    ledger = make_ledger()
    verification_id = ledger.open_verification(
        "model.onnx", "cd" * 32, "scores", ledger.pairs_left, protocol=PROTOCOL
    )
    on_disk = load_ledger(ledger.path).verifications[verification_id]
    assert on_disk == ledger.verifications[verification_id]
    assert (on_disk.suspect_name, on_disk.suspect_digest) == ("model.onnx", "cd" * 32)
    assert (on_disk.closed, on_disk.p_value, on_disk.position) == (False, 1.0, 1)
    assert (on_disk.kind, on_disk.protocol) == ("scores", PROTOCOL)
    assert load_ledger(ledger.path).pairs_left == []

    verdict = ledger.conclude(verification_id, ask(ledger, list(on_disk.pairs)))
    closed = load_ledger(ledger.path).verifications[verification_id]
    assert closed.result == json.loads(json.dumps(without_words(verdict)))
    assert (closed.p_value, closed.verdict) == (verdict.p_value, "derived")
    assert (closed.num_queried, closed.concluded) == (20, True)


def test_pairs_are_spent_in_the_committed_order(make_ledger: MakeLedger, verify: Verify) -> None:
    ledger = make_ledger(num_pairs=25)
    order = [index for index, _ in ledger.query_order]
    assert ledger.pairs_left == order
    verify(ledger, 10)
    assert ledger.pairs_left == order[10:]
    for wrong in (order[:10], order[11:], order[10:12][::-1], [order[10]] * 2, [99]):
        with pytest.raises(LedgerError, match="next unused pairs"):
            ledger.open_verification("suspect", None, "scores", wrong, protocol=PROTOCOL)
    verify(ledger)
    assert ledger.pairs_left == []
    assert len(ledger.verifications) == 2
    with pytest.raises(LedgerError):
        ledger.open_verification("suspect", None, "scores", order, protocol=PROTOCOL)


def test_queries_follow_the_committed_order(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    wanted = ledger.pairs_left[:7]
    queries = ledger.queries(wanted)
    assert [index for index, _, _ in queries[::2]] == wanted
    assert [index for index, _, _ in queries[1::2]] == wanted
    first = dict(ledger.query_order)
    for (index, twin, image), (_, other, _) in zip(queries[::2], queries[1::2], strict=True):
        assert twin == first[index] != other
        assert image is ledger.pairs[index].side(twin).files[0]


def test_a_sequential_test_gives_back_the_pairs_it_did_not_need(
    make_ledger: MakeLedger, ask: Ask
) -> None:
    ledger = make_ledger(num_pairs=30, plan=Plan(test="e_process"))
    order = ledger.pairs_left
    verification_id = ledger.open_verification("suspect", None, "scores", order, protocol=PROTOCOL)
    assert ledger.pairs_left == []
    verdict = ledger.conclude(verification_id, ask(ledger, order[:16]))
    assert (verdict.verdict, verdict.num_pairs, verdict.num_left) == ("derived", 16, 14)
    assert ledger.pairs_left == order[16:]


def test_other_tests_may_not_stop_early(make_ledger: MakeLedger, ask: Ask) -> None:
    ledger = make_ledger()
    order = ledger.pairs_left
    verification_id = ledger.open_verification("suspect", None, "scores", order, protocol=PROTOCOL)
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
    """Whatever became of it: left open, given up, or without a single answer."""
    ledger = make_ledger(num_pairs=60)

    def open_five(name: str) -> str:
        return ledger.open_verification(
            name, None, "scores", ledger.pairs_left[:5], protocol=PROTOCOL
        )

    never_closed, given_up, silent = open_five("first"), open_five("second"), open_five("third")
    ledger.close_verification(given_up, None)
    answers = ask(ledger, ledger.verifications[silent].pairs)
    answers = dataclasses.replace(answers, a=(None,) * 5, b=(None,) * 5)
    assert ledger.conclude(silent, answers).verdict == "inconclusive"
    assert [ledger.position(item) for item in (never_closed, given_up, silent)] == [1, 2, 3]
    assert [item.id for item in ledger.open_verifications()] == [never_closed]
    states = [(item.closed, item.concluded) for item in ledger.verifications.values()]
    assert states == [(False, False), (True, False), (True, True)]
    assert len(ledger.pairs_left) == 60 - 3 * 5

    derived = verify(ledger, 20)
    assert ledger.position(derived) == 4
    assert len(ledger.pairs_left) == 60 - 3 * 5 - 20
    result = ledger.verifications[derived].result
    assert result is not None
    assert result["family_size"] == 4
    assert result["p_adjusted"] == pytest.approx(20 * result["p_value"])
    with pytest.raises(LedgerError, match="no verification"):
        ledger.position("0" * 16)


def test_answers_that_are_withheld_until_they_please_are_no_free_look(
    make_ledger: MakeLedger, ask: Ask
) -> None:
    """A wrapper that gives NaN until it likes p: the attack that once cost nothing."""
    ledger = make_ledger(num_pairs=20)
    order = [index for index, _ in ledger.query_order]
    for attempt in range(1, 40):
        verification_id = ledger.open_verification(
            "innocent", None, "scores", order, protocol=PROTOCOL, reuse=True
        )
        answers = ask(ledger, order)
        if attempt < 39:
            answers = dataclasses.replace(answers, a=(None,) * 20, b=(None,) * 20)
        verdict = ledger.conclude(verification_id, answers)
        assert verdict.family_size == attempt
    # 2 ** -20, the least of all p-values, is not enough after 38 looks
    assert verdict.verdict == "inconclusive"


def test_positions_never_change(make_ledger: MakeLedger, ask: Ask) -> None:
    """Whatever is opened, closed, given up or left open, in any order."""
    rng = random.Random(0)
    for number in range(5):
        ledger = make_ledger(num_pairs=20, name=f"{number}.json")
        opened: list[str] = []
        still_open: list[str] = []
        for _ in range(12):
            wanted = ledger.pairs_left[: rng.randrange(3)]
            opened.append(ledger.open_verification("x", None, "scores", wanted, protocol=PROTOCOL))
            still_open.append(opened[-1])
            while still_open and rng.random() < 0.5:
                closing = still_open.pop(rng.randrange(len(still_open)))
                pairs = list(ledger.verifications[closing].pairs)
                if rng.random() < 0.5:
                    ledger.close_verification(closing, None)
                else:
                    ledger.conclude(closing, ask(ledger, pairs))
            assert [ledger.position(item) for item in opened] == list(range(1, len(opened) + 1))


def test_an_open_verification_goes_on_under_its_id(make_ledger: MakeLedger, ask: Ask) -> None:
    ledger = make_ledger()
    protocol = {**PROTOCOL, "batch_size": 4, "mean": [0.5, 0.25, 0]}
    verification_id = ledger.open_verification(
        "model.onnx", "cd" * 32, "scores", ledger.pairs_left, protocol=protocol
    )
    # Another process, later
    (found,) = load_ledger(ledger.path).open_verifications()
    assert (found.id, found.suspect_name, found.suspect_digest) == (
        verification_id,
        "model.onnx",
        "cd" * 32,
    )
    assert (found.kind, found.protocol, found.position) == ("scores", protocol, 1)
    again = load_ledger(ledger.path)
    verdict = again.conclude(found.id, ask(again, list(found.pairs)))
    assert (verdict.verdict, verdict.family_size) == ("derived", 1)
    assert again.open_verifications() == []


def test_answers_of_another_kind_than_was_opened(make_ledger: MakeLedger, ask: Ask) -> None:
    """Whoever sees scores and labels could take the better p-value of the two."""
    ledger = make_ledger()
    verification_id = ledger.open_verification(
        "suspect", None, "scores", ledger.pairs_left, protocol=PROTOCOL
    )
    answers = ask(ledger, list(ledger.verifications[verification_id].pairs), kind="labels")
    with pytest.raises(LedgerError, match="was opened for scores, but the answers are labels"):
        ledger.conclude(verification_id, answers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["cat", "dog"]}, "map each class's name"),
        ({"classes": {"cat": 0, "dog": 0}}, "each once"),
        ({"classes": {"cat": 0, "dog": -1}}, "each once"),
        ({"classes": {"cat": 0, "dog": True}}, "each once"),
        ({"classes": {"cat": 0, "bird": 1}}, "lack 'dog'"),
        ({"outputs": "votes"}, "outputs must be"),
        ({"outputs": ["logits"]}, "outputs must be"),
        ({"outputs": "labels"}, "which are no scores"),
        ({"input_size": 0}, "whole pixels"),
        ({"input_size": [32]}, "whole pixels"),
        ({"input_size": "32"}, "whole pixels"),
        ({"mean": 0.5}, "three numbers"),
        ({"std": [1.0, 1.0, float("nan")]}, "three numbers"),
        ({"batch_size": None}, "whole number"),
        ({"classes": {"cat": 0, "dog": 2}}, "from 0 to 1, each once"),
        ({"classes": {"cat": 0}}, "at least two"),
        ({"outputs": "auto"}, "outputs must be"),
        ({"input_size": 32}, "whole pixels"),
        ({"input_size": [32, 0]}, "whole pixels"),
        ({"mean": [0.5, 0.5, 1.5]}, "from 0 to 1"),
        ({"mean": [-0.5, 0.5, 0.5]}, "from 0 to 1"),
        ({"std": [1e-300, 1.0, 0]}, "above 0"),
        ({"std": [255.0, 255.0, 255.0]}, "from 0 to 1"),
        ({"batch_size": 4097}, "up to 4096"),
        ({"channels": "GBR"}, "RGB or BGR"),
        ({"channels": ["RGB"]}, "RGB or BGR"),
        ({"way": None}, "must be a text"),
        ({"device": 0}, "must be a text"),
        ({"caution": ["a"]}, "must be a text"),
        ({"references": "one"}, "list of texts"),
        ({"references": [{}]}, "list of texts"),
        ({"unmarked": None}, "JSON object"),
        ({"unmarked": {"num_images": 3}}, "does not say: accuracy"),
        ({"score": "right or wrong"}, "must be 'cross-entropy'"),
        ({"resize": "nearest"}, "resize must be"),
        ({"failures": "left out"}, "failures must be"),
        ({"more": {1, 2}}, "not known: 'more'"),
        ({"device": "caf\udce9"}, "no UTF-8"),
    ],
)
def test_protocols_refused(make_ledger: MakeLedger, changes: dict, message: str) -> None:
    ledger = make_ledger()
    with pytest.raises(LedgerError, match=message):
        ledger.open_verification(
            "suspect", None, "scores", ledger.pairs_left, protocol={**PROTOCOL, **changes}
        )
    for name in PROTOCOL:
        short = {key: value for key, value in PROTOCOL.items() if key != name}
        with pytest.raises(LedgerError, match=f"does not say: {name}"):
            ledger.open_verification("suspect", None, "scores", [], protocol=short)
    assert ledger.log == []


@pytest.mark.parametrize(
    "options", [{"suspect_name": "caf\udce9.onnx"}, {"suspect_digest": "\ud800"}]
)
def test_names_outside_utf8_are_refused_at_the_opening(
    make_ledger: MakeLedger, options: dict
) -> None:
    ledger = make_ledger()
    given = {"suspect_name": "suspect", "suspect_digest": None, **options}
    with pytest.raises(LedgerError, match="no UTF-8 and cannot be written down; rename"):
        ledger.open_verification(**given, kind="scores", pairs=[], protocol=PROTOCOL)
    assert load_ledger(ledger.path).log == []
    ledger.open_verification("größe 😀", None, "scores", [], protocol=PROTOCOL)


def test_releases_are_logged_once_and_take_no_position(
    make_ledger: MakeLedger, verify: Verify
) -> None:
    ledger = make_ledger()
    for digest in ("ab" * 32, "cd" * 32, "ab" * 32):
        ledger.record_release(digest, 12)
    derived = verify(ledger, 12)
    ledger.record_release("ef" * 32, 13)
    again = load_ledger(ledger.path)
    assert [(item.digest, item.num_files) for item in again.releases] == [
        ("ab" * 32, 12),
        ("cd" * 32, 12),
        ("ef" * 32, 13),
    ]
    assert again.position(derived) == 1
    for wrong in (("AB" * 32, 1), ("ab", 1), ("0" * 64, -1)):
        with pytest.raises(LedgerError, match="names no release"):
            ledger.record_release(*wrong)
    assert len(load_ledger(ledger.path).log) == 5


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
            ledger.open_verification(
                "suspect", None, "scores", wrong, reuse=True, protocol=PROTOCOL
            )
    again = ledger.open_verification(
        "suspect", None, "scores", order, reuse=True, protocol=PROTOCOL
    )
    assert ledger.pairs_left == []
    verdict = ledger.conclude(again, ask(ledger, order))
    assert (verdict.verdict, verdict.num_pairs, verdict.family_size) == ("derived", 20, 2)
    assert verdict.num_left == 0
    once_more = ledger.open_verification(
        "suspect", None, "scores", order, reuse=True, protocol=PROTOCOL
    )
    assert ledger.conclude(once_more, ask(ledger, order)).p_adjusted == 12 * 2.0**-20


def test_reuse_with_a_sequential_test_counts_what_is_left(
    make_ledger: MakeLedger, ask: Ask
) -> None:
    ledger = make_ledger(num_pairs=40, plan=Plan(test="e_process"))
    order = ledger.pairs_left
    for asked, left in ((20, 20), (17, 20), (25, 15)):
        verification_id = ledger.open_verification(
            "suspect", None, "scores", order, reuse=True, protocol=PROTOCOL
        )
        verdict = ledger.conclude(verification_id, ask(ledger, order[:asked]))
        assert verdict.num_left == left
        assert ledger.pairs_left == order[40 - left :]


def test_alpha_of_a_verification(make_ledger: MakeLedger, ask: Ask) -> None:
    ledger = make_ledger(plan=Plan(alpha=0.01))
    with pytest.raises(ParameterError, match="weaker"):
        ledger.open_verification(
            "suspect", None, "scores", ledger.pairs_left, alpha=0.05, protocol=PROTOCOL
        )
    assert ledger.log == []
    verification_id = ledger.open_verification(
        "suspect", None, "scores", ledger.pairs_left, alpha=1e-9, protocol=PROTOCOL
    )
    answers = ask(ledger, ledger.verifications[verification_id].pairs)
    assert ledger.conclude(verification_id, answers).verdict == "inconclusive"


def test_a_verdict_must_follow_from_the_answers(make_ledger: MakeLedger, ask: Ask) -> None:
    ledger = make_ledger()
    verification_id = ledger.open_verification(
        "suspect", None, "scores", ledger.pairs_left, protocol=PROTOCOL
    )
    pairs = list(ledger.verifications[verification_id].pairs)
    innocent, guilty = ask(ledger, pairs, derived=False), ask(ledger, pairs)
    verdict = decide(ledger.plan, guilty.compare(ledger.released()), kind="scores", num_left=0)
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
    verification_id = ledger.open_verification(
        "suspect", None, "scores", ledger.pairs_left[:20], protocol=PROTOCOL
    )
    answers = ask(ledger, ledger.verifications[verification_id].pairs)
    elsewhere = load_ledger(ledger.path)
    other = elsewhere.open_verification(
        "elsewhere", None, "scores", ledger.pairs_left[:1], protocol=PROTOCOL
    )
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


def test_kind_is_checked(make_ledger: MakeLedger) -> None:
    for wrong in ("votes", None):
        with pytest.raises(ParameterError):
            make_ledger(name=f"{wrong}.json").open_verification(
                "suspect",
                None,
                wrong,  # type: ignore[arg-type]
                [],
                protocol=PROTOCOL,
            )
