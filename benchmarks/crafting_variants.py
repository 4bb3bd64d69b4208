"""What the variants of crafting change: how much a suspect shows, and how surely marks are found in pixels.

CIFAR-10, 800 private images, 30 pairs of the hardest, each crafted by every variant from the same out-model. Two suspects
are trained on a release each, with opposite coins, so that every image is released to one and withheld from the other:
the effect is the mean of ``L(withheld) − L(released)`` over its standard deviation. The detector is the audit's: Fisher's
discriminant of residual features, learned on half of the images with and without their marks and asked about the
other half, and the other way round; its AUROC is what somebody reaches who has marks of this very run.

    python -m benchmarks.crafting_variants --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fiftyone_honeyimage.core.audit.pixels import residual_features
from fiftyone_honeyimage.core.audit.practice import learn_detector
from fiftyone_honeyimage.core.evidence.twins import signed_rank_test
from fiftyone_honeyimage.core.hardness import compute_hardness
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.request import CraftRequest
from fiftyone_honeyimage.core.methods.selection import select_candidates
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.training import (
    TrainingConfig,
    cross_entropy,
    predict_logits,
    train_models,
)

from .datasets import load_cifar10, to_tensor
from .paper_table import interval
from .results_io import write_results

VARIANTS: dict[str, dict[str, Any]] = {
    "warm": {},
    "redrawn": {"inner": "redrawn"},
    "three out-models": {"num_out_models": 3},
    "diversity 1": {"diversity": 1.0},
    "stealth 0.1": {"stealth": 0.1},
    "stealth 1": {"stealth": 1.0},
    "unperturbed": {"method": "unperturbed"},
}
PROXY = "resnet_tiny"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--private", type=int, default=800)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs = [run_seed(seed, args) for seed in args.seeds]
    figures = {"setting": vars(args), "runs": runs, "over_seeds": sum_up(runs)}
    for name, row in figures["over_seeds"].items():
        print(name, row)
    print(write_results("crafting_variants", figures, seeds=args.seeds))


def run_seed(seed: int, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Every variant on the same images, candidates and out-model."""
    config = TrainingConfig(epochs=args.epochs, batch_size=64)
    images, labels, classes = load_cifar10(0, 20_000)
    rows = np.random.default_rng(seed).permutation(len(images))[: args.private]
    images, labels = images[rows], labels[rows]
    hardness = compute_hardness(
        to_tensor(images), labels, len(classes), proxy=PROXY, config=config, seed=seed
    ).hardness
    chosen = select_candidates(hardness, labels, num_honeyimages=args.pairs, num_pairs=args.pairs)
    rest = np.setdiff1d(np.arange(len(images)), chosen.rows)
    place = {row: number for number, row in enumerate(chosen.rows.tolist())}
    pairs = np.array([[place[a], place[b]] for a, b in chosen.pairs.tolist()])
    coins = np.random.default_rng([seed, 1]).integers(2, size=len(pairs))

    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, asked in VARIANTS.items():
            method = METHODS[asked.get("method", "honeyimage")]
            options = {"num_steps": args.rounds, "step_size": 10 / args.rounds, **asked}
            result = method.craft(
                CraftRequest(
                    candidates=list(images[chosen.rows]),
                    candidate_labels=labels[chosen.rows],
                    rest=to_tensor(images[rest]),
                    rest_labels=labels[rest],
                    num_classes=len(classes),
                    proxy=PROXY,
                    config=config,
                    seed=seed,
                    device="cpu",
                    options=method.Options.read(options),
                    sides=pairs[:, :, None],
                    trained_dir=Path(folder),
                )
            )
            marked = images.copy()
            marked[chosen.rows] = np.stack(list(result.images))
            differences = np.concatenate(
                [
                    ask_suspect(marked, labels, chosen.pairs, tossed, config, seed)
                    for tossed in (coins, 1 - coins)
                ]
            )
            plain = images[chosen.rows]
            changed = (plain != marked[chosen.rows]).any(axis=(1, 2, 3))
            figures[name] = {
                "effect": float(differences.mean() / differences.std(ddof=1)),
                "p": [signed_rank_test(d).p_value for d in np.split(differences, 2)],
                "detector_auroc": detect(plain[changed], marked[chosen.rows][changed]),
                "mean_change": float(np.abs(marked[chosen.rows].astype(int) - plain).mean()),
            }
            print(seed, name, figures[name], flush=True)
    return figures


def ask_suspect(
    marked: np.ndarray,
    labels: np.ndarray,
    pairs: np.ndarray,
    coins: np.ndarray,
    config: TrainingConfig,
    seed: int,
) -> np.ndarray:
    """``L(withheld) − L(released)`` of each pair, by a model that trained on the release."""
    numbers = np.arange(len(pairs))
    released, withheld = pairs[numbers, coins], pairs[numbers, 1 - coins]
    kept = np.setdiff1d(np.arange(len(marked)), withheld)
    suspect = build_model(
        PROXY, int(labels.max()) + 1, input_size=marked.shape[1], seed=1000 + seed
    )
    train_models(
        [suspect],
        to_tensor(marked[kept]),
        torch.from_numpy(labels[kept]),
        config=config,
        seeds=[1000 + seed],
        device="cpu",
    )

    def losses(rows: np.ndarray) -> np.ndarray:
        logits = predict_logits(suspect, to_tensor(marked[rows]), device="cpu")
        return cross_entropy(logits, torch.from_numpy(labels[rows]))

    return losses(withheld) - losses(released)


def detect(plain: np.ndarray, marked: np.ndarray) -> float | None:
    """AUROC of the audit's discriminant on images that it has not seen; None if nothing was changed."""
    if not len(plain):
        return None
    before, after = (
        np.array([residual_features(image) for image in images]) for images in (plain, marked)
    )
    above: list[bool] = []
    for half in (0, 1):
        told, asked = np.arange(len(plain)) % 2 == half, np.arange(len(plain)) % 2 != half
        detector = learn_detector(before[told], after[told])
        scores, others = detector.score(after[asked]), detector.score(before[asked])
        above += (scores[:, None] > others[None]).ravel().tolist()
    return float(np.mean(above))


def sum_up(runs: Sequence[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Means over seeds, and what each variant changes against the default, with 95 % intervals."""
    table: dict[str, Any] = {}
    for name in VARIANTS:
        table[name] = {}
        for figure in ("effect", "detector_auroc", "mean_change"):
            values = [run[name][figure] for run in runs]
            if None not in values:
                change = np.subtract(values, [run["warm"][figure] for run in runs])
                table[name][figure] = interval(values)
                table[name][f"{figure}_change"] = interval(change.tolist())
    return table


if __name__ == "__main__":
    main()
