"""Which sides of tracing pairs are recognised in a found folder, after what was done to its files.

    python -m benchmarks.copies --data cifar10 eurosat digits

Of 1,000 known images 200 are wanted. A folder holds these, 100 of the others, and 200 strangers, all changed alike.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.datasets import load_images
from benchmarks.results_io import write_results
from fiftyone_honeyimage.core.copies import find_alike, read_pictures

_KNOWN, _WANTED, _OTHERS, _STRANGERS = 1000, 200, 100, 200


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    size = (max(4, round(image.width * factor)), max(4, round(image.height * factor)))
    return image.resize(size, Image.Resampling.BICUBIC)


def changes(rng: np.random.Generator) -> dict[str, Callable[[Image.Image], Image.Image]]:
    """What is done to every file of a folder."""

    def cropped(image: Image.Image, share: float) -> Image.Image:
        width, height = round(image.width * share), round(image.height * share)
        left = int(rng.integers(0, image.width - width + 1))
        top = int(rng.integers(0, image.height - height + 1))
        return image.crop((left, top, left + width, top + height))

    return {
        "jpeg 75": lambda image: _jpeg(image, 75),
        "jpeg 50": lambda image: _jpeg(image, 50),
        "half the size": lambda image: _scaled(image, 0.5),
        "twice the size": lambda image: _scaled(image, 2),
        "cropped by 5 %": lambda image: cropped(image, 0.95),
        "cropped by 10 %": lambda image: cropped(image, 0.9),
        "cropped by 5 %, jpeg 75": lambda image: _jpeg(cropped(image, 0.95), 75),
    }


def measure(name: str) -> dict[str, dict[str, int]]:
    """How many wanted images are recognised, and how many others are taken for one."""
    pixels = load_images(name, _KNOWN + _STRANGERS)[0][: _KNOWN + _STRANGERS]
    images = [Image.fromarray(image) for image in pixels]
    rows = [
        *range(_WANTED),
        *range(_KNOWN - _OTHERS, _KNOWN),
        *range(_KNOWN, _KNOWN + _STRANGERS),
    ]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{row}.png") for row in range(_KNOWN)]
        for image, path in zip(images, paths, strict=False):
            image.save(path)
        known = read_pictures(paths, lambda done, total: None)
        for what, change in changes(np.random.default_rng(0)).items():
            found = [Path(folder, f"found{row}.png") for row in rows]
            for row, path in zip(rows, found, strict=True):
                change(images[row]).save(path)
            alike = find_alike(read_pictures(found, lambda done, total: None), known, _WANTED)
            said = alike.known
            taken = (said >= 0) & (said < _WANTED)
            results[what] = {
                "recognised": int((said[:_WANTED] == np.arange(_WANTED)).sum()),
                "taken_for_another": int(
                    (taken[:_WANTED] & (said[:_WANTED] != np.arange(_WANTED))).sum()
                ),
                "known_others_taken": int(taken[_WANTED : _WANTED + _OTHERS].sum()),
                "strangers_taken": int(taken[_WANTED + _OTHERS :].sum()),
            }
            print(name, what, results[what], flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["cifar10", "eurosat", "digits"])
    args = parser.parse_args()
    figures: dict[str, Any] = {
        "wanted": _WANTED,
        "known_others": _OTHERS,
        "strangers": _STRANGERS,
        **{name: measure(name) for name in args.data},
    }
    print(write_results("copies", figures, seeds=[0]))


if __name__ == "__main__":
    main()
