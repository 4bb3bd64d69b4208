"""What plans promise of a suspect, and what suspects show: the pilot of a hardness run against models that are trained.

A private set, 60 pairs of its hardest images or of any, unchanged, in a release; a suspect that is trained on the release by each
of some ways of thieves. The effect of a pair is the mean of the differences over their standard deviation; what
is left of a promise is told by the mean over the root mean square, in which plans count.

    python -m benchmarks.pilots --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.datasets import load_images, to_tensor
from benchmarks.results_io import write_results
from fiftyone_honeyimage.core.hardness import compute_hardness
from fiftyone_honeyimage.core.methods.selection import select_candidates
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.pipeline.planning import Pilot, pilot
from fiftyone_honeyimage.core.pipeline.thieves import THIEVES
from fiftyone_honeyimage.core.seeds import derive_seed
from fiftyone_honeyimage.core.training import (
    TrainingConfig,
    cross_entropy,
    predict_logits,
    train_models,
)

PAIRS, PROXY = 60, "resnet_tiny"
#: Images, side in pixels, epochs, whether they are mirrored
SETS: dict[str, tuple[int, int | None, int, bool]] = {
    "digits": (600, 16, 12, False),
    "cifar10": (800, None, 20, True),
}
WAYS = ("none", "few_epochs", "half_of_it", "drops_hardest_10")


def run_seed(data: str, seed: int) -> dict[str, Any]:
    """Predicted and observed effects by rule, answers and thief."""
    number, side, epochs, flip = SETS[data]
    images, labels, classes, _ = load_images(data, number, side)
    rows = np.random.default_rng(derive_seed(seed, "images")).permutation(len(images))[:number]
    x, y = to_tensor(images[rows]), labels[rows]
    config = TrainingConfig(epochs=epochs, batch_size=64, flip=flip)
    asked: dict[str, Any] = {"proxy": PROXY, "config": config, "device": "cpu"}
    found = compute_hardness(x, y, len(classes), **asked, seed=seed)
    right = (found.predictions == y, found.seen_right)
    promised = {
        (rule, kind): pilot(found.hardness, found.seen, y, rule, seed, right=told)
        for rule in ("hardest", "random")
        for kind, told in (("scores", None), ("labels", right))
    }

    figures: dict[str, Any] = {"seed": seed, "accuracy": float(right[0].mean())}
    for rule in ("hardest", "random"):
        pairs = select_candidates(
            found.hardness, y, num_honeyimages=PAIRS, num_pairs=PAIRS, rule=rule, seed=seed
        ).pairs
        rng = np.random.default_rng(derive_seed(seed, "coins"))
        coins = rng.integers(0, 2, PAIRS)
        released, withheld = (pairs[np.arange(PAIRS), coins ^ side] for side in (0, 1))
        release = np.setdiff1d(np.arange(number), withheld)
        own = compute_hardness(
            x[release], y[release], len(classes), **asked, seed=derive_seed(seed, "thief")
        ).hardness
        for way in WAYS:
            kept, more = release, config
            if way == "few_epochs":
                more = replace(config, epochs=epochs // 2)
            elif way == "half_of_it":
                kept = rng.permutation(release)[: len(release) // 2]
            elif way == "drops_hardest_10":
                kept = release[np.argsort(own)[: round(0.9 * len(release))]]
            model = build_model(
                PROXY, len(classes), input_size=int(x.shape[-1]), seed=derive_seed(seed, way)
            )
            train_models(
                [model],
                x[kept],
                torch.as_tensor(y[kept]),
                config=more,
                seeds=[derive_seed(seed, "suspect")],
                device="cpu",
            )
            seen, unseen = (_answers(model, x, y, rows) for rows in (released, withheld))
            shown = {"scores": unseen[0] - seen[0], "labels": seen[1] - unseen[1]}
            for kind, values in shown.items():
                told = None if kind == "scores" else right
                promised = pilot(found.hardness, found.seen, y, rule, seed, right=told)
                figures[f"{way}, {rule}, {kind}"] = {
                    "predicted": _predicted(promised, THIEVES[way].left(rule)),
                    "observed": _effect(values),
                }
    return figures


def _answers(
    model: torch.nn.Module, x: torch.Tensor, y: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Losses in nats, and whether the class is told, of some images."""
    logits = predict_logits(model, x[rows], device="cpu")
    truth = torch.as_tensor(y[rows])
    return cross_entropy(logits, truth), (logits.argmax(1) == truth).numpy().astype(np.float64)


def _effect(values: np.ndarray) -> float:
    spread = float(values.std(ddof=1))
    return float(values.mean()) / spread if spread else 0.0


def _told(effect: float) -> float:
    return effect / math.sqrt(1 + effect**2)


def _predicted(found: Pilot, left: float) -> float:
    """A pilot's effect on as many pairs, of which so many still tell."""
    if found.rule == "hardest":  # those that are taken first
        found = replace(found, differences=found.differences[:PAIRS])
    told = left * _told(found.effect)
    return told / math.sqrt(1 - told**2)


def summarise(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over the seeds, and what is left of the promise, as a share."""
    summary = {}
    for name in [name for name in runs[0] if ", " in name]:
        predicted, observed = (
            float(np.mean([run[name][what] for run in runs])) for what in ("predicted", "observed")
        )
        summary[name] = {
            "predicted": predicted,
            "observed": observed,
            "left": _told(observed) / _told(predicted) if predicted else 0.0,
        }
    return summary


def main() -> None:
    """Runs it and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    figures = {}
    for data in SETS:
        runs = [run_seed(data, seed) for seed in args.seeds]
        figures[data] = {"runs": runs, "summary": summarise(runs)}
        for name, found in figures[data]["summary"].items():
            print(data, name, {k: round(v, 2) for k, v in found.items()}, flush=True)
    write_results("pilots", figures, seeds=args.seeds)


if __name__ == "__main__":
    main()
