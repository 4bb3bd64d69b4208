"""The operator draw_coins, and what form and panel say of coins from a public round."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from beacons import answer, make_quick, plugin_package, relay, sign

NOWHERE = ["http://127.0.0.1:9"]


@pytest.fixture
def waiting(make_marked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A dataset with a marking whose round is out, and that no relay gave."""
    make_quick(monkeypatch)
    make_quick(monkeypatch, plugin_package())
    coins = importlib.import_module("fiftyone_honeyimage.core.pipeline.coins")
    real = coins.await_round
    monkeypatch.setattr(
        coins, "await_round", lambda *a, **more: real(*a, **{**more, "patience": 0})
    )
    return make_marked(coins="beacon", relays=NOWHERE)


def test_a_pasted_round_finishes_a_marking(
    waiting: Any, resolve: Any, execute: Any, triggered: Any, tmp_path: Path
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    number = fhi.load_marking(waiting, "honey").load_ledger().beacon.round
    with pytest.raises(Exception, match="not drawn yet"):
        fhi.export_release(waiting, "honey", tmp_path / "early", progress=False)
    assert "not drawn yet" in resolve("export_release", waiting).errors()["blocked"]
    form = resolve("draw_coins", waiting)
    assert form.errors() == {}
    assert form.values("honey_key") == ["honey"]
    wrong = answer(number + 1, sign(number + 1)).decode()
    errors = resolve("draw_coins", waiting, honey_key="honey", round_file=wrong).errors()
    assert f"asked was {number}" in errors["round_file"]
    assert "honey_key" in resolve("draw_coins", waiting, honey_key="other").errors()

    right = answer(number, sign(number)).decode()
    assert resolve("draw_coins", waiting, honey_key="honey", round_file=right).errors() == {}
    result = execute("draw_coins", waiting, honey_key="honey", round_file=right)
    assert result.result["honey_key"] == "honey"
    assert not fhi.load_marking(waiting, "honey").pending
    fhi.export_release(waiting, "honey", tmp_path / "release", progress=False)
    assert "blocked" in resolve("draw_coins", waiting).errors()


def test_the_round_is_fetched(waiting: Any, execute: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    coins = importlib.import_module(f"{plugin_package()}.dataset.marking.coins")
    with relay() as address:
        monkeypatch.setattr(coins, "RELAYS", [address])
        execute("draw_coins", waiting, honey_key="honey")
    assert not fhi.load_marking(waiting, "honey").pending


def test_before_the_round_the_form_says_when(
    waiting: Any, resolve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    beacon = importlib.import_module(f"{plugin_package()}.core.ledger.beacon")
    fhi = importlib.import_module("fiftyone_honeyimage")
    held = fhi.load_marking(waiting, "honey").load_ledger().beacon
    monkeypatch.setattr(beacon, "now", lambda: held.committed_at)
    blocked = resolve("draw_coins", waiting).errors()["blocked"]
    assert "Publish the commitment before then" in blocked


def test_the_form_of_a_marking_asks_who_draws_the_coins(make_hard: Any, resolve: Any) -> None:
    dataset = make_hard()
    usual = {
        "label_field": "ground_truth",
        "proxy": "resnet_tiny",
        "device": "cpu",
        "num_pairs": 10,
    }
    form = resolve("generate_honeyimages", dataset, advanced=True, **usual)
    assert form.values("coins") == ["local", "beacon"]
    assert "coins_at" not in form.properties
    form = resolve("generate_honeyimages", dataset, coins="beacon", **usual)
    assert form.errors() == {}
    assert "publish it" in str(form.schema)
    for wrong, why in (("soon", "must be a time"), ("2024-01-01T00:00:00Z", "must lie between")):
        form = resolve("generate_honeyimages", dataset, coins="beacon", coins_at=wrong, **usual)
        assert why in form.errors()["coins_at"]
