"""What an owner could bend who writes ledger and evidence by hand: all of it is found out.

Here the owner computes every hash himself, and publishes a commitment of his own making before the
release. The check is given that published commitment, and must not let him choose afterwards.
"""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from protocols import PROTOCOL, protocol_for

from fiftyone_honeyimage.core.errors import LedgerError, ParameterError
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.ledger.creation import create_ledger
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence, export_evidence
from fiftyone_honeyimage.core.ledger.hashes import (
    canonical,
    hash_entry,
    hash_leaf,
    hash_leaves,
    hash_private,
)
from fiftyone_honeyimage.core.ledger.ledger import Ledger, load_ledger
from fiftyone_honeyimage.core.printing import printable

MakeLedger = Callable[..., Ledger]
Ask = Callable[..., PairAnswers]
NUM_PAIRS = 14
NUM_SINGLES = 3


@pytest.fixture
def honest(make_ledger: MakeLedger, ask: Ask, tmp_path: Path) -> dict[str, Any]:
    """Evidence of a derived model, as JSON."""
    ledger = make_ledger(num_pairs=NUM_PAIRS, num_singles=NUM_SINGLES)
    verification_id = ledger.open_verification(
        "suspect", "cd" * 32, "scores", ledger.pairs_left, protocol=PROTOCOL
    )
    answers = ask(ledger, list(ledger.verifications[verification_id].pairs))
    ledger.conclude(verification_id, answers)
    path = tmp_path / "evidence.json"
    export_evidence(ledger, verification_id, answers, path)
    assert check_evidence(path).ok
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def chain(content: dict[str, Any]) -> None:
    """Makes the log's hashes fit the commitment and each other."""
    previous = content["commitment"]
    for entry in content["log"]:
        if "private" in entry:
            entry["private_sha256"] = hash_private(entry["private"])
        entry["previous"] = previous
        previous = entry["hash"] = hash_entry(entry)


def position(index: int) -> int:
    return 1 + NUM_SINGLES + index


def turned(opened: dict[str, Any]) -> dict[str, Any]:
    """The same pair with the other coin."""
    other = copy.deepcopy(opened)
    other["leaf"]["released"] = "b" if opened["leaf"]["released"] == "a" else "a"
    other["salt"] = secrets.token_hex(32)
    return other


def commit(content: dict[str, Any], hashes: list[Any]) -> str:
    content["leaf_hashes"] = hashes
    content["commitment"] = hash_leaves(hashes)
    chain(content)
    return str(content["commitment"])


def verdict_of(path: Path, content: dict[str, Any], commitment: str) -> tuple[bool, str]:
    path.write_text(json.dumps(content), encoding="utf-8")
    check = check_evidence(path, commitment)
    assert check.ok == (not check.failed)
    assert (check.verdict is None) == (not check.ok)
    return check.ok, " ".join(check.failed)


def test_an_entry_cannot_swallow_the_version_of_a_pair_that_is_not_wanted(
    honest: dict[str, Any], tmp_path: Path
) -> None:
    """Both versions of each pair are committed to; later the unwanted one hides in a neighbour.

    With a plain concatenation any split of the same bytes has the same hash.
    """
    hashes = list(honest["leaf_hashes"])
    for opened in sorted(honest["pairs"], key=lambda item: -item["leaf"]["index"]):
        other = turned(opened)
        hashes.insert(
            position(opened["leaf"]["index"]) + 1, hash_leaf(other["leaf"], other["salt"])
        )
    published = commit(honest, hashes)
    path = tmp_path / "attack.json"

    # As committed, there are more leaves than the header counts
    ok, why = verdict_of(path, honest, published)
    assert not ok
    assert "counts" in why

    # The unwanted versions are swallowed by the entry before or after them
    for joined in (lambda a, b: a + b, lambda a, b: b + a, lambda a, b: [a, b]):
        split = hashes[: position(0)]
        for index in range(NUM_PAIRS):
            first, second = hashes[position(2 * index) : position(2 * index) + 2]
            split.append(joined(first, second))
        forged = {**honest, "leaf_hashes": [*split, hashes[-1]]}
        ok, why = verdict_of(path, forged, published)
        assert not ok
        assert "32 bytes" in why

    # One long entry among those that stay closed takes all of them
    kept = [hashes[position(2 * index)] for index in range(NUM_PAIRS)]
    rest = "".join(hashes[position(2 * index) + 1] for index in range(NUM_PAIRS))
    forged = {**honest, "leaf_hashes": [hashes[0], rest, *hashes[2:4], *kept, hashes[-1]]}
    ok, why = verdict_of(path, forged, published)
    assert not ok
    assert "32 bytes" in why


