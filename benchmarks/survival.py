"""What codec-aware and robust crafting are worth on EuroSAT JPEGs, and the memory of a large image.

The effect is the mean loss gap ``L_out − L_in`` under the proxies, after each transform. Variants:

-   ``pixels``: crafted without a codec and kept as pixels (what a PNG would hold)
-   ``naive``: the same, saved as JPEG with the source's tables: beyond ε once decoded
-   ``naive, fitted``: the same, made smaller until the decoded file keeps to ε
-   ``codec``: crafted through the codec, within ε
-   ``robust`` and ``codec, robust``: with the expectation over the transforms

    python -m benchmarks.survival --quality 0 75
    python -m benchmarks.survival --memory
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.datasets import unpack_eurosat
from benchmarks.results_io import write_results
from fiftyone_honeyimage.core.codecs import Codec, decoded_sources, open_codec
from fiftyone_honeyimage.core.codecs.base import decode
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.finishing import finish
from fiftyone_honeyimage.core.methods.honeyimage import HoneyImageOptions
from fiftyone_honeyimage.core.methods.perturbation import Scale
from fiftyone_honeyimage.core.methods.request import CraftRequest, CraftResult
from fiftyone_honeyimage.core.methods.survival import measure_survival
from fiftyone_honeyimage.core.metrics import psnr
from fiftyone_honeyimage.core.training import TrainingConfig

VARIANTS = ("pixels", "naive", "naive, fitted", "codec", "robust", "codec, robust")


def compare(paths: list[Path], args: argparse.Namespace, quality: int) -> dict[str, Any]:
    """All variants on files re-encoded at a quality, or as they are for 0."""
    if quality:
        for path in paths:
            with Image.open(path) as image:
                image.load()
            image.save(path, quality=quality)
    names = sorted({path.parent.name for path in paths})
    labels = np.array([names.index(path.parent.name) for path in paths])
    order = np.random.default_rng(args.seed).permutation(len(paths))
    chosen, rest = order[: args.candidates], order[args.candidates :]
    codecs = [open_codec(paths[row]) for row in chosen]
    originals = list(decoded_sources(codecs))
    stacked = np.stack([read_image(paths[row]) for row in rest]).transpose(0, 3, 1, 2)

    def craft(codecs: Any, robust: bool) -> CraftResult:
        return METHODS["honeyimage"].craft(
            CraftRequest(
                candidates=originals,
                candidate_labels=labels[chosen],
                rest=torch.from_numpy(np.ascontiguousarray(stacked)),
                rest_labels=labels[rest],
                num_classes=len(names),
                proxy="resnet_tiny",
                config=TrainingConfig(epochs=args.epochs),
                seed=args.seed,
                codecs=codecs,
                options=HoneyImageOptions(epsilon=args.epsilon, robust=robust),
            )
        )

    figures: dict[str, Any] = {}
    crafted: dict[str, CraftResult] = {}
    for variant in args.variants:
        start = time.perf_counter()
        key = "pixels" if variant.startswith("naive") else variant
        if key not in crafted:
            crafted[key] = craft(codecs if "codec" in key else None, "robust" in key)
        result = crafted[key]
        images = list(result.images)
        if variant == "naive":
            images = [decode(c.encode(p), "") for c, p in zip(codecs, images, strict=True)]
        if variant == "naive, fitted":
            images = [
                fitted(codec, original, pixels, args.epsilon)
                for codec, original, pixels in zip(codecs, originals, images, strict=True)
            ]
        moved = [np.abs(a.astype(int) - b) for a, b in zip(images, originals, strict=True)]
        assert result.in_model is not None
        survival = measure_survival(
            images, labels[chosen], result.out_model, result.in_model, stacked.shape[-1]
        )
        figures[variant] = {
            "linf": int(max(m.max() for m in moved)),
            "mean_change": float(np.mean([m.mean() for m in moved])),
            "psnr": float(np.mean([psnr(a, b) for a, b in zip(images, originals, strict=True)])),
            "survival": survival.summary(),
            "seconds": time.perf_counter() - start,
        }
        gaps = {name: round(value["gap"], 2) for name, value in survival.summary().items()}
        kept = {name: round(value["kept"], 2) for name, value in survival.summary().items()}
        print(
            f"quality {quality or 'as is'}, {variant}: L∞ {figures[variant]['linf']}, "
            f"PSNR {figures[variant]['psnr']:.1f} dB, gap {gaps}, kept {kept}",
            flush=True,
        )
    return figures


def fitted(codec: Codec, original: np.ndarray, pixels: np.ndarray, epsilon: float) -> np.ndarray:
    """Pixels made to keep to ε as a file, without having been crafted for it."""
    levels = (pixels.astype(np.int16) - original).astype(np.int8)
    whole = Scale(unit=1.0, step=1, bound=int(epsilon), dtype=np.dtype(np.int8))
    return finish(codec, original, levels, whole, epsilon).pixels


def memory(folder: Path) -> dict[str, float]:
    """Seconds of crafting one 4000x3000 JPEG for one round, and the peak of this process's memory."""
    from sklearn.datasets import load_sample_image

    path = folder / "large.jpg"
    Image.fromarray(load_sample_image("china.jpg")).resize((4000, 3000)).save(path, quality=90)
    codec = open_codec(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    rest = torch.randint(0, 256, (64, 3, 64, 64), dtype=torch.uint8)
    result = METHODS["honeyimage"].craft(
        CraftRequest(
            candidates=decoded_sources([codec]),
            codecs=[codec],
            candidate_labels=np.zeros(1, dtype=np.int64),
            rest=rest,
            rest_labels=np.arange(64) % 2,
            num_classes=2,
            proxy="resnet_tiny",
            config=TrainingConfig(epochs=1),
            checkpoint_dir=folder,
            options=HoneyImageOptions(num_steps=2, step_size=2),
        )
    )
    moved = np.abs(result.images[0].astype(np.int16) - codec.original())
    figures = {
        "seconds": time.perf_counter() - start,
        "peak_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "linf": int(moved.max()),
        "mean_change": float(moved.mean()),
    }
    print(figures)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quality", type=int, nargs="+", default=[0, 75], help="0: files as they are"
    )
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--per-class", type=int, default=60)
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--epsilon", type=float, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", action="store_true", help="only the memory of a large image")
    parser.add_argument("--name", default="survival")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        if args.memory:
            figures: dict[str, Any] = memory(Path(folder))
        else:
            figures = {}
            for quality in args.quality:
                target = Path(folder) / str(quality)
                paths = unpack_eurosat(target, args.per_class)
                figures[str(quality)] = compare(paths, args, quality)
    name = f"{args.name}_memory" if args.memory else args.name
    write_results(name, {"setting": vars(args), "figures": figures}, seeds=[args.seed])


if __name__ == "__main__":
    sys.exit(main())
