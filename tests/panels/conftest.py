"""Panels through FiftyOne's real registry."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest

PANEL = "@honeyimage/ownership/verification_panel"


class Event:
    """What one event of a panel did.

    Attributes:
        requests: what the App is asked to do, (operator, parameters)
    """

    def __init__(self, result: Any) -> None:
        self.requests = [
            (request.operator_uri.rpartition("/")[2], request.params)
            for request in result.executor._requests
        ]

    def asked(self, operator: str) -> list[dict[str, Any]]:
        """The parameters of every request of one kind."""
        return [params for name, params in self.requests if name == operator]

    @property
    def state(self) -> dict[str, Any]:
        """The changes of the panel's state, without what dropdowns keep there for themselves."""
        return {name: v for name, v in self.all_state.items() if not name.endswith("_choice")}

    @property
    def all_state(self) -> dict[str, Any]:
        """The changes of the panel's state."""
        changes: dict[str, Any] = {}
        for params in self.asked("patch_panel_state"):
            changes.update(params["state"])
        return changes

    @property
    def output(self) -> dict[str, Any]:
        """The properties that are shown, by name."""
        (shown,) = self.asked("show_panel_output")
        return shown["output"]["type"]["properties"]

    def choices(self, name: str) -> list[str]:
        """What a dropdown offers."""
        return [choice["label"] for choice in self.output[f"{name}_choice"]["view"]["choices"]]

    def text(self) -> str:
        """Everything that is shown in words."""
        words = []
        for prop in self.output.values():
            view = prop["view"]
            words += [prop["default"], view.get("label"), view.get("description")]
        return "\n".join(str(word) for word in words if word)


@pytest.fixture(autouse=True)
def cached_plugins(fo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """FiftyOne reads every plugin's files anew for every call, unless it is told to look only whether they changed.

    The tests of the App, in processes of their own, go without.
    """
    monkeypatch.setattr(fo.config, "plugins_cache_enabled", True)


@pytest.fixture
def panel_uri() -> str:
    """The panel that a module of tests is about."""
    return PANEL


@pytest.fixture
def send(fo: Any, panel_uri: str) -> Callable[..., Event]:
    """Sends an event to the panel: ``send("on_load", dataset)``."""
    operators = importlib.import_module("fiftyone.operators")

    def run(
        method: str,
        dataset: Any,
        state: dict[str, Any] | None = None,
        selected: Sequence[str] = (),
        current_sample: str | None = None,
        **params: Any,
    ) -> Event:
        result = operators.execute_operator(
            panel_uri,
            dataset=dataset,
            selected=list(selected),
            current_sample=current_sample,
            params={
                "panel_id": "panel",
                "__method__": method,
                "panel_state": dict(state or {}),
                **params,
            },
        )
        return Event(result)

    return run
