"""Dropdowns of the panels, whose choice is kept in the panel's state.

The App reports every change of a dropdown's value with an event: the user's, and a while later those that
the panel made itself. Such an echo says nothing new, and what it knows of the panel is old, so its answer
would undo what the user did meanwhile. It is told apart by its value: what the panel has turned to by itself
goes by another name than what can be chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import fiftyone.operators.types as types

_SHOWN = "shown:"


def is_echo(value: Any) -> bool:
    """Whether the value of a dropdown's event is the one that the panel itself set."""
    return isinstance(value, str) and value.startswith(_SHOWN)


def dropdown(
    ctx: Any,
    panel: types.Object,
    name: str,
    label: str,
    choices: Mapping[str, str],
    chosen: str,
    handler: Any,
) -> None:
    """A choice among values.

    Args:
        ctx: the context of the event
        panel: where to show it
        name: the part of the state that holds the chosen value; ``{name}_choice`` holds the dropdown's
        label: stands above it
        choices: value → how it is called
        chosen: the value that is shown
        handler: the panel's method that is called with another value, and keeps it in the state
    """
    view = types.DropdownView(label=label)
    path = f"{name}_choice"
    # What the user has chosen keeps its name: a change of it would be reported, and drawn once more
    shown = chosen if ctx.panel.get_state(path) == chosen else f"{_SHOWN}{chosen}"
    for value, called in choices.items():
        view.add_choice(shown if value == chosen else value, label=called)
    # Without a value in the state, the App would choose the default itself, and send that as an event
    for part, value in ((name, chosen), (path, shown)):
        if ctx.panel.get_state(part) != value:
            ctx.panel.set_state(part, value)
    panel.enum(path, view.values(), default=shown, view=view, on_change=handler)


def choose_run(
    ctx: Any, panel: types.Object, name: str, label: str, known: Sequence[str], handler: Any
) -> None:
    """A choice among runs, the newest first; one that is gone stays chosen until another one is."""
    choices = {key: key for key in reversed(known)}
    dropdown(ctx, panel, name, label, choices, ctx.panel.get_state(name) or known[-1], handler)
