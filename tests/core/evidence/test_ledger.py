"""The ledger: fair coins, a commitment that hides and binds, a log that forgets nothing."""

from __future__ import annotations

import copy
import dataclasses
import errno
import inspect
import itertools
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fiftyone_honeyimage.core.errors import LedgerError, ParameterError
from fiftyone_honeyimage.core.evidence import ledger as ledger_module
from fiftyone_honeyimage.core.evidence.ledger import (
    Ledger,
    create_ledger,
    draw_coins,
    hash_leaf,
    hash_leaves,
    load_ledger,
)
from fiftyone_honeyimage.core.evidence.verdict import Plan, decide

ROOT = Path(__file__).resolve().parents[3]

MakeLedger = Callable[..., Ledger]
Ask = Callable[..., Any]

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and permissions")


def verify(ledger: Ledger, ask: Ask, num_pairs: int | None = None, **options: Any) -> str:
    verification_id = ledger.open_verification(
        "suspect", "ab" * 32, None, ledger.pairs_left[:num_pairs]
    )
    pairs = list(ledger.verifications[verification_id].pairs)
    ledger.conclude(verification_id, ask(ledger, pairs, **options))
    return verification_id


# Coins


def test_coins_are_fair_and_independent() -> None:
    """Counts within binomial bounds: all coins, neighbours, repeated draws, each place.

    No seed can fix these coins; the bounds are so wide that fair ones exceed them once in a million.
    """
    draws = np.array([[coin == "a" for coin in draw_coins(20)] for _ in range(2000)])

    def check(hits: np.ndarray) -> None:
        low, high = stats.binom.ppf([5e-7, 1 - 5e-7], hits.size, 0.5)
        assert low <= hits.sum() <= high

    check(draws)
    check(draws[:, 1:] == draws[:, :-1])
    check(draws[1:] == draws[:-1])
    low, high = stats.binom.ppf([5e-8, 1 - 5e-8], 2000, 0.5)
    assert ((draws.sum(axis=0) >= low) & (draws.sum(axis=0) <= high)).all()
    assert set(draw_coins(200)) == {"a", "b"}
    assert draw_coins(0) == []


def test_coins_depend_on_nothing_that_goes_in(make_ledger: MakeLedger) -> None:
    """The same images and the same global seed, and yet other coins, orders and salts."""
    coins, orders, salts = set(), set(), set()
    for number in range(30):
        random.seed(0)
        ledger = make_ledger(num_pairs=40, name=f"{number}.json")
        coins.add("".join(pair.released for pair in ledger.pairs))
        orders.add(tuple(ledger.query_order))
        salts.update(ledger.salts)
    assert len(coins) == len(orders) == 30
    assert len(salts) == 30 * len(ledger.salts)
    # Nothing but their number goes in
    assert list(inspect.signature(draw_coins).parameters) == ["num_coins"]


def test_query_order_is_fair_and_tells_nothing_about_the_coins(make_ledger: MakeLedger) -> None:
    first_is_released, first_is_a, places = [], [], []
    for number in range(100):
        ledger = make_ledger(num_pairs=20, num_singles=0, name=f"{number}.json")
        assert sorted(index for index, _ in ledger.query_order) == list(range(20))
        for place, (index, first) in enumerate(ledger.query_order):
            first_is_released.append(ledger.pairs[index].released == first)
            first_is_a.append(first == "a")
            if index == 0:
                places.append(place)
    low, high = stats.binom.ppf([5e-7, 1 - 5e-7], 2000, 0.5)
    assert low <= sum(first_is_released) <= high
    assert low <= sum(first_is_a) <= high
    # Pair 0 is in the first half about every other time
    low, high = stats.binom.ppf([5e-7, 1 - 5e-7], 100, 0.5)
    assert low <= sum(place < 10 for place in places) <= high


