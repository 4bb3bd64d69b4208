"""What a run takes, as its form says before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import fiftyone.operators.types as types

from ..app.words import START_WORKER
from ..core.errors import HoneyImageError
from ..core.printing import time_text
from .execution import ALLOW, can_schedule
from .form_errors import is_blocked

if TYPE_CHECKING:
    from ..core.evidence.plan import Plan
    from ..core.pipeline.run_cost import RunCost
    from .training_questions import ProxyTraining


def cost(inputs: types.Object, cost: RunCost, lines: Sequence[str], seconds: float | None) -> None:
    """Shows what a run will cost, unless something else has to be put right first."""
    if is_blocked(inputs):
        return
    facts = [*lines, f"{cost.num_images:,} images read"]
    if cost.num_passes:
        facts.append(f"{cost.num_passes:,} training passes (one image, forward and back)")
    if cost.memory_bytes:
        facts.append(f"{size_text(cost.memory_bytes)} of images in memory")
    if cost.disk_bytes:
        facts.append(f"about {size_text(cost.disk_bytes)} written to disk")
    if cost.peak_bytes > cost.disk_bytes:
        facts.append(f"at most {size_text(cost.peak_bytes)} on disk at once while it runs")
    if seconds is not None:
        facts.append(
            f"about **{time_text(cost.seconds(seconds))}** of training on this machine, from a "
            "step measured just now" + ("; a worker's may differ" if can_schedule() else "")
        )
    notice(inputs, facts, None if seconds is None else cost.seconds(seconds))


def notice(inputs: types.Object, facts: Sequence[str], seconds: float | None = None) -> None:
    """Shows what a run takes, and what becomes of it."""
    text = "\n".join(f"- {fact}" for fact in (*facts, *_execution()))
    inputs.view("cost", types.Notice(label="What this run takes", description=text))
    _warn_if_too_long(inputs, seconds)


def _execution() -> list[str]:
    """What becomes of a run of this App."""
    waits = (
        f"executed at once, it runs inside the App, which stops waiting after {_patience()} and shows an "
        "error: the run goes on, and a reload shows its result"
    )
    if can_schedule():
        return [
            f"scheduled, it waits for a worker: `{START_WORKER}` in a terminal starts one, `fiftyone "
            "delegated list` tells how far it is",
            waits,
        ]
    return [f"this App can only execute it at once: it was started without `{ALLOW}`", waits]


def _warn_if_too_long(inputs: types.Object, seconds: float | None) -> None:
    """Warns if the App would not wait for the end of a run."""
    limit = fo.config.operator_timeout
    if seconds is None or not limit or seconds < limit:
        return
    way = (
        "Schedule it"
        if can_schedule()
        else f"Start the App with `{ALLOW}` and schedule it, or call the function of the package from Python"
    )
    inputs.view(
        "too_long",
        types.Warning(
            label=f"It takes about {time_text(seconds)}, and the App waits {_patience()}",
            description=f"{way}: that has no limit. Executed at once, the App will show a timeout, and the run "
            "ends with the App if you close it before it is done.",
        ),
    )


def _patience() -> str:
    return time_text(fo.config.operator_timeout)


def training_time(ctx: Any, inputs: types.Object, training: ProxyTraining) -> float | None:
    """Has the speed of this machine measured while the form is open.

    Returns:
        seconds per image and epoch, or None while it is not known
    """
    if not ctx.prompt_id or ctx.delegated:
        return None  # nobody is waiting in front of a form
    if not is_here(ctx.params.get("device")):
        return None  # only a worker has it
    request = {
        "proxy": training.proxy,
        "num_classes": training.num_classes,
        "input_size": training.input_size,
        "batch_size": training.config.batch_size,
        "precision": training.config.precision,
        "device": ctx.params.get("device") or None,
    }
    inputs.loader(
        "speed",
        type=types.Object(),
        operator=f"{ctx.operator_uri.rpartition('/')[0]}/estimate_time",
        params=request,
        label="Measuring how fast this machine trains the proxy…",
        dependencies=list(request),
    )
    match ctx.params.get("speed"):
        case {"state": "loaded", "data": {"request": measured, "seconds": float(seconds)}}:
            return seconds if measured == request else None
    return None


def is_here(device: str | None) -> bool:
    """Whether this machine has a device."""
    from ..core.device import choose_device

    try:
        choose_device(device or None)
    except HoneyImageError:
        return False
    return True


def warn_if_powerless(
    inputs: types.Object,
    num_pairs: int,
    plan: Plan,
    position: int,
    alpha: float | None = None,
) -> None:
    """Warns if so few pairs of twins cannot convict any model.

    ``position`` says which verification it is; ``alpha`` is a smaller level than the plan's.
    """
    from ..core.evidence.alpha_spending import alpha_effective
    from ..core.evidence.reach import can_reach, pairs_needed

    alpha = plan.alpha_for(alpha)
    if can_reach(plan, num_pairs, alpha, position):
        return
    level = alpha_effective(alpha, position)
    inputs.view(
        "powerless",
        types.Warning(
            label=f"{num_pairs} pairs of twins cannot show anything",
            description=f"Verification number {position} is held to the level {level:.2g}, which "
            f"takes at least {pairs_needed(plan, alpha, position)} pairs, even for a model that knows "
            "every released image. The verdict would be *inconclusive*.",
        ),
    )


def size_text(count: float) -> str:
    """Bytes in words."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"
