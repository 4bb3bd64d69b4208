"""Hardness and marks with the proxies trained by workers: the same as without."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import fiftyone_honeyimage as fhi


def test_workers_change_nothing(
    make_dataset: Any, mark: Any, tiny: dict[str, Any], tmp_path: Path
) -> None:
    found = []
    with ThreadPoolExecutor(2) as executor:
        for workers in ({}, {"executor": executor, "checkpoint_dir": tmp_path}):
            dataset = make_dataset(30)
            fhi.compute_hardness(dataset, "ground_truth", **tiny, progress=False, **workers)
            marking = mark(dataset, hardness_field="honey_hardness", **workers)
            manifest = json.loads(
                (marking.output_dir / "manifest.json").read_text(encoding="utf-8")
            )
            marks = [(row["pair"], row["marked_sha256"]) for row in manifest["images"]]
            found.append((dataset.values("honey_hardness"), marks))
    assert found[0] == found[1]
    # Two half proxies, the out-model and the first in-model
    assert len(list(tmp_path.glob("*.pt"))) == 4


@pytest.mark.parametrize("workers", [{"executor": "ray"}, {"executor": ThreadPoolExecutor(1)}])
def test_workers_that_cannot_work_are_refused_first(
    make_dataset: Any, mark: Any, workers: dict[str, Any]
) -> None:
    dataset = make_dataset(30, hardness=True)
    with pytest.raises(fhi.ParameterError, match="executor"):
        mark(dataset, **workers)
    with pytest.raises(fhi.ParameterError, match="executor"):
        fhi.compute_hardness(dataset, "ground_truth", **workers)
    assert not dataset.list_brain_runs()
