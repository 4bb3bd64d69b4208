"""What binds a ledger: a commitment that hides and binds, and a log from which nothing goes missing."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from mutations import altered
from protocols import PROTOCOL, protocol_for

from fiftyone_honeyimage.core.errors import LedgerError
from fiftyone_honeyimage.core.ledger.hashes import hash_leaf, hash_leaves
from fiftyone_honeyimage.core.ledger.ledger import Ledger, load_ledger

MakeLedger = Callable[..., Ledger]
Ask = Callable[..., Any]
Verify = Callable[..., str]


def test_any_single_change_is_found_out(make_ledger: MakeLedger, verify: Verify) -> None:
    ledger = make_ledger(num_pairs=14, num_singles=2)
    verify(ledger, 10)
    ledger.open_verification(
        "another", None, "labels", ledger.pairs_left[:2], protocol=protocol_for("labels")
    )
    content = json.loads(ledger.path.read_text(encoding="utf-8"))
    copied = ledger.path.with_name("altered.json")

    changes = 0
    for other in altered(content):
        assert json.dumps(other) != json.dumps(content)
        copied.write_text(json.dumps(other), encoding="utf-8")
        try:
            load_ledger(copied)
        except LedgerError:
            changes += 1
            continue
        different = [key for key in content if other.get(key) != content[key]]
        pytest.fail(f"a change of {different} was not found out")
    assert changes > 500
    copied.write_text(json.dumps(content), encoding="utf-8")
    assert load_ledger(copied).log == ledger.log


def test_a_coin_that_was_turned_is_named(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    content = json.loads(ledger.path.read_text(encoding="utf-8"))
    pair = content["pairs"][4]
    pair["released"][""] = "b" if pair["released"][""] == "a" else "a"
    ledger.path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(LedgerError, match="does not fit its commitment"):
        load_ledger(ledger.path)


def test_the_commitment_hides(make_ledger: MakeLedger) -> None:
    """Ledgers of one content and other salts share no leaf hash, let alone the commitment."""
    ledger = make_ledger()
    leaves = ledger.leaves()
    others = []
    for number in range(5):
        salts = [f"{number:02x}" * 32 for _ in leaves]
        hashes = [hash_leaf(leaf, salt) for leaf, salt in zip(leaves, salts, strict=True)]
        others.append(set(hashes))
        assert hash_leaves(hashes) != ledger.commitment
    for first, second in itertools.pairwise(others):
        assert not first & second
    one, two = make_ledger(name="one.json"), make_ledger(name="two.json")
    assert one.commitment != two.commitment
    assert not set(one.leaf_hashes) & set(two.leaf_hashes)
    assert not set(one.salts) & set(two.salts)


def test_the_commitment_binds(make_ledger: MakeLedger) -> None:
    """With the same salts, any other leaf, order of leaves or number of leaves commits elsewhere."""
    ledger = make_ledger(num_pairs=3, num_singles=2)
    leaves, salts = ledger.leaves(), ledger.salts
    assert hash_leaves(ledger.leaf_hashes) == ledger.commitment

    commitments = {ledger.commitment}
    count = 1
    for index, leaf in enumerate(leaves):
        for other in altered(leaf):
            hashes = list(ledger.leaf_hashes)
            hashes[index] = hash_leaf(other, salts[index])
            commitments.add(hash_leaves(hashes))
            count += 1
    hashes = ledger.leaf_hashes
    for other_hashes in (hashes[1:], hashes[:-1], hashes[::-1], [*hashes, hashes[-1]]):
        commitments.add(hash_leaves(other_hashes))
        count += 1
    assert len(commitments) == count > 100


def test_the_published_commitment_decides(make_ledger: MakeLedger) -> None:
    """A consistent forgery, coins and all, does not have the commitment that was published."""
    real = make_ledger()
    forged = make_ledger(name="forged.json")
    forged.path.replace(real.path)
    load_ledger(real.path)
    with pytest.raises(LedgerError, match="another ledger"):
        load_ledger(real.path, real.commitment)


@pytest.fixture
def logged(make_ledger: MakeLedger, verify: Verify) -> dict[str, Any]:
    """A ledger's content with six log entries."""
    ledger = make_ledger(num_pairs=36)
    for _ in range(3):
        verify(ledger, 12, derived=False)
    content: dict[str, Any] = json.loads(ledger.path.read_text(encoding="utf-8"))
    assert len(content["log"]) == 6
    return content


@pytest.mark.parametrize(
    "tamper",
    [
        lambda content: content["log"].pop(0),
        lambda content: content["log"].pop(3),
        lambda content: content["log"].pop(),
        lambda content: content["log"].clear(),
        lambda content: content["log"].reverse(),
        lambda content: content["log"].insert(0, content["log"].pop(2)),
        lambda content: content["log"].append(content["log"][-1]),
        lambda content: content["log"].__setitem__(slice(4, 6), []),
        lambda content: content["log"][1]["public"].update(concluded=False),
        lambda content: content["log"][1]["public"].update(num_queried=0),
        lambda content: content["log"][0]["private"].update(suspect_name="nobody"),
        lambda content: content["log"][0].pop("private"),
        lambda content: content["log"][0].update(at="2020-01-01T00:00:00+00:00"),
        lambda content: content["log"][2]["public"].update(pairs=[]),
    ],
)
def test_a_tampered_log_is_found_out(
    make_ledger: MakeLedger, logged: dict[str, Any], tamper: Callable[[dict], object]
) -> None:
    path = make_ledger(name="other.json").path
    path.write_text(json.dumps(logged), encoding="utf-8")
    load_ledger(path)
    content = copy.deepcopy(logged)
    tamper(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(LedgerError):
        load_ledger(path)


def test_an_older_copy_is_found_out_by_whoever_saw_the_newer(
    make_ledger: MakeLedger, ask: Ask
) -> None:
    ledger = make_ledger()
    before = ledger.path.read_bytes()
    verification_id = ledger.open_verification(
        "suspect", None, "scores", ledger.pairs_left, protocol=PROTOCOL
    )
    ledger.path.write_bytes(before)
    with pytest.raises(LedgerError, match="were removed"):
        ledger.close_verification(verification_id, None)
