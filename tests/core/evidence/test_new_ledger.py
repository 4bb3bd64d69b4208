"""A new ledger: fair coins, drawn last, and images that may stand in it."""

from __future__ import annotations

import dataclasses
import inspect
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fiftyone_honeyimage.core.errors import LedgerError
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.ledger import creation as new_ledger
from fiftyone_honeyimage.core.ledger.creation import create_ledger, draw_coins
from fiftyone_honeyimage.core.ledger.ledger import Ledger

MakeLedger = Callable[..., Ledger]
Verify = Callable[..., str]


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
        coins.add("".join(ledger.released().values()))
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
            first_is_released.append(ledger.released()[index] == first)
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
            new_ledger.secrets, name, record("random", getattr(new_ledger.secrets, name))
        )
    monkeypatch.setattr(new_ledger, "check_images", record("check", new_ledger.check_images))
    make_ledger(coins=record("coins", lambda number: ["a"] * number))
    assert events.count("coins") == 1
    assert events[-1] == "coins"
    assert events[0] == "check"


@pytest.mark.parametrize("coins", [["a"] * 3, ["a"] * 21, ["c"] * 20, [0] * 20])
def test_coins_of_a_wrong_kind(make_ledger: MakeLedger, coins: list) -> None:
    with pytest.raises(LedgerError):
        make_ledger(coins=lambda number: coins)


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
    [
        {"plan": {}},
        {"format": "x"},
        {"counts": {}},
        {"marking_number": 1},
        {"earlier_commitments": []},
        {"x": "\udce9"},
        {"x": {1, 2}},
        {"x": float("nan")},
        {"x": (1,)},
        {1: 2},
    ],
)
def test_headers_refused(tmp_path: Path, header: dict) -> None:
    with pytest.raises(LedgerError, match="header"):
        create_ledger(tmp_path / "ledger.json", header, [], [], Plan())


def test_a_marking_without_pairs(make_ledger: MakeLedger, verify: Verify) -> None:
    ledger = make_ledger(num_pairs=0)
    verification_id = verify(ledger)
    assert ledger.verifications[verification_id].verdict == "inconclusive"
    assert make_ledger(num_pairs=0, num_singles=0, name="empty.json").pairs == []
