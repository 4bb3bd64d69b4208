"""The benchmark that measures every method on the same work, at its smallest scale."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import paper, paper_report
from benchmarks.datasets import data_root
from benchmarks.paper_table import format_table, summarise
from benchmarks.paper_world import SCALES, kept_together
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.scores import SCORES


def test_every_method_and_every_membership_score_has_a_row() -> None:
    assert {method for method, _ in paper.ROWS.values()} == set(METHODS)


def test_intervals_are_students_over_seeds_beside_the_papers_value() -> None:
    cells = [
        {
            "row": "badnets", "seed": seed, "hl": 0.9, "stl": None, "queries": 10,
            "published": {"auroc": auroc, "tpr": 0.7, "tnr": 0.8, "tpr_at_0.01": 0.5},
            "test_accuracy_unprotected": 0.8, "test_accuracy_infringing": 0.79,
            "p": {"infringing": 0.001, "innocent": 0.4},
        }
        for seed, auroc in enumerate((0.8, 0.9, 1.0))
    ]  # fmt: skip

    found = summarise(cells)["badnets"]

    assert found["auroc"]["mean"] == pytest.approx(0.9)
    # Student's quantile of 2 degrees of freedom, 4.3027, by the standard error 0.1 / sqrt(3)
    assert found["auroc"]["interval"] == pytest.approx([0.9 - 0.24841, 0.9 + 0.24841], abs=1e-4)
    assert found["accuracy_cost_points"]["mean"] == pytest.approx(1.0)
    assert "| badnets | 0.900 (0.652 to 1.148) | 0.996 | 0.700 (0.700 to 0.700) |" in format_table(
        {"badnets": found}
    )

    setting = {"name": "small", **asdict(SCALES["small"])}
    record = {
        "figures": {
            "summary": {"badnets": found, "<b>": found},
            "cells": [{**cells[0], "data": "cifar10", "scale": setting}],
        },
        "seeds": [0, 1, 2],
        "device": {"name": "two cores"},
        "command": "python -m benchmarks.paper",
    }
    page = paper_report.page([record])
    assert "<td>0.900 (0.652 to 1.148)</td><td>0.996</td>" in page
    assert "<td>&lt;b&gt;</td>" in page, "no name is taken for HTML"
    assert page.count("<svg") == 3
    assert page == paper_report.page([record])


def test_pictures_of_one_thing_are_not_split() -> None:
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 40, 100)
    order, ends = kept_together(rng.permutation(100), np.array([30, 60, 80]), shown)
    assert sorted(order) == list(range(100))
    parts = [set(shown[part]) for part in np.split(order, ends)]
    assert sum(map(len, parts)) == len(set(shown))
    assert all(abs(end - wanted) < 8 for end, wanted in zip(ends, (30, 60, 80), strict=True))
    # Each a thing of its own: nothing changes
    order = rng.permutation(100)
    same, ends = kept_together(order, np.array([30, 60]), np.arange(100))
    assert (same == order).all()
    assert ends.tolist() == [30, 60]


@pytest.mark.skipif(data_root() is None, reason="HONEYIMAGE_DATA is not set")
def test_smoke_runs_every_row_and_goes_on_where_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    cells = tmp_path / "cells"
    command = [
        "paper",
        "--seeds",
        "0",
        "--cells",
        str(cells),
        "--trained",
        str(tmp_path / "models"),
    ]
    monkeypatch.setattr(sys, "argv", command)
    paper.BENCHMARK.main()
    written = {path.name: path.read_bytes() for path in cells.iterdir()}
    assert len(written) == len(paper.ROWS)
    for content in written.values():
        cell = json.loads(content)
        assert all(0 < p <= 1 for p in cell["p"].values())
        assert 0 <= cell["published"]["auroc"] <= 1
        assert cell["stl"] is None or 0 < cell["stl"] <= 1
    membership = json.loads(written["cifar10-smoke-unperturbed-0.json"])["membership"]
    assert set(membership) == {name for name, score in SCORES.items() if score.least_references}

    # A variant is a row of its own beside the others
    monkeypatch.setattr(
        sys, "argv", [*command, "--rows", "unperturbed", "--set", "selection=random"]
    )
    paper.BENCHMARK.main()
    own = json.loads(
        (cells / "cifar10-smoke-unperturbed-selection=random-0.json").read_text(encoding="utf-8")
    )
    assert own["row"] == "unperturbed selection=random"
    # Coins are drawn anew in each run: on so few images the two may be equal
    assert 0 <= own["published"]["auroc_of_loss"] <= 1
    written = {path.name: path.read_bytes() for path in cells.iterdir()}
    monkeypatch.setattr(sys, "argv", command)

    (cells / "cifar10-smoke-random-0.json").unlink()
    capsys.readouterr()
    paper.BENCHMARK.main()
    assert "random 0" in capsys.readouterr().out
    kept = {path.name: path.read_bytes() for path in cells.iterdir()}
    assert set(kept) == set(written)
    assert {n: c for n, c in kept.items() if "random" not in n} == {
        n: c for n, c in written.items() if "random" not in n
    }
