"""The buttons above the grid, and the workspace that one of them opens."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PLUGIN = "@honeyimage/ownership"

PLACED = {
    "compute_hardness": "Compute hardness",
    "generate_honeyimages": "Generate HoneyImages",
    "export_release": "Export protected release",
    "verify_model": "Verify a model with HoneyImages",
    "open_workspace": "Open HoneyImage workspace",
}


def buttons(dataset: Any) -> dict[str, dict[str, Any]]:
    """Operator → its button above the grid, as the App gets it."""
    operators = importlib.import_module("fiftyone.operators")
    executor = importlib.import_module("fiftyone.operators.executor")
    found = {}
    for operator in operators.list_operators(enabled=True, builtin=False):
        request = {"dataset_name": dataset.name, "params": {}}
        ctx = executor.ExecutionContext(request, operator_uri=operator.uri)
        placement = operator.resolve_placement(ctx)
        if placement is not None:
            found[operator.name] = placement.to_json()["view"]
    return found


def test_buttons_say_why_they_cannot_be_used(
    fo: Any, make_digits_dataset: Callable[..., Any], make_marked: Callable[..., Any]
) -> None:
    dataset = make_digits_dataset(num=12, size=8)
    found = buttons(dataset)
    assert sorted(found) == sorted(PLACED)
    assert found["compute_hardness"]["label"] == "Compute hardness"
    assert not found["compute_hardness"]["disabled"]
    assert found["generate_honeyimages"]["label"].endswith("(compute hardness first)")
    for name in ("export_release", "verify_model"):
        assert found[name]["label"].endswith("(generate HoneyImages first)")
        assert found[name]["disabled"]

    found = buttons(make_marked())
    assert {name: button["label"] for name, button in found.items()} == PLACED
    assert not any(button["disabled"] for button in found.values())

    unlabeled, video = fo.Dataset(), fo.Dataset()
    unlabeled.add_sample(fo.Sample(filepath="/nowhere/a.png"))
    video.add_sample(fo.Sample(filepath="/nowhere/video.mp4"))
    assert "no field of type Classification" in buttons(unlabeled)["export_release"]["label"]
    assert "media type 'video'" in buttons(video)["compute_hardness"]["label"]
    for made in (unlabeled, video):
        made.delete()


def test_every_button_has_its_icons(make_digits_dataset: Callable[..., Any]) -> None:
    for button in buttons(make_digits_dataset(num=6)).values():
        for name in ("icon", "darkIcon"):
            assert (ROOT / button[name].lstrip("/")).is_file()


@pytest.mark.parametrize("taken", [False, True])
def test_it_opens_both_panels_beside_the_grid(
    fo: Any, make_digits_dataset: Callable[..., Any], taken: bool
) -> None:
    operators = importlib.import_module("fiftyone.operators")
    dataset = make_digits_dataset(num=6)
    if taken:
        mine = fo.Space(children=[fo.Panel(type="Samples", pinned=True)])
        dataset.save_workspace("HoneyImage", mine)

    result = operators.get_operator(f"{PLUGIN}/open_workspace")(dataset)

    assert result.result == {"saved": not taken}
    (request,) = [r for r in result.executor._requests if r.operator_uri.endswith("set_spaces")]
    opened = fo.Space.from_dict(request.params["spaces"])
    panels = [panel.type for space in opened.children for panel in space.children]
    assert panels == ["Samples", "protect_panel", "verification_panel"]
    dataset.reload()
    assert dataset.list_workspaces() == ["HoneyImage"]