def test_singles_cannot_be_opened_as_pairs(honest: dict[str, Any], tmp_path: Path) -> None:
    """The other version lies among the leaves that stay closed, as one more single."""
    opened = honest["pairs"][0]
    other = turned(opened)
    hashes = list(honest["leaf_hashes"])
    hashes.insert(1, hash_leaf(other["leaf"], other["salt"]))
    header = honest["header"]
    header["leaf"]["header"]["counts"]["singles"] += 1
    hashes[0] = hash_leaf(header["leaf"], header["salt"])
    published = commit(honest, hashes)
    path = tmp_path / "attack.json"
    ok, _ = verdict_of(path, honest, published)
    assert ok, "every leaf is where the header says"
    forged = {**honest, "pairs": [other, *honest["pairs"][1:]]}
    ok, why = verdict_of(path, forged, published)
    assert not ok
    assert "does not fit its hash" in why


@pytest.mark.parametrize(
    "spoil",
    [
        lambda digest: digest + "00",
        lambda digest: digest[:-2],
        lambda digest: digest.upper(),
        lambda digest: " " + digest[1:],
        lambda digest: "",
        lambda digest: None,
        lambda digest: 7,
        lambda digest: "é" + digest[1:],
        lambda digest: digest + "\n",
    ],
)
def test_hashes_and_salts_have_one_form(
    honest: dict[str, Any], tmp_path: Path, spoil: Callable[[str], Any]
) -> None:
    path = tmp_path / "attack.json"
    published = honest["commitment"]
    for place in range(len(honest["leaf_hashes"])):
        forged = copy.deepcopy(honest)
        forged["leaf_hashes"][place] = spoil("ab" * 32)
        ok, why = verdict_of(path, forged, published)
        assert not ok
        assert "32 bytes" in why
    for where in (lambda c: c["header"], lambda c: c["query_order"], lambda c: c["pairs"][3]):
        forged = copy.deepcopy(honest)
        where(forged)["salt"] = spoil("ab" * 32)
        ok, why = verdict_of(path, forged, published)
        assert not ok
        assert "32 bytes" in why
    for leaves in ([spoil("ab" * 32)], "ab" * 32, None, ("ab" * 32,)):
        with pytest.raises(LedgerError):
            hash_leaves(leaves)  # type: ignore[arg-type]
    with pytest.raises(LedgerError):
        hash_leaf({}, spoil("ab" * 32))
    with pytest.raises(LedgerError):
        hash_private({"salt": spoil("ab" * 32)})


def test_no_value_of_one_kind_has_the_hash_of_another() -> None:
    """Leaf, list of leaves, entry, private part, answers and release: one domain each."""

    salt = "ab" * 32
    values = {"leaf": {"salt": salt}, "salt": salt}
    found = {
        hash_leaf({"salt": salt}, salt),
        hash_private(values),
        hash_entry(values),
        hash_leaf({"salt": salt}, salt, 2),
        hash_private(values, 2),
        hash_entry(values, 2),
    }
    assert len(found) == 6
    # RFC 8785; ledgers of version 2 have Python's own
    assert canonical({"b": 1.0, "a": "é"}) == '{"a":"é","b":1}'.encode()
    assert canonical({"b": 1.0, "a": "é"}, 2) == b'{"a":"\\u00e9","b":1.0}'
    for number in (2**53 + 1, float("nan"), float("inf")):
        with pytest.raises(LedgerError, match="every reader"):
            canonical({"b": number})