def test_coins_are_drawn_last(make_ledger: MakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the coins are out, no other random number is drawn and no input is looked at."""
    events = []

    def record(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            events.append(name)
            return real(*arguments)

        return call

    for name in ("token_hex", "randbits", "SystemRandom"):
        monkeypatch.setattr(
            ledger_module.secrets, name, record("random", getattr(ledger_module.secrets, name))
        )
    monkeypatch.setattr(
        ledger_module, "_check_images", record("check", ledger_module._check_images)
    )
    make_ledger(coins=record("coins", lambda number: ["a"] * number))
    assert events.count("coins") == 1
    assert events[-1] == "coins"
    assert events[0] == "check"


@pytest.mark.parametrize("coins", [["a"] * 3, ["a"] * 21, ["c"] * 20, [0] * 20])
def test_coins_of_a_wrong_kind(make_ledger: MakeLedger, coins: list) -> None:
    with pytest.raises(LedgerError):
        make_ledger(coins=lambda number: coins)


# The file


@posix
def test_private(make_ledger: MakeLedger) -> None:
    before = os.umask(0)
    try:
        ledger = make_ledger()
    finally:
        os.umask(before)
    assert ledger.path.stat().st_mode & 0o777 == 0o600
    assert ledger.path.parent.stat().st_mode & 0o777 == 0o700


@posix
def test_permissions_are_repaired_with_a_warning(
    make_ledger: MakeLedger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = make_ledger()
    ledger.path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        load_ledger(ledger.path)
    assert "Others could read the ledger" in caplog.text
    assert ledger.path.stat().st_mode & 0o777 == 0o600
    caplog.clear()
    load_ledger(ledger.path)
    assert not caplog.text


def test_round_trip(make_ledger: MakeLedger, ask: Ask) -> None:
    ledger = make_ledger()
    verify(ledger, ask, 12)
    again = load_ledger(ledger.path, ledger.commitment)
    assert (again.header, again.singles, again.pairs, again.query_order) == (
        ledger.header,
        ledger.singles,
        ledger.pairs,
        ledger.query_order,
    )
    assert (again.log, again.verifications) == (ledger.log, ledger.verifications)
    assert again.plan == Plan()
    assert again.header["dataset_name"] == "animals"


def test_released_and_withheld(make_ledger: MakeLedger) -> None:
    ledger = make_ledger(num_pairs=20, num_singles=3)
    released, withheld = ledger.released_images(), ledger.withheld_images()
    assert (len(released), len(withheld)) == (23, 20)
    assert not {image.file for image in released} & {image.file for image in withheld}
    for pair in ledger.pairs:
        assert {pair.released_twin, pair.withheld_twin} == {pair.a, pair.b}
        assert pair.released_twin is (pair.a if pair.released == "a" else pair.b)
    assert ledger.released()[3] == ledger.pairs[3].released


def test_a_marking_without_pairs(make_ledger: MakeLedger, ask: Ask) -> None:
    ledger = make_ledger(num_pairs=0)
    verification_id = verify(ledger, ask)
    assert ledger.verifications[verification_id].verdict == "inconclusive"
    assert make_ledger(num_pairs=0, num_singles=0, name="empty.json").pairs == []


def test_an_existing_ledger_is_never_overwritten(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    before = ledger.path.read_bytes()
    with pytest.raises(LedgerError, match="exists already"):
        make_ledger()
    assert ledger.path.read_bytes() == before


def test_images_that_occur_twice(tmp_path: Path, make_ledger: MakeLedger) -> None:
    images = make_ledger(num_pairs=2, num_singles=1).released_images()
    a, b, c = images
    for singles, pairs in (
        ([c, c], [(a, b)]),
        ([a], [(a, b)]),
        ([], [(a, a)]),
        ([], [(a, b), (b, c)]),
        ([dataclasses.replace(c, sample_id=a.sample_id)], [(a, b)]),
        ([dataclasses.replace(c, file=a.file)], [(a, b)]),
        ([dataclasses.replace(c, marked_sha256=a.marked_sha256)], [(a, b)]),
    ):
        with pytest.raises(LedgerError):
            create_ledger(tmp_path / "other.json", {}, singles, pairs, Plan())
    assert not (tmp_path / "other.json").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"sample_id": ""},
        {"label": 3},
        {"file": "/etc/passwd"},
        {"file": "../secret.png"},
        {"file": "a\\b.png"},
        {"file": "C:/a.png"},
        {"source_sha256": "abc"},
        {"marked_sha256": "A" * 64},
        {"marked_sha256": None},
    ],
)
def test_marked_images_refused(make_ledger: MakeLedger, changes: dict) -> None:
    image = make_ledger().singles[0]
    with pytest.raises(LedgerError):
        dataclasses.replace(image, **changes)


@pytest.mark.parametrize(
    "header",
    [{"plan": {}}, {"format": "x"}, {"x": {1, 2}}, {"x": float("nan")}, {"x": (1,)}, {1: 2}],
)
def test_headers_refused(tmp_path: Path, header: dict) -> None:
    with pytest.raises(LedgerError, match="header"):
        create_ledger(tmp_path / "ledger.json", header, [], [], Plan())


@pytest.mark.parametrize("step", ["creation", "opening", "closing"])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_changes_nothing(
    make_ledger: MakeLedger,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    step: str,
    function: str,
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = tmp_path / "secret"
    if step == "creation":
        folder.mkdir()
    else:
        ledger = make_ledger()
        verification_id = ledger.open_verification("suspect", None, None, ledger.pairs_left[:12])
        answers = ask(ledger, ledger.verifications[verification_id].pairs)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    actions: dict[str, Callable[[], object]] = {
        "creation": make_ledger,
        "opening": lambda: ledger.open_verification("another", None, None, ledger.pairs_left),
        "closing": lambda: ledger.conclude(verification_id, answers),
    }
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="free some space"):
        actions[step]()
    monkeypatch.undo()

    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}
    assert after == {name: data for name, data in before.items() if not name.endswith(".lock")}
    if step != "creation":
        # The ledger in memory did not run ahead of the file
        assert ledger.log == load_ledger(ledger.path).log
        assert ledger.conclude(verification_id, answers).verdict == "derived"


@posix
def test_killed_at_any_moment_leaves_a_whole_ledger(make_ledger: MakeLedger) -> None:
    """A process that logs verifications without end is killed at random moments."""
    ledger = make_ledger(num_pairs=400)
    code = (
        "import sys\n"
        "from fiftyone_honeyimage.core.evidence.ledger import load_ledger\n"
        "ledger = load_ledger(sys.argv[1])\n"
        "while True:\n"
        "    opened = ledger.open_verification('x', None, None, ledger.pairs_left[:1])\n"
        "    print('opened', flush=True)\n"
        "    ledger.close_verification(opened, None, num_queried=0)\n"
    )
    rng = random.Random(0)
    seen = 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(ledger.path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout
            for _ in range(rng.randrange(1, 6)):
                process.stdout.readline()
                seen += 1
            try:
                process.wait(rng.random() * 0.05)
            except subprocess.TimeoutExpired:
                process.kill()
        assert process.returncode == -signal.SIGKILL
        # What had been confirmed is there, what was being written is there or not
        opened = len(load_ledger(ledger.path, ledger.commitment).verifications)
        assert opened >= seen
        seen = opened


def altered(value: Any) -> Iterator[Any]:
    """Every value that differs from this one at a single place."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield {name: other for name, other in value.items() if name != key}
            yield from ({**value, key: other} for other in altered(item))
        yield {**value, "more": 1}
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield value[:index] + value[index + 1 :]
            yield from ([*value[:index], other, *value[index + 1 :]] for other in altered(item))
        yield [*value, value[-1] if value else 1]
        if len(value) > 1 and value[0] != value[-1]:
            yield [value[-1], *value[1:-1], value[0]]
    elif isinstance(value, str):
        last = "0" if value[-1:] != "0" else "1"
        yield value[:-1] + last
        yield None
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield value + 1
        yield -value if value else 0.5
        yield str(value)
    else:
        assert value is None
        yield 0
        yield "x"


def test_any_single_change_is_found_out(make_ledger: MakeLedger, ask: Ask) -> None:
    ledger = make_ledger(num_pairs=14, num_singles=2)
    verify(ledger, ask, 10)
    ledger.open_verification("another", None, "labels", ledger.pairs_left[:2])
    content = json.loads(ledger.path.read_text())
    copied = ledger.path.with_name("altered.json")

    changes = 0
    for other in altered(content):
        assert other != content
        copied.write_text(json.dumps(other))
        with pytest.raises(LedgerError):
            load_ledger(copied)
        changes += 1
    assert changes > 500
    copied.write_text(json.dumps(content))
    assert load_ledger(copied).log == ledger.log


def test_a_coin_that_was_turned_is_named(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    content = json.loads(ledger.path.read_text())
    pair = content["pairs"][4]
    pair["released"] = "b" if pair["released"] == "a" else "a"
    ledger.path.write_text(json.dumps(content))
    with pytest.raises(LedgerError, match="does not fit its commitment"):
        load_ledger(ledger.path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"log": NaN}', '{"log": 1, "log": 1}', "[" * 100_000, "\x00"],
)
def test_other_files_are_no_ledgers(tmp_path: Path, text: str) -> None:
    (tmp_path / "ledger.json").write_text(text)
    with pytest.raises(LedgerError):
        load_ledger(tmp_path / "ledger.json")


def test_a_ledger_that_was_cut_off(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    data = ledger.path.read_bytes()
    for size in range(0, len(data) - 2, 97):
        ledger.path.write_bytes(data[:size])
        with pytest.raises(LedgerError):
            load_ledger(ledger.path)


def test_a_missing_ledger(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="There is no ledger"):
        load_ledger(tmp_path / "ledger.json")
    with pytest.raises(LedgerError, match="cannot be read"):
        load_ledger(tmp_path)


def test_a_ledger_of_a_later_version(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    content = json.loads(ledger.path.read_text())
    content["header"]["format"] = "honeyimage-ledger/2"
    ledger.path.write_text(json.dumps(content))
    with pytest.raises(LedgerError, match="this version reads"):
        load_ledger(ledger.path)


# The commitment


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


# The log


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


def test_pairs_are_spent_in_the_committed_order(make_ledger: MakeLedger, ask: Ask) -> None:
    ledger = make_ledger(num_pairs=25)
    order = [index for index, _ in ledger.query_order]
    assert ledger.pairs_left == order
    verify(ledger, ask, 10)
    assert ledger.pairs_left == order[10:]
    for wrong in (order[:10], order[11:], order[10:12][::-1], [order[10]] * 2, [99]):
        with pytest.raises(LedgerError, match="next unused pairs"):
            ledger.open_verification("suspect", None, None, wrong)
    verify(ledger, ask)
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


def test_every_attempt_counts(make_ledger: MakeLedger, ask: Ask) -> None:
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
    derived = verify(ledger, ask, 20)
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


def test_attempts_on_innocent_models_cost_strength(make_ledger: MakeLedger, ask: Ask) -> None:
    ledger = make_ledger(num_pairs=44)
    for _ in range(3):
        verify(ledger, ask, 11, derived=False)
    derived = verify(ledger, ask, 11)
    # 11 wins of 11 would be enough for the first suspect, and cannot be for the fourth
    assert ledger.verifications[derived].p_value == 2.0**-11
    assert ledger.verifications[derived].verdict == "inconclusive"


def test_all_pairs_may_be_used_again_but_no_choice_of_them(
    make_ledger: MakeLedger, ask: Ask
) -> None:
    ledger = make_ledger(num_pairs=20)
    order = ledger.pairs_left
    verify(ledger, ask, 15, derived=False)
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


def test_closed_is_closed(make_ledger: MakeLedger, ask: Ask) -> None:
    ledger = make_ledger()
    verification_id = verify(ledger, ask)
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


@pytest.fixture
def logged(make_ledger: MakeLedger, ask: Ask) -> dict[str, Any]:
    """A ledger's content with six log entries."""
    ledger = make_ledger(num_pairs=36)
    for _ in range(3):
        verify(ledger, ask, 12, derived=False)
    content: dict[str, Any] = json.loads(ledger.path.read_text())
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
        lambda content: content["log"][1]["public"].update(p_value=1e-9),
        lambda content: content["log"][1]["public"].update(num_answers=0),
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
    path.write_text(json.dumps(logged))
    load_ledger(path)
    content = copy.deepcopy(logged)
    tamper(content)
    path.write_text(json.dumps(content))
    with pytest.raises(LedgerError):
        load_ledger(path)


def test_an_older_copy_is_found_out_by_whoever_saw_the_newer(
    make_ledger: MakeLedger, ask: Ask
) -> None:
    ledger = make_ledger()
    before = ledger.path.read_bytes()
    verification_id = ledger.open_verification("suspect", None, None, ledger.pairs_left)
    ledger.path.write_bytes(before)
    with pytest.raises(LedgerError, match="were removed"):
        ledger.close_verification(verification_id, None)


def test_a_link_to_a_ledger_stays_a_link(make_ledger: MakeLedger, tmp_path: Path) -> None:
    """Else two ledgers would count on their own, each from the start."""
    ledger = make_ledger(4)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.json"
    link.symlink_to(ledger.path)
    load_ledger(link).open_verification("one", None, None, [])
    assert link.is_symlink()
    assert list((tmp_path / "elsewhere").iterdir()) == [link]
    assert len(load_ledger(ledger.path).log) == 1


def test_verifications_from_several_threads_are_all_kept(make_ledger: MakeLedger) -> None:
    ledger = make_ledger(num_pairs=24)
    opened: list[str] = []

    def work() -> None:
        own = load_ledger(ledger.path)
        while own.pairs_left:
            try:
                opened.append(own.open_verification("x", None, None, own.pairs_left[:1]))
            except LedgerError:
                # Another thread took that pair; the reload has shown what is left
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    final = load_ledger(ledger.path)
    assert len(opened) == 24
    assert set(final.verifications) == set(opened)
    spent = [pair for item in final.verifications.values() for pair in item.pairs]
    assert sorted(spent) == list(range(24))


def test_kind_is_checked(make_ledger: MakeLedger) -> None:
    with pytest.raises(ParameterError):
        make_ledger().open_verification("suspect", None, "votes", [])
