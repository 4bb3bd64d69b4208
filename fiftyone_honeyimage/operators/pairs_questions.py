"""How many pairs: what the form of a marking asks and says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import fiftyone.operators.types as types

from .. import generate_honeyimages as marks
from .. import plan_marking as run
from ..app.words import table
from ..core.methods import DEFAULT_METHOD, METHODS, Method
from ..core.pipeline.thieves import THIEVES
from . import calls
from .form_errors import errors_on_named, reject
from .form_parts import dropdown, once, view_key

if TYPE_CHECKING:
    import fiftyone as fo

    from ..core.evidence.plan import Plan
    from ..core.pipeline.planning import MarkingPlan

#: The switch that unfolds the questions, and the questions, by the names that the SDK's function has for them
SWITCH = "plan_pairs"
ASKED = ("thief", "power", "answers")

_ANSWERS = {
    "scores": "Probabilities or scores of every class",
    "labels": "The class alone, which takes several times the pairs",
}


def ask(
    ctx: Any, inputs: types.Object, samples: fo.core.collections.SampleCollection, method: Method
) -> int | None:
    """Asks what is to be found and how surely, if that is unfolded.

    Returns:
        the number of pairs that it takes; None if nobody asked, or with the reason in the form
    """
    if method.shares_secrets:
        return None  # the models of a hardness run tell nothing of secrets
    inputs.bool(
        SWITCH,
        default=False,
        label="How many pairs?",
        description="Tells how many pairs of twins find a model, from what the models of *Compute hardness* remember of "
        "your images, and takes that number where *Pairs of twins* is left empty",
        view=types.SwitchView(),
    )
    if not is_asked(ctx):
        return None
    defaults = calls.sdk_defaults(run)
    dropdown(
        inputs,
        "thief",
        THIEVES,
        {name: thief.title for name, thief in THIEVES.items()},
        default=defaults["thief"],
        label="What somebody does with the release",
        description="What each of these leaves was measured on other images (CIFAR-10), roughly",
    )
    prop = inputs.float(
        "power",
        default=defaults["power"],
        label="How sure you want to be",
        description="The probability with which the model is found by its first check, from 0 to 1",
        view=types.FieldView(space=6),
    )
    dropdown(
        inputs,
        "answers",
        _ANSWERS,
        default=defaults["answers"],
        label="What the model will answer with",
    )
    plan = None
    with errors_on_named(inputs, prop):
        key = ("plan", view_key(samples), repr(sorted(_wanted(ctx).items(), key=str)))
        plan = once(ctx, key, lambda: plan_of(ctx, samples))
    if plan is None:
        return None
    inputs.md(_text(plan), name="pairs_curve")
    if plan.num_pairs is None and ctx.params.get("num_pairs") in (None, ""):
        reject(
            prop,
            f"Not reached with up to {plan.curve[-1].num_pairs} pairs; be content with less, or type a number of pairs",
        )
    return plan.num_pairs


def is_asked(ctx: Any) -> bool:
    """Whether the number of pairs is to be planned."""
    return bool(ctx.params.get(SWITCH))


def plan_of(ctx: Any, samples: fo.core.collections.SampleCollection) -> MarkingPlan:
    """The plan that was asked for.

    Raises:
        HoneyImageError: if it cannot be made
    """
    return run(samples, **_wanted(ctx))


def number(ctx: Any, samples: fo.core.collections.SampleCollection) -> dict[str, int]:
    """``num_pairs`` for a run that left it to the plan; empty if it did not."""
    given = calls.given(ctx, marks)
    if not is_asked(ctx) or "num_pairs" in given:
        return {}
    from ..core.errors import ParameterError

    method = METHODS.get(str(calls.values(ctx, marks)["method"]))
    if method is None or method.shares_secrets:
        return {}
    plan = plan_of(ctx, samples)
    if plan.num_pairs is None:
        raise ParameterError(
            f"power={plan.power:g} is not reached with up to {plan.curve[-1].num_pairs} pairs; ask for less, or give num_pairs"
        )
    return {"num_pairs": plan.num_pairs}


def _wanted(ctx: Any) -> dict[str, Any]:
    """What the SDK's function is called with."""
    asked = {name: value for name, value in calls.given(ctx, run).items() if name in ASKED}
    values = calls.values(ctx, marks)
    shared = {name: values[name] for name in ("hardness_field", "alpha", "method")}
    return {
        **asked,
        **shared,
        "selection": _selection(values),
        "timed": False,
    }


def _selection(values: Mapping[str, Any]) -> str:
    """How images are chosen: as asked, or as the method does."""
    from ..core.methods.selection import rule_of

    options = METHODS.get(str(values["method"]), DEFAULT_METHOD).Options()
    return str(values.get("selection") or rule_of(options))


def _advice(plan: MarkingPlan) -> str:
    """Whether more pairs would help: of few images that models remember, further ones tell less and less."""
    if plan.curve and plan.curve[-1].power < max(one.power for one in plan.curve) - 0.05:
        return "More pairs than the best of these find less: the first ones tell most."
    return "Take more pairs where you can."


def _text(plan: MarkingPlan) -> str:
    """The plan as a number and a small table."""
    rows = [(f"{one.num_pairs:,}", chance_text(one.power)) for one in plan.curve]
    found = (
        f"**{plan.num_pairs:,} pairs** find such a model with a probability of {plan.power:.0%}"
        if plan.num_pairs is not None
        else f"**Up to {plan.curve[-1].num_pairs:,} pairs do not find such a model** with a probability of {plan.power:.0%}"
    )
    lines = [
        f"{found}, if it remembers your images {plan.memory:.0%} as well as the models of *Compute hardness* do, as models that "
        "were trained on a whole release did in our experiments, roughly. " + _advice(plan),
        table(("Pairs of twins", "Found with a probability of"), rows),
    ]
    left = THIEVES[plan.thief].left(plan.rule)
    if left < 1:
        lines.append(f"Of somebody who does this, {left:.0%} of the pairs still tell anything.")
    return "\n\n".join(lines)


def chance_text(power: float) -> str:
    return "under 5 %" if power < 0.05 else "over 99 %" if power > 0.99 else f"about {power:.0%}"


def power_text(
    ctx: Any,
    samples: fo.core.collections.SampleCollection,
    values: Mapping[str, Any],
    method: Method,
    num_pairs: int,
    plan: Plan,
) -> str | None:
    """How likely so many pairs find a model like those of the hardness run; None where that run does not tell."""
    from ..core.pipeline.planning import MEMORY
    from ..dataset.planning import chance_of

    if is_asked(ctx):
        return None
    field, rule = values["hardness_field"], _selection(values)
    key = ("chance", view_key(samples), repr((field, method.name, rule, num_pairs, plan)))
    found = once(ctx, key, lambda: chance_of(samples, field, method, rule, num_pairs, plan))
    if found is None:
        return None
    chance = chance_text(found)
    return (
        f"A model that remembers your images {MEMORY:.0%} as well as the models of *Compute hardness* do is found with a probability of **{chance}** "
        "by its first check; one that was trained for longer more surely, one that was trained for less or on cleaned images "
        "less (*How many pairs?* tells how many that takes)"
    )
