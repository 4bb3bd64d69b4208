"""Audit a release: does anything tell its HoneyImages from its other images?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from .. import audit_release as run
from . import calls, cost_question, questions, results
from .execution import elsewhere, worker_may_run
from .form_errors import blocking, errors_on, is_blocked
from .form_parts import dropdown, form

_NO_MODEL = "none"


class AuditRelease(foo.Operator):
    """The form and the run of :func:`fiftyone_honeyimage.audit_release`."""

    @property
    def config(self) -> foo.OperatorConfig:
        return calls.operator_config(
            "audit_release",
            "Audit a release",
            "Step 4: tries to tell the HoneyImages of an exported release from its other images, as "
            "somebody without the ledger would",
            risk=types.RiskLevel.LOW,
            long=True,
            view_target=False,
        )

    def __call__(
        self,
        samples: fo.core.collections.SampleCollection,
        honey_key: str,
        export_dir: str | Path,
        proxy: str | None = "resnet_tiny",
        ledger_path: str | Path | None = None,
        seed: int = 51,
        device: str | None = None,
        delegate: bool = False,
        delegation_target: str | None = None,
    ) -> Any:
        """Executes or delegates this operator from Python.

        Args:
            samples: the working dataset
            honey_key: the marking, whose hardness scores and ledger are used
            export_dir, proxy, seed, device: see :func:`fiftyone_honeyimage.audit_release`
            ledger_path (None): the ledger's place, if it was moved
            delegate (False): whether to run it as a delegated operation
            delegation_target (None): the orchestrator, if delegated

        Returns:
            a ``fiftyone.operators.ExecutionResult``
        """
        params = {
            "honey_key": honey_key,
            "export_dir": str(export_dir),
            "proxy": proxy or _NO_MODEL,
            "ledger_path": ledger_path,
            "seed": seed,
            "device": device,
        }
        return calls.call(self, samples, params, delegate, delegation_target)

    def resolve_input(self, ctx: Any) -> types.Property:
        return form(ctx, _fill, "Audit a release")

    def resolve_run_name(self, ctx: Any) -> str:
        return f"Audit of {Path(ctx.params.get('export_dir') or '').name}"

    def execute(self, ctx: Any) -> dict[str, Any]:
        from ..dataset.marking.marking import load_marking, open_ledger

        marking = load_marking(ctx.dataset, ctx.params["honey_key"])
        report = run(
            ctx.params["export_dir"],
            open_ledger(marking, ctx.params.get("ledger_path") or None),
            samples=ctx.dataset,
            proxy=_proxy(ctx),
            seed=calls.values(ctx, run)["seed"],
            device=ctx.params.get("device") or None,
            progress=calls.progress(ctx),
        )
        # FiftyOne keeps the result in its database
        report = report.without_files()
        return {
            **report.to_dict(),
            "passed": report.passed,
            "headline": report.headline,
            "severity": report.severity,
            "summary": report.summary(),
            "tables": report.markdown(),
        }

    def resolve_output(self, ctx: Any) -> types.Property | None:
        return results.shown(ctx, _verdict)


def _verdict(result: dict[str, Any]) -> types.Property:
    alert = types.AlertView(
        label=f"**{result['headline']}**",
        description=result["summary"].removeprefix(result["headline"]).strip(),
        severity=result["severity"],
    )
    following = (
        "**Next:** look at what the pixels give away. If it is too much, mark again with a smaller "
        "epsilon."
        if result["passed"]
        else "**Do not publish this folder.** Export the release again: what separates is named above."
    )
    text = f"{result['tables']}\n\n{following}"
    return results.output(text, "What the release gives away", alert)


def _proxy(ctx: Any) -> str | None:
    chosen = calls.values(ctx, run)["proxy"]
    return None if chosen == _NO_MODEL else chosen


def _newest_release(ctx: Any, honey_key: str) -> str | None:
    """The release of a marking that was exported last, of those that are still there."""
    from ..dataset.release.history import list_releases

    there = [found for found in list_releases(ctx.dataset, honey_key) if found.is_there]
    return str(there[-1].export_dir) if there else None


def _fill(ctx: Any, inputs: types.Object) -> None:
    if not questions.has_dataset(ctx, inputs):
        return
    marking = questions.marking(ctx, inputs)
    if marking is None:
        return
    prop = inputs.str(
        "export_dir",
        default=_newest_release(ctx, marking.honey_key),
        required=True,
        label="Folder of the release",
        description="As *Export release* wrote it",
    )
    ledger = questions.ledger(ctx, inputs, marking)
    if ctx.params.get("export_dir") is not None and ledger is not None:
        from ..core.limits import check_path
        from ..dataset.release.audit import exported_folder

        with errors_on(prop):
            folder = check_path("export_dir", ctx.params["export_dir"])
            if worker_may_run(ctx) and not folder.exists():
                label = f"There is no folder '{folder}' on the App's machine"
                elsewhere(inputs, "folder_elsewhere", label)
            else:
                exported_folder(folder, ledger, ctx.dataset)
    dropdown(
        inputs,
        "proxy",
        {
            "resnet_tiny": "Small residual network: minutes on a CPU",
            "wrn28_2": "Wide residual network: for a GPU",
            _NO_MODEL: "Metadata and pixels alone: seconds to minutes",
        },
        default=calls.sdk_defaults(run)["proxy"],
        label="Model",
        description="It is trained on the release, to see whether losses give HoneyImages away",
    )
    questions.seed(ctx, inputs, run)
    questions.device(ctx, inputs)
    if ledger is None or is_blocked(inputs):
        return
    num_marked = 0
    with blocking(inputs, "This marking has no release"):
        # As many in everybody's; whose it is, is found out by its files
        whose = ledger.recipients[0] if ledger.recipients else None
        num_marked = len(ledger.released_images(whose))
    cost_question.notice(
        inputs,
        [
            f"every file of the release is read, {num_marked:,} of them HoneyImages",
            "nothing is written",
        ],
    )
