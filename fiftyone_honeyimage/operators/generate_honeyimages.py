"""Generate HoneyImages: turns hard images into HoneyImages beside their originals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from .. import generate_honeyimages as run
from ..core.errors import HoneyImageError
from . import calls, placements, questions, results, run_cost, training_questions
from .form_errors import block, errors_on, errors_on_named, is_blocked
from .form_parts import dropdown, form, once, section, view_key

#: Options that stay folded until they are asked for.
_FURTHER = (
    "method",
    "step_size",
    "num_steps",
    "inner",
    "robust",
    "smoothing",
    "test",
    "exclude",
    "output_dir",
    "lpips_backbone",
    "trade_off",
    *training_questions.TRAINING_OPTIONS,
)


class GenerateHoneyImages(foo.Operator):
    """The form and the run of :func:`fiftyone_honeyimage.generate_honeyimages`."""

    @property
    def config(self) -> foo.OperatorConfig:
        return calls.operator_config(
            "generate_honeyimages",
            "Generate HoneyImages",
            "Turns the hardest images into HoneyImages that no one can see, and writes the secret "
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
        epsilon: float = 4,
        step_size: float = 0.4,
        num_steps: int = 20,
        inner: str = "warm",
        robust: bool = False,
        smoothing: float = 1.0,
        proxy: str = "wrn28_2",
        input_size: int | None = None,
        training: Mapping[str, Any] | None = None,
        alpha: float = 0.001,
        test: str = "signed_rank",
        output_dir: str | Path | None = None,
        lpips_backbone: str | Path | None = None,
        trade_off: int = 16,
        seed: int = 51,
        device: str | None = None,
        skip_failures: bool = False,
        delegate: bool = False,
        delegation_target: str | None = None,
    ) -> Any:
        """Executes or delegates this operator from Python.

        Args:
            samples, label_field, honey_key, method, num_honeyimages, num_pairs, hardness_field,
                exclude, epsilon, step_size, num_steps, inner, robust, smoothing, proxy, input_size, training, alpha,
                test, output_dir, lpips_backbone, trade_off, seed, device, skip_failures: see
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
            "epsilon": epsilon,
            "step_size": step_size,
            "num_steps": num_steps,
            "inner": inner,
            "robust": robust,
            "smoothing": smoothing,
            "proxy": proxy,
            "input_size": input_size,
            "training": dict(training) if training else None,
            "alpha": alpha,
            "test": test,
            "output_dir": None if output_dir is None else str(output_dir),
            "lpips_backbone": None if lpips_backbone is None else str(lpips_backbone),
            "trade_off": trade_off,
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
        inputs = types.Object()
        _fill(ctx, inputs, f"{self.plugin_name}/estimate_time")
        return form(inputs, "Generate HoneyImages")

    def resolve_run_name(self, ctx: Any) -> str:
        return f"HoneyImages '{ctx.params.get('honey_key')}'"

    def execute(self, ctx: Any) -> dict[str, Any]:
        marking = run(ctx.target_view(), progress=calls.progress(ctx), **calls.given(ctx, run))
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
            "metrics": dict(marking.metrics),
        }

    def resolve_output(self, ctx: Any) -> types.Property:
        scheduled = results.scheduled(ctx)
        if scheduled is not None:
            return scheduled
        result = ctx.results
        metrics = result["metrics"]
        rows = [
            ("HoneyImages in a release", f"{result['num_honeyimages']:,}"),
            ("Images withheld from it", f"{result['num_pairs']:,}"),
        ]
        for name, label in (
            ("linf", "Largest change of a value, 0 to 255"),
            ("psnr", "PSNR, dB"),
            ("ssim", "SSIM"),
            ("lpips", "LPIPS"),
        ):
            if metrics.get(name) is not None:
                rows.append((label, f"{metrics[name]:.4g}"))
        rows += [
            (f"Left out: {reason.replace('_', ' ')}", f"{count:,}")
            for reason, count in result["excluded"].items()
        ]
        text = (
            f"{results.table(('HoneyImages', ''), rows)}\n\n"
            f"The HoneyImages stand beside their originals in the saved view "
            f"`{result['honey_key']}`.\n\n"
            f"**Back up the ledger** `{result['ledger_path']}` and keep it secret: without it no "
            "release of this marking can ever be verified.\n\n"
            "**Publish or time-stamp this commitment** before the release:\n\n"
            f"`{result['commitment']}`\n\n"
            "**Next:** run *Export protected release*."
        )
        return results.output(text, "The HoneyImages are ready")


