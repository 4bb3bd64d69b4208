"""plan_marking: how many pairs find a model, and what a marking with so many costs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import fiftyone as fo

from ..core.errors import HoneyImageError, ParameterError
from ..core.evidence.plan import Plan
from ..core.limits import check_choice, check_flag
from ..core.methods import METHODS, Method
from ..core.models import check_proxy
from ..core.pipeline.labeled import LabeledSamples
from ..core.pipeline.planning import (
    MEMORY,
    MarkingCost,
    MarkingPlan,
    check_wanted,
    find_pairs,
    power_of,
)
from ..core.pipeline.run_cost import marking_cost
from ..core.training_time import training_seconds
from .hardness import read_pilot, training_config
from .runs import HARDNESS, root_dataset, run_config
from .samples import read_labels

#: Methods whose pairs are single images, as those of a pilot are
PLANNED_METHODS = {
    name: method.title for name, method in METHODS.items() if not method.shares_secrets
}


def plan_marking(
    samples: fo.core.collections.SampleCollection,
    hardness_field: str,
    *,
    alpha: float,
    power: float,
    selection: str,
    verification: int,
    kept: float,
    answers: str,
    thief: str,
    memory: float,
    method: str,
    trade_off: int,
    timed: bool,
    device: str | None,
) -> MarkingPlan:
    """See :func:`fiftyone_honeyimage.plan_marking`; ``trade_off`` is that of the marking."""
    check_wanted(alpha, power, verification, kept, thief, memory)
    check_method(method)
    check_flag("timed", timed)
    found = read_pilot(samples, hardness_field, selection, answers)
    plan = find_pairs(
        found,
        alpha=alpha,
        power=power,
        position=verification,
        kept=kept,
        thief=thief,
        memory=memory,
    )
    if plan.num_pairs is None:
        return plan
    config = run_config(root_dataset(samples), hardness_field, HARDNESS)
    labeled = read_labels(samples, config["label_field"], contents=False)
    cost = cost_of(labeled, config, method, plan.num_pairs, trade_off, timed, device)
    return replace(plan, cost=cost)


def check_method(method: Any) -> str:
    """A method whose pairs are as those of a pilot.

    Raises:
        ParameterError: if there is no such method, or a pilot says nothing of it
    """
    check_choice("method", method, METHODS)
    if method not in PLANNED_METHODS:
        raise ParameterError(
            f"method must be {' or '.join(map(repr, PLANNED_METHODS))}; found {method!r}, whose pairs share secrets among "
            "several images: the proxies of compute_hardness tell nothing of those"
        )
    return method


def cost_of(
    labeled: LabeledSamples,
    config: dict[str, Any],
    method: str,
    num_pairs: int,
    trade_off: int,
    timed: bool,
    device: str | None,
) -> MarkingCost:
    """What a marking costs, its proxies trained as those of a hardness run.

    Args:
        labeled: the samples
        config: of the hardness run
        method, num_pairs, trade_off: of the marking
        timed: whether the speed of this machine is measured, which takes seconds
        device: that is measured
    """
    found = METHODS[method]
    number = found.default_num_honeyimages(len(labeled), num_pairs)
    training = training_config(config["training"])
    cost = marking_cost(
        labeled,
        config["input_size"],
        training,
        method=found,
        options=found.Options(),
        num_honeyimages=number,
        num_pairs=num_pairs,
        trade_off=trade_off,
    )
    seconds = None
    with suppress(HoneyImageError):  # the proxies were a function's own, or the device is not here
        if timed:
            check_proxy(config["proxy"])
            seconds = cost.seconds(
                training_seconds(
                    proxy=config["proxy"],
                    num_classes=len(config["classes"]),
                    input_size=config["input_size"],
                    batch_size=training.batch_size,
                    precision=training.precision,
                    device=device,
                )
            )
    return MarkingCost(method, num_pairs, number + num_pairs, cost.num_passes, seconds)


def chance_of(
    samples: fo.core.collections.SampleCollection,
    hardness_field: str,
    method: Method,
    selection: str,
    num_pairs: int,
    plan: Plan,
) -> float | None:
    """How likely so many pairs find a model like those of the hardness run; None where that run does not tell."""
    if method.shares_secrets or num_pairs < plan.min_pairs:
        return None
    try:
        found = read_pilot(samples, hardness_field, selection)
    except HoneyImageError:  # scores of an older version, or of nobody's
        return None
    if len(found.differences) < num_pairs:
        return None
    return power_of(found, num_pairs, plan.alpha, kept=MEMORY).power
