"""Rename run: gives a marking or a verification another key."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from .. import rename_run as run
from . import calls, questions, results
from .form_errors import errors_on
from .form_parts import form


class RenameRun(foo.Operator):
    """The form and the run of :func:`fiftyone_honeyimage.rename_run`."""

    @property
    def config(self) -> foo.OperatorConfig:
        return calls.operator_config(
            "rename_run",
            "Rename a run",
            "To give a marking, with its field, tag and saved view, or a verification another name",
            risk=types.RiskLevel.MEDIUM,
            view_target=False,
        )

    def __call__(
        self, samples: fo.core.collections.SampleCollection, *args: Any, **kwargs: Any
    ) -> Any:
        """Executes this operator from Python.

        Args:
            samples, args, kwargs: see :func:`fiftyone_honeyimage.rename_run` and :func:`.calls.call_like`
        """
        return calls.call_like(run, self, samples, *args, **kwargs)

    def resolve_input(self, ctx: Any) -> types.Property:
        return form(ctx, _fill, "Rename HoneyImage run", "Rename")

    def resolve_run_name(self, ctx: Any) -> str:
        return f"Rename '{ctx.params.get('key')}' to '{ctx.params.get('new_key')}'"

    def execute(self, ctx: Any) -> dict[str, Any]:
        return calls.change_dataset(ctx, run)

    def resolve_output(self, ctx: Any) -> types.Property | None:
        return results.shown(ctx, _renamed)


def _renamed(result: dict[str, Any]) -> types.Property:
    text = f"`{result['key']}` is now called `{result['new_key']}`."
    return results.output(text, "The run is renamed")


def _fill(ctx: Any, inputs: types.Object) -> None:
    from ..dataset.runs import check_new_key

    chosen = questions.choose_run(ctx, inputs, ("marking", "verification"), "rename")
    if chosen is None:
        return
    prop = inputs.str("new_key", required=True, label="New key", description="An identifier")
    if ctx.params.get("new_key") is not None:
        with errors_on(prop):
            check_new_key(ctx.dataset, ctx.params["new_key"], "new_key")