def _fill(ctx: Any, inputs: types.Object, estimate_uri: str) -> None:
    samples = questions.target(ctx, inputs, "Mark")
    if samples is None:
        return
    label_field = questions.label_field(ctx, inputs, samples)
    labeled = label_field and questions.labeled_samples(ctx, inputs, samples, label_field)
    if not labeled:
        return
    scores = _hardness(ctx, inputs, samples, labeled)
    if scores is None:
        return

    _key(ctx, inputs, samples)
    numbers = _numbers(ctx, inputs, labeled)
    _budget(ctx, inputs)
    proxy = training_questions.proxy(ctx, inputs)
    shown = section(ctx, inputs, run, _FURTHER)
    size = training_questions.input_size(ctx, inputs, labeled, shown)
    config = training_questions.training(ctx, inputs, run, shown)
    exclude = _further(ctx, inputs) if shown else calls.value(ctx, run, "exclude")
    if shown:
        training_questions.machine(ctx, inputs, run)
    _check_plan(ctx, inputs)
    _check_candidates(inputs, labeled, scores, numbers, exclude)
    resumes = False
    with suppress(HoneyImageError):  # the key itself is wrong, which its field says
        resumes = _check_places(ctx, inputs, samples, labeled)
    if size is None or config is None or is_blocked(inputs):
        return

    from ..core.evidence.verdict import Plan
    from ..dataset.cost import marking_cost

    num_honeyimages, num_pairs = numbers
    plan = Plan(alpha=calls.value(ctx, run, "alpha"), test=calls.value(ctx, run, "test"))
    run_cost.warn_if_powerless(inputs, num_pairs, plan, 1)
    cost = marking_cost(
        labeled,
        size,
        config,
        method=calls.value(ctx, run, "method"),
        num_honeyimages=num_honeyimages,
        num_pairs=num_pairs,
        num_steps=calls.value(ctx, run, "num_steps"),
        inner=calls.value(ctx, run, "inner"),
        epsilon=calls.value(ctx, run, "epsilon"),
        trade_off=calls.value(ctx, run, "trade_off"),
    )
    seconds = run_cost.training_time(
        ctx,
        inputs,
        estimate_uri,
        proxy=proxy,
        num_classes=len(labeled.classes),
        size=size,
        config=config,
    )
    lines = [
        f"**{num_honeyimages:,} HoneyImages** in a release of {len(labeled) - num_pairs:,} images",
        f"**{num_pairs:,} images withheld** from it, one of each pair of twins",
    ]
    if resumes:
        lines.append("an interrupted run of this key is resumed, if nothing else has changed")
    run_cost.cost(inputs, cost, lines, seconds)


def _hardness(ctx: Any, inputs: types.Object, samples: Any, labeled: Any) -> Any:
    """Asks for the hardness field; the scores, or None with the reason in the form."""
    from ..dataset.hardness_fields import read_hardness
    from ..dataset.runs import HARDNESS, list_keys

    fields = list_keys(samples, HARDNESS)
    name = calls.value(ctx, run, "hardness_field")
    if not fields:
        block(
            inputs,
            "There are no hardness scores yet",
            "Run *Compute hardness* first: HoneyImages are made from the hardest images.",
        )
        return None
    default = name if name in fields else fields[-1]
    prop = dropdown(
        inputs,
        "hardness_field",
        dict.fromkeys(fields, ""),
        default=default,
        label="Hardness field",
        description="The scores of Compute hardness",
    )
    with errors_on(prop):
        return once(
            ctx,
            ("hardness", view_key(samples), name),
            lambda: read_hardness(samples, labeled, name),
        )
    return None