def test_pairs_that_could_not_be_made_by_the_program(
    honest: dict[str, Any], tmp_path: Path
) -> None:
    """Committed to in good time, and still no evidence."""
    path = tmp_path / "attack.json"

    def committed(change: Callable[[dict[str, Any], dict[str, Any]], None]) -> str:
        forged = copy.deepcopy(honest)
        first, second = forged["pairs"][:2]
        change(first["leaf"], second["leaf"])
        hashes = list(forged["leaf_hashes"])
        for opened, before in zip(forged["pairs"][:2], honest["pairs"][:2], strict=True):
            hashes[position(before["leaf"]["index"])] = hash_leaf(opened["leaf"], opened["salt"])
        ok, why = verdict_of(path, forged, commit(forged, hashes))
        assert not ok
        return why

    def one_file_as_both_twins(first: dict, _: dict) -> None:
        first["b"]["files"][0]["marked_sha256"] = first["a"]["files"][0]["marked_sha256"]

    def one_sample_as_both_twins(first: dict, _: dict) -> None:
        (image,) = first["a"]["files"]
        first["b"]["files"] = [{**image, "file": "other.png", "marked_sha256": "ab" * 32}]

    def one_image_in_two_pairs(first: dict, second: dict) -> None:
        second["a"]["files"][0]["marked_sha256"] = first["b"]["files"][0]["marked_sha256"]

    def one_pair_twice(first: dict, second: dict) -> None:
        second.update({**copy.deepcopy(first), "index": second["index"]})

    def other_labels(first: dict, _: dict) -> None:
        first["b"]["files"][0]["label"] = (
            "cat" if first["a"]["files"][0]["label"] == "dog" else "dog"
        )

    def unknown_label(first: dict, _: dict) -> None:
        first["a"]["files"][0]["label"] = first["b"]["files"][0]["label"] = "bird"

    def no_coin(first: dict, _: dict) -> None:
        first["released"] = {"": "c"}

    def nobody(first: dict, _: dict) -> None:
        first["released"] = {}

    def no_number(first: dict, _: dict) -> None:
        first["a"]["covariates"] = {"out": "large"}

    def another_index(first: dict, second: dict) -> None:
        first["index"], second["index"] = second["index"], first["index"]

    def true_for_one(first: dict, second: dict) -> None:
        for pair in (first, second):
            pair["index"] = float(pair["index"])

    assert "same file" in committed(one_file_as_both_twins)
    assert "each needs its own" in committed(one_sample_as_both_twins)
    assert "same file" in committed(one_image_in_two_pairs)
    assert "each needs its own" in committed(one_pair_twice)
    assert "same label" in committed(other_labels)
    assert "lack 'bird'" in committed(unknown_label)
    assert "released must be a or b" in committed(no_coin)
    assert "released to nobody" in committed(nobody)
    assert "must be a loss, a finite number of at least 0" in committed(no_number)
    assert committed(another_index)
    assert committed(true_for_one)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header["plan"].update(alpha=0.06), "alpha"),
        (lambda header: header["plan"].update(test="sign"), "test must be"),
        (lambda header: header["plan"].update(min_pairs=0), "min_pairs"),
        (lambda header: header["plan"].pop("min_pairs"), "lacks"),
        (lambda header: header.pop("plan"), "malformed"),
        (lambda header: header.update(format="honeyimage-ledger/1"), "format"),
        (lambda header: header.update(marking_number=0), "number 0"),
        (lambda header: header.update(marking_number=2), "number 2"),
        (lambda header: header.update(earlier_commitments=["ab" * 32]), "earlier"),
        (lambda header: header.update(earlier_commitments=["ab"], marking_number=2), "earlier"),
        (
            lambda header: header.update(earlier_commitments=["ab" * 32] * 2, marking_number=3),
            "earlier",
        ),
        (lambda header: header.pop("marking_number"), "malformed"),
        (lambda header: header["counts"].update(pairs=NUM_PAIRS - 1), "counts|permutation"),
        (lambda header: header["counts"].update(pairs=NUM_PAIRS + 1), "counts|permutation"),
        (lambda header: header.update(classes=["cat", "dog", "bird"]), "lack 'bird'"),
        (lambda header: header.update(classes=3), "malformed"),
    ],
)
def test_headers_that_do_not_fit(
    honest: dict[str, Any],
    tmp_path: Path,
    change: Callable[[dict], object],
    message: str,
) -> None:
    header = honest["header"]
    change(header["leaf"]["header"])
    hashes = [hash_leaf(header["leaf"], header["salt"]), *honest["leaf_hashes"][1:]]
    ok, why = verdict_of(tmp_path / "attack.json", honest, commit(honest, hashes))
    assert not ok
    assert any(part in why for part in message.split("|")), why


