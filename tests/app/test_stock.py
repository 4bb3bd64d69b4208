"""The App as it comes from stock: it schedules nothing, says so, and executes at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from app_page import AppPage, open_page

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = ROOT / "scripts"

#: An App of its own, until its input ends
CODE = f"""
import sys
sys.path.insert(0, {str(SCRIPTS)!r})
import fiftyone as fo
from app_page import launch_app
with launch_app(fo) as address:
    print(address, flush=True)
    sys.stdin.read()
"""

pytestmark = pytest.mark.browser


@pytest.fixture
def stock_app(fo: Any) -> Iterator[str]:
    """The address of an App whose process has no setting but where its database is."""
    assert "FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS" not in os.environ
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdin is not None
    assert process.stdout is not None
    address = next(line.strip() for line in process.stdout if line.startswith("http"))
    yield address
    process.stdin.close()
    process.wait(60)


def test_a_run_is_executed_at_once(
    make_digits_dataset: Callable[..., Any],
    browser: Any,
    stock_app: str,
    screens: Callable[[AppPage, str], None],
) -> None:
    dataset = make_digits_dataset(num=24, size=8)
    dataset.persistent = True
    window = open_page(browser, stock_app, dataset.name)
    page = window.page
    page.get_by_test_id("looker").first.wait_for()

    # The first thing that a newcomer types is nothing that deletes
    page.keyboard.press("`")
    search = page.get_by_placeholder("Search operations by name")
    search.fill("hardness")
    page.get_by_text("HoneyImage: compute hardness", exact=True).first.wait_for()
    search.press("Enter")
    window.form.get_by_text("this App can only execute it at once").wait_for()
    window.form.get_by_text("stops waiting after 10 min").wait_for()
    screens(window, "form")
    assert window.form.get_by_text("delegated launch").count() == 0
    assert window.form.get_by_role("button", name="Schedule", exact=True).count() == 0

    window.press("Execute")
    window.form.get_by_text("Accuracy on unseen images").wait_for()
    screens(window, "done")
    dataset.reload()
    assert dataset.list_runs() == ["honey_hardness"]
    assert len(dataset.exists("honey_hardness")) == 24
    assert window.errors == []
    page.context.close()
