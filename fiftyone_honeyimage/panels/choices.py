"""Dropdowns of the panels, whose choice is kept in the panel's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import fiftyone.operators.types as types


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
        name: the part of the state that holds the chosen value
        label: stands above it
        choices: value → how it is called
        chosen: the value that is shown
        handler: the panel's method that is called when another one is chosen
    """
    view = types.DropdownView(label=label)
    for value, called in choices.items():
        view.add_choice(value, label=called)
    # Without a value in the state, the App would choose the default itself, and send that as an event
    if ctx.panel.get_state(name) != chosen:
        ctx.panel.set_state(name, chosen)
    panel.enum(name, view.values(), default=chosen, view=view, on_change=handler)


def choose_run(
    ctx: Any, panel: types.Object, name: str, label: str, known: Sequence[str], handler: Any
) -> None:
    """A choice among runs, the newest first; one that is gone stays chosen until another one is.

    Args:
        ctx, panel, name, label, handler: see :func:`dropdown`
        known: the keys of the runs, oldest first
    """
    choices = {key: key for key in reversed(known)}
    dropdown(ctx, panel, name, label, choices, ctx.panel.get_state(name) or known[-1], handler)
