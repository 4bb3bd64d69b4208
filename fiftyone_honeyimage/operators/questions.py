"""What several forms ask: samples, labels, a marking and its ledger, a run, a name, a place, a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import fiftyone.operators.types as types

from ..core.errors import HoneyImageError
from . import calls
from .execution import elsewhere, worker_may_run
from .form_errors import block, blocking, errors_on, is_blocked, reject
from .form_parts import dropdown, once, view_key

if TYPE_CHECKING:
    from ..core.ledger.ledger import Ledger
    from ..core.pipeline.labeled import LabeledSamples
    from ..dataset.management.run_list import RunSummary
    from ..dataset.marking.marking import Marking


def has_dataset(ctx: Any, inputs: types.Object) -> bool:
    """Whether a dataset is open; if not, the form says so."""
    if ctx.dataset is None:
        block(inputs, "No dataset is open", "Open a dataset first.")
        return False
    return True


def target(
    ctx: Any, inputs: types.Object, action: str, **kwargs: Any
) -> fo.core.collections.SampleCollection | None:
    """Asks which samples to use; None, with the reason in the form, if they cannot be used."""
    if not has_dataset(ctx, inputs):
        return None
    inputs.view_target(ctx, action_description=action, **kwargs)
    samples = ctx.target_view()
    from ..dataset.checks import check_collection

    with blocking(inputs, "These samples cannot be used"):
        check_collection(samples)
    return None if is_blocked(inputs) else samples


def label_field(
    ctx: Any, inputs: types.Object, samples: fo.core.collections.SampleCollection
) -> str | None:
    """Asks for the label field; None, with the reason in the form, if there is none."""
    from ..dataset.checks import check_label_field, classification_fields

    fields = classification_fields(samples)
    if not fields:
        block(
            inputs,
            "There is no label field",
            "HoneyImages need a field of type Classification, and this dataset has none. Add one, "
            "for example with `dataset.add_sample_field` and labels for every sample.",
        )
        return None
    name = ctx.params.get("label_field") or fields[0]
    prop = dropdown(
        inputs,
        "label_field",
        fields,
        default=fields[0],
        required=True,
        label="Label field",
        description="The field with the true class of every image",
    )
    with errors_on(prop):
        check_label_field(samples, name)
    return None if prop.invalid else name


def labeled_samples(
    ctx: Any, inputs: types.Object, samples: fo.core.collections.SampleCollection, label_field: str
) -> LabeledSamples | None:
    """Reads the labels; None, with the reason in the form, if they cannot be used."""
    from ..dataset.samples import read_labels

    with blocking(inputs, "These samples cannot be used"):
        key = ("labels", view_key(samples), label_field)
        return once(ctx, key, lambda: read_labels(samples, label_field, contents=False))
    return None


def labeled_target(
    ctx: Any, inputs: types.Object, action: str
) -> tuple[fo.core.collections.SampleCollection, LabeledSamples] | None:
    """Asks for samples and their label field; None, with the reason in the form, if they cannot be used."""
    # As with a release: a view that is left from looking around must not decide what is marked
    samples = target(ctx, inputs, action, default_target="DATASET")
    if samples is not None:
        _say_what_is_left_out(ctx, inputs, samples, action)
    name = None if samples is None else label_field(ctx, inputs, samples)
    labeled = None if name is None else labeled_samples(ctx, inputs, samples, name)
    return None if labeled is None else (samples, labeled)


def _say_what_is_left_out(
    ctx: Any, inputs: types.Object, samples: fo.core.collections.SampleCollection, action: str
) -> None:
    """Says how many images of the dataset a view leaves out, and what follows."""
    left = len(ctx.dataset) - len(samples)
    if left <= 0:
        return
    inputs.view(
        "left_out",
        types.Warning(
            label=f"The view leaves out {left:,} of {len(ctx.dataset):,} images",
            description=f"{action} the dataset instead unless that is what you want: what is left out is "
            "neither scored nor marked nor trained on, and only a release of this view is protected as "
            "the form says.",
        ),
    )


def marking(ctx: Any, inputs: types.Object) -> Marking | None:
    """Asks for a marking; None, with the reason in the form, if there is none."""
    from ..dataset.marking.marking import load_marking
    from ..dataset.runs import MARKING, list_keys

    keys = list_keys(ctx.dataset, MARKING)
    if not keys:
        block(
            inputs,
            "There is no marking yet",
            "Run *Compute hardness* and then *Generate HoneyImages* first. If these images were marked "
            "before and the record was lost, *Attach HoneyImage marking* brings it back from the ledger.",
        )
        return None
    key = ctx.params.get("honey_key") or keys[-1]
    prop = dropdown(inputs, "honey_key", keys, default=keys[-1], required=True, label="Marking")
    with errors_on(prop):
        return load_marking(ctx.dataset, key)
    return None


def ledger(ctx: Any, inputs: types.Object, marking: Marking, shown: bool = False) -> Ledger | None:
    """Opens a marking's ledger, and asks for its place if it was moved.

    In any case if its other options are ``shown``.

    Returns:
        the ledger, or None with the reason in the form
    """
    from ..dataset.marking.marking import open_ledger

    place = ctx.params.get("ledger_path") or None
    if not (shown or place):
        with suppress(HoneyImageError):
            return open_ledger(marking, None)
    prop = inputs.str(
        "ledger_path",
        label="Ledger",
        description=f"Its place, if it was moved. Empty: `{marking.ledger_path}`. *Attach HoneyImage "
        "marking* notes a new place for good",
    )
    with errors_on(prop):
        return open_ledger(marking, place)
    return None


def choose_run(
    ctx: Any, inputs: types.Object, kinds: Sequence[str], what: str
) -> RunSummary | None:
    """Asks for a run; None, with the reason in the form, if there is none of these kinds."""
    if not has_dataset(ctx, inputs):
        return None
    from ..core.limits import shown
    from ..dataset.management.run_list import list_runs

    runs = {run.key: run for run in list_runs(ctx.dataset) if run.kind in kinds}
    if not runs:
        block(
            inputs, "There are no runs", f"This dataset has no {' or '.join(kinds)} to {what} yet."
        )
        return None
    key = ctx.params.get("key")
    prop = dropdown(
        inputs,
        "key",
        {key: f"{run.kind}, {run_time(run)}" for key, run in runs.items()},
        required=True,
        label="Run",
    )
    chosen = runs.get(key) if isinstance(key, str) else None
    if key is not None and chosen is None:
        reject(prop, f"There is no run {shown(key)}; choose one of {', '.join(runs)}")
    return chosen


def waiting_markings(dataset: fo.Dataset) -> list[str]:
    """The markings whose coins are not drawn yet, oldest first."""
    from ..dataset.marking.marking import load_marking
    from ..dataset.runs import MARKING, list_keys

    found = []
    for key in list_keys(dataset, MARKING):
        with suppress(HoneyImageError):  # its own section says what is wrong with it
            if load_marking(dataset, key).pending:
                found.append(key)
    return found


def run_time(run: RunSummary) -> str:
    """When a run was registered, UTC."""
    return "" if run.timestamp is None else f"{run.timestamp:%Y-%m-%d %H:%M}"


def free_key(dataset: fo.Dataset, stem: str) -> str:
    """The first of ``stem``, ``stem_2``, … that nothing on the dataset uses."""
    from ..dataset.runs import check_new_key

    number, key = 1, stem
    while True:
        try:
            check_new_key(dataset, key, "key")
        except HoneyImageError:
            number += 1
            key = f"{stem}_{number}"
            continue
        return key


def new_path(ctx: Any, folder: str, key: str, suffix: str = "") -> Path:
    """A path that is still free, away from ledgers and releases so that nothing is published by mistake."""
    parent = Path(fo.config.default_dataset_dir).expanduser() / folder
    stem = f"{ctx.dataset.slug}-{key}"
    number, path = 1, parent / f"{stem}{suffix}"
    while path.exists():
        number += 1
        path = parent / f"{stem}-{number}{suffix}"
    return path


def seed(ctx: Any, inputs: types.Object, function: Callable[..., Any]) -> None:
    """Asks for the seed of an SDK's function."""
    from ..core.limits import SEED

    prop = inputs.int(
        "seed",
        default=calls.sdk_defaults(function)["seed"],
        label="Seed",
        description="Same seed and device, same result",
    )
    with errors_on(prop):
        SEED.check("seed", calls.values(ctx, function)["seed"])


