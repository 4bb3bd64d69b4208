"""Generate HoneyImages: turns hard images into HoneyImages beside their originals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from .. import generate_honeyimages as run
from ..app.words import table
from . import calls, placements, results, training_questions
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
        self,
        samples: fo.core.collections.SampleCollection,
        label_field: str,
        honey_key: str,
        method: str = "honeyimage",
        num_honeyimages: int | None = None,
        num_pairs: int | None = None,
        hardness_field: str = "honey_hardness",
        exclude: Sequence[str] = ("duplicates",),
        proxy: str = "wrn28_2",
        input_size: int | None = None,
        training: Mapping[str, Any] | str | None = None,
        alpha: float = 0.001,
        test: str = "signed_rank",
        output_dir: str | Path | None = None,
        lpips_backbone: str | Path | None = None,
        trade_off: int = 16,
        reencode: str = "marked",
        thumbnails: str = "exclude",
        seed: int = 51,
        device: str | None = None,
        skip_failures: bool = False,
        delegate: bool = False,
        delegation_target: str | None = None,
        **options: Any,
    ) -> Any:
        """Executes or delegates this operator from Python.

        Args:
            samples, label_field, honey_key, method, num_honeyimages, num_pairs, hardness_field,
                exclude, proxy, input_size, training, alpha, test, output_dir, lpips_backbone, trade_off,
                reencode, thumbnails, seed, device, skip_failures, options: see
                :func:`fiftyone_honeyimage.generate_honeyimages`
            delegate (False): whether to run it as a delegated operation
            delegation_target (None): the orchestrator, if delegated

        Returns:
            a ``fiftyone.operators.ExecutionResult``
        """
        params = {
            "label_field": label_field,
            "honey_key": honey_key,
            "method": method,
            "num_honeyimages": num_honeyimages,
            "num_pairs": num_pairs,
            "hardness_field": hardness_field,
            "exclude": list(exclude),
            **options,
            "proxy": proxy,
            "input_size": input_size,
            "training": training if isinstance(training, str) else dict(training or {}) or None,
            "alpha": alpha,
            "test": test,
            "output_dir": output_dir,
            "lpips_backbone": lpips_backbone,
            "trade_off": trade_off,
            "reencode": reencode,
            "thumbnails": thumbnails,
            "seed": seed,
            "device": device,
            "skip_failures": skip_failures,
        }
        return calls.call(self, samples, params, delegate, delegation_target)

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
        marking = run(
            ctx.target_view(), progress=calls.progress(ctx), **training_questions.given(ctx, run)
        )
        if not ctx.delegated:
            ctx.trigger("reload_dataset")
            ctx.ops.set_view(view=marking.view())
        return {
            "honey_key": marking.honey_key,
            "num_honeyimages": marking.num_honeyimages,
            "num_pairs": marking.num_pairs,
            "output_dir": str(marking.output_dir),
            "ledger_path": str(marking.ledger_path),
            "commitment": marking.commitment,
            "excluded": dict(marking.excluded),
            "made_persistent": marking.made_persistent,
            "metrics": dict(marking.metrics),
            "worst": dict(marking.worst),
        }

    def resolve_output(self, ctx: Any) -> types.Property:
        return results.scheduled(ctx) or results.output(
            _summary(ctx.results), "The HoneyImages are ready"
        )


def _summary(result: dict[str, Any]) -> str:
    metrics, worst = result["metrics"], result["worst"]
    rows = [
        ("HoneyImages in a release", f"{result['num_honeyimages']:,}"),
        ("Images withheld from it", f"{result['num_pairs']:,}"),
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
        + "**Next:** run *Export protected release*."
    )
