"""Delegated runs that a panel waits for: shown while they wait and run, announced when they end.

A panel calls :func:`take_finished` and then :func:`show_pending` in ``render``, which FiftyOne runs
after every event. The App is asked to come back only while a run is pending. Everything is read from FiftyOne's queue, so it does not matter who scheduled a
run: this window, another one, or the SDK.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import fiftyone.operators.types as types
from bson import ObjectId

from ..app.layout import alert, button, button_row
from ..app.words import START_WORKER
from ..core.printing import time_text

if TYPE_CHECKING:
    from fiftyone.factory.repos import DelegatedOperationDocument

    from .base import HoneyImagePanel

#: The operators that are delegated unless the user decides otherwise
LONG_OPERATORS = (
    "compute_hardness",
    "generate_honeyimages",
    "export_release",
    "audit_release",
    "verify_model",
)

#: How often the App comes back while a run is pending, milliseconds
INTERVAL = 2000

#: A worker looks at the queue twice a second: if nothing runs and nobody took a run in this time,
#: there is none. Seconds.
PATIENCE = 10.0

#: A run reports progress every second or so: seconds until its silence is pointed out.
SILENCE = 600.0

#: Failures older than this are history. Also how long a dismissal is remembered.
_MAX_AGE = timedelta(days=7)

#: An estimate from less than this share would be a guess.
_MIN_SHARE = 0.02

_PENDING_STATES = ("scheduled", "queued", "running", "processing")

#: The panel's state: ids of the runs that were pending when the panel was last shown
_STATE = "pending_ids"

_STORE = "honeyimage_dismissed_runs"

_ERROR_LINE = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Failure)(?:: |$)")

#: What FiftyOne puts before the reason why a form was refused
_FORM_ERROR = re.compile(r"^Validation error\. Path: .*?\. Reason: ")


@dataclass(frozen=True)
class PendingRun:
    """A run that has not ended.

    Attributes:
        id: its id in FiftyOne's queue
        operator: the operator's name, without the plugin's
        label: what the run is called
        running: whether a worker has taken it
        stage: what it is doing, None if it has not said so yet
        progress: share that is done, 0 to 1; None if it has not said so yet
        seconds_left: estimated from the progress, None if nothing can be said
        seconds_waited: since it was put in the queue
        seconds_silent: since its last sign of life; 0 while it waits
        has_worker: whether some worker seems to be alive
    """

    id: str
    operator: str
    label: str
    running: bool
    stage: str | None
    progress: float | None
    seconds_left: float | None
    seconds_waited: float
    seconds_silent: float
    has_worker: bool


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended.

    Attributes:
        id, operator, label: see :class:`PendingRun`
        failed: whether it failed
        reason: why, in one line; None if it did not
        result: what the operator returned, empty if it failed
        params: with which it was run
    """

    id: str
    operator: str
    label: str
    failed: bool
    reason: str | None
    result: Mapping[str, Any]
    params: Mapping[str, Any]


def pending_runs(ctx: Any, operators: Sequence[str]) -> list[PendingRun]:
    """The runs of some operators of this plugin on the open dataset that have not ended, oldest first."""
    found = _operations(ctx, operators, _PENDING_STATES)
    if not found:
        return []
    now = datetime.now(timezone.utc)
    busy = _is_busy(now)
    return [_pending(document, now, busy) for document in found]


def failed_runs(ctx: Any, operators: Sequence[str] = LONG_OPERATORS) -> list[FinishedRun]:
    """The failed runs of the last week that nobody dismissed, oldest first.

    A failure is history once a later run of the same operator has succeeded.
    """
    since = datetime.now(timezone.utc) - _MAX_AGE
    failed = _operations(ctx, operators, ("failed",), failed_at={"$gt": since})
    if not failed:
        return []
    # What succeeded holds its result, so no more of these is read than is needed
    first = min(document.id for document in failed)
    later = _operations(ctx, operators, ("completed",), _id={"$gt": first})
    succeeded = {document.operator: document.id for document in later}
    recent = [
        document
        for document in failed
        # Ids are in the order in which the runs were queued
        if not (document.operator in succeeded and document.id < succeeded[document.operator])
    ]
    if not recent:
        return []
    dismissed = set(ctx.store(_STORE).list_keys())
    return [_finished(document) for document in recent if str(document.id) not in dismissed]