def device(ctx: Any, inputs: types.Object) -> None:
    """Asks where to compute, on the machine that runs it."""
    from ..core.device import check_name, choose_device

    prop = inputs.str(
        "device",
        label="Device",
        description="Of the machine that runs this: cuda, cuda:1, mps or cpu; empty for its best one",
    )
    name = ctx.params.get("device") or None
    if name is None:
        return
    with errors_on(prop):
        check_name(name)
        try:
            choose_device(name)
        except HoneyImageError:
            if not worker_may_run(ctx):
                raise
            elsewhere(inputs, "device_elsewhere", f"The App's machine has no '{name}'")


def reference_models(ctx: Any, inputs: types.Object, run: Callable[..., Any]) -> None:
    """Asks how many reference models are trained, and says what the chosen score needs."""
    from ..core.scores import SCORES

    score = SCORES.get(str(calls.values(ctx, run)["score"]))
    least = 0 if score is None else score.least_references
    need = (
        f"This way of comparing needs at least {least}; 16 or more do better"
        if least
        else "0: none. Some ways of comparing answers need them"
    )
    inputs.int(
        "num_references",
        default=calls.sdk_defaults(run)["num_references"],
        label="Reference models",
        description=f"Trained before the secret coins, each with half of the HoneyImages. {need}",
    )
