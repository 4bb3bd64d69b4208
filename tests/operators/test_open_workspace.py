"""The workspace that a button above the grid opens."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

PLUGIN = "@honeyimage/ownership"


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
