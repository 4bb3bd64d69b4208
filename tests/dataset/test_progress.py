"""The progress bar of a run, as FiftyOne draws it."""

from __future__ import annotations

from typing import Any

import pytest


def test_the_bar_shows_share_and_stage_and_no_unit(fo: Any, capsys: pytest.CaptureFixture) -> None:
    from fiftyone_honeyimage.dataset.progress import StageBar

    with StageBar({"Training": 3, "Writing": 1}, progress=True) as bar:
        bar.report("Training", 1, 2)
        bar._bar.draw(force=True)

    shown = capsys.readouterr().out
    assert "38%" in shown
    assert "Training" in shown
    for unit in ("‰", "/s", "samples", "/1000"):
        assert unit not in shown
