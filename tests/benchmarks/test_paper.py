"""The benchmark that measures every method on the same work, at its smallest scale."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import paper, paper_report
from benchmarks.datasets import data_root, load_images
from benchmarks.paper_table import format_table, summarise
from benchmarks.paper_world import SCALES, kept_together, without_rare_classes
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.scores import SCORES


def test_every_method_and_every_membership_score_has_a_row() -> None:
    assert {method for method, _ in paper.ROWS.values()} == set(METHODS)


def test_intervals_are_students_over_seeds_beside_the_papers_value() -> None:
    cells = _cells(0.8, 0.9, 1.0)

    found = summarise(cells)["badnets"]

    assert found["auroc"]["mean"] == pytest.approx(0.9)
    # Student's quantile of 2 degrees of freedom, 4.3027, by the standard error 0.1 / sqrt(3)
    assert found["auroc"]["interval"] == pytest.approx([0.9 - 0.24841, 0.9 + 0.24841], abs=1e-4)
    assert found["accuracy_cost_points"]["mean"] == pytest.approx(1.0)
    assert "| badnets | 0.900 (0.652 to 1.148) [0.996] | 0.700 (0.700 to 0.700) |" in format_table(
        {"badnets": found}
    )

    setting = {"name": "small", **asdict(SCALES["small"])}
    record = {
        "figures": {
            "summary": {"badnets": found, "<b>": found},
            "cells": [{**cells[0], "num_marked": 48, "scale": setting}],
        },
        "seeds": [0, 1, 2],
        "device": {"name": "two cores"},
        "command": "python -m benchmarks.paper",
    }
    page = paper_report.page([record])
    assert "<td>0.900 (0.652 to 1.148) [0.996]</td>" in page
    assert "<td>&lt;b&gt;</td>" in page, "no name is taken for HTML"
    assert page.count("<svg") == 3
    assert page == paper_report.page([record])
    committed = paper_report.read_results()
    assert all(
        "auroc" in row for found in committed for row in found["figures"]["summary"].values()
    )
    # What is shown of them is what they hold
    pages = (paper_report.PAGE.read_text(encoding="utf-8"), paper_report.page(committed))
    # Another version of Matplotlib draws otherwise
    ours, theirs = (re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL) for page in pages)
    assert ours == theirs
    readme = (paper_report.PAGE.parent.parent / "README.md").read_text(encoding="utf-8")
    assert paper_report.main_table(committed) in readme


def _cells(*aurocs: float) -> list[dict[str, Any]]:
    return [
        {
            "row": "badnets", "data": "cifar10", "seed": seed, "hl": 0.9, "stl": None, "queries": 10,
            "published": {"auroc": auroc, "tpr": 0.7, "tnr": 0.8, "tpr_at_0.01": 0.5, "tpr_at_0.001": 0.4},
            "test_accuracy_unprotected": 0.8, "test_accuracy_infringing": 0.79,
            "p": {"infringing": 0.001, "innocent": 0.4},
            "environment": {"device": {"type": "cpu"}},
        }
        for seed, auroc in enumerate(aurocs)
    ]  # fmt: skip


def test_earlier_results_are_added_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    first, second = _cells(0.8, 0.5), _cells(0.1, 0.9, 1.0)[1:]
    earlier, folder = tmp_path / "paper_cpu.json", tmp_path / "cells"
    earlier.write_text(json.dumps({"figures": {"cells": first}}), encoding="utf-8")
    folder.mkdir()
    for cell in second:
        (folder / f"{cell['seed']}.json").write_text(json.dumps(cell), encoding="utf-8")
    written = {}
    monkeypatch.setattr(
        "benchmarks.cells.write_results", lambda name, figures, **_: written.update(figures)
    )
    monkeypatch.setattr(sys, "argv", ["paper", "--join", str(earlier), str(folder)])
    paper.BENCHMARK.main()
    assert [cell["published"]["auroc"] for cell in written["cells"]] == [0.8, 0.9, 1.0]
    assert "| badnets | 0.900 (0.652 to 1.148) [0.996] |" in capsys.readouterr().out


def test_organmnist_is_read_from_medmnists_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONEYIMAGE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"organamnist\.npz"):
        load_images("organmnist", 10)

    rng = np.random.default_rng(0)
    counts = {"train": 6, "val": 3, "test": 2}
    grey = {part: rng.integers(0, 256, (n, 28, 28), np.uint8) for part, n in counts.items()}
    labels = {part: rng.integers(0, 11, (n, 1)).astype(np.uint8) for part, n in counts.items()}
    np.savez_compressed(
        tmp_path / "organamnist.npz",
        **{f"{part}_images": images for part, images in grey.items()},
        **{f"{part}_labels": own for part, own in labels.items()},
    )

    images, found, classes, shown = load_images("organmnist", 10)
    assert images.shape == (11, 28, 28, 3)
    assert (images == np.concatenate(list(grey.values()))[..., None]).all()
    assert found.tolist() == np.concatenate(list(labels.values())).ravel().tolist()
    assert len(classes) == 11
    assert len(set(shown)) == 11
    assert load_images("organmnist", 10, 32)[0].shape == (11, 32, 32, 3)


def test_classes_too_rare_for_twins_are_left_out_of_all_parts() -> None:
    labels = np.repeat([0, 1, 2], (30, 30, 6))
    parts = [np.arange(0, 66, 3), np.arange(1, 66, 3), np.arange(2, 66, 3)]
    found, names, kept = without_rare_classes(labels, ["a", "b", "c"], parts)
    assert names == ["a", "b"]
    assert all(set(found[part]) == {0, 1} for part in kept)
    assert [len(part) for part in kept] == [20, 20, 20]
    same, names, kept = without_rare_classes(labels % 2, ["a", "b"], parts)
    assert (same == labels % 2).all()
    assert [len(part) for part in kept] == [len(part) for part in parts]


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
