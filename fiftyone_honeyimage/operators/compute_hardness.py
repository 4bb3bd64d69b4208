"""Compute hardness: how hard every image is for a model that has not seen it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from .. import compute_hardness as run
from ..app.words import table, weakness_text
from . import calls, cost_question, placements, questions, results, training_questions
from .form_errors import errors_on, is_blocked
from .form_parts import form, section


class ComputeHardness(foo.Operator):
    """The form and the run of :func:`fiftyone_honeyimage.compute_hardness`."""

    @property
    def config(self) -> foo.OperatorConfig:
        return calls.operator_config(
            "compute_hardness",
            "Compute hardness",
            "Step 1: scores how hard each image is for a model that has not seen it",
            risk=types.RiskLevel.MEDIUM,
            long=True,
        )

    def __call__(
        self, samples: fo.core.collections.SampleCollection, *args: Any, **kwargs: Any
    ) -> Any:
        """Executes or delegates this operator from Python.

        Args:
            samples, args, kwargs: see :func:`fiftyone_honeyimage.compute_hardness` and :func:`.calls.call_like`
        """
        return calls.call_like(run, self, samples, *args, **kwargs)

    def resolve_placement(self, ctx: Any) -> types.Placement:
        return placements.placement("Compute hardness", "hardness", placements.unavailable(ctx))

    def resolve_input(self, ctx: Any) -> types.Property:
        return form(ctx, _fill, "Compute hardness")

    def resolve_run_name(self, ctx: Any) -> str:
        return f"Hardness of {ctx.params.get('label_field')}"

    def execute(self, ctx: Any) -> dict[str, Any]:
        summary = run(
            ctx.target_view(), progress=calls.progress(ctx), **training_questions.given(ctx, run)
        )
        if not ctx.delegated:
            ctx.trigger("reload_dataset")
        return asdict(summary)

    def resolve_output(self, ctx: Any) -> types.Property | None:
        return results.shown(
            ctx, lambda result: results.output(_summary(result), "Hardness is computed")
        )


def _summary(result: dict[str, Any]) -> str:
    rows = [
        ("Images scored", f"{result['num_images']:,}"),
        ("Mean hardness", f"{result['mean']:.2f} nats"),
        (
            "Accuracy on unseen images",
            f"{result['accuracy']:.1%} (guessing: {result['chance']:.1%})",
        ),
        (
            "Suspected label errors",
            f"{result['num_label_errors']:,}" if result["labels_judged"] else "not judged",
        ),
    ]
    if result["num_skipped"]:
        rows.append(("Images left out, unreadable", f"{result['num_skipped']:,}"))
    parts = [table(("Hardness", ""), rows), weakness_text(result)]
    said = "".join(f"{part}\n\n" for part in parts if part)
    return (
        f"{said}The scores are in the field `{result['hardness_field']}`, the "
        f"suspected label errors in `{result['label_error_field']}`.\n\n"
        "**Next:** run *Generate HoneyImages*."
    )


def _fill(ctx: Any, inputs: types.Object) -> None:
    target = questions.labeled_target(ctx, inputs, "Score")
    if target is None:
        return
    _, labeled = target

    _hardness_field(ctx, inputs)
    proxy = training_questions.proxy(ctx, inputs)
    shown = section(ctx, inputs, run, training_questions.TRAINING_OPTIONS)
    training = training_questions.training(ctx, inputs, run, proxy, labeled, shown)
    if shown:
        training_questions.machine(ctx, inputs, run)
    if training is None or is_blocked(inputs):
        return

    from ..core.pipeline.run_cost import hardness_cost

    cost = hardness_cost(labeled, training.input_size, training.config)
    epochs = training.config.epochs
    lines = [f"two proxies, each trained for {epochs} epochs on half of the images"]
    if len(labeled.honey):
        lines.append(f"{len(labeled.honey):,} HoneyImages of earlier markings left out")
    cost_question.cost(inputs, cost, lines, cost_question.training_time(ctx, inputs, training))


def _hardness_field(ctx: Any, inputs: types.Object) -> None:
    from ..dataset.hardness_fields import check_hardness_field
    from ..dataset.runs import HARDNESS, list_keys

    prop = inputs.str(
        "hardness_field",
        default=calls.sdk_defaults(run)["hardness_field"],
        label="Hardness field",
        description="The field to write",
    )
    name = calls.values(ctx, run)["hardness_field"]
    with errors_on(prop):
        check_hardness_field(ctx.dataset, name)
    if name in list_keys(ctx.dataset, HARDNESS):
        inputs.view(
            "overwrites",
            types.Warning(label=f"The scores in '{name}' will be overwritten"),
        )
