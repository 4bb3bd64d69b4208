"""What a finished or scheduled run shows."""

from __future__ import annotations

from typing import Any

import fiftyone.operators.types as types

from ..app.words import START_WORKER


def scheduled(ctx: Any) -> types.Property | None:
    """What a run shows that was put in the queue; None if it was not, and has a result.

    The App asks for the output of a run as soon as it is scheduled, with the queue's entry as result,
    though today's App then shows nothing of it.
    """
    if "run_state" not in ctx.results:
        return None
    text = (
        "It waits in the queue until a worker takes it. If none is running, start one in a terminal, "
        "on this machine or on one with a GPU that reaches the same database and files:\n\n"
        f"`{START_WORKER}`\n\n"
        "`fiftyone delegated list` tells how far it is."
    )
    return output(text, "The run is scheduled")


def output(markdown: str, label: str, alert: types.AlertView | None = None) -> types.Property:
    """What a finished run shows."""
    outputs = types.Object()
    if alert is not None:
        outputs.view("verdict", alert)
    outputs.md(markdown, name="summary")
    return types.Property(outputs, view=types.View(label=label))
