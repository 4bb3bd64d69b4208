"""Coins from public randomness: nobody chooses them, and an owner who tries is found out by load or check."""

from __future__ import annotations

import copy
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beacons import BEFORE, OWN, VECTOR, Clock, set_clock, sign
from protocols import PROTOCOL

from fiftyone_honeyimage.__main__ import main
from fiftyone_honeyimage.core.errors import BeaconError, LedgerError, ParameterError
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.ledger import beacon as rounds
from fiftyone_honeyimage.core.ledger.beacon import QUICKNET
from fiftyone_honeyimage.core.ledger.creation import create_ledger
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence, export_evidence
from fiftyone_honeyimage.core.ledger.hashes import (
    hash_entry,
    hash_leaf,
    hash_leaves,
    hash_private,
    list_leaves,
)
from fiftyone_honeyimage.core.ledger.ledger import Ledger, load_ledger
from fiftyone_honeyimage.core.ledger.lots import LEAD, LEAST_LEAD, appoint, check_coins, toss

MakeLedger = Callable[..., Ledger]
Ask = Callable[..., PairAnswers]
NUMBER, SIGNATURE = VECTOR[0], bytes.fromhex(VECTOR[1])
NUM_PAIRS = 14
#: Of pairs 0 to 15, all by the secret of the specification
SPECIFIED = "abbbbaaababbbbba"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return set_clock(monkeypatch, rounds.now().replace(microsecond=0))


@pytest.fixture
def pending(make_ledger: MakeLedger, clock: Clock) -> Ledger:
    number = OWN.round_at(clock.time) + 60
    return make_ledger(num_pairs=NUM_PAIRS, beacon=appoint(round=number, chain=OWN))


def draw(ledger: Ledger, clock: Clock) -> Ledger:
    assert ledger.beacon is not None
    clock.time = ledger.beacon.coins_at
    ledger.draw_coins(sign(ledger.beacon.round))
    return ledger


def conclude(ledger: Ledger, ask: Ask, path: Path) -> dict[str, Any]:
    """Evidence of a derived model, as JSON."""
    ledger.record_release("12" * 32, 7)
    verification_id = ledger.open_verification(
        "suspect", "cd" * 32, "scores", ledger.pairs_left, protocol=PROTOCOL
    )
    answers = ask(ledger, list(ledger.verifications[verification_id].pairs))
    ledger.conclude(verification_id, answers)
    export_evidence(ledger, verification_id, answers, path)
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def by_hand(secret: str, signature: bytes, index: int) -> str:
    """The coin, as the specification says it."""
    told = hmac.digest(bytes.fromhex(secret), signature + index.to_bytes(8, "big"), "sha256")
    return "ab"[told[0] >> 7]


def recommit(content: dict[str, Any]) -> dict[str, Any]:
    """Makes all hashes of a ledger without a log fit what it holds."""
    parts = (content[name] for name in ("header", "singles", "pairs", "query_order"))
    salted = zip(list_leaves(*parts), content["salts"], strict=True)
    content["commitment"] = content["head"] = hash_leaves([hash_leaf(*one) for one in salted])
    return content


def rewrite(ledger: Ledger, content: dict[str, Any]) -> Path:
    ledger.path.write_text(json.dumps(content), encoding="utf-8")
    return ledger.path


def read(ledger: Ledger) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(ledger.path.read_text(encoding="utf-8"))
    return content


def test_nothing_can_be_done_before_the_round(pending: Ledger, clock: Clock) -> None:
    assert pending.pending
    assert pending.beacon is not None
    assert "released" not in pending.path.read_text(encoding="utf-8")
    number = pending.beacon.round
    for refused in (
        pending.released,
        pending.released_images,
        pending.withheld_images,
        lambda: pending.record_release("12" * 32, 7),
        lambda: pending.open_verification(
            "suspect", None, "scores", pending.pairs_left, protocol=PROTOCOL
        ),
    ):
        with pytest.raises(BeaconError, match=r"not drawn yet.*Publish the commitment.*draw_coins"):
            refused()
    # The owner may even know the signature: by his clock it is too early
    with pytest.raises(BeaconError, match="comes out at"):
        pending.draw_coins(sign(number))
    clock.time = pending.beacon.coins_at
    for wrong in (sign(number - 1), sign(number + 1), SIGNATURE):
        with pytest.raises(BeaconError, match="is not the signature"):
            pending.draw_coins(wrong)
    assert load_ledger(pending.path).pending
    assert len(pending.marked_images) == 2 * NUM_PAIRS + 3


