"""What a release costs whoever trains on it honestly: clean accuracy beside the private set as it was.

Each seed draws private and test images of CIFAR-10 or EuroSAT and trains one model on all private images, and one on each
release: 1 % of them withheld, their twins as they are or as HoneyImages; and, as decoys for a detector, HoneyImages made of
a tenth of all images, of which the evidence is still 1 %.

    python -m benchmarks.accuracy_cost --seeds 0 1 2 3 4 5 6 7 8 9 10 11
    python -m benchmarks.accuracy_cost --releases unchanged honeyimages decoys --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch

from benchmarks.datasets import load_images, to_tensor
from benchmarks.marks import with_honeyimages
from benchmarks.paper_table import interval, shown
from benchmarks.results_io import write_results
from fiftyone_honeyimage.core.hardness import compute_hardness
from fiftyone_honeyimage.core.methods.selection import select_candidates
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.seeds import derive_seed
from fiftyone_honeyimage.core.training import TrainingConfig, predict_logits, train_models

#: Release → whether its marks are HoneyImages, and how many images of a hundred are marked
RELEASES = {"unchanged": (False, 1), "honeyimages": (True, 1), "decoys": (True, 10)}
PROXY = "resnet_tiny"


def run_seed(args: argparse.Namespace, seed: int) -> dict[str, float]:
    """Test accuracy of the model of the private set ("private"), and of that of every release."""
    wanted = args.private + args.test
    images, labels, classes, _ = load_images(args.data, wanted, 32)
    order = np.random.default_rng(derive_seed(seed, "images")).permutation(len(images))
    own, test = order[: args.private], order[args.private : wanted]
    pixels, truth = images[own], labels[own]
    config = TrainingConfig(epochs=args.epochs)
    hardness = compute_hardness(
        to_tensor(pixels), truth, len(classes), proxy=PROXY, config=config, seed=seed
    ).hardness

    def accuracy(shown: np.ndarray, rows: np.ndarray) -> float:
        model = build_model(PROXY, len(classes), input_size=32, seed=seed)
        targets = torch.from_numpy(truth[rows])
        train_models([model], to_tensor(shown[rows]), targets, config=config, seeds=[seed])
        said = predict_logits(model, to_tensor(images[test])).argmax(1).numpy()
        return float((said == labels[test]).mean())

    found = {"private": accuracy(pixels, np.arange(len(own)))}
    num_pairs = len(own) // 100
    coins = np.random.default_rng(derive_seed(seed, "coins")).integers(0, 2, num_pairs)
    for name in args.releases:
        crafted, percent = RELEASES[name]
        chosen = select_candidates(
            hardness, truth, num_honeyimages=percent * len(own) // 100, num_pairs=num_pairs
        )
        rest = np.setdiff1d(np.arange(len(pixels)), chosen.rows)
        protected = (
            with_honeyimages(
                *(pixels, truth, chosen.rows, rest, len(classes)),
                proxy=PROXY,
                config=config,
                seed=seed,
            )
            if crafted
            else pixels
        )
        withheld = chosen.pairs[np.arange(num_pairs), coins]
        found[name] = accuracy(protected, np.setdiff1d(np.arange(len(own)), withheld))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10", choices=("cifar10", "eurosat"))
    parser.add_argument("--private", type=int, default=3000, help="images that are released")
    parser.add_argument("--test", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--releases", nargs="+", choices=sorted(RELEASES), default=["unchanged"])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(12)))
    parser.add_argument("--name", default="accuracy_cost")
    args = parser.parse_args()
    cells = []
    for seed in args.seeds:
        start = time.perf_counter()
        cells.append({"seed": seed, **run_seed(args, seed)})
        print(cells[-1], f"{time.perf_counter() - start:.0f} s", flush=True)
    cost: dict[str, Any] = {
        name: interval([100 * (cell["private"] - cell[name]) for cell in cells])
        for name in args.releases
    }
    for name, points in cost.items():
        print(f"{args.data}, {name}: {shown(points)} points of accuracy lost, {len(cells)} seeds")
    figures = {"setting": vars(args), "cells": cells, "points_lost": cost}
    print(write_results(args.name, figures, seeds=args.seeds))


if __name__ == "__main__":
    main()
