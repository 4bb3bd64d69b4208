"""HoneyImages with the in-model trained anew each round, as the paper does, and continued.

Scikit-learn's digits at 16 pixels, 539 private images, 24 pairs: crafting time, how far the gap
``L_out − L_in`` was driven, and how surely a model trained on the release is found.

    python -m benchmarks.inner --seeds 0 1
"""

from __future__ import annotations

import argparse
import secrets
import time
from typing import Any

import numpy as np
import torch

from benchmarks.datasets import load_digits_at, to_tensor
from benchmarks.results_io import write_results
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

NUM_PRIVATE, NUM_PAIRS, SIZE = 539, 24, 16
VARIANTS = {
    "warm": {"inner": "warm"},
    "retrain": {"inner": "retrain"},
    "unperturbed": {"method": "unperturbed"},
}


def load_private(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, 16, 16, 3) images and int64 labels, chosen by the seed."""
    images, labels = load_digits_at(SIZE)
    rows = np.random.default_rng(seed).permutation(len(images))[:NUM_PRIVATE]
    return images[rows], labels[rows]


def run_seed(seed: int, epochs: int) -> dict[str, Any]:
    """Every variant on the same images, candidates and coins."""
    config = TrainingConfig(epochs=epochs, flip=False)
    images, labels = load_private(seed)
    hardness = compute_hardness(
        to_tensor(images), labels, 10, proxy="resnet_tiny", config=config, seed=seed
    ).hardness
    chosen = select_candidates(hardness, labels, num_honeyimages=NUM_PAIRS, num_pairs=NUM_PAIRS)
    rest = np.setdiff1d(np.arange(len(images)), chosen.rows)
    coins = np.array([secrets.randbits(1) for _ in chosen.pairs])
    released = chosen.pairs[np.arange(NUM_PAIRS), coins]
    withheld = chosen.pairs[np.arange(NUM_PAIRS), 1 - coins]
    kept = np.setdiff1d(np.arange(len(images)), withheld)

    figures: dict[str, Any] = {"seed": seed}
    for name, options in VARIANTS.items():
        start = time.perf_counter()
        result = METHODS[options.get("method", "honeyimage")].craft(
            CraftRequest(
                candidates=list(images[chosen.rows]),
                candidate_labels=labels[chosen.rows],
                rest=to_tensor(images[rest]),
                rest_labels=labels[rest],
                num_classes=10,
                proxy="resnet_tiny",
                config=config,
                seed=seed,
                options=METHODS[options.get("method", "honeyimage")].Options.read(options),
            )
        )
        seconds = time.perf_counter() - start
        marked = images.copy()
        marked[chosen.rows] = np.stack(list(result.images))
        model = build_model("resnet_tiny", 10, input_size=SIZE, seed=1000 + seed)
        train_models(
            [model],
            to_tensor(marked[kept]),
            torch.from_numpy(labels[kept]),
            config=config,
            seeds=[1000 + seed],
        )

        def losses(rows: np.ndarray) -> np.ndarray:
            logits = predict_logits(model, to_tensor(marked[rows]))  # noqa: B023
            return cross_entropy(logits, torch.from_numpy(labels[rows]))

        difference = losses(withheld) - losses(released)
        figures[name] = {
            "craft_seconds": seconds,
            "mean_proxy_loss": float(np.mean(result.proxy_losses)),
            "mean_in_loss": float(np.mean(result.in_losses)) if "inner" in options else None,
            "p_infringing": signed_rank_test(difference).p_value,
            "wins": int((difference > 0).sum()),
        }
        print(seed, name, figures[name], flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    runs = [run_seed(seed, args.epochs) for seed in args.seeds]
    write_results("inner", {"epochs": args.epochs, "runs": runs}, seeds=args.seeds)


if __name__ == "__main__":
    main()