def test_the_coins_follow_and_the_commitment_stays(pending: Ledger, clock: Clock) -> None:
    commitment, other = pending.commitment, load_ledger(pending.path)
    secrets = [entry["secret"] for entry in read(pending)["pairs"]]
    assert len(set(secrets)) == NUM_PAIRS
    draw(pending, clock)
    signature = sign(pending.beacon.round)  # type: ignore[union-attr]
    expected = {index: by_hand(secret, signature, index) for index, secret in enumerate(secrets)}
    assert pending.released() == expected
    assert set(expected.values()) == {"a", "b"}
    again = load_ledger(pending.path, commitment)
    assert again.released() == expected
    assert again.commitment == commitment
    # Once more, and by who still holds the ledger of before: nothing changes
    written = pending.path.read_bytes()
    pending.draw_coins(signature)
    other.draw_coins(signature)
    assert pending.path.read_bytes() == written
    assert other.released() == expected
    stale = other.open_verification("s", None, "scores", other.pairs_left, protocol=PROTOCOL)
    assert stale in load_ledger(pending.path).verifications


def test_local_coins_cannot_be_drawn_again(make_ledger: MakeLedger, clock: Clock) -> None:
    ledger = make_ledger(num_pairs=4)
    assert ledger.beacon is None
    assert ledger.coins_at is None
    assert not ledger.pending
    assert "beacon" not in ledger.header
    with pytest.raises(LedgerError, match="at the marking, for good"):
        ledger.draw_coins(SIGNATURE)


def test_the_round_must_lie_ahead(make_ledger: MakeLedger, clock: Clock) -> None:
    default = appoint()
    assert default.chain == QUICKNET
    assert LEAD <= (default.coins_at - clock.time).total_seconds() <= LEAD + 2 * QUICKNET.period
    near = clock.time + timedelta(seconds=LEAST_LEAD - 5)
    for wrong in ({"coins_at": near}, {"coins_at": clock.time - timedelta(days=1)}, {"round": 1}):
        with pytest.raises(BeaconError, match="nobody could know the coins"):
            appoint(**wrong)  # type: ignore[arg-type]
    late = appoint("2099-01-01T12:00:00Z")
    assert late.coins_at.isoformat().startswith("2099-01-01T11:59:5") or late.coins_at.hour == 12
    for bad, why in (("tomorrow", "must be a time"), ("2099-01-01T12:00", "no time zone")):
        with pytest.raises(ParameterError, match=why):
            check_coins("beacon", bad)
    with pytest.raises(ParameterError, match="not both"):
        check_coins("beacon", late.coins_at, late.round)
    with pytest.raises(ParameterError, match="one of local, beacon"):
        check_coins("dice")
    with pytest.raises(ParameterError, match="coins='beacon'"):
        check_coins("local", late.coins_at)
    path = make_ledger(num_pairs=2, name="one.json").path.with_name("two.json")
    with pytest.raises(LedgerError, match="beacon is set by the ledger"):
        create_ledger(path, {"beacon": {}}, [], [], Plan())


