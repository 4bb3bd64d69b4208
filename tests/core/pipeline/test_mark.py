"""A marking from files alone, where FiftyOne cannot be imported: the same images as on a dataset."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.ledger.ledger import load_ledger
from fiftyone_honeyimage.core.pipeline.folder import read_manifest
from fiftyone_honeyimage.core.pipeline.labeled import LabeledSamples
from fiftyone_honeyimage.core.pipeline.mark import mark
from fiftyone_honeyimage.core.training import TrainingConfig

ROOT = Path(__file__).resolve().parents[3]

BARE = """
import json, sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("fiftyone", "eta", "pymongo", "mongoengine"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refused())
import numpy as np
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.pipeline.labeled import LabeledSamples
from fiftyone_honeyimage.core.pipeline import crafting
from fiftyone_honeyimage.core.pipeline.mark import mark
from fiftyone_honeyimage.core.training import TrainingConfig

crafting._load_lpips = lambda file: (None, "not asked for")
given = json.load(open(sys.argv[1]))
stop = sys.argv[2]

def report(stage, done, total):
    if stage == stop and done == 2:
        raise KeyboardInterrupt

labeled = LabeledSamples(given["ids"], given["paths"], np.array(given["labels"]), given["classes"])
ledger = mark(
    given["folder"], labeled, np.array(given["hardness"]), num_honeyimages=8, num_pairs=6, input_size=8,
    method="honeyimage", options={"num_steps": 3}, plan=Plan(adjustment="references"), proxy="resnet_tiny",
    training=TrainingConfig(**given["training"]), exclude=(), device="cpu", report=report,
)
print(ledger.commitment)
"""

TRAINING = {"epochs": 2, "batch_size": 32}


def _given(files: list[tuple[Path, str]], folder: Path) -> dict[str, Any]:
    labels = [label for _, label in files]
    classes = sorted(set(labels))
    return {
        "ids": [f"image {number}" for number in range(len(files))],
        "paths": [str(path) for path, _ in files],
        "labels": [classes.index(label) for label in labels],
        "classes": classes,
        "hardness": np.random.default_rng(0).exponential(1.0, len(files)).tolist(),
        "training": TRAINING,
        "folder": str(folder),
    }


def _run(given: dict[str, Any], place: Path, stop: str = "") -> subprocess.CompletedProcess[str]:
    (place / "given.json").write_text(json.dumps(given), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-c", BARE, str(place / "given.json"), stop],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )


def test_a_marking_without_fiftyone_is_the_one_of_a_dataset(
    write_digits: Callable[..., list[tuple[Path, str]]],
    fo: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = write_digits(60, 3, 8)
    given = _given(files, tmp_path / "marked")
    cut = _run(given, tmp_path, "Crafting HoneyImages")
    assert "KeyboardInterrupt" in cut.stderr
    assert not (tmp_path / "marked").exists()
    whole = _run(given, tmp_path)
    assert whole.returncode == 0, whole.stderr
    ledger = load_ledger(tmp_path / "marked" / "ledger.json", whole.stdout.strip())
    assert (len(ledger.singles), len(ledger.pairs)) == (2, 6)
    assert ledger.plan.adjustment == "references"
    assert all(
        set(side.covariates) == {"original", "hardness"}
        for p in ledger.pairs
        for side in (p.a, p.b)
    )
    assert sorted(path.name for path in (tmp_path / "marked").iterdir()) == [
        *(".ledger.json.lock", "f_in.pt", "f_out.pt", "images", "ledger.json", "manifest.json"),
    ]

    # The same files and scores in a dataset: the same HoneyImages, byte for byte
    fhi = importlib.import_module("fiftyone_honeyimage")
    crafting = importlib.import_module("fiftyone_honeyimage.core.pipeline.crafting")
    monkeypatch.setattr(crafting, "_load_lpips", lambda file: (None, "not asked for"))
    dataset = fo.Dataset()
    try:
        dataset.add_samples(
            [
                fo.Sample(filepath=str(path), gt=fo.Classification(label=label), hardness=score)
                for (path, label), score in zip(files, given["hardness"], strict=True)
            ]
        )
        marking = fhi.generate_honeyimages(
            dataset,
            "gt",
            "honey",
            hardness_field="hardness",
            num_honeyimages=8,
            num_pairs=6,
            method="honeyimage",
            num_steps=3,
            proxy="resnet_tiny",
            input_size=8,
            training=TRAINING,
            exclude=(),
            device="cpu",
            trade_off=0,
            output_dir=tmp_path / "by dataset",
            progress=False,
        )
        on_dataset = read_manifest(marking.output_dir)["images"]
    finally:
        dataset.delete()
    alone = read_manifest(tmp_path / "marked")["images"]
    assert [image["marked_sha256"] for image in alone] == [
        image["marked_sha256"] for image in on_dataset
    ]
    assert [image["pair"] for image in alone] == [image["pair"] for image in on_dataset]


def test_what_is_wrong_is_said_before_anything_is_made(
    write_digits: Callable[..., list[tuple[Path, str]]], tmp_path: Path
) -> None:
    given = _given(write_digits(30, 3, 8), tmp_path / "marked")
    labeled = LabeledSamples(
        given["ids"], given["paths"], np.array(given["labels"]), given["classes"]
    )
    settings: dict[str, Any] = {
        "num_honeyimages": 4,
        "num_pairs": 4,
        "input_size": 8,
        "proxy": "resnet_tiny",
        "training": TrainingConfig(epochs=1),
        "device": "cpu",
    }

    def wrong(match: str, **changes: Any) -> None:
        with pytest.raises(ParameterError, match=match):
            mark(
                tmp_path / "marked", labeled, np.array(given["hardness"]), **{**settings, **changes}
            )
        assert not (tmp_path / "marked.partial").exists()

    wrong("method must be one of", method="no such")
    wrong("epsilon", method="honeyimage", options={"epsilon": 1000.0})
    wrong("reencode", reencode="some")
    wrong("seed must be", seed=2**60)
    wrong("num_pairs must be", num_pairs=4.0)
    wrong("has no option 'epsilo'", method="honeyimage", options={"epsilo": 4.0})
    wrong("label_errors must have one value", label_errors=np.zeros(3, bool))
    (tmp_path / "marked").mkdir()
    wrong("exists already")
    (tmp_path / "marked").rmdir()
    (tmp_path / "marked.partial").mkdir()
    (tmp_path / "marked.partial" / "notes.txt").touch()
    with pytest.raises(ParameterError, match="holds no interrupted call"):
        mark(tmp_path / "marked", labeled, np.array(given["hardness"]), **settings)
