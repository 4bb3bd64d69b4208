"""Where an image has room for a change that no eye finds: a budget for every pixel, from the original alone.

A change of a few levels drowns in texture and stands out in a clear sky, in a black border and in a white
background. So the budget of a pixel is what the detail around it can hide, at most ε, and nothing in areas
that are flat, dark or saturated. The marks are searched inside this budget, and the codec's cells are what a
change can be confined to.

The rule "detail hides a change in proportion to its contrast" is visual masking (Legge and Foley, "Contrast
masking in human vision", JOSA 1980); codecs spend their bits by it. The constants were set by looking at marks
on photographs (skies, dermoscopy with black borders, satellite images) at 16 times their contrast and at none.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter, uniform_filter

from ..metrics import BRIGHTNESS

#: Pixels a side of the window in which detail is measured: what the eye takes in as one spot at the usual
#: distance, and about the cell of JPEG.
WINDOW = 7

#: Detail (standard deviation of the brightness around its local mean, 0–255) up to which an area is flat.
#: Skies and even backgrounds of 8-bit photographs have 0.3 to 1.2, which is noise and compression.
FLAT = 1.5

#: What a unit of detail beyond that hides, in levels. At 1 the marks on skin were seen, at a half not.
MASKING = 0.5

#: Brightness (0–255) up to which an area is dark, and from which it is not. The borders of dermoscopy lie
#: below 25; there a change of 4 is a fifth of the light, and any screen that is turned up shows it.
DARK, LIT = 25.0, 50.0

#: Values so near to 0 or 255 are saturated, and so is what lies within half a window of them. Cut-outs on
#: white and blown highlights hold 255 exactly, and their edges after compression 251 or more: a value a
#: little below beside them is found by counting.
SATURATED = 4

#: The change has to drown at every scale, as who looks at a large picture sees it shrunk: detail is measured at
#: the image's size and at halves of it, down to this many pixels on the shorter side.
SMALLEST_SIDE = 128

#: An image has room for a mark if this share of its pixels may change by a level or more. Below it the few
#: places that are left would hold all of the mark, and a model would learn little of it. At ε = 4 that leaves out
#: 1 % of CIFAR-10; of EuroSAT 99 % of water, 92 % of forest and 12 % of the rest; half of small HAM10000 (smooth
#: skin); no digit on grey paper and every one that is 8 pixels wide on black.
LEAST_ROOM = 0.1


def budget_of(
    original: np.ndarray, epsilon: float, cell: int = 1, spill: bool = False
) -> np.ndarray:
    """How much each pixel may change.

    Args:
        original: uint8 (..., H, W, 3), of one image or several of one size
        epsilon: the largest budget, 0–255 units
        cell (1): pixels a side of the squares that the file's codec changes together: none of them gets
            more than its poorest pixel, see :attr:`..codecs.base.Codec.cell`
        spill (False): whether a change of a cell reaches into its neighbours, so that cells beside one
            without budget get none either

    Returns:
        float32 (..., H, W), 0 or from 1 to ``epsilon``, in 0–255 units
    """
    brightness = original.astype(np.float32) @ BRIGHTNESS
    detail = _detail(brightness)
    *before, height, width = brightness.shape
    window = (*(1 for _ in before), WINDOW, WINDOW)
    factor = 2
    while min(height, width) // factor >= SMALLEST_SIDE:
        coarse = _detail(_shrunk(brightness, factor)).repeat(factor, -2).repeat(factor, -1)
        # The rest of a division has the detail of the last whole square
        short = ((0, height - coarse.shape[-2]), (0, width - coarse.shape[-1]))
        whole = np.pad(coarse, (*((0, 0) for _ in before), *short), mode="edge")
        np.minimum(detail, whole, out=detail)
        factor *= 2
    if cell == 1:
        # A pixel beside an edge is as flat as the flat side of it
        detail = minimum_filter(detail, window)

    light = uniform_filter(brightness, window)
    budget = MASKING * (detail - FLAT)
    budget *= np.clip((light - DARK) / (LIT - DARK), 0, 1)
    np.minimum(budget, epsilon, out=budget)
    ends = ((original <= SATURATED) | (original >= 255 - SATURATED)).any(axis=-1)
    budget[maximum_filter(ends, window)] = 0
    if cell > 1:
        budget = _poorest(budget, cell, spill)
    # Less than a level is not stored
    budget[budget < 1] = 0
    return budget


def has_room(budget: np.ndarray) -> bool:
    """Whether a budget of :func:`budget_of` leaves enough of the image to hold a mark."""
    return float(np.mean(budget > 0)) >= LEAST_ROOM


def _detail(brightness: np.ndarray) -> np.ndarray:
    """Standard deviation of what is left of the brightness without its local mean: a slope has none."""
    window = (*(1 for _ in brightness.shape[:-2]), WINDOW, WINDOW)
    residual = brightness - uniform_filter(brightness, window)
    # A running sum of squares can end a rounding below 0
    return np.sqrt(np.maximum(uniform_filter(residual * residual, window), 0))


def _shrunk(values: np.ndarray, factor: int) -> np.ndarray:
    height, width = (length // factor * factor for length in values.shape[-2:])
    whole = values[..., :height, :width]
    squares = (height // factor, factor, width // factor, factor)
    return whole.reshape(*values.shape[:-2], *squares).mean(axis=(-3, -1))


def _poorest(budget: np.ndarray, cell: int, spill: bool) -> np.ndarray:
    """The least budget of each cell, for all of it."""
    *before, height, width = budget.shape
    rows, columns = math.ceil(height / cell), math.ceil(width / cell)
    short = ((0, rows * cell - height), (0, columns * cell - width))
    padded = np.pad(budget, (*((0, 0) for _ in before), *short), mode="edge")
    least = padded.reshape(*before, rows, cell, columns, cell).min(axis=(-3, -1))
    if spill:
        beside = minimum_filter(least, (*(1 for _ in before), 3, 3))
        least = np.where(beside < 1, 0, least)
    return least.repeat(cell, axis=-2).repeat(cell, axis=-1)[..., :height, :width]
