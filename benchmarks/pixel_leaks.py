"""From which budget on do pixels tell HoneyImages from other images, for somebody who learned what marks look like?

For each set of images, marks the same images at several budgets and has the audit's noise classifier tell the
files that would be released from unmarked ones of the same class and similar hardness. Row 0 holds the
images as they are: what hardness alone gives away.

    python -m benchmarks.pixel_leaks --sets cifar10 eurosat ham10000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fiftyone_honeyimage.core.audit.epsilon import epsilon_at_chance, separation_by_epsilon
from fiftyone_honeyimage.core.candidates import select_candidates
from fiftyone_honeyimage.core.codecs import DecodedSources, open_codec
from fiftyone_honeyimage.core.hardness import compute_hardness
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.marking import METHODS, CraftRequest
from fiftyone_honeyimage.core.marking.honeyimage import thumbnails
from fiftyone_honeyimage.core.training import TrainingConfig

from .datasets import load_cifar10, unpack_tree
from .results_io import write_results

SETS = ("cifar10", "eurosat", "ham10000")
SIZE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--epsilons", type=float, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--images", type=int, default=1500, help="of each set")
    parser.add_argument("--marked", type=int, default=80)
    parser.add_argument("--smoothing", type=float, default=1.0, help="0: the paper's marks")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="pixel_leaks")
    args = parser.parse_args()

    figures: dict[str, Any] = {}
    for name in args.sets:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            paths = unpack(name, Path(folder), args.images, args.seed)
            rows = measure(paths, args)
        chance = epsilon_at_chance(rows)
        figures[name] = {"rows": [asdict(row) for row in rows], "epsilon_at_chance": chance}
        for row in rows:
            print(
                f"{name}, ε = {row.epsilon:g}: AUROC {row.auroc:.3f} ({row.low:.3f} to {row.high:.3f}), "
                f"p = {row.p_value:.2g}",
                flush=True,
            )
        seconds = time.perf_counter() - start
        print(f"{name}: at chance up to ε = {chance} ({seconds:.0f} s)", flush=True)
    print(write_results(args.name, {"setting": vars(args), "sets": figures}, seeds=[args.seed]))


def unpack(name: str, folder: Path, count: int, seed: int) -> list[Path]:
    """Random files of a set, in folders by class; CIFAR-10 as PNG."""
    rng = np.random.default_rng(seed)
    if name != "cifar10":
        paths = unpack_tree(name, folder)
        return [paths[row] for row in sorted(rng.permutation(len(paths))[:count])]
    images, labels, classes = load_cifar10(0, 10_000)
    paths = []
    for row in sorted(rng.permutation(len(images))[:count]):
        path = folder / classes[labels[row]] / f"{row:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[row]).save(path)
        paths.append(path)
    return paths


def measure(paths: Sequence[Path], args: argparse.Namespace) -> list[Any]:
    """Marks the same images at every budget, and lets the classifier look."""
    images = [read_image(path) for path in paths]
    names = sorted({path.parent.name for path in paths})
    labels = np.array([names.index(path.parent.name) for path in paths])
    seen = thumbnails(images, SIZE)
    config = TrainingConfig(epochs=args.epochs)
    hardness = compute_hardness(
        seen, labels, len(names), proxy="resnet_tiny", config=config, seed=args.seed
    ).hardness
    rows = select_candidates(hardness, labels, num_honeyimages=args.marked, num_pairs=0).rows
    codecs = [open_codec(paths[row]) for row in rows]
    rest = np.setdiff1d(np.arange(len(paths)), rows)
    crafted = {}
    for epsilon in args.epsilons:
        result = METHODS["honeyimage"](
            CraftRequest(
                candidates=DecodedSources(codecs),
                codecs=codecs,
                candidate_labels=labels[rows],
                rest=seen[torch.from_numpy(rest)],
                rest_labels=labels[rest],
                num_classes=len(names),
                proxy="resnet_tiny",
                config=config,
                epsilon=epsilon,
                step_size=epsilon / 10,
                smoothing=args.smoothing,
                seed=args.seed,
            )
        )
        crafted[epsilon] = list(result.images)
    return separation_by_epsilon(
        images, [names[label] for label in labels], rows.tolist(), crafted, hardness=hardness
    )


if __name__ == "__main__":
    main()
