"""Runs that wait in FiftyOne's real queue, as the verification panel shows them event by event."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

VERIFY = "@honeyimage/ownership/verify_model"

TRACEBACK = """Traceback (most recent call last):
  File "run.py", line 3, in execute
    raise LedgerError("ledger '/x' is missing; restore it")
fiftyone_honeyimage.core.errors.LedgerError: ledger '/x' is missing; restore it
"""


@pytest.fixture
def queue(fo: Any, answer: Callable[..., str]) -> Callable[..., Any]:
    """Puts a verification in the queue: ``queue(dataset, "field", "key")``; its id."""
    operators = importlib.import_module("fiftyone.operators")

    def run(dataset: Any, suspect: str, key: str) -> Any:
        if not dataset.has_field(suspect):
            answer(dataset, suspect, released=0.5, withheld=0.5)
        queued = operators.execute_operator(
            VERIFY,
            dataset=dataset,
            params={"honey_key": "honey", "suspect": suspect, "verify_key": key},
            request_delegation=True,
        )
        return queued.result["id"]

    return run


@pytest.fixture
def service(fo: Any) -> Any:
    """FiftyOne's queue, and the worker that ``fiftyone delegated launch`` runs."""
    return importlib.import_module("fiftyone.operators.delegated").DelegatedOperationService()


@pytest.fixture
def change(fo: Any) -> Callable[..., None]:
    """Sets values of an entry of the queue: ``change(id, queued_at=…)``."""
    odm = importlib.import_module("fiftyone.core.odm")

    def run(run_id: Any, **values: Any) -> None:
        odm.get_db_conn().delegated_ops.update_one({"_id": run_id}, {"$set": values})

    return run


def ago(seconds: float) -> datetime:
    """A time in the past, as FiftyOne writes it."""
    return datetime.utcnow() - timedelta(seconds=seconds)


def test_a_run_is_followed_from_the_queue_to_its_verdict(
    make_marked: Any, verify: Any, answer: Any, queue: Any, service: Any, send: Any
) -> None:
    dataset = make_marked()
    verify(dataset, "first", released=0.5, withheld=0.5)
    state = {"verify_key": "first"}
    assert "pending_timer" not in send("on_load", dataset, state).output

    run_id = queue(dataset, answer(dataset, "thief_answers", released=0.9, withheld=0.2), "thief")
    scheduled = send("on_run", dataset, state, result={"run_state": "queued", "id": str(run_id)})

    shown = scheduled.output["pending_0"]["view"]
    assert shown["label"] == "**Verify thief_answers with 'honey'** waits in the queue"
    assert "delegated launch" in shown["description"]
    timer = scheduled.output["pending_timer"]["view"]
    assert timer["interval"] == 2000
    assert timer["on_interval"].endswith("verification_panel#on_tick")
    assert scheduled.state == {"pending_ids": [str(run_id)]}
    state |= scheduled.state

    (result,) = service.execute_queued_operations(operator=VERIFY)
    assert result.error is None
    # A note that is being written is not taken away
    writing = send("on_tick", dataset, {**state, "section": "record", "note": "ask K"})
    assert writing.state == {"pending_ids": []}
    assert writing.asked("notify")
    done = send("on_tick", dataset, state)

    assert done.state == {"verify_key": "thief", "pending_ids": []}
    assert "Derived from the release" in done.text()
    assert "pending_timer" not in done.output
    (notice,) = done.asked("notify")
    assert notice["message"] == "Finished: Verify thief_answers with 'honey'"
    assert done.asked("reload_dataset")
    again = send("on_tick", dataset, state | done.state)
    assert again.asked("notify") == []


def test_a_running_run_tells_stage_and_time_left(
    make_marked: Any, queue: Any, service: Any, send: Any, change: Any
) -> None:
    executor = importlib.import_module("fiftyone.operators.executor")
    dataset = make_marked()
    run_id = queue(dataset, "nobody", "thief")
    service.set_running(run_id)
    started = send("on_load", dataset)
    assert "is running: starting" in started.text()

    service.set_progress(run_id, executor.ExecutionProgress(progress=0.25, label="Querying"))
    change(run_id, started_at=ago(60))
    event = send("on_tick", dataset, started.state)

    # A quarter took a minute
    assert event.output["pending_0"]["default"] == (
        "**Verify nobody with 'honey'** is running: Querying, about 3 min left"
    )
    assert event.output["pending_0_progress"]["default"] == 0.25
    assert "pending_0_silent" not in event.output

    change(run_id, started_at=ago(3600), updated_at=ago(3600))
    change(run_id, **{"status.updated_at": ago(1200)})
    silent = send("on_tick", dataset, started.state).output["pending_0_silent"]["view"]
    assert silent["label"] == "No news for 20 min"
    assert f"fiftyone delegated fail {run_id}" in silent["description"]
    service.delete_operation(run_id)


def test_a_queue_without_a_worker_says_how_to_start_one(
    make_marked: Any, queue: Any, service: Any, send: Any, change: Any
) -> None:
    dataset = make_marked()
    run_id = queue(dataset, "nobody", "thief")
    assert send("on_load", dataset).output["pending_0"]["view"]["severity"] == "info"

    change(run_id, queued_at=ago(120))
    alone = send("on_load", dataset).output["pending_0"]["view"]
    assert alone["severity"] == "warning"
    assert alone["description"].startswith("For 2 min, and no worker has taken it")
    assert "fiftyone delegated launch -m" in alone["description"]

    other = queue(dataset, "nobody", "other")
    service.set_running(other)
    assert send("on_load", dataset).output["pending_0"]["view"]["severity"] == "info"
    for entry in (run_id, other):
        service.delete_operation(entry)


