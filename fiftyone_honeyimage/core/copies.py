"""Finds known images among found ones that were renamed, encoded anew, resized or cropped a little.

Perceptual hashes name a few known images for each found one; these are then laid over it, cropped in several ways, and
the best fit is what it is, if it fits at all. All known images compete, so that an image that only looks like
another one is taken for itself. Nothing here knows which known image is which side of a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import fft

from .errors import ImageError
from .images import read_image
from .progress import Report, silent

#: Side of the grey pictures that are compared, pixels
SIZE = 64
#: Side of what hashes are taken from, and of what is laid over, pixels
_HASHED = 32
#: Shares of width and height that may be left, for hashes and for the comparison
_HASH_CROPS = (1.0, 0.95, 0.9)
_CROPS = (1.0, 0.975, 0.95, 0.925, 0.9, 0.875)
#: Known images that are laid over a found one
_CANDIDATES = 8
#: Bits of 64 in which the hash of the best of them may differ
_MOST_BITS = 14
#: The correlation from which on two pictures are the same
_LEAST_CORRELATION = 0.9
_WORKERS = 4
#: Pictures that are cropped, or whose hashes are compared, at once
_CHUNK = 256


@dataclass(frozen=True)
class Pictures:
    """Images as small grey pictures.

    Attributes:
        grey: float32 (N, SIZE, SIZE), 0–255; zeros where an image could not be read
        failed: row → why
    """

    grey: npt.NDArray[np.float32]
    failed: dict[int, str]


def read_pictures(paths: Sequence[str | Path], report: Callable[[int, int], None]) -> Pictures:
    """Reads images as grey pictures of one size, whatever their shape."""
    grey = np.zeros((len(paths), SIZE, SIZE), np.float32)
    failed: dict[int, str] = {}

    def one(row: int) -> None:
        try:
            image = Image.fromarray(read_image(paths[row])).convert("L")
        except (ImageError, OSError) as error:
            failed[row] = str(error)
            return
        small = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        grey[row] = np.asarray(small, np.float32)

    with ThreadPoolExecutor(_WORKERS) as pool:
        for done, _ in enumerate(pool.map(one, range(len(paths))), 1):
            report(done, len(paths))
    return Pictures(grey, failed)


def _reductions(share: float) -> npt.NDArray[np.float32]:
    """What takes the mean over each new pixel's part of an old row, for a share of the row at three places.

    float32 (places, _HASHED, SIZE); one place where the whole is left.
    """
    places = np.array([0.0]) if share == 1 else (1 - share) * np.array([0.0, 0.5, 1.0])
    edges = SIZE * (places[:, None] + share * np.arange(_HASHED + 1) / _HASHED)
    left, right = edges[:, :-1, None], edges[:, 1:, None]
    pixels = np.arange(SIZE)
    covered = np.clip(np.minimum(right, pixels + 1) - np.maximum(left, pixels), 0, None)
    return (covered / covered.sum(axis=2, keepdims=True)).astype(np.float32)


def crop_all(grey: npt.NDArray[np.float32], share: float) -> npt.NDArray[np.float32]:
    """Pictures (N, SIZE, SIZE) cropped to a share of width and height, at nine places, and made smaller.

    float32 (9 or 1, N, _HASHED, _HASHED)
    """
    rows = _reductions(share)
    narrow = grey[None] @ rows.transpose(0, 2, 1)[:, None]
    found = rows[:, None, None] @ narrow[None]
    return found.reshape(-1, len(grey), _HASHED, _HASHED)


def _hashes(small: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """64 signs of a picture's lowest frequencies, against their median; float32 (N, 64) of -1 and 1.

    Source: Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010 (pHash's DCT hash).
    """
    low = fft.dctn(small, axes=(1, 2))[:, :8, :8].reshape(len(small), 64)
    # The mean grey says nothing of what is shown
    low[:, 0] = 0
    return np.where(low > np.median(low, axis=1, keepdims=True), 1, -1).astype(np.float32)


def _standardised(small: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    flat = small.reshape(len(small), -1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 1e-3)


def _whole(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return crop_all(grey, 1.0)[0]


def _variants(grey: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """Hashes of the whole pictures and of their crops, each (N, 64)."""
    parts = []
    for start in range(0, len(grey), _CHUNK):
        own = grey[start : start + _CHUNK]
        small = np.concatenate([crop_all(own, share) for share in _HASH_CROPS])
        parts.append(_hashes(small.reshape(-1, _HASHED, _HASHED)).reshape(len(small), len(own), 64))
    return list(np.concatenate(parts, axis=1))


@dataclass(frozen=True)
class Alike:
    """Which known image each found one is.

    Attributes:
        known: int64 (N,), its row; -1 where it is none of them
        correlation: float32 (N,), how well the best of them fits, at most 1
    """

    known: npt.NDArray[np.int64]
    correlation: npt.NDArray[np.float32]


def find_alike(found: Pictures, known: Pictures, wanted: int, report: Report = silent) -> Alike:
    """Finds the known image that each found one shows.

    Args:
        found: pictures of unknown origin
        known: pictures of known images, each of another
        wanted: only the first so many of the known are of interest; the others compete with them, and a found picture whose
            hash comes near none of the first is not compared further
        report: progress
    """
    number = len(found.grey)
    best = np.full(number, -1, np.int64)
    fit = np.zeros(number, np.float32)
    if not number or not wanted:
        return Alike(best, fit)
    variants = _variants(known.grey)
    unread = np.array(sorted(known.failed), np.int64)
    whole = _whole(found.grey)
    hashes = _hashes(whole)
    for start in range(0, number, _CHUNK):
        rows = slice(start, min(start + _CHUNK, number))
        # 64 bits less twice the number that differ, the best of a known image's crops
        agree = hashes[rows] @ variants[0].T
        for variant in variants[1:]:
            np.maximum(agree, hashes[rows] @ variant.T, out=agree)
        agree[:, unread] = -64
        near = agree[:, :wanted].max(axis=1) >= 64 - 2 * _MOST_BITS
        for place in np.flatnonzero(near):
            row = start + int(place)
            if row in found.failed:
                continue
            count = min(_CANDIDATES, agree.shape[1])
            candidates = np.argpartition(-agree[place], count - 1)[:count]
            own = _standardised(whole[row : row + 1])[0]
            laid = [crop_all(known.grey[candidates], share) for share in _CROPS]
            fits = np.concatenate(
                [
                    (_standardised(each.reshape(-1, *each.shape[2:])) @ own).reshape(-1, count)
                    for each in laid
                ]
            ).max(axis=0)
            fit[row] = fits.max()
            if fit[row] >= _LEAST_CORRELATION:
                best[row] = candidates[int(fits.argmax())]
        report("Comparing", rows.stop, number)
    return Alike(best, fit)
