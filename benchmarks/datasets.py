"""The real image sets under $HONEYIMAGE_DATA, as arrays, files and FiftyOne datasets, for tests and benchmarks."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

#: Side of an image of CIFAR-10, and how many lie in a mosaic
CIFAR_SIZE, ROWS, COLUMNS = 32, 25, 40
NUM_TRAIN = 50_000

#: The classes of OrganMNIST, in MedMNIST's order
ORGANS = (
    *("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver"),
    *("lung-left", "lung-right", "pancreas", "spleen"),
)

#: What :func:`load_images` loads beside "digits"
IMAGE_SETS = ("cifar10", "eurosat", "ham10000", "organmnist")


def data_root() -> Path | None:
    """Returns the folder that $HONEYIMAGE_DATA names, or None if it is unset."""
    root = os.environ.get("HONEYIMAGE_DATA")
    return Path(root) if root else None


def _required_root() -> Path:
    root = data_root()
    if root is None:
        raise FileNotFoundError("HONEYIMAGE_DATA is not set: it must name the folder of image sets")
    return root


def load_cifar10(start: int = 0, stop: int = NUM_TRAIN) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Loads images of CIFAR-10 from its lossless mosaics, in the official order.

    Args:
        start (0): the first image; 0 to 49,999 are training images, 50,000 to 50,999 the first
            test images
        stop (50000): one past the last image

    Returns:
        a tuple of

        -   uint8 array (N, 32, 32, 3), RGB
        -   int64 array (N,) of labels
        -   the names of the classes

    Raises:
        FileNotFoundError: if $HONEYIMAGE_DATA is unset or holds no CIFAR-10
        IndexError: if the range is empty or leaves the set
    """
    folder = _required_root() / "cifar10"
    answers = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    if not 0 <= start < stop <= len(answers["labels"]):
        raise IndexError(f"Images {start} to {stop} leave the {len(answers['labels'])} of the set")

    per_mosaic = ROWS * COLUMNS
    parts = []
    for number in range(start // per_mosaic, (stop - 1) // per_mosaic + 1):
        with Image.open(folder / f"mosaic_{number:02d}.webp") as image:
            mosaic = np.asarray(image.convert("RGB"))
        tiles = mosaic.reshape(ROWS, CIFAR_SIZE, COLUMNS, CIFAR_SIZE, 3).swapaxes(1, 2)
        parts.append(tiles.reshape(-1, CIFAR_SIZE, CIFAR_SIZE, 3))

    offset = start // per_mosaic * per_mosaic
    images = np.concatenate(parts)[start - offset : stop - offset]
    labels = np.asarray(answers["labels"][start:stop], dtype=np.int64)
    return np.ascontiguousarray(images), labels, list(answers["classes"])


def load_images(
    name: str, least: int, size: int | None = None
) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    """Equal images: uint8 (N, S, S, 3), int64 (N,) labels, the classes' names, and int64 (N,) what each is a picture of.

    Images of one lesion of HAM10000 have the same number there and must not be split; elsewhere each has its own.

    Args:
        name: "cifar10", "digits" (scikit-learn's, 8 pixels a side, grey levels 64 to 192, so that marks have room),
            "eurosat" or "ham10000", whose files are all decoded, or "organmnist", MedMNIST's own ``organamnist.npz``, all
            three parts, which a user puts in the folder; it names no patients, so that slices of one may be on both sides
        least: so many are needed; the set may have fewer
        size (None): S; by default the images' own, and 64 for HAM10000

    Raises:
        FileNotFoundError: if $HONEYIMAGE_DATA is unset or lacks the set
    """
    if name == "cifar10":
        images, labels, classes = load_cifar10(0, min(least, NUM_TRAIN + 1000))
        if size not in (None, CIFAR_SIZE):
            images = np.stack([_resized(Image.fromarray(image), size) for image in images])
        return images, labels, classes, np.arange(len(images))
    if name == "digits":
        from sklearn.datasets import load_digits

        found = load_digits()
        grey = (64 + 8 * found.images).astype(np.uint8)[..., None].repeat(3, axis=3)
        names = [str(label) for label in range(10)]
        return grey, found.target.astype(np.int64), names, np.arange(len(grey))
    root = _required_root()
    if name == "organmnist":
        return _load_organmnist(root / "organamnist.npz", size)
    if name == "ham10000":
        size = size or 64
    pixels, names, files = [], [], []
    with tarfile.open(root / f"{name}.tar") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".jpg") else None
            if file is not None:
                pixels.append(_resized(Image.open(file).convert("RGB"), size))
                names.append(Path(member.name).parent.name)
                files.append(Path(member.name).stem)
    classes = sorted(set(names))
    labels = np.array([classes.index(label) for label in names], dtype=np.int64)
    shown = np.arange(len(files))
    if name == "ham10000":
        lesions = json.loads((root / "ham10000_lesions.json").read_text(encoding="utf-8"))
        _, shown = np.unique([lesions[file] for file in files], return_inverse=True)
    return np.stack(pixels), labels, classes, shown


