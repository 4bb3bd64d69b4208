"""Attach marking: brings a marking back from its ledger and its folder."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from .. import attach_marking as run
from ..app.words import table
from . import calls, questions, results
from .form_errors import errors_on_named
from .form_parts import form, section


class AttachMarking(foo.Operator):
    """The form and the run of :func:`fiftyone_honeyimage.attach_marking`."""

    @property
    def config(self) -> foo.OperatorConfig:
        return calls.operator_config(
            "attach_marking",
            "Attach HoneyImage marking",
            "Brings a marking back whose record was lost, or whose folder was moved",
            risk=types.RiskLevel.MEDIUM,
            view_target=False,
        )

    def __call__(
        self, samples: fo.core.collections.SampleCollection, *args: Any, **kwargs: Any
    ) -> Any:
        """Executes this operator from Python.

        Args:
            samples, args, kwargs: see :func:`fiftyone_honeyimage.attach_marking` and :func:`.calls.call_like`
        """
        return calls.call_like(run, self, samples, *args, **kwargs)

    def resolve_input(self, ctx: Any) -> types.Property:
        return form(ctx, _fill, "Attach HoneyImage marking", "Attach")

    def resolve_run_name(self, ctx: Any) -> str:
        return f"Attach '{ctx.params.get('ledger_path')}'"

    def execute(self, ctx: Any) -> dict[str, Any]:
        attached = run(ctx.dataset, **calls.given(ctx, run))
        if not ctx.delegated:
            ctx.trigger("reload_dataset")
        return {
            "honey_key": attached.marking.honey_key,
            "num_images": attached.num_images,
            "num_originals": attached.num_originals,
            "num_added": attached.num_added,
        }

    def resolve_output(self, ctx: Any) -> types.Property | None:
        return results.shown(ctx, _attached)


def _attached(result: dict[str, Any]) -> types.Property:
    rows = [
        ("Marking", f"`{result['honey_key']}`"),
        ("Originals found", f"{result['num_originals']:,} of {result['num_images']:,}"),
        ("HoneyImages added again", f"{result['num_added']:,}"),
    ]
    text = table(("Attached", ""), rows)
    if result["num_originals"] < result["num_images"]:
        text += (
            "\n\nSuspects can be verified. A release needs every original: add the missing files with "
            "their samples, and attach the marking again."
        )
    return results.output(text, "The marking is attached")


def _fill(ctx: Any, inputs: types.Object) -> None:
    if not questions.has_dataset(ctx, inputs):
        return
    prop = inputs.str(
        "ledger_path",
        required=True,
        label="Ledger",
        description="Where the ledger lies now: `ledger.json`, as the marking wrote it, or its newest copy",
    )
    inputs.str(
        "folder",
        label="Folder of the marking",
        description="With its manifest and HoneyImages. Empty: the ledger's own folder",
    )
    if section(ctx, inputs, run, ("honey_key", "label_field")):
        inputs.str(
            "honey_key",
            label="Key",
            description="Where this dataset does not know the marking. Empty: as it was marked",
        )
        inputs.str(
            "label_field",
            label="Label field",
            description="If it goes by another name now. Empty: as it was marked",
        )
    values = calls.values(ctx, run)
    if not values.get("ledger_path"):
        return
    from ..dataset.checks import check_collection
    from ..dataset.marking.attach import check_attachable

    names = ("ledger_path", "folder", "honey_key", "label_field")
    with errors_on_named(inputs, prop):
        check_collection(ctx.dataset)
        check_attachable(ctx.dataset, *(values[name] for name in names))