def _key(ctx: Any, inputs: types.Object, samples: Any) -> None:
    from ..dataset.checks import check_key

    prop = inputs.str(
        "honey_key",
        default=questions.free_key(samples, "honey"),
        required=True,
        label="Name of the marking",
        description="An identifier, also of the field, the tag and the saved view it makes",
    )
    if ctx.params.get("honey_key"):
        with errors_on(prop):
            check_key(ctx.params["honey_key"], "honey_key")


def _numbers(ctx: Any, inputs: types.Object, labeled: Any) -> tuple[int, int]:
    """Asks for N and M; with the SDK's defaults where they are left empty."""
    from ..core.candidates import default_num_honeyimages, default_num_pairs
    from ..dataset.checks import whole_number

    wanted = {name: ctx.params.get(name) for name in ("num_honeyimages", "num_pairs")}
    pairs = default_num_pairs(len(labeled))
    images_prop = inputs.int(
        "num_honeyimages", label="HoneyImages in a release", view=types.FieldView(space=6)
    )
    pairs_prop = inputs.int(
        "num_pairs",
        label="Pairs of twins",
        description=f"HoneyImages with a withheld twin, which carry the verdict. Empty: {pairs}",
        view=types.FieldView(space=6),
    )
    if wanted["num_pairs"] not in (None, ""):
        with errors_on(pairs_prop):
            pairs = whole_number(wanted["num_pairs"], "num_pairs", 0)
    images = default_num_honeyimages(len(labeled), pairs)
    images_prop.view.description = f"Empty: 1 % of the images, at least one a pair: {images}"
    if wanted["num_honeyimages"] not in (None, ""):
        with errors_on(images_prop):
            images = whole_number(wanted["num_honeyimages"], "num_honeyimages", 1)
    return images, pairs


def _budget(ctx: Any, inputs: types.Object) -> None:
    defaults = calls.sdk_defaults(run)
    inputs.float(
        "epsilon",
        default=defaults["epsilon"],
        label="Largest change ε",
        description="Of any value, 0 to 255",
    )
    inputs.float(
        "alpha",
        default=defaults["alpha"],
        label="Significance level α",
        description="The probability with which an innocent model may be accused. Fixed by the "
        "commitment",
    )


def _further(ctx: Any, inputs: types.Object) -> list[str]:
    """Asks for what is seldom changed; returns ``exclude``."""
    from ..core.evidence.verdict import PLANNED_TESTS
    from ..core.marking import METHODS

    defaults = calls.sdk_defaults(run)
    inputs.float(
        "step_size", default=defaults["step_size"], label="Step size", description="0 to 255"
    )
    inputs.int("num_steps", default=defaults["num_steps"], label="Rounds")
    dropdown(
        inputs,
        "inner",
        {
            "warm": "Continues the in-model each round",
            "retrain": "Trains the in-model anew each round, as the paper does: far slower",
        },
        default=defaults["inner"],
        label="In-model",
    )
    inputs.bool(
        "robust",
        default=defaults["robust"],
        label="Optimise for survival",
        description="Of JPEG 75 and 50, resizing, a median filter, crop and flip; takes several times "
        "as long",
    )
    inputs.float(
        "smoothing",
        default=defaults["smoothing"],
        label="Smoothing",
        description="Pixels, 0 to 16. Smooth marks are far harder to find; 0 gives the paper's",
    )
    meanings = {
        "honeyimage": "The paper's method",
        "unperturbed": "Leaves the images as they are: the ablation",
    }
    dropdown(
        inputs,
        "method",
        {name: meanings.get(name, "") for name in METHODS},
        default=defaults["method"],
        label="Method",
    )
    meanings = {
        "signed_rank": "Asks about all pairs and tests once",
        "e_process": "Asks pair by pair and stops as soon as the evidence suffices",
    }
    dropdown(
        inputs,
        "test",
        {name: meanings.get(name, "") for name in PLANNED_TESTS},
        default=defaults["test"],
        label="Test",
        description="Fixed by the commitment",
    )
    exclude = questions.exclude(ctx, inputs, defaults["exclude"])
    inputs.str(
        "output_dir",
        label="Folder for the HoneyImages and the ledger",
        description="A new folder. Empty: one below FiftyOne's default dataset folder",
    )
    inputs.str(
        "lpips_backbone",
        label="AlexNet weights for LPIPS",
        description="A local file, for machines without internet. Empty: torchvision's",
    )
    inputs.int(
        "trade_off",
        default=defaults["trade_off"],
        label="Images for the plot of other budgets",
        description="At most so many candidates are also crafted at ε = 1, 2, 4, 8 and 16; takes a tenth of "
        "the crafting at most. 0: none",
    )
    return exclude