def show_pending(ctx: Any, panel: types.Object, on: HoneyImagePanel) -> None:
    """Shows pending and failed runs, and has the App come back while a run is pending.

    The methods of ``on`` are called every two seconds, and when something is pressed.
    """
    if ctx.dataset is None:
        return
    runs = pending_runs(ctx, on.AWAITED)
    ids = [run.id for run in runs]
    if ids != (ctx.panel.get_state(_STATE) or []):
        ctx.panel.set_state(_STATE, ids)
    for number, run in enumerate(runs):
        _show_run(panel, f"pending_{number}", run)
    if runs:
        timer = types.TimerView(interval=INTERVAL, on_interval=on.on_tick)
        panel.view("pending_timer", timer)
    for number, failed in enumerate(failed_runs(ctx, on.AWAITED)):
        _show_failure(panel, f"failed_{number}", failed, on)


def take_finished(ctx: Any, operators: Sequence[str]) -> list[FinishedRun]:
    """The runs that were pending when the panel was last shown and have succeeded since.

    The user is told of all that ended, and the App to look again. The panel's next :func:`show_pending`
    forgets them: each is handed out once.
    """
    known = {run_id for run_id in ctx.panel.get_state(_STATE) or () if ObjectId.is_valid(run_id)}
    if not known:
        return []
    ended = _operations(
        ctx,
        operators,
        ("completed", "failed"),
        _id={"$in": [ObjectId(run_id) for run_id in sorted(known)]},
    )
    done = []
    for run in map(_finished, ended):
        if run.failed:
            ctx.ops.notify(f"Failed: {run.label}", variant="error")
        else:
            ctx.ops.notify(f"Finished: {run.label}", variant="success")
            done.append(run)
    if done:
        from ..dataset.runs import catch_up

        # Another process has written to the dataset, which the App does not know yet
        catch_up(ctx.dataset)
        ctx.trigger("reload_dataset")
    return done


def dismiss(ctx: Any) -> None:
    """Hides a failure, in every window: for the button's event."""
    run = ctx.params.get("run_id")
    if run and ctx.dataset is not None:
        ctx.store(_STORE).set(str(run), True, ttl=2 * int(_MAX_AGE.total_seconds()))


def retry(ctx: Any, on_success: Callable[[Any], None]) -> None:
    """Opens the form of a failed run with the parameters that it had: for the button's event."""
    for run in failed_runs(ctx):
        if run.id == ctx.params.get("run_id"):
            ctx.prompt(
                f"{_plugin(ctx)}/{run.operator}", params=dict(run.params), on_success=on_success
            )


def was_scheduled(result: Any) -> bool:
    """Whether the result of a prompt is an entry of the queue: the run has not begun."""
    return isinstance(result, Mapping) and "run_state" in result


def error_line(error: Any) -> str:
    """The line of a traceback that says what went wrong, without the exception's class."""
    lines = [line.rstrip() for line in str(error or "").splitlines() if line.strip()]
    if not lines:
        return "It left no reason."
    for line in reversed(lines):
        found = _ERROR_LINE.match(line)
        if found:
            return _FORM_ERROR.sub("", line[found.end() :].strip()) or line
    return lines[-1].strip()


def _show_run(panel: types.Object, name: str, run: PendingRun) -> None:
    if not run.running:
        severity = "info" if run.has_worker else "warning"
        alert(panel, name, f"**{run.label}** waits in the queue", _waiting(run), severity)
        return

    parts = [run.stage or "starting"]
    if run.seconds_left is not None:
        parts.append(f"about {time_text(run.seconds_left)} left")
    panel.md(f"**{run.label}** is running: {', '.join(parts)}", name=name)
    panel.float(f"{name}_progress", default=run.progress or 0.0, view=types.ProgressView())
    if run.seconds_silent > SILENCE:
        alert(
            panel,
            f"{name}_silent",
            f"No news for {time_text(run.seconds_silent)}",
            "If its worker was stopped, give the run up with "
            f"`fiftyone delegated fail {run.id}` in a terminal, then start it again.",
        )


def _waiting(run: PendingRun) -> str:
    how = (
        "start one in a terminal, on this machine or on one that reaches the same database and files: "
        f"`{START_WORKER}`"
    )
    waited = time_text(run.seconds_waited)
    if run.has_worker:
        return f"For {waited}, until a worker takes it. If none is running, {how}"
    return f"For {waited}, and no worker has taken it, so none seems to be running: {how}"


