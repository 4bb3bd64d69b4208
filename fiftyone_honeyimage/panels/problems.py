"""Why a panel has nothing to show, and how to go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.errors import HoneyImageError
from . import verification_data as data
from .pending import pending_runs

_NO_DATASET = ("No dataset is open", "Open a dataset first.")

_NO_LABELS = (
    "There are no labels",
    "HoneyImages keep the label of their original, so a field of type Classification is "
    "needed; this dataset has none. Add one, for example "
    "`sample['ground_truth'] = fo.Classification(label='cat')`, then press Refresh.",
)


def nothing_to_protect(ctx: Any) -> tuple[str, str] | None:
    """Why this dataset cannot be protected: a label and what to do; None if it can."""
    if ctx.dataset is None:
        return _NO_DATASET
    from ..dataset.checks import classification_fields

    if not len(ctx.dataset):
        return (
            "This dataset is empty",
            "Add images with their labels, for example with `fo.Dataset.from_dir`, then press Refresh.",
        )
    reason = _unusable(ctx)
    if reason is not None:
        return "This dataset cannot be protected", reason
    return None if classification_fields(ctx.dataset) else _NO_LABELS


def no_verification(ctx: Any) -> tuple[str, str, tuple[str, ...]] | None:
    """Why there is no verification to show: a label, what to do, and the steps to offer."""
    if ctx.dataset is None:
        return (*_NO_DATASET, ())
    from ..dataset.checks import classification_fields
    from ..dataset.runs import HARDNESS, MARKING, list_keys

    reason = _unusable(ctx)
    if reason is not None:
        return "This dataset cannot be verified", reason, ()
    if data.verification_keys(ctx.dataset):
        return None
    markings = list_keys(ctx.dataset, MARKING)
    if markings:
        text = (
            "This dataset is marked. When you suspect a model of having been trained on a release "
            "of it, verify it: a model file or a field of its predictions is enough."
        )
        begun = [s.name for key in markings for s in data.unfinished(ctx.dataset, key)]
        if begun:
            text += f"\n\n{_begun(ctx, begun)}"
        return "No model has been verified yet", text, ("verify",)
    if not classification_fields(ctx.dataset):
        return (*_NO_LABELS, ())
    steps = ("compute_hardness", "generate_honeyimages")
    if list_keys(ctx.dataset, HARDNESS):
        steps = ("generate_honeyimages", "compute_hardness")
    return (
        "This dataset is not marked yet",
        "Compute hardness, generate HoneyImages and export a protected release. A model that was "
        "trained on the release can then be told from one that was not.",
        steps,
    )


def _begun(ctx: Any, names: Sequence[str]) -> str:
    """What is said of verifications that the ledger counts and that have no verdict."""
    counted = (
        f"The ledger counts {len(names):,} that began and gave no verdict yet ({', '.join(names)})"
    )
    runs = pending_runs(ctx, ("verify_model",))
    if any(run.running for run in runs):
        return (
            f"{counted}. One is running now: its verdict will show here. Do not start it again "
            "meanwhile, which would count as another verification."
        )
    return (
        f"{counted}: stopped half-way, or running elsewhere. What the suspect was shown stays counted; "
        "if it was stopped, verify it again."
    )


def _unusable(ctx: Any) -> str | None:
    from ..dataset.checks import check_collection

    try:
        check_collection(ctx.dataset)
    except HoneyImageError as error:
        text = str(error)
        return f"{text[:1].upper()}{text[1:]}."
    return None