def _check_plan(ctx: Any, inputs: types.Object) -> None:
    """The checks of ``generate_honeyimages`` that need no samples."""
    from ..core.evidence.verdict import Plan
    from ..core.marking.base import check_budget
    from ..dataset.checks import whole_number

    with errors_on_named(inputs, inputs.properties["epsilon"]):
        whole_number(calls.value(ctx, run, "num_steps"), "num_steps", 1, 1000)
        check_budget(
            calls.value(ctx, run, "epsilon"),
            calls.value(ctx, run, "step_size"),
            calls.value(ctx, run, "num_steps"),
            calls.value(ctx, run, "inner"),
        )
    with errors_on_named(inputs, inputs.properties["epsilon"]):
        whole_number(calls.value(ctx, run, "trade_off"), "trade_off", 0)
    with errors_on_named(inputs, inputs.properties["alpha"]):
        Plan(alpha=calls.value(ctx, run, "alpha"), test=calls.value(ctx, run, "test"))


def _check_candidates(
    inputs: types.Object,
    labeled: Any,
    scores: Any,
    numbers: tuple[int, int],
    exclude: Sequence[str],
) -> None:
    import numpy as np

    from ..core.candidates import select_candidates
    from ..dataset.candidates import exclusion_masks

    hardness, label_errors = scores
    num_honeyimages, num_pairs = numbers
    with errors_on_named(inputs, inputs.properties["num_pairs"]):
        select_candidates(
            np.nan_to_num(hardness, nan=-np.inf),
            labeled.labels,
            num_honeyimages=num_honeyimages,
            num_pairs=num_pairs,
            excluded=exclusion_masks(exclude, hardness, label_errors),
        )


def _check_places(ctx: Any, inputs: types.Object, samples: Any, labeled: Any) -> bool:
    """Checks that key and folder are free; whether an interrupted run of this key is resumed."""
    from ..dataset import storage
    from ..dataset.checks import check_key, check_new_folder, check_output_place
    from ..dataset.runs import MARKING, check_new_key, is_complete, made_by, root_dataset
    from ..dataset.storage import output_folder

    key = ctx.params.get("honey_key") or questions.free_key(samples, "honey")
    check_key(key, "honey_key")
    dataset = root_dataset(samples)
    folder = output_folder(dataset, key, ctx.params.get("output_dir") or None)
    key_prop = inputs.properties["honey_key"]
    folder_prop = inputs.properties.get("output_dir", key_prop)
    with errors_on(folder_prop):
        check_output_place(folder, labeled.filepaths, "output_dir")
    entering = made_by(dataset, key, MARKING) and not is_complete(dataset, key)
    if entering or storage.is_ours(folder):
        return True  # killed while it was being entered in the dataset
    with errors_on(key_prop):
        check_new_key(samples, key, "honey_key")
    with errors_on(folder_prop):
        check_new_folder(folder, "output_dir")
    return storage.is_ours(storage.partial_dir(folder))