def _show_failure(panel: types.Object, name: str, run: FinishedRun, on: HoneyImagePanel) -> None:
    reason = run.reason or ""
    if reason[-1:] not in ".!?":
        reason += "."
    advice = (
        f"Mend that and run it again; `fiftyone delegated info {run.id}` in a terminal tells more."
    )
    alert(panel, name, f"**{run.label}** failed", f"{reason} {advice}", "error")
    row = button_row(panel, f"{name}_actions", gap=2)
    button(row, "retry", "Run again…", on.on_retry, params={"run_id": run.id})
    button(row, "dismiss", "Dismiss", on.on_dismiss, params={"run_id": run.id})


def _service() -> Any:
    from fiftyone.operators.delegated import DelegatedOperationService

    return DelegatedOperationService()


def _plugin(ctx: Any) -> str:
    return ctx.operator_uri.rpartition("/")[0]


def _operations(
    ctx: Any, operators: Sequence[str], states: Sequence[str], **conditions: Any
) -> list[DelegatedOperationDocument]:
    """Entries of the queue for the open dataset, whatever it is called now, oldest first.

    ``conditions`` are in the database's own language.
    """
    if ctx.dataset is None:
        return []
    found = _service().list_operations(
        # These go into the database's query as they are
        operator={"$in": [f"{_plugin(ctx)}/{name}" for name in operators]},
        run_state={"$in": list(states)},
        dataset_id=ctx.dataset._doc.id,
        **conditions,
    )
    return sorted(found, key=lambda document: document.id)


def _is_busy(now: datetime) -> bool:
    """Whether some worker is at work, on whatever dataset: it then takes the next run in time."""
    since = (now - timedelta(seconds=SILENCE)).replace(tzinfo=None)  # as FiftyOne writes it
    alive = [{name: {"$gt": since}} for name in ("updated_at", "status.updated_at")]
    return _service().count({"run_state": "running", "$or": alive}) > 0


def _pending(document: DelegatedOperationDocument, now: datetime, busy: bool) -> PendingRun:
    running = document.run_state in ("running", "processing")
    queued = _utc(document.queued_at) or _utc(document.scheduled_at) or now
    waited = _seconds(now, queued)
    status = document.status
    return PendingRun(
        id=str(document.id),
        operator=document.operator.rpartition("/")[2],
        label=document.label or document.operator,
        running=running,
        stage=(status.label or None) if status is not None else None,
        progress=None if status is None else status.progress,
        seconds_left=_seconds_left(document, now) if running else None,
        seconds_waited=waited,
        seconds_silent=_silence(document, now) if running else 0.0,
        has_worker=busy or waited < PATIENCE,
    )


def _seconds_left(document: DelegatedOperationDocument, now: datetime) -> float | None:
    """The time that is left if the rest takes as long as what is done."""
    started, status = _utc(document.started_at), document.status
    if started is None or status is None or not status.progress or status.progress < _MIN_SHARE:
        return None
    reported = _utc(status.updated_at) or now
    total = _seconds(reported, started) / status.progress
    return max(0.0, total - _seconds(now, started))


def _silence(document: DelegatedOperationDocument, now: datetime) -> float:
    times = [document.started_at, document.updated_at]
    if document.status is not None:
        times.append(document.status.updated_at)
    known = [time for time in map(_utc, times) if time is not None]
    return _seconds(now, max(known)) if known else 0.0


def _finished(document: DelegatedOperationDocument) -> FinishedRun:
    failed = document.run_state == "failed"
    result = None if document.result is None else document.result.result
    context = document.context
    params = context.request_params.get("params") if context is not None else None
    return FinishedRun(
        id=str(document.id),
        operator=document.operator.rpartition("/")[2],
        label=document.label or document.operator,
        failed=failed,
        reason=error_line(document.result and document.result.error) if failed else None,
        result=result if isinstance(result, Mapping) else {},
        params=params or {},
    )


def _utc(time: datetime | None) -> datetime | None:
    """FiftyOne writes UTC without saying so."""
    if time is None or time.tzinfo is not None:
        return time
    return time.replace(tzinfo=timezone.utc)


def _seconds(later: datetime, earlier: datetime) -> float:
    """Clocks of other machines may be ahead."""
    return max(0.0, (later - earlier).total_seconds())
