"""Every method that shares a secret among several images, on the same digits: is a model found that was trained on them?

Scikit-learn's digits at 16 pixels, all 1,797; pairs of secrets, each in several images. A thief trains on the release, an
innocent on the images that were not marked. The exact verdict on both, by the committed score, and what the published
test of the method says. What the results hold already is not measured again.

    python -m benchmarks.watermarks --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.datasets import load_digits_at, to_tensor
from benchmarks.results_io import RESULTS, write_results
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.ledger.ledger import Ledger
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.pipeline.folder import read_manifest
from fiftyone_honeyimage.core.pipeline.labeled import LabeledSamples
from fiftyone_honeyimage.core.pipeline.mark import mark
from fiftyone_honeyimage.core.pipeline.surroundings import Surroundings
from fiftyone_honeyimage.core.pipeline.verify import Call, begin, decide
from fiftyone_honeyimage.core.suspects import load_suspect
from fiftyone_honeyimage.core.suspects.journal import Journal
from fiftyone_honeyimage.core.training import TrainingConfig, train_models

SIZE, CLASSES = 16, [str(digit) for digit in range(10)]
CONFIG = TrainingConfig(epochs=40, flip=False)

WATERMARKS = tuple(name for name, method in METHODS.items() if method.shares_secrets)

#: So that 240 of the images carry a released secret, all else as the methods have it by default
NUM_PAIRS, FILES_A_SIDE = 12, 20


def write_digits(folder: Path) -> LabeledSamples:
    """All digits as files."""
    images, labels = load_digits_at(SIZE)
    ids = [f"{row:04}" for row in range(len(images))]
    paths = [str(folder / f"{name}.png") for name in ids]
    for image, path in zip(images, paths, strict=True):
        Image.fromarray(image).save(path)
    return LabeledSamples(ids, paths, labels, CLASSES)


def trained(images: np.ndarray, labels: np.ndarray, seed: int) -> torch.nn.Module:
    model = build_model("resnet_tiny", len(CLASSES), input_size=SIZE, seed=seed)
    x, y = to_tensor(images), torch.from_numpy(labels)
    train_models([model], x, y, config=CONFIG, seeds=[seed], device="cpu")
    return model.eval()


def one_run(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """One method and seed: marked, stolen and verified."""
    labeled = write_digits(folder)
    start = time.perf_counter()
    ledger = mark(
        folder / "marked",
        labeled,
        np.zeros(len(labeled)),
        method=name,
        options={"selection": "random"},
        num_honeyimages=NUM_PAIRS * FILES_A_SIDE,
        num_pairs=NUM_PAIRS,
        input_size=SIZE,
        proxy="resnet_tiny",
        training=CONFIG,
        plan=Plan(score=METHODS[name].score, alpha=0.05),
        exclude=(),
        seed=seed,
        device="cpu",
    )
    seconds = time.perf_counter() - start
    originals = dict(zip(labeled.ids, labeled.filepaths, strict=True))
    labels = dict(zip(labeled.ids, labeled.labels.tolist(), strict=True))
    left_out = {image.sample_id for image in ledger.marked_images}
    left_out |= {image["source"] for image in read_manifest(ledger.path.parent)["probe_sources"]}
    plain = [i for i in labeled.ids if i not in left_out]
    released = ledger.released_images()

    pictures = [read_image(originals[i]) for i in plain]
    marked = [read_image(ledger.path.parent / image.file) for image in released]
    own = [labels[i] for i in plain]
    taught = [CLASSES.index(image.label) for image in released]
    models = {
        "thief": trained(np.stack(pictures + marked), np.array(own + taught), 1000 + seed),
        "innocent": trained(np.stack(pictures), np.array(own), 2000 + seed),
    }
    around = Surroundings(pictures[:200], [CLASSES[label] for label in own[:200]])
    found: dict[str, Any] = {"method": name, "seed": seed, "seconds": round(seconds, 1)}
    for who, model in models.items():
        found[who] = verdict(ledger, model, who, around)
    return found


def verdict(
    ledger: Ledger, model: torch.nn.Module, who: str, around: Surroundings
) -> dict[str, Any]:
    """The exact p by the committed score, the effect a pair, and the published decision."""
    call = Call(
        ledger=ledger,
        folder=ledger.path.parent,
        proxy_losses={image.sample_id: 0.0 for image in ledger.marked_images},
        model=load_suspect(model, name=who),
        classes=CLASSES,
        around=around,
    )
    with Journal.open(ledger.path, call.key()) as journal:
        found = decide(call, begin(call, journal), journal)
    published = found.paper.get("decisions", [])
    return {
        "p": found.p_value,
        "verdict": found.verdict,
        "effect": found.effect_size,
        "effect_interval": found.effect_interval,
        "published": [
            {key: one[key] for key in ("rule", "accuses", "p_value")} for one in published
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=WATERMARKS, default=WATERMARKS)
    args = parser.parse_args()
    done = RESULTS / "watermarks_cpu.json"
    runs = json.loads(done.read_text(encoding="utf-8"))["figures"]["runs"] if done.exists() else []
    for name, seed in itertools.product(args.methods, args.seeds):
        if any((run["method"], run["seed"]) == (name, seed) for run in runs):
            continue
        with tempfile.TemporaryDirectory() as folder:
            runs.append(one_run(name, seed, Path(folder)))
        print(runs[-1], flush=True)
        seeds = sorted({run["seed"] for run in runs})
        write_results("watermarks", {"files_a_side": FILES_A_SIDE, "runs": runs}, seeds=seeds)


if __name__ == "__main__":
    main()