@pytest.mark.parametrize(
    "change",
    [
        lambda order: order.pop(),
        lambda order: order.append([NUM_PAIRS, "a"]),
        lambda order: order.__setitem__(0, order[1]),
        lambda order: order.__setitem__(0, [order[0][0], "c"]),
        lambda order: order.__setitem__(0, [True, "a"]),
        lambda order: order.clear(),
    ],
)
def test_orders_that_do_not_fit(
    honest: dict[str, Any], tmp_path: Path, change: Callable[[list], object]
) -> None:
    order = honest["query_order"]
    change(order["leaf"]["order"])
    hashes = [*honest["leaf_hashes"][:-1], hash_leaf(order["leaf"], order["salt"])]
    ok, _ = verdict_of(tmp_path / "attack.json", honest, commit(honest, hashes))
    assert not ok
    # Without the leaf of the order, the last pair would stand in its place
    hashes = honest["leaf_hashes"][:-1]
    ok, _ = verdict_of(tmp_path / "attack.json", honest, commit(honest, hashes))
    assert not ok


def test_a_log_that_was_rewritten_fits_no_published_head(
    honest: dict[str, Any], tmp_path: Path
) -> None:
    """Attempts before the one that pleased are left out: only a published head shows it."""
    path = tmp_path / "attack.json"
    heads = [entry["hash"] for entry in honest["log"]]
    path.write_text(json.dumps(honest), encoding="utf-8")
    for head in (honest["commitment"], *heads):
        assert check_evidence(path, head=head).ok
    honest["log"][0]["at"] = "2020-01-01T00:00:00+00:00"
    chain(honest)
    path.write_text(json.dumps(honest), encoding="utf-8")
    assert check_evidence(path).ok
    for head in heads:
        check = check_evidence(path, head=head)
        assert not check.ok
        assert "no entry of this log" in check.failed[0]


def test_the_number_of_a_marking_and_those_before_it_are_shown(
    make_ledger: MakeLedger, ask: Ask, tmp_path: Path
) -> None:
    first = make_ledger(num_pairs=12, name="first.json")
    pairs = [(pair.a, pair.b) for pair in first.pairs]
    seen: list[str] = []
    second = create_ledger(
        tmp_path / "second.json",
        {"dataset_name": "animals", "dataset_id": "51"},
        first.singles,
        pairs,
        Plan(),
        earlier_commitments=[first.commitment],
        register=seen.append,
    )
    assert seen == [second.commitment]
    verification_id = second.open_verification(
        "suspect", None, "scores", second.pairs_left, protocol=PROTOCOL
    )
    answers = ask(second, list(second.verifications[verification_id].pairs))
    second.conclude(verification_id, answers)
    export_evidence(second, verification_id, answers, tmp_path / "evidence.json")
    facts = check_evidence(tmp_path / "evidence.json").facts
    assert ("marking", "number 2 of this dataset, by the owner's count") in facts
    assert ("earlier one", first.commitment) in facts
    assert ("dataset", '"animals", id "51"') in facts


def test_coins_are_counted_before_the_ledger_is_written(
    make_ledger: MakeLedger, tmp_path: Path
) -> None:
    """Whoever kills the program after the coins were drawn has drawn them."""
    ledger = make_ledger(num_pairs=2)

    def interrupted(commitment: str) -> None:
        assert not (tmp_path / "other.json").exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_ledger(
            tmp_path / "other.json",
            {},
            [],
            [(pair.a, pair.b) for pair in ledger.pairs],
            Plan(),
            register=interrupted,
        )
    assert not (tmp_path / "other.json").exists()


def test_a_second_name_of_a_ledger_is_refused(make_ledger: MakeLedger, tmp_path: Path) -> None:
    """A write replaces the file, and the other name would count on its own from there."""
    ledger = make_ledger(num_pairs=4)
    other = tmp_path / "other.json"
    other.hardlink_to(ledger.path)
    for path in (ledger.path, other):
        with pytest.raises(LedgerError, match="2 names on this disk"):
            load_ledger(path).open_verification("x", None, "scores", [], protocol=PROTOCOL)
        with pytest.raises(LedgerError, match="2 names on this disk"):
            load_ledger(path).record_release("ab" * 32, 1)
    assert load_ledger(other).log == []
    other.unlink()
    load_ledger(ledger.path).open_verification("x", None, "scores", [], protocol=PROTOCOL)


def test_a_log_whose_times_run_backwards_is_refused(honest: dict[str, Any], tmp_path: Path) -> None:
    honest["log"][-1]["at"] = "2020-01-01T00:00:00+00:00"
    ok, why = verdict_of(tmp_path / "attack.json", honest, commit(honest, honest["leaf_hashes"]))
    assert not ok
    assert "before the entry that it follows" in why


