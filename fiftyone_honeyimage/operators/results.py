"""What a finished or scheduled run shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone.operators.types as types

from ..app.words import START_WORKER


def shown(ctx: Any, finished: Callable[[dict[str, Any]], types.Property]) -> types.Property | None:
    """What the App shows after a run: what ``finished`` makes of its result, or that it is queued.

    The App asks for the output of a run as soon as it is scheduled, with the queue's entry as result, though today's App
    then shows nothing of it; and of a run that failed at once, without a result: nothing is to be added to its error then.
    """
    if not ctx.results:
        return None
    return _scheduled() if "run_state" in ctx.results else finished(ctx.results)


def _scheduled() -> types.Property:
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
    # No result has such a key: the App would show its value instead
    outputs.md(markdown, name="told")
    return types.Property(outputs, view=types.View(label=label))
