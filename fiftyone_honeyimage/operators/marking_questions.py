"""What the form of a marking asks: which images, how they are marked, and what a verdict will rest on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import fiftyone.operators.types as types

from .. import generate_honeyimages as run
from ..app.words import weakness_text
from ..core.errors import HoneyImageError
from ..core.methods import DEFAULT_METHOD, METHODS, Method
from . import calls, cost_question, pairs_questions, questions, training_questions
from .coins_question import ask_coins
from .form_errors import block, errors_on, errors_on_named, is_blocked
from .form_parts import ask, dropdown, multiple_choice, once, section, view_key
from .marking_checks import check_candidates, check_places

if TYPE_CHECKING:
    from ..core.evidence.plan import Plan

#: What stays folded until it is asked for, beside the folded options of the methods
_FURTHER = (
    "method",
    "test",
    "score",
    "adjustment",
    "num_references",
    "exclude",
    "output_dir",
    "lpips_backbone",
    "trade_off",
    "reencode",
    "thumbnails",
    "coins",
    "coins_at",
    *training_questions.TRAINING_OPTIONS,
)


def ask_marking(ctx: Any, inputs: types.Object) -> None:
    """Asks everything, as far as it is clear what about; says what it takes, or what is wrong."""
    target = questions.labeled_target(ctx, inputs, "Mark")
    if target is None:
        return
    samples, labeled = target
    scores = _hardness(ctx, inputs, samples, labeled)
    if scores is None:
        return

    _key(ctx, inputs)
    method = METHODS.get(str(calls.values(ctx, run)["method"]), DEFAULT_METHOD)
    planned = pairs_questions.ask(ctx, inputs, samples, method)
    numbers = _numbers(ctx, inputs, labeled, method, planned)
    _ask_options(inputs, method, folded=False)
    inputs.float(
        "alpha",
        default=calls.sdk_defaults(run)["alpha"],
        label="Significance level α",
        description="The probability with which an innocent model may be accused. Fixed by the "
        "commitment",
    )
    proxy = training_questions.proxy(ctx, inputs)
    further = (*_FURTHER, *(q.name for q in method.Options.questions() if q.folded))
    shown = section(ctx, inputs, run, further)
    training = training_questions.training(ctx, inputs, run, proxy, labeled, shown)
    if shown:
        _further(ctx, inputs, method)
        training_questions.machine(ctx, inputs, run)
    values = calls.values(ctx, run)
    plan = _plan(values, inputs, method)
    from ..dataset.marking.others import chosen_by_others

    earlier = chosen_by_others(labeled, ctx.params.get("honey_key") or "")
    check_candidates(ctx, inputs, samples, labeled, scores, earlier, numbers, values, method)
    resumes = False
    with suppress(HoneyImageError):  # the key itself is wrong, which its field says
        resumes = check_places(ctx, inputs, labeled)
    if training is None or plan is None or is_blocked(inputs):
        return

    from ..core.pipeline.run_cost import marking_cost

    num_honeyimages, num_pairs = numbers
    cost_question.warn_if_powerless(inputs, num_pairs, plan, 1)
    options = method.Options.read(values)
    cost = marking_cost(
        labeled,
        training.input_size,
        training.config,
        method=method,
        options=options,
        num_honeyimages=num_honeyimages,
        num_pairs=num_pairs,
        trade_off=values["trade_off"],
        num_references=values["num_references"],
        proxy=training.proxy,
    )
    num_withheld = num_pairs * method.files_a_side(num_honeyimages, num_pairs)
    num_asked = method.num_asked(options)
    lines = [
        f"**{num_honeyimages:,} HoneyImages** in a release of "
        f"{len(labeled) - int(earlier.sum()) - num_withheld - num_asked:,} images",
        f"**{num_withheld:,} images withheld** from it, "
        + (
            "one of each pair of twins"
            if num_withheld == num_pairs
            else "half of those of each pair"
        ),
    ]
    if power := pairs_questions.power_text(ctx, samples, values, method, num_pairs, plan):
        lines.append(power)
    if num_asked:
        lines.append(
            f"**{num_asked:,} test images left out** of it: a suspect is asked about them with secrets in them, and whoever "
            "holds an image recognises it"
        )
    if values["num_references"]:
        lines.append(
            f"**{values['num_references']:,} reference models** are trained beside the others, each on all images "
            "but half of those that are marked"
        )
    if method.shares_secrets and num_pairs:
        from ..core.evidence.reach import exactness_text

        lines.append(
            f"**{num_pairs:,} pairs of {method.secret}**, {method.files_text(num_honeyimages, num_pairs)}. "
            + exactness_text(plan.test, num_pairs, method.secret)
        )
    if method.changes_labels:
        lines.append("a release gives its HoneyImages **other labels** than they have here")
    if not ctx.dataset.persistent:
        lines.append(
            "the dataset becomes **persistent**: FiftyOne deletes others when its database stops, and the "
            "record of the marking would go with it"
        )
    if earlier.any():
        lines.append(
            f"**{int(earlier.sum()):,} images left out** of it, as other markings of this dataset chose "
            "them; deleting a marking that was never released gives its images back"
        )
    if values["coins"] == "beacon":
        lines.append(
            "**the coins come from public randomness**: when the HoneyImages are done, the run shows the commitment and waits; publish it "
            "before the time that it names. A release can be exported after"
        )
    if resumes:
        lines.append("an interrupted run of this key is resumed, if nothing else has changed")
    cost_question.cost(inputs, cost, lines, cost_question.training_time(ctx, inputs, training))


def _hardness(ctx: Any, inputs: types.Object, samples: Any, labeled: Any) -> Any:
    """Asks for the hardness field; the scores, or None with the reason in the form."""
    from ..dataset.hardness_fields import read_hardness
    from ..dataset.runs import HARDNESS, list_keys, run_results

    fields = list_keys(ctx.dataset, HARDNESS)
    name = calls.values(ctx, run)["hardness_field"]
    if not fields:
        block(
            inputs,
            "There are no hardness scores yet",
            "Run *Compute hardness* first: which images are chosen follows from what it finds.",
        )
        return None
    prop = dropdown(
        inputs,
        "hardness_field",
        fields,
        default=name if name in fields else fields[-1],
        label="Hardness field",
        description="The scores of Compute hardness",
    )
    with suppress(HoneyImageError):  # a run without results, which its own form reports
        weakness = weakness_text(run_results(ctx.dataset, name)) if name in fields else ""
        if weakness:
            inputs.md(weakness, name="weak_proxies")
    with errors_on(prop):
        key = ("hardness", view_key(samples), name)
        return once(ctx, key, lambda: read_hardness(samples, labeled, name))
    return None


def _key(ctx: Any, inputs: types.Object) -> None:
    from ..dataset.checks import check_key

    prop = inputs.str(
        "honey_key",
        default=questions.free_key(ctx.dataset, "honey"),
        required=True,
        label="Name of the marking",
        description="An identifier, also of the field, the tag and the saved view it makes",
    )
    if ctx.params.get("honey_key") is not None:
        with errors_on(prop):
            check_key(ctx.params["honey_key"], "honey_key")


def _numbers(
    ctx: Any, inputs: types.Object, labeled: Any, method: Method, planned: int | None
) -> tuple[int, int]:
    """Asks for N and M; with the SDK's defaults where they are left empty, or the planned number of pairs."""
    from ..core.methods.selection import default_num_pairs
    from ..dataset.checks import whole_number

    wanted = {name: ctx.params.get(name) for name in ("num_honeyimages", "num_pairs")}
    pairs = default_num_pairs(len(labeled)) if planned is None else planned
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
    images = method.default_num_honeyimages(len(labeled), pairs)
    why = f", {method.default_number}" if planned is None else ", as planned"
    images_prop.view.description = f"Empty: {images}{why}"
    if wanted["num_honeyimages"] not in (None, ""):
        with errors_on(images_prop):
            images = whole_number(wanted["num_honeyimages"], "num_honeyimages", 1)
    return images, pairs


