"""The benchmark of causes: one thing is changed at a time, and what was computed is not computed again."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import paper_causes
from benchmarks.datasets import data_root


def _cell(setting: str, seed: int, **auroc: float) -> dict[str, Any]:
    who = {"infringing": 0.5, "innocent": 0.25}
    return {
        "setting": setting,
        "seed": seed,
        "published": {s: {"auroc": auroc.get(s, 0.5)} for s in paper_causes.SCORES_OF},
        "gap_nats": who,
        "loss_nats": {"proxy": 2.0, **who},
        "test_accuracy": who,
        "p": who,
    }


def test_differences_are_taken_seed_by_seed() -> None:
    found = paper_causes.summarise(
        [
            *(_cell("first", seed, gap=0.6 + seed / 10, loss=0.7 + seed / 10) for seed in range(3)),
            *(_cell("decay", seed, gap=0.5 + seed / 10) for seed in range(2)),
        ]
    )

    assert list(found) == ["first", "decay"]
    assert found["first"]["auroc"]["gap"]["mean"] == pytest.approx(0.7)
    # The same on every seed, however much the seeds differ
    assert found["first"]["more_than_gap"]["loss"]["interval"] == pytest.approx([0.1, 0.1])
    assert found["decay"]["more_than_first"]["gap"]["interval"] == pytest.approx([-0.1, -0.1])
    assert found["decay"]["seeds"] == [0, 1]
    assert "more_than_first" not in found["first"]
    table = paper_causes.format_table(found)
    assert "| weight decay 0.05, as the paper prints | 0.550 (-0.085 to 1.185) |" in table


@pytest.mark.skipif(data_root() is None, reason="HONEYIMAGE_DATA is not set")
def test_every_setting_is_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    cells = tmp_path / "cells"
    command = ["causes", "--scale", "smoke", "--seeds", "0", "--cells", str(cells)]
    monkeypatch.setattr(sys, "argv", [*command, "--trained", str(tmp_path / "models")])
    paper_causes.BENCHMARK.main()
    written = {path.name: path.read_text(encoding="utf-8") for path in cells.iterdir()}
    assert set(written) == {f"cifar10-smoke-{name}-0.json" for name in paper_causes.SETTINGS}
    for text in written.values():
        cell = json.loads(text)
        assert set(cell["published"]) == set(paper_causes.SCORES_OF)
        assert all(0 <= own["auroc"] <= 1 for own in cell["published"].values())
        assert all(0 < p <= 1 for p in cell["p"].values())
        assert cell["num_marked"] == 16

    capsys.readouterr()
    again = replace(paper_causes.BENCHMARK, run_cell=lambda *_: pytest.fail("computed again"))
    again.main()
    assert capsys.readouterr().out.count("\n| ") == 1 + len(paper_causes.SETTINGS)
    monkeypatch.setattr(sys, "argv", [*command, "--epochs", "2"])
    with pytest.raises(SystemExit, match="was computed with epochs=1, and 2 is asked for"):
        paper_causes.BENCHMARK.main()
