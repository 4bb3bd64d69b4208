"""Export evidence: the file from which a third party recomputes a verdict, or a bundle of it for a lawyer."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from .. import export_bundle
from .. import export_evidence as run
from . import calls, questions, results
from .form_errors import block, blocking, errors_on, is_blocked, reject
from .form_parts import dropdown, form

#: What is written → what it is, for the form
_WRITTEN = {
    "file": "The evidence alone (JSON), for who has this program",
    "bundle": "A zip for a lawyer or an expert: evidence, a report to read, a checker that needs nothing installed, the images' digests",
    "bundle_with_images": "The same with the marked images of the used pairs, withheld ones among them",
}


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
        written: str = "file",
    ) -> Any:
        """Executes this operator from Python.

        Args:
            samples, verify_key, path, overwrite: see :func:`fiftyone_honeyimage.export_evidence`
            written ("file"): ``"file"``, or ``"bundle"`` or ``"bundle_with_images"``, see
                :func:`fiftyone_honeyimage.export_bundle`

        Returns:
            a ``fiftyone.operators.ExecutionResult``
        """
        params = {"verify_key": verify_key, "path": str(path), "overwrite": overwrite}
        if written != "file":
            params["written"] = written
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
        if _is_bundle(ctx):
            images = "files" if ctx.params["written"] == "bundle_with_images" else "digests"
            made = export_bundle(ctx.dataset, key, target, images=images, overwrite=overwrite)
            # The App's machine may be another one than the browser's
            ctx.ops.browser_download(f"/media?filepath={quote(str(made.path))}", made.path.name)
            return {
                "verify_key": key,
                "path": str(made.path),
                "num_files": len(made.names),
                "pdf": made.pdf,
            }
        path = run(ctx.dataset, key, target, overwrite=overwrite)
        return {"verify_key": key, "path": str(path), "check": _check_command(path)}

    def resolve_output(self, ctx: Any) -> types.Property | None:
        return results.shown(ctx, _exported)


def _exported(result: dict[str, Any]) -> types.Property:
    if "num_files" in result:
        pdf = "" if not result["pdf"] else f" The report is a web page alone: {result['pdf']}."
        text = (
            f"`{result['path']}`\n\n{result['num_files']} files; open `report.html` first. It tells how anybody checks the rest with "
            f"Python alone.{pdf}\n\nThe browser was asked to download it, too."
        )
        return results.output(text, "The bundle is exported")
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
    if is_blocked(inputs):
        return
    prop = dropdown(inputs, "written", _WRITTEN, default="file", label="What is written")
    written = ctx.params.get("written")
    if written is not None and (not isinstance(written, str) or written not in _WRITTEN):
        reject(prop, f"There is no {shown(written)}; choose one of {', '.join(_WRITTEN)}")
        return
    _path(ctx, inputs, key)


def _is_bundle(ctx: Any) -> bool:
    return ctx.params.get("written") not in (None, "file")


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
    from ..core.bundle.bundle import check_new_bundle
    from ..core.ledger.evidence_file import check_new_evidence
    from ..dataset.checks import check_output_place

    prop = inputs.str(
        "path",
        label="File",
        description=f"A new {'zip' if _is_bundle(ctx) else 'JSON file'}. Empty: `{_proposed(ctx, key)}`",
    )
    target = None
    with errors_on(prop):
        target = _target(ctx, key)
        check_output_place(target, (), "path")
    if target is None:
        return
    problem = None
    if target.is_dir():
        problem = f"'{target}' is a folder; add a file name, such as '{target / _proposed(ctx, key).name}'"
    elif target.exists() and not ctx.params.get("overwrite"):
        problem = f"'{target}' exists already; choose another name"
    if problem:
        reject(prop, problem)
    elif target.exists():
        with errors_on(prop):
            (check_new_bundle if _is_bundle(ctx) else check_new_evidence)(target, overwrite=True)


def _target(ctx: Any, key: str) -> Path:
    from ..core.limits import check_path

    return check_path("path", ctx.params.get("path") or _proposed(ctx, key))


def _proposed(ctx: Any, key: str) -> Path:
    return questions.new_path(
        ctx, "honeyimage-evidence", key, ".zip" if _is_bundle(ctx) else ".json"
    )
