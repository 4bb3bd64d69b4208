"""Export evidence: the file from which a third party recomputes a verdict."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from .. import export_evidence as run
from . import calls, questions, results
from .form_errors import block, blocking, errors_on, is_blocked, reject
from .form_parts import dropdown, form


class ExportEvidence(foo.Operator):
    """The form and the run of :func:`fiftyone_honeyimage.export_evidence`."""

    @property
    def config(self) -> foo.OperatorConfig:
        return calls.operator_config(
            "export_evidence",
            "Export evidence",
            "Step 6: writes the file from which a third party recomputes a verdict",
            # The file tells which twins of the used pairs were released
            risk=types.RiskLevel.HIGH,
            view_target=False,
        )

    def __call__(
        self,
        samples: fo.core.collections.SampleCollection,
        verify_key: str,
        path: str | Path,
        overwrite: bool = False,
    ) -> Any:
        """Executes this operator from Python.

        Args:
            samples, verify_key, path, overwrite: see :func:`fiftyone_honeyimage.export_evidence`

        Returns:
            a ``fiftyone.operators.ExecutionResult``
        """
        params = {"verify_key": verify_key, "path": str(path), "overwrite": overwrite}
        return calls.call(self, samples, params)

    def resolve_input(self, ctx: Any) -> types.Property:
        return form(ctx, _fill, "Export evidence", "Export")

    def resolve_run_name(self, ctx: Any) -> str:
        return f"Evidence of '{ctx.params.get('verify_key')}'"

    def execute(self, ctx: Any) -> dict[str, Any]:
        key = ctx.params["verify_key"]
        target = _target(ctx, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        overwrite = bool(ctx.params.get("overwrite"))
        path = run(ctx.dataset, key, target, overwrite=overwrite)
        return {"verify_key": key, "path": str(path), "check": _check_command(path)}

    def resolve_output(self, ctx: Any) -> types.Property | None:
        return results.shown(ctx, _exported)


def _exported(result: dict[str, Any]) -> types.Property:
    text = (
        f"`{result['path']}`\n\nThis recomputes the verdict from that file alone, in a terminal with "
        f"FiftyOne's Python:\n\n`{result['check']}`\n\nA third party needs the file and these "
        "programs: the folder of this plugin, as it is, will do."
    )
    return results.output(text, "The evidence is exported")


def _check_command(path: Path) -> str:
    """What to type in a terminal, wherever the plugin lies: FiftyOne downloads it without installing the package."""
    words = ["python", str(Path(__file__).resolve().parents[2]), "check", str(path)]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _fill(ctx: Any, inputs: types.Object) -> None:
    if not questions.has_dataset(ctx, inputs):
        return
    from ..core.limits import shown
    from ..dataset.runs import VERIFICATION, list_keys

    keys = list_keys(ctx.dataset, VERIFICATION)
    if not keys:
        block(inputs, "There is no verification yet", "Run *Verify a model* first.")
        return
    key = ctx.params.get("verify_key") or keys[-1]
    prop = dropdown(
        inputs,
        "verify_key",
        keys,
        default=keys[-1],
        required=True,
        label="Verification",
    )
    if key not in keys:
        reject(prop, f"There is no verification {shown(key)}; choose one of {', '.join(keys)}")
        return
    _check(ctx, inputs, key)
    if not is_blocked(inputs):
        _path(ctx, inputs, key)


def _check(ctx: Any, inputs: types.Object, key: str) -> None:
    """Shows what keeps the evidence from being written."""
    from ..dataset.marking.marking import open_marking
    from ..dataset.verification.verification import load_verification

    with blocking(inputs, "The evidence cannot be written"):
        verification = load_verification(ctx.dataset, key)
        open_marking(ctx.dataset, verification.honey_key, verification.config["ledger_path"])
        inputs.view(
            "consequence",
            types.Warning(
                label=f"The file tells which twins of {len(verification.pairs):,} pairs were released",
                description="Give it out only when you accuse: whoever has it can find and remove "
                "these marks. Pairs that were not asked stay secret.",
            ),
        )


def _path(ctx: Any, inputs: types.Object, key: str) -> None:
    from ..core.ledger.evidence_file import check_new_evidence
    from ..dataset.checks import check_output_place

    prop = inputs.str(
        "path",
        label="File",
        description=f"A new JSON file. Empty: `{_proposed(ctx, key)}`",
    )
    target = None
    with errors_on(prop):
        target = _target(ctx, key)
        check_output_place(target, (), "path")
    if target is None:
        return
    problem = None
    if target.is_dir():
        problem = f"'{target}' is a folder; add a file name, such as '{target / f'{key}.json'}'"
    elif target.exists() and not ctx.params.get("overwrite"):
        problem = f"'{target}' exists already; choose another name"
    if problem:
        reject(prop, problem)
    elif target.exists():
        with errors_on(prop):
            check_new_evidence(target, overwrite=True)


def _target(ctx: Any, key: str) -> Path:
    from ..core.limits import check_path

    return check_path("path", ctx.params.get("path") or _proposed(ctx, key))


def _proposed(ctx: Any, key: str) -> Path:
    return questions.new_path(ctx, "honeyimage-evidence", key, ".json")