def _ask_options(inputs: types.Object, method: Method, folded: bool) -> None:
    for question in method.Options.questions():
        if question.folded == folded:
            ask(inputs, question)


def _further(ctx: Any, inputs: types.Object, method: Method) -> None:
    """Asks for what is seldom changed."""
    from ..core.evidence.adjustment import ADJUSTMENTS
    from ..core.evidence.exact_tests import planned_tests
    from ..core.scores import SCORES, deciding_scores

    defaults = calls.sdk_defaults(run)
    dropdown(
        inputs,
        "method",
        METHODS,
        {name: method.title for name, method in METHODS.items()},
        default=defaults["method"],
        label="Method",
    )
    _ask_options(inputs, method, folded=True)
    fixed = "Fixed by the commitment"
    tests = planned_tests()
    dropdown(inputs, "test", tests, default=defaults["test"], label="Test", description=fixed)
    dropdown(
        inputs,
        "score",
        {name: SCORES[name].title for name in deciding_scores()},
        default=method.score,
        label="How answers are compared",
        description=fixed,
    )
    questions.reference_models(ctx, inputs, run)
    dropdown(
        inputs,
        "adjustment",
        ADJUSTMENTS,
        default=defaults["adjustment"],
        label="Images that are harder than their twins",
        description=fixed,
    )
    ask_coins(ctx, inputs)
    _exclude(ctx, inputs)
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
    dropdown(
        inputs,
        "reencode",
        {
            "marked": "Leave them out: only files that come back byte for byte are marked",
            "all": "Mark them too: every release must then encode all files anew",
        },
        default=defaults["reencode"],
        label="Files of another encoder",
    )
    dropdown(
        inputs,
        "thumbnails",
        {
            "exclude": "Leave them out: a thumbnail shows the unmarked picture",
            "drop": "Mark them too: every release drops the thumbnails of all files",
        },
        default=defaults["thumbnails"],
        label="Files with a thumbnail",
    )