@pytest.mark.parametrize("digest", ["", "cd" * 31, "the model of Rival Inc.", 5])
def test_a_suspects_digest_is_one_or_none(
    honest: dict[str, Any], tmp_path: Path, digest: Any
) -> None:
    honest["log"][0]["private"]["suspect_digest"] = digest
    ok, why = verdict_of(tmp_path / "attack.json", honest, commit(honest, honest["leaf_hashes"]))
    assert not ok
    assert "names no suspect" in why


def test_a_negative_loss_is_refused() -> None:
    with pytest.raises(ParameterError, match="is negative"):
        PairAnswers("scores", (0,), (1.0,), (-1e-9,))
    PairAnswers("scores", (0,), (1.0,), (0.0,))


@pytest.mark.parametrize("value", [1.0, 0.9999999999999998, 0.5])
def test_a_label_that_one_image_cannot_give_is_refused(
    make_ledger: MakeLedger, value: float
) -> None:
    """A share of 1 against one of a rounding less would be a difference where there is none."""
    ledger = make_ledger(num_pairs=NUM_PAIRS)
    opened = ledger.open_verification(
        "suspect", None, "labels", ledger.pairs_left, protocol=protocol_for("labels")
    )
    pairs = ledger.verifications[opened].pairs
    answers = PairAnswers("labels", pairs, (1.0,) * len(pairs), (value,) * len(pairs))
    with pytest.raises(LedgerError, match="is no share of 1 answers"):
        ledger.conclude(opened, answers)


@pytest.mark.parametrize("loss", [1.0, 1e-3])
def test_nudges_at_the_edge_of_rounding_show(
    make_ledger: MakeLedger, ask: Ask, tmp_path: Path, loss: float
) -> None:
    """An innocent model's equal losses, each nudged by less than another machine would, also where it is sure."""
    ledger = make_ledger(num_pairs=NUM_PAIRS)
    opened = ledger.open_verification(
        "suspect", None, "scores", ledger.pairs_left, protocol=PROTOCOL
    )
    pairs = ledger.verifications[opened].pairs
    won = [ledger.released()[pair] == "a" for pair in pairs]
    answers = PairAnswers(
        "scores",
        pairs,
        tuple(loss if low else loss + 1e-6 for low in won),
        tuple(loss + 1e-6 if low else loss for low in won),
    )
    assert ledger.conclude(opened, answers).verdict == "derived"
    export_evidence(ledger, opened, answers, tmp_path / "evidence.json")
    facts = dict(check_evidence(tmp_path / "evidence.json").facts)
    assert f"{NUM_PAIRS} pairs differ by less than 1e-05" in facts["small differences"]
    assert facts["small differences"].endswith("set aside: p = 1")
    assert facts["effect"].startswith("1e-06 (1e-06 to 1e-06)")


def test_a_sequential_verdict_needs_the_plans_least_pairs(
    make_ledger: MakeLedger, ask: Ask
) -> None:
    ledger = make_ledger(num_pairs=30, plan=Plan(test="e_process", min_pairs=25))
    order = ledger.pairs_left
    opened = ledger.open_verification("suspect", None, "scores", order, protocol=PROTOCOL)
    with pytest.raises(LedgerError, match="stops early only where it has decided"):
        ledger.conclude(opened, ask(ledger, order[:24]))
    ledger.conclude(opened, ask(ledger, order[:25]))


def test_the_owners_note_is_no_part_of_the_statement(
    make_ledger: MakeLedger, ask: Ask, tmp_path: Path
) -> None:
    ledger = make_ledger(num_pairs=NUM_PAIRS)
    note = 'Confirmed" by the court.\u3164\u2800\u2003 All right'
    opened = ledger.open_verification(
        "x" * 300, None, "scores", ledger.pairs_left, protocol={**PROTOCOL, "caution": note}
    )
    answers = ask(ledger, list(ledger.verifications[opened].pairs))
    ledger.conclude(opened, answers)
    export_evidence(ledger, opened, answers, tmp_path / "evidence.json")
    check = check_evidence(tmp_path / "evidence.json")
    assert check.verdict is not None
    assert "court" not in check.verdict.statement
    facts = dict(check.facts)
    assert printable(facts["owner's note"]) == '"Confirmed\\" by the court. All right"'
    assert facts["suspect"] == f'"{"x" * 200}" (the first 200 of 300 letters)'
    assert "0 of them were opened before" in facts["pairs"]
