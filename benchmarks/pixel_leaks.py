"""What do pixels give away, to somebody who learned what marks look like, and to an eye?

For each set of images, marks the same images at several budgets and has two classifiers tell the files that would
be released from unmarked ones of the same class and similar hardness: the audit's noise classifier, which learns
from a part of the very marks, and the stranger of the audit, who has this tool, trains a model on the release
and learns from marks that he makes himself on its other images. Row 0 of the former holds the images as they are:
what hardness alone gives away. Beside them: the most visible window of any image, the share of values a little below
255 beside saturated ones that are new, and the spectrum's line at half the proxy's input in cycles an image.

    python -m benchmarks.pixel_leaks --sets cifar10 eurosat ham10000 products
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import uniform_filter

from fiftyone_honeyimage.core.audit.epsilon import epsilon_at_chance, separation_by_epsilon
from fiftyone_honeyimage.core.audit.matching import match
from fiftyone_honeyimage.core.audit.practice import choose_practice, detector_features, practise
from fiftyone_honeyimage.core.audit.separation import matched_auroc, rank_test
from fiftyone_honeyimage.core.codecs import decoded_sources, open_codec
from fiftyone_honeyimage.core.hardness import compute_hardness
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.honeyimage import HoneyImageOptions
from fiftyone_honeyimage.core.methods.out_model import thumbnails
from fiftyone_honeyimage.core.methods.request import CraftRequest
from fiftyone_honeyimage.core.methods.selection import select_candidates
from fiftyone_honeyimage.core.metrics import worst_window
from fiftyone_honeyimage.core.training import TrainingConfig

from .datasets import load_cifar10, unpack_tree
from .results_io import write_results

SETS = ("cifar10", "eurosat", "ham10000", "products")
SIZE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--epsilons", type=float, nargs="+", default=[4])
    parser.add_argument("--images", type=int, default=400, help="of each set")
    parser.add_argument("--marked", type=int, default=40)
    parser.add_argument("--smoothing", type=float, default=1.0, help="0: the paper's marks")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--name", default="pixel_leaks")
    args = parser.parse_args()

    figures: dict[str, Any] = {}
    for name, seed in product(args.sets, args.seeds):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            paths = unpack(name, Path(folder), args.images, seed)
            found = measure(paths, args, seed, Path(folder))
        figures.setdefault(name, {})[str(seed)] = found
        for row in found["rows"]:
            print(
                f"{name}, seed {seed}, ε = {row['epsilon']:g}: AUROC {row['auroc']:.3f} "
                f"({row['low']:.3f} to {row['high']:.3f}), p = {row['p_value']:.2g}",
                flush=True,
            )
        for row in found["marks"]:
            print(f"{name}, seed {seed}, {json.dumps(row)}", flush=True)
        print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    print(write_results(args.name, {"setting": vars(args), "sets": figures}, seeds=args.seeds))


def unpack(name: str, folder: Path, count: int, seed: int) -> list[Path]:
    """Random files of a set, in folders by class; CIFAR-10 as PNG."""
    rng = np.random.default_rng(seed)
    if name == "products":
        return write_products(folder, count, seed)
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


def write_products(folder: Path, count: int, seed: int) -> list[Path]:
    """Pictures like product photographs: EuroSAT's, cut out in an ellipse, on white paper, as JPEG."""
    rng = np.random.default_rng(seed)
    sources = unpack_tree("eurosat", folder / "sources")
    down, across = np.mgrid[-1:1:64j, -1:1:64j]
    paths = []
    for row in sorted(rng.permutation(len(sources))[:count]):
        tall, wide = rng.uniform(0.75, 1, 2)
        inside = np.clip(8 * (1 - np.hypot(down / tall, across / wide)), 0, 1)[:, :, None]
        page = np.full((80, 80, 3), 255.0)
        page[8:72, 8:72] = inside * read_image(sources[row]) + (1 - inside) * 255
        path = folder / "products" / sources[row].parent.name / f"{row:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(page).astype(np.uint8)).save(path, quality=92)
        paths.append(path)
    return paths