def _exclude(ctx: Any, inputs: types.Object) -> None:
    """Asks which images are never marked."""
    from ..core.pipeline.candidates import EXCLUSIONS, check_exclusions

    prop = multiple_choice(
        inputs,
        "exclude",
        EXCLUSIONS,
        {
            "duplicates": "Exact and near duplicates of another image",
            "label_errors": "Suspected label errors, found by Compute hardness",
        },
        default=calls.sdk_defaults(run)["exclude"],
        label="Never mark",
        description="Images that are left out when candidates are chosen",
    )
    with errors_on(prop):
        check_exclusions(calls.values(ctx, run)["exclude"])


def _plan(values: Mapping[str, Any], inputs: types.Object, method: Method) -> Plan | None:
    """The marking's plan; None, with the reason in the form, if what was asked cannot be used."""
    from ..core.evidence.plan import Plan
    from ..core.ledger.lots import check_coins
    from ..core.limits import TRADE_OFF, check_choice, check_flag
    from ..core.metrics import check_backbone_path
    from ..core.pipeline.reference_models import check_num_references

    anywhere = inputs.properties["alpha"]
    with errors_on_named(inputs, anywhere):
        check_choice("method", values["method"], METHODS)
        method.Options.read(values)
        check_flag("skip_failures", values["skip_failures"])
        check_coins(values["coins"], values["coins_at"])
    with errors_on(inputs.properties.get("lpips_backbone", anywhere)):
        if values["lpips_backbone"] is not None:
            check_backbone_path(values["lpips_backbone"])
    with errors_on_named(inputs, anywhere):
        TRADE_OFF.check("trade_off", values["trade_off"])
    with errors_on_named(inputs, anywhere):
        asked = {name: values[name] for name in ("alpha", "test", "adjustment")}
        plan = Plan(**asked, score=values["score"] or method.score, direction=method.direction)
        check_num_references(values["num_references"], plan.score)
        return plan
    return None
