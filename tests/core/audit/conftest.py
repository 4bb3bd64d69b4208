"""Small releases of real images, written file by file, into which leaks are planted."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

TIME_STAMP = 946_684_800


@dataclass(frozen=True)
class SmallRelease:
    """A folder of images by class, some of them chosen as marked.

    Attributes:
        folder: where it is
        names: of its images, relative to the folder
        marked: those that are marked
        labels: class of each
        arrays: pixels of each
    """

    folder: Path
    names: list[str]
    marked: list[str]
    labels: dict[str, str]
    arrays: dict[str, np.ndarray]

    @property
    def others(self) -> list[str]:
        return [name for name in self.names if name not in self.marked]

    def path(self, name: str) -> Path:
        return self.folder / name

    def save(self, name: str, array: np.ndarray | None = None, **options: Any) -> None:
        """Encodes an image anew with other options, and hides when."""
        image = Image.fromarray(self.arrays[name] if array is None else array)
        default = Image.registered_extensions()[Path(name).suffix]
        self.write(name, encode(image, options.pop("format", default), **options))

    def write(self, name: str, data: bytes) -> None:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_bytes(data)
        os.utime(self.path(name), (TIME_STAMP, TIME_STAMP))

    def settle(self) -> None:
        """Touches all files in their order, so that the system's own time of change tells nothing."""
        for name in self.names:
            os.chmod(self.path(name), 0o644)


def encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    if file_format == "JPEG":
        options = {"quality": 90, **options}
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()


def spread_colours(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A grey digit as a colour image with a little noise, as cameras have it."""
    tint = rng.uniform(0.4, 1.0, 3)
    big = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    noisy = big[:, :, None] * tint + 20 + rng.normal(0, 2, (size, size, 3))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def digit_arrays(digits: tuple[np.ndarray, np.ndarray]) -> tuple[list[np.ndarray], list[str]]:
    """300 colour images of real digits, 24 pixels wide, in three classes that take turns."""
    rng = np.random.default_rng(0)
    images, labels = digits
    of_class = [np.flatnonzero(labels == label) for label in range(3)]
    rows = [int(of_class[i % 3][i // 3]) for i in range(300)]
    return [spread_colours(images[row], 24, rng) for row in rows], [
        str(labels[row]) for row in rows
    ]


@pytest.fixture
def make_release(
    digit_arrays: tuple[list[np.ndarray], list[str]], tmp_path: Path
) -> Callable[..., SmallRelease]:
    """Writes a release: ``make_release(suffix=".png", num=300, num_marked=24, seed=0)``."""
    made = 0

    def make(
        suffix: str = ".png", num: int = 300, num_marked: int = 24, seed: int = 0, **options: Any
    ) -> SmallRelease:
        nonlocal made
        made += 1
        folder = tmp_path / f"release-{made}"
        arrays, labels = digit_arrays
        names = [f"{labels[row]}/{row:04d}{suffix}" for row in range(num)]
        chosen = np.random.default_rng(seed).choice(num, num_marked, replace=False)
        release = SmallRelease(
            folder,
            names,
            [names[row] for row in sorted(chosen)],
            dict(zip(names, labels, strict=False)),
            dict(zip(names, arrays, strict=False)),
        )
        for name in names:
            release.save(name, **options)
        return release

    return make


@pytest.fixture(scope="session")
def eurosat(data_dir: Path) -> dict[str, bytes]:
    """130 original JPEG files of each of three classes of EuroSAT: name in the release → bytes."""
    found: dict[str, bytes] = {}
    with tarfile.open(data_dir / "eurosat.tar") as archive:
        counts: Counter[str] = Counter()
        for member in archive:
            _, label, name = member.name.split("/")
            if label not in counts and len(counts) == 3:
                break
            counts[label] += 1
            if counts[label] <= 130:
                content = archive.extractfile(member)
                assert content is not None
                found[f"{label}/{name}"] = content.read()
    return found


@pytest.fixture(scope="session")
def cifar(data_dir: Path) -> dict[str, np.ndarray]:
    """Three classes of the first 1,000 images of CIFAR-10: name in the release → pixels."""
    answers = json.loads((data_dir / "cifar10" / "labels.json").read_text(encoding="utf-8"))
    with Image.open(data_dir / "cifar10" / "mosaic_00.webp") as image:
        mosaic = np.asarray(image.convert("RGB"))
    tiles = mosaic.reshape(25, 32, 40, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
    return {
        f"{answers['classes'][label]}/{row:05d}.png": tile
        for row, (tile, label) in enumerate(zip(tiles, answers["labels"], strict=False))
        if label < 3
    }


@pytest.fixture
def write_files(tmp_path: Path) -> Callable[..., SmallRelease]:
    """Writes a release of given files: ``write_files(bytes by name, num_marked=24, seed=0)``."""

    def write(files: dict[str, bytes], num_marked: int = 24, seed: int = 0) -> SmallRelease:
        names = sorted(files)
        chosen = np.random.default_rng(seed).choice(len(names), num_marked, replace=False)
        arrays = {
            name: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            for name, data in files.items()
        }
        release = SmallRelease(
            tmp_path / "release",
            names,
            [names[row] for row in sorted(chosen)],
            {name: name.split("/")[0] for name in names},
            arrays,
        )
        for name, data in files.items():
            release.write(name, data)
        return release

    return write
