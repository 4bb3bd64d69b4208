"""What both panels do alike: events that leave a panel as it is, forms, and runs that are waited for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import fiftyone.operators as foo
import fiftyone.operators.types as types

from ..app.layout import button
from ..core.errors import HoneyImageError
from . import pending
from .choices import is_echo


class HoneyImagePanel(foo.Panel):
    """A panel of this plugin."""

    #: Operators that are waited for, if they are delegated
    AWAITED: ClassVar[tuple[str, ...]] = ()

    #: The parts of the state that hold the key of the run that is shown, and the text of its note's field
    KEY: ClassVar[str]
    NOTE: ClassVar[str]

    #: Events that are for the grid or for a form, and change nothing in the panel. Their handlers return
    #: whether that is so; where they found nothing to show, for example, the panel has to say why.
    OUTSIDE: ClassVar[frozenset[str]] = frozenset()

    def execute(self, ctx: Any) -> Any:
        """Handles an event.

        FiftyOne draws a panel anew after each event. That costs a few tenths of a second just when the
        App loads the samples that a click has asked for, and a plot that is drawn anew loses the mouse,
        so that the next click is lost too.
        """
        if is_echo(ctx.params.get("value")):
            return None
        event = ctx.params.get("__method__")
        if event not in self.OUTSIDE:
            return super().execute(ctx)
        if not getattr(self, event)(ctx):
            ctx.ops.show_panel_output(self.render(ctx))
        return None

    def on_run(self, ctx: Any) -> None:
        """A prompted operator was run or scheduled."""
        result = ctx.params.get("result") or {}
        if pending.was_scheduled(result):
            ctx.ops.notify("Scheduled: the panel shows how far it is")
        else:
            self.open_on(ctx, result)

    def open_on(self, ctx: Any, result: Mapping[str, Any]) -> None:
        """Turns to what an operator has made."""
        raise NotImplementedError

    def on_tick(self, ctx: Any) -> None:
        """Time to look how far a pending run is: ``render`` does."""

    def on_dismiss(self, ctx: Any) -> None:
        """A failure was read."""
        pending.dismiss(ctx)

    def on_retry(self, ctx: Any) -> None:
        """A failed run is to be run again."""
        pending.retry(ctx, on_success=self.on_run)

    def noted_config(self, ctx: Any) -> Mapping[str, Any] | None:
        """The config of the run whose note can be written just now, if there is one."""
        raise NotImplementedError

    def take_finished(self, ctx: Any) -> list[pending.FinishedRun]:
        """The runs that have succeeded since, for the panel to open on; the App tells of all that ended.

        None while somebody writes a note, which would be lost.
        """
        done = pending.take_finished(ctx, self.AWAITED)
        config = self.noted_config(ctx) if done else None
        if config is None:
            return done
        from ..dataset.management.notes import from_config

        written = ctx.panel.get_state(self.NOTE)
        return done if written in (None, from_config(config).text) else []

    def show_pending(self, ctx: Any, panel: types.Object) -> None:
        """Shows the runs that are waited for and those that failed, and turns to one that has succeeded."""
        for run in self.take_finished(ctx):
            self.open_on(ctx, run.result)
        pending.show_pending(ctx, panel, self)

    def save_note(self, ctx: Any) -> None:
        """Keeps the note that was written."""
        from ..dataset.management.notes import write_note

        key, text = ctx.panel.get_state(self.KEY), ctx.panel.get_state(self.NOTE)
        try:
            note = write_note(ctx.dataset, key, text or "", user=ctx.user_id)
        except HoneyImageError as error:
            ctx.ops.notify(f"The note was not saved: {error}", variant="error")
            return
        ctx.panel.set_state(self.NOTE, note.text)
        ctx.ops.notify(
            "The note is saved" if note.text else "The note is deleted", variant="success"
        )

    def show_marking(self, ctx: Any) -> bool:
        """Shows the saved view of the marking that is shown in the grid."""
        raise NotImplementedError

    def show_marking_button(self, ctx: Any, row: types.Object, name: str, honey_key: str) -> None:
        """The button of :meth:`show_marking`, as long as there is such a view."""
        there = ctx.dataset.has_saved_view(honey_key)
        gone = None if there else f"The saved view '{honey_key}' was deleted"
        label, handler = "Show all HoneyImages", self.show_marking
        button(row, name, label, handler, disabled=not there, title=gone)

    def compute_hardness(self, ctx: Any) -> bool:
        """The first step towards a marking."""
        return self.prompt(ctx, "compute_hardness")

    def set_view(self, ctx: Any, view: Any) -> bool:
        """Shows a view in the grid, if there is one."""
        if view is None:
            return False
        ctx.ops.set_view(view=view)
        return True

    def prompt(
        self,
        ctx: Any,
        operator: str,
        params: Mapping[str, Any] | None = None,
        on_success: Callable[[Any], None] | None = None,
    ) -> bool:
        """Opens the form of an operator of this plugin."""
        ctx.prompt(
            f"{self.plugin_name}/{operator}",
            params=dict(params or {}),
            on_success=on_success or self.on_run,
        )
        return True
