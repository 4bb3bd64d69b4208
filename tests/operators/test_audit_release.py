"""The operator audit_release: the same report in three ways, and a form that keeps from mistakes."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def released(make_marked: Callable[..., Any], tmp_path: Path) -> tuple[Any, Path]:
    """A marked dataset of 72 digits and its release."""
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked()
    folder = tmp_path / "release"
    fhi.export_release(dataset, "honey", folder, progress=False)
    return dataset, folder


def test_sdk_app_and_delegated_run_agree(
    released: tuple[Any, Path], execute: Any, delegate: Any
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset, folder = released
    params = {"honey_key": "honey", "export_dir": str(folder), "proxy": "none"}

    report = fhi.audit_release(
        folder,
        fhi.load_marking(dataset, "honey").ledger_path,
        samples=dataset,
        proxy=None,
        progress=False,
    )
    immediate = execute("audit_release", dataset, **params).result
    delegated = delegate("audit_release", dataset, **params)

    for result in (immediate, delegated.result):
        content = {name: result[name] for name in report.to_dict()}
        # FiftyOne keeps it: no file of a released twin is named
        assert type(report).from_dict(content) == report.without_files()
        assert result["passed"] is report.passed
    assert delegated.document.label == "Audit of release"
    assert delegated.progress[-1][0] == 1
    properties = delegated.outputs["type"]["properties"]
    # Coins are drawn anew each time, and one clean audit in a hundred alarms
    assert immediate["headline"] == delegated.result["headline"] == report.headline
    assert properties["verdict"]["view"]["label"] == f"**{report.headline}**"
    verdict = properties["verdict"]["view"]
    assert report.headline in verdict["label"]
    assert report.headline not in verdict["description"], "once is enough"
    assert report.headline + " " + verdict["description"] == report.summary()
    assert "noise level" in properties["told"]["default"]


def test_a_leak_is_shown(released: tuple[Any, Path], delegate: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset, folder = released
    marking = fhi.load_marking(dataset, "honey")
    names = {Path(image.file).name for image in marking.load_ledger().released_images()}
    for path in folder.rglob("*.png"):
        if path.name in names:
            os.utime(path, (1_700_000_000, 1_700_000_000))

    done = delegate(
        "audit_release", dataset, honey_key="honey", export_dir=str(folder), proxy="none"
    )

    view = done.outputs["type"]["properties"]["verdict"]["view"]
    assert view["label"].startswith("**Files: ")
    assert " leak" in view["label"].split("Pixels: ")[0]
    assert view["severity"] == "error"
    assert "time: modified" in view["description"]
    assert "Do not publish" in done.outputs["type"]["properties"]["told"]["default"]
    kept = json.dumps(done.result) + json.dumps(done.outputs, default=str)
    assert not [name for name in names if name in kept]


def test_the_form_tells_what_is_wrong(released: tuple[Any, Path], resolve: Any) -> None:
    dataset, folder = released
    form = resolve("audit_release", dataset, honey_key="honey", export_dir=str(folder))
    assert form.errors() == {}
    assert "12 of them" in form.text("cost")
    assert "none" in form.values("proxy")

    wrong = resolve("audit_release", dataset, honey_key="honey", export_dir=str(folder / "no"))
    assert "There is no release at" in wrong.errors()["export_dir"]


def test_the_form_asks_for_a_marking_first(make_hard: Callable[..., Any], resolve: Any) -> None:
    assert "blocked" in resolve("audit_release", make_hard()).errors()
