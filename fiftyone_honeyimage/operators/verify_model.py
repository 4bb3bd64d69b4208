"""Verify a model: was it trained on a release?"""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from .. import verify_model as run
from ..app.layout import open_panel
from ..app.words import VERDICTS, table
from . import (
    calls,
    cost_question,
    placements,
    questions,
    results,
    suspect_questions,
    verify_questions,
)
from .execution import elsewhere, worker_may_run
from .form_errors import block, blocking, errors_on, errors_on_named, is_blocked
from .form_parts import dropdown, form, section

#: Options that stay folded until they are asked for.
_FURTHER = (
    "alpha",
    "classes",
    "outputs",
    "input_size",
    "mean",
    "std",
    "channels",
    "batch_size",
    "pairs",
    "num_pairs",
    "references",
    "ledger_path",
    "num_random",
    "device",
    "skip_failures",
)

_FILE = "A model file"
_FIELD = "A field of predictions"

PANEL = "verification_panel"


class VerifyModel(foo.Operator):
    """The form and the run of :func:`fiftyone_honeyimage.verify_model`."""

    @property
    def config(self) -> foo.OperatorConfig:
        return calls.operator_config(
            "verify_model",
            "Verify a model",
            "Step 5: queries a suspect model on the twins and gives a verdict: derived from the release, "
            "not shown, or inconclusive",
            # Queries show the suspect's operator the images, and count in the ledger for good
            risk=types.RiskLevel.HIGH,
            long=True,
            view_target=False,
            # Again would be another verification, and take another place in the ledger
            rerunnable=False,
        )

    def __call__(
        self, samples: fo.core.collections.SampleCollection, *args: Any, **kwargs: Any
    ) -> Any:
        """Executes or delegates this operator from Python.

        Args:
            samples, args, kwargs: see :func:`fiftyone_honeyimage.verify_model` and :func:`.calls.call_like`
        """
        return calls.call_like(run, self, samples, *args, **kwargs)

    def resolve_placement(self, ctx: Any) -> types.Placement:
        from ..dataset.runs import MARKING

        reason = placements.unavailable(ctx, MARKING)
        return placements.placement("Verify a model", "icon", reason)

    def resolve_input(self, ctx: Any) -> types.Property:
        return form(ctx, _fill, "Verify a model")

    def resolve_run_name(self, ctx: Any) -> str:
        suspect = ctx.params.get("name") or os.path.basename(ctx.params.get("suspect") or "")
        return f"Verify {suspect} with '{ctx.params.get('honey_key')}'"

    def execute(self, ctx: Any) -> dict[str, Any]:
        params = {**_params(ctx), "user": ctx.user_id}
        verification = run(ctx.dataset, progress=calls.progress(ctx), **params)
        if not ctx.delegated:
            ctx.trigger("reload_dataset")
            open_panel(ctx, PANEL, {"verify_key": verification.verify_key})
        return {
            "verify_key": verification.verify_key,
            "honey_key": verification.honey_key,
            "suspect_name": verification.suspect_name,
            "suspect_digest": verification.suspect_digest,
            "verdict": verification.verdict.to_dict(),
            "pairs": verification.pairs,
        }

    def resolve_output(self, ctx: Any) -> types.Property | None:
        return results.shown(ctx, _verdict)


def _verdict(result: dict[str, Any]) -> types.Property:
    verdict = result["verdict"]
    rows = [
        ("Suspect", result["suspect_name"]),
        ("p-value, corrected", f"{verdict['p_adjusted']:.2g}"),
        ("Significance level α", f"{verdict['alpha']:g}"),
        ("Pairs of twins used", f"{verdict['num_pairs']:,}"),
        ("Pairs with a failed query", f"{verdict['num_failed']:,}"),
    ]
    headline, severity = VERDICTS[verdict["verdict"]]
    alert = types.AlertView(
        label=f"**{headline}**", description=verdict["statement"], severity=severity
    )
    text = (
        f"{table(('Verification', ''), rows)}\n\n"
        f"**Next:** see `{result['verify_key']}` in the *HoneyImage verification* panel."
    )
    return results.output(text, "The verdict", alert)


def _params(ctx: Any) -> dict[str, Any]:
    """The SDK's arguments; what a form has as text are lists.

    Raises:
        ParameterError: if a text holds no numbers
    """
    params = calls.given(ctx, run)
    for name in ("classes", "references"):
        if isinstance(params.get(name), str):
            params[name] = suspect_questions.lines(params[name])
    for name in ("mean", "std"):
        if isinstance(params.get(name), str):
            params[name] = suspect_questions.numbers(params[name], name)
    return {name: value for name, value in params.items() if value != []}