def test_a_failure_shows_its_reason_until_it_is_dismissed(
    make_marked: Any, verify: Any, answer: Any, queue: Any, service: Any, send: Any
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked()
    field = answer(dataset, "thief_answers", released=0.9, withheld=0.2)
    run_id = queue(dataset, field, "thief")
    state = send("on_load", dataset).state
    ledger = Path(fhi.load_marking(dataset, "honey").ledger_path)
    ledger.rename(ledger.with_name("moved"))
    service.execute_queued_operations(operator=VERIFY)

    event = send("on_tick", dataset, state)

    shown = event.output["failed_0"]["view"]
    assert shown["label"] == "**Verify thief_answers with 'honey'** failed"
    assert "ledger" in shown["description"]
    assert "Traceback" not in event.text()
    assert event.asked("notify")[0]["variant"] == "error"
    assert "No model has been verified yet" in event.text()
    # It is there in a new window too
    assert "failed_0" in send("on_load", dataset).output

    (asked,) = send("on_retry", dataset, run_id=str(run_id)).asked("prompt_user_for_operation")
    assert asked["operator_uri"] == VERIFY
    assert asked["params"]["suspect"] == field
    dismissed = send("on_dismiss", dataset, run_id=str(run_id))
    assert "failed_0" not in dismissed.output
    assert "failed_0" not in send("on_load", dataset).output


def test_a_later_success_ends_a_failure(
    make_marked: Any, answer: Any, queue: Any, service: Any, send: Any, change: Any
) -> None:
    dataset = make_marked()
    queue(dataset, "nobody", "thief")
    dataset.delete_sample_field("nobody")
    service.execute_queued_operations(operator=VERIFY)
    failed = send("on_load", dataset)
    assert "neither a file nor a field" in failed.output["failed_0"]["view"]["description"]

    queue(dataset, answer(dataset, "thief_answers", released=0.9, withheld=0.2), "thief")
    service.execute_queued_operations(operator=VERIFY)

    assert "failed_0" not in send("on_load", dataset).output


def test_an_old_failure_is_not_shown(
    make_marked: Any, queue: Any, service: Any, send: Any, change: Any
) -> None:
    dataset = make_marked()
    run_id = queue(dataset, "nobody", "thief")
    dataset.delete_sample_field("nobody")
    service.execute_queued_operations(operator=VERIFY)
    change(run_id, failed_at=ago(8 * 24 * 3600))

    assert "failed_0" not in send("on_load", dataset).output


def test_runs_of_other_datasets_are_not_shown(
    make_marked: Any, make_digits_dataset: Any, queue: Any, service: Any, send: Any
) -> None:
    dataset, other = make_marked(), make_digits_dataset(num=6, size=8)
    run_id = queue(dataset, "nobody", "thief")

    assert "pending_0" not in send("on_load", other).output
    service.delete_operation(run_id)


def test_the_last_line_of_an_error_is_its_reason(fo: Any) -> None:
    pending = importlib.import_module("fiftyone_honeyimage.panels.pending")

    assert pending.error_line(TRACEBACK) == "ledger '/x' is missing; restore it"
    assert pending.error_line("KeyError: 'x'\n") == "'x'"
    assert pending.error_line("MemoryError") == "MemoryError"
    long = "Traceback (most recent call last):\nValueError: two\nlines"
    assert pending.error_line(long) == "two"
    assert pending.error_line("Operation marked as FAILED externally") == (
        "Operation marked as FAILED externally"
    )
    refused = "x.ExecutionError: Validation error. Path: suspect. Reason: 'x.pt' is no file"
    assert pending.error_line(refused) == "'x.pt' is no file"
    assert pending.error_line(None) == "It left no reason."


@pytest.mark.browser
def test_the_app_follows_a_run_by_itself(
    make_marked: Any, verify: Any, answer: Any, queue: Any, service: Any, open_app: Any
) -> None:
    executor = importlib.import_module("fiftyone.operators.executor")
    # An operator's own event loop cannot run beside Playwright's
    with ThreadPoolExecutor(1) as beside:
        dataset = make_marked()
        verify(dataset, "first", released=0.5, withheld=0.5)
        field = answer(dataset, "thief_answers", released=0.9, withheld=0.2)
        dataset.persistent = True
        page = open_app(dataset)
        page.locator("[data-cy=new-panel-btn]").first.click()
        page.get_by_text("HoneyImage verification").first.click()
        page.get_by_text("Not shown to be derived").wait_for()

        run_id = beside.submit(queue, dataset, field, "thief").result()
        # Scheduled elsewhere: seen at the next event, and followed from then on
        page.get_by_role("button", name="Refresh", exact=True).click()
        page.get_by_text("waits in the queue").wait_for()
        service.set_running(run_id)
        service.set_progress(run_id, executor.ExecutionProgress(progress=0.4, label="Querying"))
        page.get_by_text("is running: Querying").wait_for()
        page.get_by_text("40%").wait_for()

        service.set_queued(run_id)
        (result,) = beside.submit(service.execute_queued_operations, operator=VERIFY).result()
        assert result.error is None
        page.get_by_text("Derived from the release:").wait_for()
        page.get_by_text("is running").wait_for(state="detached")

        page.get_by_role("button", name="Record", exact=True).click()
        note = page.locator("textarea").first
        note.fill("ask Kim")
        page.get_by_role("button", name="Save note", exact=True).click()
        page.get_by_text("Last saved").wait_for()
        page.get_by_role("button", name="Verdict", exact=True).click()
        page.get_by_text("ask Kim").wait_for()
