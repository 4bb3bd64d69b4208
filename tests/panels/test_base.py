"""Events that leave a panel as it is."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

PANELS = {"protect_panel": "ProtectPanel", "verification_panel": "VerificationPanel"}
STATE = {"hardness_key": "honey_hardness", "honey_key": "honey", "beside_sample": False}


@pytest.fixture
def panel_uri() -> str:
    return "@honeyimage/ownership/protect_panel"


@pytest.mark.parametrize("module", PANELS)
def test_each_has_a_handler(module: str) -> None:
    panels = importlib.import_module(f"fiftyone_honeyimage.panels.{module}")
    panel = getattr(panels, PANELS[module])
    assert panel.OUTSIDE
    assert all(callable(getattr(panel, event, None)) for event in panel.OUTSIDE)


def test_a_panel_is_drawn_anew_only_when_something_in_it_changes(
    make_marked: Callable[..., Any], send: Any
) -> None:
    dataset = make_marked()
    shown = send("on_load", dataset)
    bar = shown.output["hardness_histogram"]["view"]["data"][0]["ids"][0]
    outside = {
        "on_click_bar": {"id": bar},
        "show_hardest": {},
        "show_marking": {},
        "compute_hardness": {},
        # What the App sends by itself: with the click above, and once the grid shows other samples
        "on_select_bars": {"data": []},
        "on_change_selected": {},
        "on_change_current_sample": {},
    }
    for event, params in outside.items():
        assert send(event, dataset, STATE, **params).asked("show_panel_output") == [], event
    sample = dataset.match_tags("honeyimage").first().id
    assert send("on_change_selected", dataset, STATE, selected=[sample]).output
    assert send("flip", dataset, STATE).output


def test_what_cannot_be_shown_in_the_grid_is_explained(
    make_marked: Callable[..., Any], send: Any
) -> None:
    dataset = make_marked()
    # As another window does it
    importlib.import_module("fiftyone_honeyimage").delete_run(dataset, "honey")
    for event in ("show_marking", "show_sample", "open_full_size"):
        answer = send(event, dataset, STATE)
        assert answer.asked("set_view") == []
        assert "not marked yet" in answer.text()


def test_a_dropdown_does_not_send_its_own_choice(
    make_marked: Callable[..., Any], send: Any
) -> None:
    """The App sends the default of a dropdown as an event, unless the state holds it already."""
    event = send("on_load", make_marked())
    for name, prop in event.output.items():
        if prop["view"]["name"] == "DropdownView":
            assert event.all_state[name] == prop["default"], name


def test_a_dropdown_that_reports_what_the_panel_set_changes_nothing(
    make_marked: Callable[..., Any], send: Any
) -> None:
    """It does so a while later, and the answer would undo what the user did meanwhile."""
    dataset = make_marked()
    shown = send("on_load", dataset)
    echo = shown.all_state["honey_key_choice"]
    assert echo != "honey"
    assert send("on_choose_marking", dataset, STATE, value=echo).requests == []
    # What the user has chosen is theirs: the dropdown is left as it is
    state = {**STATE, "honey_key_choice": "honey"}
    chosen = send("on_choose_marking", dataset, state, value="honey")
    assert "honey_key_choice" not in chosen.all_state
    assert chosen.output["honey_key_choice"]["default"] == "honey"