def _fill(ctx: Any, inputs: types.Object) -> None:
    if not questions.has_dataset(ctx, inputs):
        return
    from ..dataset.checks import check_collection

    with blocking(inputs, "This dataset cannot be used"):
        check_collection(ctx.dataset)
    if is_blocked(inputs):
        return
    marking = questions.marking(ctx, inputs)
    if marking is None:
        return
    source = _suspect(ctx, inputs, marking)
    _key(ctx, inputs, marking)
    sizes = suspect_questions.marked_image_sizes(ctx, marking)
    mixed = len(sizes) > 1 and source != _FIELD
    if mixed:
        suspect_questions.input_size(ctx, inputs, sizes)
    further = [name for name in _FURTHER if not (mixed and name == "input_size")]
    shown = section(ctx, inputs, run, further)
    ledger = questions.ledger(ctx, inputs, marking, shown)
    if shown:
        _further(ctx, inputs, mixed)
        verify_questions.more(ctx, inputs, ledger)
    verify_questions.insist(ctx, inputs, marking)
    _check(ctx, inputs, marking, ledger)
    if ledger is not None and not is_blocked(inputs):
        _show_cost(ctx, inputs, ledger, marking)


def _suspect(ctx: Any, inputs: types.Object, marking: Any) -> str:
    """Asks for the suspect; whether it is a file or a field."""
    fields = suspect_questions.prediction_fields(ctx.dataset, marking, ctx.params.get("outputs"))
    given = ctx.params.get("suspect")
    source = ctx.params.get("source") or (_FIELD if given in fields else _FILE)
    radio = types.RadioGroup(label="Suspect model", orientation="horizontal")
    for choice in (_FILE, _FIELD):
        radio.add_choice(choice, label=choice)
    inputs.enum("source", radio.values(), default=_FILE, view=radio)
    if source == _FIELD:
        if not fields:
            block(
                inputs,
                "There is no field of predictions",
                "Apply the suspect to the HoneyImages first, for example with "
                f"`dataset.load_saved_view('{marking.honey_key}').apply_model(model, 'suspect', "
                "store_logits=True)`.",
            )
            return source
        dropdown(
            inputs,
            "suspect",
            fields,
            required=True,
            label="Field",
            description="The suspect's predictions on the HoneyImages; with logits if it gives any. For a field of losses "
            "choose `losses` as what it answers",
        )
    else:
        inputs.str(
            "suspect",
            required=True,
            label="Model file",
            description="TorchScript (`.pt`, `.ts`, …) or ONNX (`.onnx`), on the machine that runs "
            "this. A TorchScript file is a program, which runs there: query one that you distrust on a machine "
            "that holds nothing else",
        )
    inputs.str("name", label="Name of the suspect", description="As you want to call it")
    return source


def _key(ctx: Any, inputs: types.Object, marking: Any) -> None:
    from ..dataset.runs import check_new_key
    from ..dataset.verification.verification import next_verify_key

    proposed = next_verify_key(ctx.dataset, marking.honey_key)
    prop = inputs.str(
        "verify_key",
        label="Name of the verification",
        description=f"An identifier. Empty: `{proposed}`",
    )
    with errors_on(prop):
        check_new_key(ctx.dataset, ctx.params.get("verify_key") or proposed, "verify_key")


def _further(ctx: Any, inputs: types.Object, size_asked: bool) -> None:
    """Asks for what is seldom changed; not for the input size if it was asked before."""
    from ..core.suspects import OUTPUTS

    defaults = calls.sdk_defaults(run)
    inputs.float(
        "alpha", label="Smaller significance level α", description="Empty: the committed one"
    )
    suspect_questions.several(
        ctx,
        inputs,
        "classes",
        label="The suspect's classes",
        description="In the order of its outputs, one a line. Empty: the dataset's, sorted",
        view=types.TextFieldView(multiline=True, rows=3),
    )
    dropdown(inputs, "outputs", OUTPUTS, default=defaults["outputs"], label="What it answers")
    if not size_asked:
        suspect_questions.input_size(ctx, inputs)
    suspect_questions.several(
        ctx,
        inputs,
        "mean",
        types.Number(float=True),
        label="Mean",
        description="To normalise by, as `0.485, 0.456, 0.406`",
    )
    suspect_questions.several(
        ctx,
        inputs,
        "std",
        types.Number(float=True),
        label="Standard deviation",
        description="As `0.229, 0.224, 0.225`",
    )
    inputs.int("batch_size", default=defaults["batch_size"], label="Images a query")
    dropdown(
        inputs,
        "pairs",
        {
            "all": "All pairs of twins",
            "unused": "Those that no verification has used, for a suspect whose operator may have "
            "seen earlier queries",
        },
        default=defaults["pairs"],
        label="Pairs",
    )
    suspect_questions.several(
        ctx,
        inputs,
        "references",
        label="Models known to be innocent",
        description="Files or fields, one a line. They calibrate the paper's threshold, which is "
        "shown and never decides",
        view=types.TextFieldView(multiline=True, rows=2),
    )
    inputs.int(
        "num_random",
        label="Random unmarked images",
        description="For the paper's plot of loss gaps: one query each, after the verdict, which they "
        "do not touch. Empty: 50; 0 for none",
    )
    questions.device(ctx, inputs)
    inputs.bool(
        "skip_failures",
        default=False,
        label="Go on even if the suspect fails on image after image",
        description="A failed image is asked again, and then its pair counts against you. Otherwise "
        "failures on two pairs in a row, or on more than a quarter of all pairs, stop the verification, which the same "
        "settings go on with",
    )