def _load_organmnist(
    path: Path, size: int | None
) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there: get MedMNIST's own file (zenodo.org/records/10519652)"
        )
    with np.load(path) as parts:
        grey, labels = (
            np.concatenate([parts[f"{part}_{what}"] for part in ("train", "val", "test")])
            for what in ("images", "labels")
        )
    images = np.stack([_resized(Image.fromarray(image).convert("RGB"), size) for image in grey])
    labels = labels.ravel().astype(np.int64)
    return images, labels, list(ORGANS), np.arange(len(images))


def _resized(image: Image.Image, size: int | None) -> np.ndarray:
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def write_small_images(folder: Path, count: int) -> tuple[list[str], list[str], str]:
    """Writes 32-pixel PNG files: CIFAR-10's training images, mirrored once they are used up, else random pixels.

    Args:
        folder: where to; it must not exist yet
        count: how many, at most 100,000

    Returns:
        their paths, their labels, and what they are
    """
    folder.mkdir()
    root = data_root()
    if root is not None and (root / "cifar10").is_dir():
        images, numbers, classes = load_cifar10(0, min(count, NUM_TRAIN))
        if count > NUM_TRAIN:
            mirrored = images[: count - NUM_TRAIN, :, ::-1]
            images, numbers = np.concatenate([images, mirrored]), np.tile(numbers, 2)
        source = f"CIFAR-10, {max(0, count - NUM_TRAIN)} of its images mirrored"
    else:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (count, CIFAR_SIZE, CIFAR_SIZE, 3), dtype=np.uint8)
        numbers, classes = rng.integers(0, 10, count), [str(label) for label in range(10)]
        source = "random pixels"

    paths = [str(folder / f"{index:06d}.png") for index in range(count)]

    def write(index: int) -> None:
        Image.fromarray(images[index]).save(paths[index])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(count), chunksize=256))
    return paths, [classes[number] for number in numbers[:count]], source


def unpack_eurosat(folder: Path, per_class: int | None = None) -> list[Path]:
    """Unpacks EuroSAT's JPEG files, byte by byte, one folder a class.

    Args:
        folder: where to
        per_class (None): only the first so many of each class

    Returns:
        the files, sorted

    Raises:
        FileNotFoundError: if $HONEYIMAGE_DATA is unset or holds no EuroSAT
    """
    return unpack_tree("eurosat", folder, per_class)


def unpack_tree(name: str, folder: Path, per_class: int | None = None) -> list[Path]:
    """Unpacks ``<name>.tar``, a folder of class folders of JPEG files; see :func:`unpack_eurosat`."""
    root = _required_root()
    counts: dict[str, int] = {}
    with tarfile.open(root / f"{name}.tar") as archive:
        for member in archive:
            label = Path(member.name).parent.name
            if not member.name.endswith(".jpg") or counts.get(label, 0) == per_class:
                continue
            counts[label] = counts.get(label, 0) + 1
            archive.extract(member, folder, filter="data")
    return sorted(folder.rglob("*.jpg"))


def dataset_of_folders(name: str, paths: Sequence[Path]) -> Any:
    """A new FiftyOne dataset of files, each labelled in ``ground_truth`` by the folder that it lies in."""
    import fiftyone as fo

    dataset = fo.Dataset(name)
    dataset.add_samples(
        [
            fo.Sample(filepath=str(path), ground_truth=fo.Classification(label=path.parent.name))
            for path in paths
        ]
    )
    return dataset


def load_digits_at(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's digits: uint8 (1797, size, size, 3) and their classes, int64."""
    digits = load_digits()
    images = []
    for pixels in digits.images:
        image = Image.fromarray((pixels * 255 / 16).round().astype(np.uint8)).convert("RGB")
        images.append(np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)))
    return np.stack(images), digits.target.astype(np.int64)


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """uint8 (N, H, W, 3) as (N, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
