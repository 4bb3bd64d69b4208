"""Which quantised coefficients of a JPEG a change goes into: those that gain most for what they cost a steganalyst.

The costs are UERD's (Guo, Ni, Su, Tang and Shi, "Using statistical image model for JPEG steganography: uniform
embedding revisited", IEEE TIFS 10(12), 2015): a coefficient costs its step over the energy of its block and the
blocks around it. Coefficients of the brightness alone are changed, each by a whole step up or down or not at all.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.fft import dctn, idctn

from .jpeg_blocks import JpegBlocks

#: What a block around counts beside the block itself.
_BESIDE = 0.25

#: The largest change of a pixel by a unit of each coefficient.
_PEAKS = np.abs(idctn(np.eye(64, dtype=np.float32).reshape(64, 8, 8), axes=(1, 2), norm="ortho"))
_PEAKS = _PEAKS.max(axis=(1, 2)).reshape(8, 8)


def uerd_costs(coefficients: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """UERD's cost ρ of changing each coefficient by a step.

    ρ = step / (E + ¼ · sum of E of the eight blocks around), E = sum of the sizes of a block's coefficients
    but for its mean (DC). The mean's own step counts as the mean of the two beside it. Beyond the picture's
    border, blocks are mirrored.

    Args:
        coefficients: float (..., rows, columns, 8, 8), dequantised
        steps: (8, 8), of the quantisation table

    Returns:
        float32 (..., rows, columns, 8, 8), infinite where there is no energy
    """
    sizes = np.abs(coefficients.astype(np.float32))
    energy = sizes.sum(axis=(-2, -1)) - sizes[..., 0, 0]
    *before, rows, columns = energy.shape
    wide = np.pad(energy, (*((0, 0) for _ in before), (1, 1), (1, 1)), mode="symmetric")
    around = sum(
        wide[..., down : down + rows, right : right + columns]
        for down in range(3)
        for right in range(3)
        if (down, right) != (1, 1)
    )
    energy = (energy + _BESIDE * around)[..., None, None]
    weights = steps.astype(np.float32)
    weights[0, 0] = (steps[0, 1] + steps[1, 0]) / 2
    costs = np.full(coefficients.shape, np.inf, dtype=np.float32)
    np.divide(weights, energy, out=costs, where=energy > 0)
    return costs


def placed(
    blocks: JpegBlocks,
    change: np.ndarray,
    gradient: np.ndarray,
    original: np.ndarray,
    budget: np.ndarray,
    share: float,
    pace: float,
) -> np.ndarray | None:
    """A change of whole steps one round on: coefficients with |gradient| > λ·ρ are moved a step up the gradient.

    λ is the quantile of |gradient|/ρ at which no more coefficients of an image differ from the original than asked.
    None differs by more than a step, and none where its block would leave its budget.

    Args:
        blocks: of the files
        change: float32 (B, h, W, 3), what this function gave before, or zeros; 0–255 units
        gradient: float32 (B, h, W, 3), for the decoded pixels
        original: uint8 (B, h, W, 3)
        budget: float32 (B, h, W), how much each pixel may change, 0–255 units
        share: of the coefficients that the budget allows to change, how many may at most, 0 to 1
        pace: how many of these are moved in a round, 0 to 1

    Returns:
        float32 (B, h, W, 3), the same for all channels; None where brightness has no plane of its own at full size
    """
    if not blocks.has_brightness:
        return None
    steps = blocks.planes[0].steps
    height, width = (length // 8 * 8 for length in change.shape[1:3])
    result = np.zeros_like(change)
    if not (height and width):
        return result
    whole = (slice(None), slice(height), slice(width))
    before = np.rint(dctn(_cells(change[whole][..., 0]), axes=(-2, -1), norm="ortho") / steps)
    brightness = blocks.brightness_of(original[whole])
    coefficients = np.rint(dctn(_cells(brightness), axes=(-2, -1), norm="ortho") / steps) * steps
    most = np.floor(_cells(budget[whole]).min(axis=(-2, -1)))
    costs = uerd_costs(coefficients, steps)
    allowed = np.isfinite(costs) & (_PEAKS * steps <= most[..., None, None])

    gains = dctn(_cells(gradient[whole].sum(axis=-1)), axes=(-2, -1), norm="ortho") * steps
    gains = np.where(allowed, gains / costs, 0)
    flat = gains.reshape(len(gains), -1)
    after = before.reshape(flat.shape)
    kept = np.ceil(share * allowed.reshape(flat.shape).sum(axis=1)).astype(int)
    moves = np.ceil(pace * kept).astype(int)
    towards = np.sign(flat)
    after = after + towards * _largest(np.abs(flat), after != towards, moves)
    # Where there are too many, those that are against the gradient by now go first
    after = (after * _largest(after * flat, after != 0, kept)).reshape(gains.shape)
    _fit(after, after * gains, steps, most)
    moved = idctn(after * steps, axes=(-2, -1), norm="ortho")
    moved = moved.swapaxes(-3, -2).reshape(len(moved), height, width)
    result[whole] = moved[..., None]
    return result


def _largest(values: np.ndarray, among: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Which values of each row are the largest among some, at most so many of them as told: bool (B, N)."""
    order = np.argsort(np.where(among, -values, np.inf), axis=1, kind="stable")
    first = np.arange(values.shape[1]) < numbers[:, None]
    largest = np.empty_like(among)
    np.put_along_axis(largest, order, first, axis=1)
    return largest & among


def _fit(after: np.ndarray, worth: np.ndarray, steps: np.ndarray, most: np.ndarray) -> None:
    """Takes the coefficient of least worth back where a block moves a pixel too far, until none does; in place."""
    places = np.nonzero((after != 0).any(axis=(-2, -1)))
    for _ in range(64):
        pixels = idctn(after[places] * steps, axes=(-2, -1), norm="ortho")
        outside = np.abs(pixels).max(axis=(-2, -1), initial=0) > most[places] + 1e-3
        places = tuple(axis[outside] for axis in places)
        if not len(places[0]):
            return
        changed = np.where(after[places] != 0, worth[places], math.inf).reshape(-1, 64)
        least = changed.argmin(axis=1)
        after[(*places, least // 8, least % 8)] = 0


def _cells(values: np.ndarray) -> np.ndarray:
    """Pixels (B, H, W) of whole blocks as (B, rows, columns, 8, 8)."""
    number, height, width = values.shape
    return values.reshape(number, height // 8, 8, width // 8, 8).swapaxes(2, 3)
