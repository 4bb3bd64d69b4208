"""Where runs are executed: what an App can do, and that its machine decides nothing for a worker's."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PLUGIN = "@honeyimage/ownership"

WORKER = "`fiftyone delegated launch -m`"
ALLOW = "FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS=true"

TINY = {"proxy": "resnet_tiny", "training": {"epochs": 1, "batch_size": 32}}


@pytest.fixture
def schedules(fo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An App that can schedule runs."""
    monkeypatch.setattr(fo.config, "allow_legacy_orchestrators", True)


def test_an_app_from_stock_says_that_it_executes_at_once(
    make_digits_dataset: Callable[..., Any], resolve: Any
) -> None:
    cost = resolve("compute_hardness", make_digits_dataset(num=24, size=8), prompt=True).text(
        "cost"
    )

    assert f"this App can only execute it at once: it was started without `{ALLOW}`" in cost
    assert "stops waiting after 10 min" in cost
    assert "delegated" not in cost


def test_an_app_that_schedules_says_what_runs_it(
    make_digits_dataset: Callable[..., Any], resolve: Any, schedules: None
) -> None:
    cost = resolve("compute_hardness", make_digits_dataset(num=24, size=8), prompt=True).text(
        "cost"
    )

    assert f"scheduled, it waits for a worker: {WORKER}" in cost
    assert "stops waiting after 10 min" in cost
    assert ALLOW not in cost


@pytest.mark.parametrize("allowed", [False, True])
def test_what_takes_longer_than_the_app_waits_says_so_before(
    fo: Any,
    make_digits_dataset: Callable[..., Any],
    resolve: Any,
    monkeypatch: pytest.MonkeyPatch,
    allowed: bool,
) -> None:
    monkeypatch.setattr(fo.config, "allow_legacy_orchestrators", allowed)
    dataset = make_digits_dataset(num=48, size=8)
    params = {"proxy": "resnet_tiny", "device": "cpu", "training": {"epochs": 10}}
    form = resolve("compute_hardness", dataset, prompt=True, **params)
    request = form.properties["speed"]["view"]["params"]

    def told(seconds: float) -> Any:
        speed = {"state": "loaded", "data": {"request": request, "seconds": seconds}}
        return resolve("compute_hardness", dataset, prompt=True, speed=speed, **params)

    # 10 passes over 48 images, and a third of one to score them
    assert "too_long" not in told(599 / 496).properties
    text = told(1800 / 496).text("too_long")
    assert "It takes about 30 min, and the App waits 10 min" in text
    assert "the run ends with the App" in text
    assert ("Start the App with" in text) is not allowed
    assert "too_long" not in resolve("compute_hardness", dataset, prompt=True).properties

    # As long as this App waits
    monkeypatch.setattr(fo.config, "operator_timeout", 3600)
    assert "too_long" not in told(1800 / 496).properties


CODE = """
import sys, time
import fiftyone as fo
import fiftyone.operators as foo

dataset = fo.load_dataset(sys.argv[1])
params = {"label_field": "ground_truth", "proxy": "resnet_tiny", "training": {"epochs": 2}}
try:
    foo.execute_operator("@honeyimage/ownership/compute_hardness", dataset=dataset, params=params)
except TimeoutError:
    print("given up", flush=True)
while not dataset.list_runs():
    time.sleep(0.2)
    dataset.reload()
print("done", flush=True)
"""