def test_a_drawn_ledger_holds_the_published_round(
    make_ledger: MakeLedger, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All the way on the round of 2023, as relays gave it."""
    clock = set_clock(monkeypatch, BEFORE)
    ledger = make_ledger(num_pairs=NUM_PAIRS, beacon=appoint(round=NUMBER))
    clock.time = QUICKNET.time_of(NUMBER)
    ledger.draw_coins(SIGNATURE)
    conclude(ledger, ask, tmp_path / "evidence.json")
    check = check_evidence(tmp_path / "evidence.json", ledger.commitment)
    assert check.ok, check.failed
    assert "the public round was committed to and is genuine" in check.held
    facts = dict(check.facts)
    assert facts["coins"].startswith("beacon: from round 657413 of drand quicknet")
    assert "2023-09-15 11:00:03" in facts["coins"]
    assert facts["round signed"] == VECTOR[1]
    assert any("2023-09-15 11:00:03" in line for line in check.not_checked)
    assert not any("owner's word that the program drew" in line for line in check.not_checked)


def test_evidence_of_local_coins_says_that_they_are_the_owners_word(
    make_ledger: MakeLedger, ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evidence.json"
    content = conclude(make_ledger(num_pairs=NUM_PAIRS), ask, path)
    assert "beacon" not in content
    check = check_evidence(path)
    assert dict(check.facts)["coins"].startswith("local")
    assert "his word alone" in dict(check.facts)["coins"]
    assert any("owner's word that the program drew" in line for line in check.not_checked)
    # A round that nobody committed to does not make them better
    forged = {**content, "beacon": {"round": NUMBER, "signature": VECTOR[1]}}
    path.write_text(json.dumps(forged), encoding="utf-8")
    assert "not committed to" in " ".join(check_evidence(path).failed)
    assert main(["check", str(path)]) == 1


def _set(*keys: Any, to: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        place = content
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to(place.get(keys[-1]) if isinstance(place, dict) else place[keys[-1]])

    return change


def _swap_secrets(content: dict[str, Any]) -> None:
    one, other = content["pairs"][:2]
    one["secret"], other["secret"] = other["secret"], one["secret"]


def _shift(content: dict[str, Any]) -> None:
    """Each pair takes the secret of the one before it, as if indices began elsewhere."""
    secrets = [pair["secret"] for pair in content["pairs"]]
    for pair, secret in zip(content["pairs"], [secrets[-1], *secrets[:-1]], strict=True):
        pair["secret"] = secret


#: What an owner writes in his ledger, and by what it is refused
IN_THE_LEDGER: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a coin beside the secret": (
        _set("pairs", 0, "released", to=lambda _: {"": "a"}),
        "other parts",
    ),
    "secrets swapped": (_swap_secrets, "does not fit its commitment"),
    "indices shifted": (_shift, "does not fit its commitment"),
    "a secret of one's own": (_set("pairs", 3, "secret", to=lambda _: "00" * 32), "commitment"),
    "half a secret": (_set("pairs", 3, "secret", to=lambda old: old[:32]), "32 bytes"),
    "another round's signature": (
        _set("beacon", "signature", to=lambda _: sign(12345).hex()),
        "is not the signature",
    ),
    "another round": (_set("beacon", "round", to=lambda old: old + 1), "Committed was round"),
    "another chain": (_set("header", "beacon", "chain", to=lambda _: "ab" * 32), "not known"),
    "a longer draw": (_set("beacon", "more", to=lambda _: 1), "no more"),
    "a round that was out": (
        _set("header", "beacon", "committed_at", to=lambda _: "2099-01-01T00:00:00+00:00"),
        "nobody could know",
    ),
    "an earlier round in the header": (
        _set("header", "beacon", "round", to=lambda old: old - 1),
        "Committed was round",
    ),
    "no round in the header": (_set("header", "beacon", to=lambda _: None), "not committed to"),
}


@pytest.mark.parametrize("name", IN_THE_LEDGER)
def test_a_ledger_that_was_bent_is_refused(name: str, pending: Ledger, clock: Clock) -> None:
    ledger = draw(pending, clock)
    content = read(ledger)
    change, why = IN_THE_LEDGER[name]
    change(content)
    with pytest.raises(LedgerError, match=why):
        load_ledger(rewrite(ledger, content), ledger.commitment)
    # With all hashes made to fit it is another marking, with another commitment
    with pytest.raises(LedgerError):
        load_ledger(rewrite(ledger, recommit(content)), ledger.commitment)


def test_a_pending_ledger_has_no_log(pending: Ledger, clock: Clock) -> None:
    content = read(pending)
    drawn = read(draw(pending, clock))
    pending.record_release("12" * 32, 7)
    log = read(pending)["log"]
    forged = {**content, "log": log, "head": log[-1]["hash"]}
    with pytest.raises(LedgerError, match="before its coins were drawn"):
        load_ledger(rewrite(pending, forged))
    # An entry that claims to be older than the coins
    entry = copy.deepcopy(log[0])
    entry["at"] = (pending.coins_at - timedelta(seconds=1)).isoformat()  # type: ignore[operator]
    entry["hash"] = hash_entry(entry)
    forged = {**drawn, "log": [entry], "head": entry["hash"]}
    with pytest.raises(LedgerError, match="before there were coins"):
        load_ledger(rewrite(pending, forged))


IN_THE_EVIDENCE: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "no round": (lambda content: content.pop("beacon"), "does not hold it"),
    "another round": (_set("beacon", "round", to=lambda old: old + 1), "Committed was round"),
    "another signature": (_set("beacon", "signature", to=lambda _: VECTOR[1]), "not the signature"),
    "no signature": (_set("beacon", to=lambda _: None), "missing"),
    "a secret of one's own": (
        _set("pairs", 2, "leaf", "secret", to=lambda _: "00" * 32),
        "does not fit its hash",
    ),
    "a coin in its place": (
        _set("pairs", 2, "leaf", "released", to=lambda _: {"": "a"}),
        "does not fit its hash",
    ),
    "another pair's secret": (
        lambda content: content["pairs"][0]["leaf"].update(
            secret=content["pairs"][1]["leaf"]["secret"]
        ),
        "does not fit its hash",
    ),
    "another index": (
        lambda content: content["pairs"][0]["leaf"].update(
            index=content["pairs"][1]["leaf"]["index"]
        ),
        "does not fit its hash",
    ),
    "a nearer round": (
        _set("header", "leaf", "header", "beacon", "round", to=lambda old: old - 7),
        "does not fit its hash",
    ),
}


@pytest.mark.parametrize("name", IN_THE_EVIDENCE)
def test_evidence_that_was_bent_is_refused(
    name: str, pending: Ledger, clock: Clock, ask: Ask, tmp_path: Path
) -> None:
    path = tmp_path / "evidence.json"
    content = conclude(draw(pending, clock), ask, path)
    assert check_evidence(path, pending.commitment).ok
    change, why = IN_THE_EVIDENCE[name]
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    check = check_evidence(path, pending.commitment)
    assert not check.ok
    assert check.verdict is None
    assert why in " ".join(check.failed)


def test_who_rewrites_all_hashes_has_another_commitment(
    pending: Ledger, clock: Clock, ask: Ask, tmp_path: Path
) -> None:
    """Secrets chosen after the round give any coins; the published commitment is another then."""
    path = tmp_path / "evidence.json"
    content = conclude(draw(pending, clock), ask, path)
    singles = content["header"]["leaf"]["header"]["counts"]["singles"]
    for opened in content["pairs"]:
        leaf = opened["leaf"]
        number = 0
        while by_hand(f"{number:064x}", sign(pending.beacon.round), leaf["index"]) != "a":  # type: ignore[union-attr]
            number += 1
        leaf["secret"] = f"{number:064x}"
        content["leaf_hashes"][1 + singles + leaf["index"]] = hash_leaf(leaf, opened["salt"])
    previous = content["commitment"] = hash_leaves(content["leaf_hashes"])
    for entry in content["log"]:
        if "private" in entry:
            entry["private_sha256"] = hash_private(entry["private"])
        entry["previous"] = previous
        previous = entry["hash"] = hash_entry(entry)
    path.write_text(json.dumps(content), encoding="utf-8")
    check = check_evidence(path, pending.commitment)
    assert not check.ok
    assert "published was" in " ".join(check.failed)
    # Without a published commitment it says what everything rests on
    alone = check_evidence(path)
    assert any("that the commitment was published before" in line for line in alone.not_checked)


def test_the_markings_before_are_counted_and_inflate_the_bound(
    make_ledger: MakeLedger, clock: Clock, ask: Ask, tmp_path: Path, capsys: Any
) -> None:
    earlier = [sha256(bytes([number])).hexdigest() for number in range(4)]
    number = OWN.round_at(clock.time) + 60
    ledger = make_ledger(
        num_pairs=NUM_PAIRS,
        beacon=appoint(round=number, chain=OWN),
        earlier_commitments=earlier,
    )
    path = tmp_path / "evidence.json"
    conclude(draw(ledger, clock), ask, path)
    check = check_evidence(path)
    assert check.verdict is not None
    facts = dict(check.facts)
    assert facts["markings"].startswith("5 of this dataset")
    bound = 5 * check.verdict.p_adjusted
    assert f"= {bound:.2g}:" in facts["bound over markings"]
    assert "in parallel" in facts["uncounted"]
    known = check_evidence(path, num_markings=9)
    facts = dict(known.facts)
    assert f"= {9 * check.verdict.p_adjusted:.2g}:" in facts["bound over markings"]
    assert facts["MARKINGS MISSING"].startswith("9 are known to you, and the commitment counts 5")
    assert main(["check", str(path), "--markings", "9"]) == 0
    assert "MARKINGS MISSING" in capsys.readouterr().out
    with pytest.raises(ParameterError, match="number of markings"):
        check_evidence(path, num_markings=0)


def test_each_recipient_has_coins_of_his_own(make_ledger: MakeLedger, clock: Clock) -> None:
    number = OWN.round_at(clock.time) + 60
    who = ["hospital-a", "Krankenhaus β"]
    ledger = make_ledger(
        num_pairs=40, beacon=appoint(round=number, chain=OWN), recipients=who, name="many.json"
    )
    draw(ledger, clock)
    first, second = (ledger.released(name) for name in who)
    assert first != second
    assert 5 < sum(first[index] == second[index] for index in first) < 35
    assert load_ledger(ledger.path).released(who[1]) == second


def test_coins_are_fair_and_do_not_know_the_index() -> None:
    """20,000 indices of the published round, by one secret and by one each; the bounds hold for fair coins by 4 to 5 σ."""
    number = 20_000
    for secret in (
        lambda index: sha256(b"one").hexdigest(),
        lambda index: sha256(index.to_bytes(8, "big")).hexdigest(),
    ):
        coins = np.array([toss(secret(i), SIGNATURE, i, "") == "b" for i in range(number)])
        assert coins[:100].tolist() == [by_hand(secret(i), SIGNATURE, i) == "b" for i in range(100)]
        signs = 2.0 * coins - 1
        assert abs(signs.sum()) < 4.5 * number**0.5
        for lag in (1, 2, 3, 8, 256):
            assert abs((signs[lag:] * signs[:-lag]).sum()) < 4.5 * number**0.5
        for bit in range(14):
            of_index = 2.0 * (np.arange(number) >> bit & 1) - 1
            assert abs((signs * of_index).sum()) < 4.5 * number**0.5
        runs = 1 + int((coins[1:] != coins[:-1]).sum())
        assert abs(runs - number / 2) < 4.5 * number**0.5 / 2


def test_the_coins_of_the_specification() -> None:
    """docs/ledger_format.md gives these, for checkers in other languages."""
    secret = sha256(b"secret of pair 0").hexdigest()
    coins = "".join(toss(secret, SIGNATURE, index, "") for index in range(16))
    assert coins == SPECIFIED
    named = "".join(toss(secret, SIGNATURE, index, "hospital-a") for index in range(16))
    text = (Path(__file__).parents[3] / "docs" / "ledger_format.md").read_text(encoding="utf-8")
    for part in (secret, coins, named, VECTOR[1]):
        assert part in text