def _check(ctx: Any, inputs: types.Object, marking: Any, ledger: Any) -> None:
    """The checks of ``verify_model`` that come before a model is loaded."""
    from ..core.limits import check_text
    from ..dataset.verification.controls import num_controls
    from ..dataset.verification.suspects import check_asking, suspect_classes

    suspect = inputs.properties.get("suspect")
    if suspect is None:
        return
    classes = None
    with errors_on_named(inputs, suspect):
        params = _params(ctx)
        values = calls.sdk_defaults(run) | params
        names = inspect.signature(check_asking).parameters
        check_asking(**{name: values[name] for name in names})
        classes = suspect_classes(marking, params.get("classes"))
        if ledger is not None:
            ledger.plan.alpha_for(params.get("alpha"))
        for reference in params.get("references", ()):
            _check_suspect(ctx, inputs, marking, reference, classes)
        num_controls(False, ledger, params.get("num_random"))
    if classes is not None and ctx.params.get("suspect") is not None:
        with errors_on(suspect):
            suspect_text = check_text("suspect", ctx.params["suspect"])
            _check_suspect(ctx, inputs, marking, suspect_text, classes)


def _check_suspect(
    ctx: Any, inputs: types.Object, marking: Any, suspect: str, classes: Sequence[str]
) -> None:
    """Checks a suspect as far as that goes without loading a model file, which only a worker may have."""
    from ..core.limits import check_text
    from ..core.suspects import kind_of
    from ..dataset.verification.suspects import open_suspect

    path = Path(os.path.expanduser(check_text("a model", suspect)))
    kind = kind_of(path)
    if kind is not None and kind.suffixes:
        if os.path.isfile(path):
            return
        if worker_may_run(ctx) and not os.path.exists(path):
            label = f"There is no file '{suspect}' on the App's machine"
            elsewhere(inputs, f"elsewhere_{len(inputs.properties)}", label)
            return
    open_suspect(ctx.dataset, marking, suspect, classes, None, {})


def _show_cost(ctx: Any, inputs: types.Object, ledger: Any, marking: Any) -> None:
    from ..core.evidence.alpha_spending import alpha_effective
    from ..core.suspects import kind_of
    from ..dataset.verification.controls import num_controls

    params = _params(ctx)
    kind = kind_of(os.path.expanduser(params.get("suspect", "")))
    metered = kind is not None and kind.metered
    random = num_controls(metered, ledger, params.get("num_random"))
    left = len(ledger.pairs_left)
    count = verify_questions.num_pairs(ctx, ledger)
    order = [index for index, _ in ledger.query_order]
    position = 1 + len(ledger.verifications)
    level = alpha_effective(ledger.plan.alpha_for(params.get("alpha")), position)
    facts = [
        f"**{len(ledger.queries(order[:count])):,} queries** about {count:,} pairs of twins",
        f"{left:,} of {len(ledger.pairs):,} pairs have not been used yet; the suspect's operator "
        "sees the images of those that are",
        f"test `{ledger.plan.test}`, α = {ledger.plan.alpha:g}, as committed before the release",
        f"recorded in the ledger for good, as verification number {position}, which is held to the "
        f"level {level:.2g}",
    ]
    if random:
        facts.insert(1, f"up to {random:,} queries more on random unmarked images, for a plot only")
    cost_question.notice(inputs, [*facts, *verify_questions.facts(ctx, ledger)])
    verify_questions.check_pairs(ctx, inputs, ledger, marking, params.get("alpha"))
