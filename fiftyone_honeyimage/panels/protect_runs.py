"""What the sections of the protection panel share: which runs are shown, and how they are read.

The panel's state holds the keys of the runs and the id of the sample at hand; everything else is read
from the dataset on every event.
"""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.operators.types as types

from ..core.errors import HoneyImageError


def keys(ctx: Any, kind: str) -> list[str]:
    """Every run of a kind, ``hardness`` or ``marking``, oldest first."""
    from ..dataset.runs import HARDNESS, MARKING, list_keys

    if ctx.dataset is None:
        return []
    return list_keys(ctx.dataset, HARDNESS if kind == "hardness" else MARKING)


def choose_newest(ctx: Any) -> None:
    """Shows the newest runs, and no sample in particular."""
    for name, kind in (("hardness_key", "hardness"), ("honey_key", "marking")):
        known = keys(ctx, kind)
        ctx.panel.set_state(name, known[-1] if known else None)
    ctx.panel.set_state("sample", None)


def choose(ctx: Any, result: Any) -> None:
    """Shows the runs that an operator's result names, and those that are shown where it names none."""
    for name, kind, state in (
        ("hardness_field", "hardness", "hardness_key"),
        ("honey_key", "marking", "honey_key"),
    ):
        known = keys(ctx, kind)
        # A result of renaming or deleting names its run by "key"
        named = [result.get(field) for field in (name, "new_key")]
        shown = next((key for key in (*named, ctx.panel.get_state(state)) if key in known), None)
        ctx.panel.set_state(state, shown or (known[-1] if known else None))
    ctx.panel.set_state("sample", None)


def explain_missing(ctx: Any, panel: types.Object, kind: str, state: str, operator: str) -> None:
    """Says why a chosen run cannot be shown."""
    chosen = ctx.panel.get_state(state)
    if chosen in keys(ctx, kind):
        text = (
            f"**The results of '{chosen}' cannot be read.** The run was interrupted, or written by a "
            f"version that this one does not know. Run *{operator}* again, or delete the run with "
            "*Delete…*."
        )
    else:
        text = (
            f"**Run '{chosen}' is no longer there.** It was deleted or renamed. Choose another one "
            "above."
        )
    panel.md(text, name=f"{kind}_gone")


def load_hardness(ctx: Any) -> dict[str, Any] | None:
    """The chosen hardness run with its fields, or None if it cannot be loaded."""
    from ..dataset.hardness_fields import label_error_field
    from ..dataset.runs import HARDNESS

    run = _load(ctx, ctx.panel.get_state("hardness_key"), HARDNESS)
    if run is not None:
        run["field"] = run["config"]["hardness_field"]
        run["errors_field"] = label_error_field(run["field"])
        chosen = ctx.panel.get_state("label_field")
        known = label_fields(ctx)
        run["label_field"] = chosen if chosen in known else run["config"]["label_field"]
    return run


def label_fields(ctx: Any) -> list[str]:
    """The fields whose classes hardness can be shown by."""
    from ..dataset.checks import classification_fields

    return classification_fields(ctx.dataset)


def load_marking(ctx: Any) -> dict[str, Any] | None:
    """The chosen marking, or None if it cannot be loaded."""
    from ..dataset.runs import MARKING

    return _load(ctx, ctx.panel.get_state("honey_key"), MARKING)


def num_originals(dataset: fo.Dataset) -> int:
    """Samples that are no HoneyImages."""
    from ..dataset.identity import originals

    return originals(dataset).count()


def _load(ctx: Any, key: Any, method: str) -> dict[str, Any] | None:
    from ..dataset.runs import run_config, run_results

    try:
        config = run_config(ctx.dataset, key, method)
        return {"key": key, "config": config, "results": run_results(ctx.dataset, key)}
    except HoneyImageError:
        return None
