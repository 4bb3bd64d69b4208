"""Delete run: takes a hardness run, a marking or a verification off the dataset."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from .. import delete_run as run
from . import calls, questions, results
from .form_errors import reject
from .form_parts import form


class DeleteRun(foo.Operator):
    """The form and the run of :func:`fiftyone_honeyimage.delete_run`."""

    @property
    def config(self) -> foo.OperatorConfig:
        return calls.operator_config(
            "delete_run",
            "Delete a run",
            "Undoes a run for good: scores, a marking with its verifications, or one verification",
            risk=types.RiskLevel.DANGEROUS,
            rerunnable=False,
            view_target=False,
        )

    def __call__(
        self,
        samples: fo.core.collections.SampleCollection,
        key: str,
        delete_files: bool = False,
    ) -> Any:
        """Executes this operator from Python; the call itself is the confirmation.

        Args:
            samples, key, delete_files: see :func:`fiftyone_honeyimage.delete_run`
        """
        params = {
            "key": key,
            _of("delete_files", key): delete_files,
            _of("confirm", key): True,
            "confirm_key": key,
        }
        return calls.call(self, samples, params)

    def resolve_input(self, ctx: Any) -> types.Property:
        return form(ctx, _fill, "Delete HoneyImage run", "Delete")

    def resolve_run_name(self, ctx: Any) -> str:
        return f"Delete '{ctx.params.get('key')}'"

    def execute(self, ctx: Any) -> dict[str, Any]:
        key = ctx.params["key"]
        return calls.change_dataset(ctx, run, delete_files=_deletes_files(ctx, key))

    def resolve_output(self, ctx: Any) -> types.Property | None:
        return results.shown(ctx, _deleted)


def _deleted(result: dict[str, Any]) -> types.Property:
    return results.output(f"`{result['key']}` is deleted.", "The run is deleted")


def _of(question: str, key: str) -> str:
    """The name of a question about one run: what was ticked for a run is not ticked for another."""
    return f"{question}_{key}"


def _deletes_files(ctx: Any, key: str) -> bool:
    return ctx.params.get(_of("delete_files", key)) is True


def _fill(ctx: Any, inputs: types.Object) -> None:
    chosen = questions.choose_run(ctx, inputs, ("hardness", "marking", "verification"), "delete")
    if chosen is None:
        return
    files = _deletes_files(ctx, chosen.key) and chosen.kind == "marking"
    if chosen.kind == "marking":
        inputs.bool(
            _of("delete_files", chosen.key),
            default=False,
            label="Also delete its HoneyImage files and its ledger",
            view=types.SwitchView(),
        )
    inputs.view("consequence", _consequence(ctx, chosen, files))
    _confirm(ctx, inputs, chosen.key, files)


def _confirm(ctx: Any, inputs: types.Object, key: str, files: bool) -> None:
    """Asks for a confirmation; for what cannot be undone, one that no stray click can give."""
    if files:
        prop = inputs.str("confirm_key", label=f"Type `{key}` to delete it and its ledger for good")
        confirmed = ctx.params.get("confirm_key") == key
    else:
        name = _of("confirm", key)
        prop = inputs.bool(name, default=False, label=f"Delete '{key}'")
        confirmed = ctx.params.get(name) is True
    if not confirmed:
        reject(prop, "Confirm that this is what you want")


def _consequence(ctx: Any, chosen: Any, files: bool) -> types.View:
    if chosen.kind == "hardness":
        return types.Notice(
            label=f"The fields '{chosen.key}' and its suspected label errors are deleted",
            description="They can be computed again.",
        )
    if chosen.kind == "verification":
        return types.Warning(
            label="The result is taken off the dataset",
            description="The ledger keeps its record, and goes on counting it.",
        )
    from ..dataset.runs import VERIFICATION, list_keys

    count = len(list_keys(ctx.dataset, VERIFICATION, honey_key=chosen.key))
    what = f"Its HoneyImages, field, tag, saved view and {count} verifications leave the dataset."
    if files:
        return types.Error(
            label="No release of this marking can ever be verified again",
            description=f"{what} The ledger in `{chosen.config['output_dir']}` is the only record of "
            "which twins were released. Once it is deleted, nobody can show that a model was "
            "trained on a release.",
        )
    return types.Warning(
        label="This dataset forgets the marking",
        description=f"{what} The HoneyImage files and the ledger stay in "
        f"`{chosen.config['output_dir']}`; keep them if anything was released.",
    )
