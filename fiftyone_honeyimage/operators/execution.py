"""Where a run is executed: at once by the App, or by a worker, on a machine that this one knows nothing of.

FiftyOne's App schedules runs only if *its own* process has ``allow_legacy_orchestrators`` set; the worker and
calls from Python need nothing (``ExecutionOptions.orchestrator_registration_enabled`` in
``fiftyone/operators/executor.py``). What the App executes at once it waits for until ``operator_timeout``.
"""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.operators.types as types

#: What lets an App schedule runs: its process reads it, not the worker's
ALLOW = "FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS=true"


def can_schedule() -> bool:
    """Whether this App lets its users schedule runs."""
    return bool(fo.config.allow_legacy_orchestrators)


def worker_may_run(ctx: Any) -> bool:
    """Whether a worker runs this, or may: a device or file that is not on this machine may be on the worker's.

    A form that is still open may be scheduled wherever the App can. What is executed at once, and what a
    worker has taken, runs here.
    """
    if ctx.delegated:
        return False
    is_open = bool(ctx.prompt_id) and ctx.request_params.get("target") == "inputs"
    return bool(ctx.requesting_delegated_execution) or (is_open and can_schedule())


def elsewhere(inputs: types.Object, name: str, what: str) -> None:
    """Says that this machine lacks something which the machine that runs this needs."""
    inputs.view(
        name,
        types.Warning(
            label=what,
            description="A worker on a machine that has it can run this, if you schedule it. "
            "Executed at once it fails.",
        ),
    )