def measure(paths: Sequence[Path], args: argparse.Namespace, seed: int, folder: Path) -> dict:
    """Marks the same images at every budget, and lets classifiers and measures look."""
    images = [read_image(path) for path in paths]
    names = sorted({path.parent.name for path in paths})
    labels = np.array([names.index(path.parent.name) for path in paths])
    seen = thumbnails(images, SIZE)
    config = TrainingConfig(epochs=args.epochs)
    halves = compute_hardness(
        seen, labels, len(names), proxy="resnet_tiny", config=config, seed=seed
    )
    settings = HoneyImageOptions(smoothing=args.smoothing)
    with_room, _ = choose_practice(
        paths, np.ones(len(paths), dtype=bool), settings, seed, most=len(paths)
    )
    no_room = np.ones(len(paths), dtype=bool)
    no_room[with_room] = False
    rows = select_candidates(
        halves.hardness,
        labels,
        num_honeyimages=min(args.marked, len(with_room) // 4),
        num_pairs=0,
        excluded={"no_room": no_room},
    ).rows
    codecs = [open_codec(paths[row]) for row in rows]
    rest = np.setdiff1d(np.arange(len(paths)), rows)
    crafted, marks = {}, []
    for epsilon in args.epsilons:
        result = METHODS["honeyimage"].craft(
            CraftRequest(
                candidates=decoded_sources(codecs),
                codecs=codecs,
                candidate_labels=labels[rows],
                rest=seen[torch.from_numpy(rest)],
                rest_labels=labels[rest],
                num_classes=len(names),
                proxy="resnet_tiny",
                config=config,
                seed=seed,
                options=HoneyImageOptions(
                    epsilon=epsilon, step_size=epsilon / 10, smoothing=args.smoothing
                ),
            )
        )
        crafted[epsilon] = list(result.images)
        row = {"epsilon": epsilon, "gap": result.history[-1] - result.history[0]}
        row |= visible([images[k] for k in rows], crafted[epsilon])
        row |= stranger(
            paths, images, labels, names, rows, crafted[epsilon], result, halves, args, epsilon
        )
        marks.append(row)
    found = separation_by_epsilon(
        images,
        [names[label] for label in labels],
        rows.tolist(),
        crafted,
        hardness=halves.hardness,
    )
    return {
        "rows": [asdict(row) for row in found],
        "epsilon_at_chance": epsilon_at_chance(found),
        "marks": marks,
        "num_images": len(paths),
        "num_without_room": int(no_room.sum()),
    }


def visible(originals: Sequence[np.ndarray], marked: Sequence[np.ndarray]) -> dict[str, Any]:
    """What an eye, a histogram and a spectrum show of marks; means over images, but for the worst."""
    pairs = list(zip(originals, marked, strict=True))
    windows = [worst_window(*pair) for pair in pairs]
    lines = [spectral_line(a.astype(float) - b) for a, b in pairs if (a != b).any()]
    return {
        "worst_window": min(windows),
        "mean_worst_window": float(np.mean(windows)),
        "mean_change": float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in pairs])),
        "new_off_white": float(np.mean([off_white(b) - off_white(a) for a, b in pairs])),
        "spectral_line": float(np.mean(lines)) if lines else None,
    }


def off_white(image: np.ndarray) -> int:
    """Values of 245 to 254 whose pixel lies among white ones, 7x7."""
    white = uniform_filter((image == 255).all(axis=2).astype(np.float32), 7) > 0.5
    return int(((image >= 245) & (image < 255)).any(axis=2)[white].sum())


def spectral_line(change: np.ndarray) -> float:
    """Power of a change at half the proxy's input in cycles an image, over that at the frequencies beside."""
    power = np.abs(np.fft.fft2(change.mean(axis=2))) ** 2
    half = SIZE // 2
    if min(power.shape) <= 2 * half:
        on, beside = (power[k, 1:].mean() + power[1:, k].mean() for k in (half, half - 1))
        return float(on / beside)
    on, low, high = (power[k, 1:].mean() + power[1:, k].mean() for k in (half, half - 1, half + 1))
    return float(2 * on / (low + high))


def stranger(
    paths: Sequence[Path],
    images: Sequence[np.ndarray],
    labels: np.ndarray,
    names: Sequence[str],
    rows: np.ndarray,
    marked: Sequence[np.ndarray],
    result: Any,
    halves: Any,
    args: argparse.Namespace,
    epsilon: float,
) -> dict[str, Any]:
    """The AUROC of who has this tool, on the files of the release; None if he has too little to learn from."""
    is_marked = np.zeros(len(paths), dtype=bool)
    is_marked[rows] = True
    sets = match(is_marked, [names[label] for label in labels], halves.hardness, seed=0)
    allowed = ~is_marked
    allowed[sets[sets >= 0]] = False
    with tempfile.TemporaryDirectory() as folder:
        detector = practise(
            paths,
            labels,
            len(names),
            allowed,
            halves.half,
            halves.models,
            result.in_model,
            SIZE,
            HoneyImageOptions(epsilon=epsilon, smoothing=args.smoothing),
            seed=1,
            device="cpu",
            folder=Path(folder),
        )
        if detector is None:
            return {"stranger": None}
        features = np.zeros((len(paths), len(detector.weights)))
        for row in np.unique(sets[sets >= 0]):
            features[row] = detector_features(paths[row], images[row])
        unmarked = matched_auroc(detector.score(features), sets)
        for number, row in enumerate(rows):
            path = Path(folder) / f"marked{paths[row].suffix}"
            path.write_bytes(result.encoded[number])
            features[row] = detector_features(path, marked[number])
    scores = detector.score(features)
    auroc = matched_auroc(scores, sets)
    return {
        "stranger": None if auroc is None else auroc.value,
        "stranger_interval": None if auroc is None else [auroc.low, auroc.high],
        # The same detector on the images as they are: what their choice alone gives away
        "stranger_unmarked": None if unmarked is None else unmarked.value,
        "stranger_p_value": rank_test(scores, sets).p_value,
        "practised": detector.num_practised,
    }


if __name__ == "__main__":
    main()
