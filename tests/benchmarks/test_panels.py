"""The benchmark of the panels, on a dataset that is small enough for a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.browser
@pytest.mark.slow
def test_panels_are_timed_and_what_they_send_is_counted(
    browser_path: str | None, tmp_path: Path
) -> None:
    if browser_path is None:
        pytest.skip("no browser that works was found; `make test` says how to get one")
    numbers = ["--images", "200", "--pairs", "20", "--sizes", "200", "400", "--repeats", "1"]
    command = [sys.executable, "-m", "benchmarks.panels", *numbers, "--results", str(tmp_path)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr[-3000:]
    record: dict[str, Any] = json.loads((tmp_path / "panels_cpu.json").read_text())
    figures = record["figures"]
    for panel, ratio in figures["first_paint_by_that_of_model_evaluation"].items():
        assert ratio > 0
        assert all(answer["median"] > 0 for answer in figures["seconds"][panel].values())
        few, many = (figures["bytes_sent"][panel][size] for size in ("200", "400"))
        # Twice the images, the same pairs: only the digits of some numbers may differ
        assert abs(many - few) < 0.02 * few, panel
