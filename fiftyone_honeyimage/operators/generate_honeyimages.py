"""Generate HoneyImages: turns hard images into HoneyImages beside their originals."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from .. import generate_honeyimages as run
from ..app.words import table
from . import calls, pairs_questions, placements, results, training_questions
from .form_parts import form
from .marking_questions import ask_marking


class GenerateHoneyImages(foo.Operator):
    """The form and the run of :func:`fiftyone_honeyimage.generate_honeyimages`."""

    @property
    def config(self) -> foo.OperatorConfig:
        return calls.operator_config(
            "generate_honeyimages",
            "Generate HoneyImages",
            "Step 2: turns hard images into HoneyImages that no one can see, and writes the secret "
            "ledger with which a model can be verified later",
            risk=types.RiskLevel.MEDIUM,
            long=True,
        )

    def __call__(
        self, samples: fo.core.collections.SampleCollection, *args: Any, **kwargs: Any
    ) -> Any:
        """Executes or delegates this operator from Python.

        Args:
            samples, args, kwargs: see :func:`fiftyone_honeyimage.generate_honeyimages` and :func:`.calls.call_like`
        """
        return calls.call_like(run, self, samples, *args, **kwargs)

    def resolve_placement(self, ctx: Any) -> types.Placement:
        from ..dataset.runs import HARDNESS

        return placements.placement(
            "Generate HoneyImages", "generate", placements.unavailable(ctx, HARDNESS)
        )

    def resolve_input(self, ctx: Any) -> types.Property:
        return form(ctx, ask_marking, "Generate HoneyImages")

    def resolve_run_name(self, ctx: Any) -> str:
        return f"HoneyImages '{ctx.params.get('honey_key')}'"

    def execute(self, ctx: Any) -> dict[str, Any]:
        samples = ctx.target_view()
        params = training_questions.given(ctx, run) | pairs_questions.number(ctx, samples)
        marking = run(samples, progress=calls.progress(ctx), **params)
        if not ctx.delegated:
            ctx.trigger("reload_dataset")
            ctx.ops.set_view(view=marking.view())
        return {
            "honey_key": marking.honey_key,
            "num_honeyimages": marking.num_honeyimages,
            "num_pairs": marking.num_pairs,
            "num_withheld": marking.num_withheld,
            "output_dir": str(marking.output_dir),
            "ledger_path": str(marking.ledger_path),
            "commitment": marking.commitment,
            "pending": marking.pending,
            "excluded": dict(marking.excluded),
            "made_persistent": marking.made_persistent,
            "metrics": dict(marking.metrics),
            "worst": dict(marking.worst),
        }

    def resolve_output(self, ctx: Any) -> types.Property | None:
        return results.shown(
            ctx, lambda result: results.output(_summary(result), "The HoneyImages are ready")
        )


def _summary(result: dict[str, Any]) -> str:
    metrics, worst = result["metrics"], result["worst"]
    rows = [
        ("HoneyImages in a release", f"{result['num_honeyimages']:,}"),
        ("Images withheld from it", f"{result['num_withheld']:,}"),
    ]
    for name, label in (
        ("linf", "Largest change of a value, 0 to 255"),
        ("worst_window", "Most visible spot, SSIM (1: no change)"),
    ):
        if worst.get(name) is not None:
            rows.append((f"{label}: worst image", f"{worst[name]:.4g}"))
    for name, label in (("psnr", "PSNR, dB"), ("ssim", "SSIM"), ("lpips", "LPIPS")):
        if metrics.get(name) is not None:
            rows.append((f"{label}: mean", f"{metrics[name]:.4g}"))
    rows += [
        (f"Left out: {reason.replace('_', ' ')}", f"{count:,}")
        for reason, count in result["excluded"].items()
    ]
    return (
        f"{table(('HoneyImages', ''), rows)}\n\n"
        f"The HoneyImages stand beside their originals in the saved view "
        f"`{result['honey_key']}`.\n\n"
        f"**Back up the ledger** `{result['ledger_path']}` and keep it secret: without it no "
        "release of this marking can ever be verified.\n\n"
        "**Publish or time-stamp this commitment** before the release:\n\n"
        f"`{result['commitment']}`\n\n"
        + (
            "The dataset is persistent now, so that FiftyOne keeps it with the record of the marking.\n\n"
            if result["made_persistent"]
            else ""
        )
        + (
            "**The coins are not drawn yet**: no server gave the public round. Run *Draw coins*, there or with the round "
            "pasted; a release can be exported after."
            if result.get("pending")
            else "**Next:** run *Export release*."
        )
    )
