"""Was an image compressed before? Traces that a first JPEG compression leaves in pixels and coefficients.

-   Histograms of DCT coefficients with gaps or peaks at regular distances (Popescu, Farid, "Statistical Tools for
    Digital Forensics", 2004): the largest peaks of their Fourier transforms, for the nine lowest
    frequencies.
-   First digits of coefficients (Fu, Shi, Su, "A generalized Benford's law for JPEG coefficients", 2007).
-   JPEG ghosts (Farid, "Exposing Digital Forgeries from JPEG Ghosts", IEEE TIFS 2009): the difference to
    the image compressed again, over a range of qualities.
-   Compression with the file's own tables once more: each time fewer pixels change (Huang, Huang, Shi, "Detecting
    Double JPEG Compression With the Same Quantization Matrix", IEEE TIFS 2010).
-   Steps at the borders of 8×8 blocks.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin
from scipy.fft import dctn

from ..codecs.base import save
from .pixels import centre

_QUALITIES = (50, 60, 70, 80, 85, 90, 95)

#: Frequencies (row, column) in zigzag order, without the mean
_FREQUENCIES = ((0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0))

_BINS = 64


def compression_features(path: Path, image: np.ndarray) -> np.ndarray:
    """Traces of earlier compression in one image.

    Args:
        path: its file; the tables of a JPEG are taken from it
        image: uint8 (H, W, 3), its decoded pixels

    Returns:
        float64 (29,)
    """
    part = np.ascontiguousarray(centre(image))
    grey = np.asarray(Image.fromarray(part).convert("YCbCr"))[:, :, 0].astype(np.float32)
    tables = _own_tables(path)
    steps = None if tables is None else np.array(tables["qtables"][0], dtype=np.float64)
    coefficients = _coefficients(grey, steps)
    return np.concatenate(
        [
            [_periodicity(coefficients[:, u, v]) for u, v in _FREQUENCIES],
            _first_digits(coefficients),
            _ghosts(part),
            _stability(part, tables),
            [_blockiness(grey, 1), _blockiness(grey, 0)],
        ]
    )


def _own_tables(path: Path) -> dict[str, Any] | None:
    with Image.open(path) as image:
        if image.format != "JPEG":
            return None
        return {
            "qtables": image.quantization,  # type: ignore[attr-defined]
            "subsampling": JpegImagePlugin.get_sampling(image),
        }


def _coefficients(grey: np.ndarray, steps: np.ndarray | None) -> np.ndarray:
    """(blocks, 8, 8) DCT coefficients; of a JPEG in steps of its own table, which are whole numbers."""
    height, width = (size // 8 * 8 for size in grey.shape)
    if not height or not width:
        return np.zeros((1, 8, 8))
    blocks = grey[:height, :width].reshape(height // 8, 8, width // 8, 8).transpose(0, 2, 1, 3)
    values = dctn(blocks.reshape(-1, 8, 8) - 128, axes=(1, 2), norm="ortho")
    if steps is None:
        return values
    return values / steps.reshape(8, 8)  # Pillow gives tables row by row, not in zigzag order


def _periodicity(values: np.ndarray) -> float:
    """The largest peak of the histogram's spectrum away from 0, as a share of the whole."""
    bins = np.clip(np.rint(values), -_BINS, _BINS).astype(np.int64) + _BINS
    histogram = np.bincount(bins, minlength=2 * _BINS + 1)[1:-1]
    spectrum = np.abs(np.fft.rfft(histogram))
    # Low frequencies hold the histogram's smooth shape
    return float(spectrum[10:].max() / max(spectrum[0], 1.0))


def _first_digits(coefficients: np.ndarray) -> np.ndarray:
    """Shares of the digits 1 to 9 among coefficients other than the mean that are 1 or more."""
    values = np.abs(np.rint(coefficients.reshape(-1, 64)[:, 1:])).ravel()
    values = values[values >= 1]
    if not len(values):
        return np.zeros(9)
    digits = (values / 10 ** np.floor(np.log10(values))).astype(np.int64)
    return np.bincount(np.clip(digits, 1, 9), minlength=10)[1:10] / len(values)


def _ghosts(image: np.ndarray) -> np.ndarray:
    """(7,): log mean squared difference at each quality, less their mean."""
    errors = [np.log(_change(image, quality=q) + 1e-3) for q in _QUALITIES]
    return np.array(errors) - np.mean(errors)


def _stability(image: np.ndarray, tables: dict[str, Any] | None) -> np.ndarray:
    """(2,): log mean squared change, and share of changed values, when compressed with its own tables."""
    options = tables if tables is not None else {"quality": 95}
    again = _recompress(image, **options)
    difference = image.astype(np.int16) - again
    return np.array(
        [np.log((difference.astype(np.float64) ** 2).mean() + 1e-3), (difference != 0).mean()]
    )


def _change(image: np.ndarray, **options: Any) -> float:
    difference = image.astype(np.float64) - _recompress(image, **options)
    return float((difference**2).mean())


def _recompress(image: np.ndarray, **options: Any) -> np.ndarray:
    picture = Image.fromarray(image)
    if options.get("subsampling") == -1:  # a grey file
        picture, options = picture.convert("L"), {**options, "subsampling": 0}
    with Image.open(io.BytesIO(save(picture, "JPEG", **options))) as written:
        return np.asarray(written.convert("RGB"))


def _blockiness(grey: np.ndarray, axis: int) -> float:
    """log of the mean step across borders of blocks over the mean step within."""
    steps = np.abs(np.diff(grey, axis=axis))
    place = np.arange(steps.shape[axis])
    border = np.take(steps, np.flatnonzero(place % 8 == 7), axis=axis)
    within = np.take(steps, np.flatnonzero(place % 8 != 7), axis=axis)
    if not border.size or not within.size:
        return 0.0
    return float(np.log((border.mean() + 1e-2) / (within.mean() + 1e-2)))