@pytest.mark.slow
def test_the_app_gives_up_and_the_run_goes_on(make_digits_dataset: Callable[..., Any]) -> None:
    # Importing torch alone takes longer than this FiftyOne waits
    done = subprocess.run(
        [sys.executable, "-c", CODE, make_digits_dataset(num=24, size=8).name],
        env={**os.environ, "FIFTYONE_OPERATOR_TIMEOUT": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )

    assert done.stdout.split("\n")[-3:] == ["given up", "done", ""], done.stderr


def test_from_python_runs_are_scheduled_whatever_the_app_can_do(
    make_digits_dataset: Callable[..., Any], delegate: Any
) -> None:
    done = delegate(
        "compute_hardness",
        make_digits_dataset(num=24, size=8),
        label_field="ground_truth",
        **{**TINY, "proxy": "automatic"},
    )

    assert done.result["num_images"] == 24


def test_a_device_of_the_worker_is_the_workers_business(
    make_digits_dataset: Callable[..., Any], resolve: Any, schedules: None, fo: Any
) -> None:
    dataset = make_digits_dataset(num=24, size=8)

    form = resolve("compute_hardness", dataset, prompt=True, device="cuda:99")
    assert form.errors() == {}
    text = form.text("device_elsewhere")
    assert "The App's machine has no 'cuda:99'" in text
    assert "Executed at once it fails" in text
    # What no machine has is refused; and nothing is measured here for a device that is not here
    assert "device" in resolve("compute_hardness", dataset, prompt=True, device="quantum").errors()
    assert "speed" not in form.properties
    # Executed at once
    assert "device" in resolve("compute_hardness", dataset, device="cuda:99").errors()
    # An App that schedules nothing
    fo.config.allow_legacy_orchestrators = False
    assert "device" in resolve("compute_hardness", dataset, prompt=True, device="cuda:99").errors()


def test_scheduled_with_a_device_of_the_worker(
    make_digits_dataset: Callable[..., Any], fo: Any
) -> None:
    operators = importlib.import_module("fiftyone.operators")
    service_type = importlib.import_module("fiftyone.operators.delegated").DelegatedOperationService
    queued = operators.execute_operator(
        f"{PLUGIN}/compute_hardness",
        dataset=make_digits_dataset(num=24, size=8),
        params={"label_field": "ground_truth", "device": "cuda:99", **TINY},
        request_delegation=True,
    )
    assert queued.delegated

    # This worker has no such device either, and says so
    (result,) = service_type().execute_queued_operations(operator=f"{PLUGIN}/compute_hardness")
    assert "Device 'cuda:99' is not available" in str(result.error)


def test_files_of_the_worker_are_the_workers_business(
    make_marked: Callable[..., Any], resolve: Any, schedules: None, suspect_file: str
) -> None:
    dataset = make_marked()
    there = {"honey_key": "honey", "suspect": "/data/of/the/worker/suspect.pt"}

    form = resolve("verify_model", dataset, prompt=True, **there)
    assert form.errors() == {}
    assert "no file '/data/of/the/worker/suspect.pt'" in json.dumps(form.schema)
    assert "suspect" in resolve("verify_model", dataset, **there).errors()
    # Neither a model file nor a field anywhere
    nothing = {"honey_key": "honey", "suspect": "no_such_field"}
    assert "suspect" in resolve("verify_model", dataset, prompt=True, **nothing).errors()

    both = {"honey_key": "honey", "suspect": suspect_file, "references": "/data/a.onnx\n/data/b.pt"}
    form = resolve("verify_model", dataset, prompt=True, **both)
    assert form.errors() == {}
    told = re.findall(r"no file '(.*?)' on the App's machine", json.dumps(form.schema))
    assert sorted(set(told)) == ["/data/a.onnx", "/data/b.pt"]
    assert resolve("verify_model", dataset, **both).errors() != {}

    release = {"honey_key": "honey", "export_dir": "/data/release"}
    form = resolve("audit_release", dataset, prompt=True, **release)
    assert form.errors() == {}
    assert "no folder '/data/release'" in form.text("folder_elsewhere")
    assert "export_dir" in resolve("audit_release", dataset, **release).errors()


@pytest.mark.parametrize(
    ("device", "has_gpu", "proxy"),
    [(None, False, "resnet_tiny"), (None, True, "wrn28_2"), ("cpu", True, "resnet_tiny")],
)
def test_the_proxy_fits_the_machine_that_runs_it(
    make_digits_dataset: Callable[..., Any],
    resolve: Any,
    monkeypatch: pytest.MonkeyPatch,
    device: str | None,
    has_gpu: bool,
    proxy: str,
) -> None:
    torch = importlib.import_module("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(has_gpu))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    form = resolve(
        "compute_hardness", make_digits_dataset(num=24, size=8), prompt=True, device=device
    )
    assert form.properties["proxy"]["default"] == "automatic"
    # The estimate is of this machine's
    assert form.properties["speed"]["view"]["params"]["proxy"] == proxy


def test_the_worker_chooses_the_proxy(
    make_digits_dataset: Callable[..., Any], delegate: Any
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_digits_dataset(num=24, size=8)
    params = {**TINY, "proxy": "automatic", "device": "cpu"}

    delegate("compute_hardness", dataset, label_field="ground_truth", **params)

    dataset.reload()
    (run,) = fhi.list_runs(dataset)
    assert run.config["proxy"] == "resnet_tiny"


def first_of_the_app(query: str) -> str:
    """The operator that Enter opens, as the App searches and sorts its list (``filterChoicesByQuery``, ``sort``)."""
    operators = importlib.import_module("fiftyone.operators")
    own = [
        o for o in operators.list_operators() if o.uri.startswith(PLUGIN) and not o.config.unlisted
    ]
    found = [
        operator
        for operator in own
        if any(
            query.lower() in text.lower()
            for text in (operator.config.label, operator.uri, operator.config.description)
        )
    ]
    return min(found, key=lambda operator: operator.config.description[0]).name


def test_no_search_opens_what_deletes(fo: Any) -> None:
    operators = importlib.import_module("fiftyone.operators")
    own = [o.config for o in operators.list_operators() if o.uri.startswith(PLUGIN)]
    words = {
        word
        for config in own
        if not config.unlisted and config.name != "delete_run"
        for word in re.findall(r"\w+", f"{config.label} {config.name} {config.description}")
    }

    assert first_of_the_app("hardness") == "compute_hardness"
    assert {word for word in words if first_of_the_app(word) == "delete_run"} == set()
    assert first_of_the_app("delete") == "delete_run"
    assert all(config.label.startswith("HoneyImage") for config in own)


def test_no_text_puts_the_setting_on_the_worker() -> None:
    files = [ROOT / "docs" / "app.md", ROOT / "skills" / "honeyimage" / "SKILL.md"]
    files += [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    files += sorted((ROOT / "fiftyone_honeyimage").rglob("*.py"))
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    told = {path for path, text in texts.items() if "ALLOW_LEGACY_ORCHESTRATORS" in text}

    assert set(files[:2]) <= told
    wrong = r"ORCHESTRATORS=true[`'\"]? +fiftyone +delegated"
    assert [path for path, text in texts.items() if re.search(wrong, text)] == []
    # The command that every place prints is one that there is
    program = Path(sys.executable).with_name("fiftyone")
    shown = subprocess.run(
        [program, "delegated", "launch", "--help"], capture_output=True, encoding="utf-8"
    )
    assert shown.returncode == 0
    assert "--monitor" in shown.stdout


def test_nothing_is_shown_in_the_stead_of_the_error_of_a_run_that_failed() -> None:
    """The App asks for the output of such a run too, without a result; what fails there would hide the reason."""
    operators = importlib.import_module("fiftyone_honeyimage.operators")
    context = importlib.import_module("fiftyone.operators.executor").ExecutionContext
    with_output = [kind() for kind in operators.OPERATORS if "resolve_output" in vars(kind)]
    assert len(with_output) >= 10
    for operator in with_output:
        for asked in ({}, {"results": None}):
            assert operator.resolve_output(context(asked)) is None, operator.config.name
