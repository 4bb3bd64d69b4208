"""The protection panel on a marking whose coins a public round decides."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
from beacons import make_quick, plugin_package, relay

STATE = {"hardness_key": "honey_hardness", "honey_key": "honey", "beside_sample": False}


@pytest.fixture
def panel_uri() -> str:
    return "@honeyimage/ownership/protect_panel"


def test_a_pending_marking_says_what_to_do(
    make_marked: Callable[..., Any], send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_quick(monkeypatch)
    make_quick(monkeypatch, plugin_package())
    coins = importlib.import_module("fiftyone_honeyimage.core.pipeline.coins")
    beacon = importlib.import_module(f"{plugin_package()}.core.ledger.beacon")
    fhi = importlib.import_module("fiftyone_honeyimage")
    real = coins.await_round
    with monkeypatch.context() as patch:
        patch.setattr(coins, "await_round", lambda *a, **m: real(*a, **{**m, "patience": 0}))
        dataset = make_marked(
            num_pairs=6, num_honeyimages=8, coins="beacon", relays=["http://127.0.0.1:9"]
        )
    marking = fhi.load_marking(dataset, "honey")
    with monkeypatch.context() as patch:
        patch.setattr(beacon, "now", lambda: marking.load_ledger().beacon.committed_at)
        early = send("on_load", dataset).text()
    assert "Published by " in early
    assert ", coins at " in early
    assert marking.commitment in early
    event = send("on_load", dataset)
    assert "The coins are not drawn yet" in event.text()
    assert "draw_coins" in event.output["coins_actions"]["type"]["properties"]
    (asked,) = send("draw_coins", dataset, STATE).asked("prompt_user_for_operation")
    assert asked["operator_uri"].endswith("/draw_coins")
    assert asked["params"] == {"honey_key": "honey"}
    with relay() as address:
        fhi.draw_coins(dataset, "honey", relays=[address], progress=False)
    done = send("on_load", dataset)
    assert "The coins are drawn" in done.text()
    assert "coins_actions" not in done.output
    # No word of which image was released, nor of what decides it
    lot = marking.load_ledger().pairs[0].lot
    assert lot is not None
    assert lot.secret not in done.text()
