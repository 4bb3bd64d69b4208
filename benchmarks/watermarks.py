"""Every method that shares a secret among several images, on the same digits: is a model found that was trained on them?

Scikit-learn's digits at 16 pixels, all 1,797; pairs of secrets, each in several images. A thief trains on the release, an
innocent on the images that were not marked. The exact verdict on both, by the committed score, and what the published
test of the method says.

    python -m benchmarks.watermarks --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.datasets import to_tensor
from benchmarks.results_io import write_results
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

#: What is not the method's default here, where 240 images carry 20 secrets or 12 of 20 images each
VARIANTS: dict[str, dict[str, Any]] = {
    "badnets": {"num_pairs": 12},
    "blended": {"num_pairs": 12},
    "ubw_p": {"num_pairs": 12},
    "ubw_c": {"num_pairs": 12},
    "radioactive": {"num_pairs": 12},
    "sscl_bw": {"num_pairs": 12},
}
FILES_A_SIDE = 20


def write_digits(folder: Path) -> LabeledSamples:
    """All digits as files."""
    digits = load_digits()
    paths = []
    for row, pixels in enumerate(digits.images):
        image = Image.fromarray((pixels * 255 / 16).round().astype(np.uint8)).convert("RGB")
        path = folder / f"{row:04}.png"
        image.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(path)
        paths.append(str(path))
    ids = [Path(path).stem for path in paths]
    return LabeledSamples(ids, paths, digits.target.astype(np.int64), CLASSES)


def trained(images: np.ndarray, labels: np.ndarray, seed: int) -> torch.nn.Module:
    model = build_model("resnet_tiny", len(CLASSES), input_size=SIZE, seed=seed)
    x, y = to_tensor(images), torch.from_numpy(labels)
    train_models([model], x, y, config=CONFIG, seeds=[seed], device="cpu")
    return model.eval()


def run(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """One method and seed: marked, stolen and verified."""
    labeled = write_digits(folder)
    settings = dict(VARIANTS[name])
    num_pairs = settings.pop("num_pairs")
    start = time.perf_counter()
    ledger = mark(
        folder / "marked",
        labeled,
        np.zeros(len(labeled)),
        method=name,
        options={"selection": "random", **settings},
        num_honeyimages=num_pairs * FILES_A_SIDE,
        num_pairs=num_pairs,
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
    parser.add_argument("--methods", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    args = parser.parse_args()
    assert all(METHODS[name].shares_secrets for name in VARIANTS)
    runs = []
    for name in args.methods:
        for seed in args.seeds:
            with tempfile.TemporaryDirectory() as folder:
                runs.append(run(name, seed, Path(folder)))
            print(runs[-1], flush=True)
    write_results("watermarks", {"files_a_side": FILES_A_SIDE, "runs": runs}, seeds=args.seeds)


if __name__ == "__main__":
    main()
