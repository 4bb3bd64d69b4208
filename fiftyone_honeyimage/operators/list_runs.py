"""List runs: the hardness runs, markings and verifications of a dataset."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from .. import list_runs as run
from ..core.methods import method_words
from . import calls, questions, results
from .form_parts import form


class ListRuns(foo.Operator):
    """Shows :func:`fiftyone_honeyimage.list_runs`."""

    @property
    def config(self) -> foo.OperatorConfig:
        return calls.operator_config(
            "list_runs",
            "List runs",
            "Tells which scores, markings and verifications this dataset has",
            risk=types.RiskLevel.LOW,
            view_target=False,
        )

    def __call__(self, samples: fo.core.collections.SampleCollection) -> Any:
        """Executes this operator from Python."""
        return calls.call(self, samples, {})

    def resolve_input(self, ctx: Any) -> types.Property:
        return form(ctx, _fill, "List HoneyImage runs", "List")

    def execute(self, ctx: Any) -> dict[str, Any]:
        runs = [
            {
                "key": found.key,
                "kind": found.kind,
                "timestamp": questions.run_time(found),
                "summary": _summary(found.kind, found.config),
            }
            for found in run(ctx.dataset)
        ]
        return {"runs": runs}

    def resolve_output(self, ctx: Any) -> types.Property | None:
        return results.shown(ctx, _runs_table)


def _runs_table(result: dict[str, Any]) -> types.Property:
    outputs = types.Object()
    if not result["runs"]:
        return results.output(
            "This dataset has no runs yet.\n\n**Next:** run *Compute hardness*.",
            "HoneyImage runs",
        )
    view = types.TableView()
    for key, label in (
        ("key", "Key"),
        ("kind", "Kind"),
        ("timestamp", "Time (UTC)"),
        ("summary", "What"),
    ):
        view.add_column(key, label=label)
    outputs.list("runs", types.Object(), view=view)
    return types.Property(outputs, view=types.View(label="HoneyImage runs"))


def _fill(ctx: Any, inputs: types.Object) -> None:
    if questions.has_dataset(ctx, inputs):
        inputs.md("Lists the hardness runs, markings and verifications of this dataset.")


def _summary(kind: str, config: dict[str, Any]) -> str:
    if kind == "hardness":
        return f"{config['label_field']}, proxy {config['proxy']}, {config['input_size']} px"
    if kind == "marking":
        return (
            f"{config['num_honeyimages']} HoneyImages, {config['num_pairs']} pairs of twins, "
            f"{method_words(config['marking_method'], config)}"
        )
    return f"{config['suspect_name']}, marking {config['honey_key']}"
