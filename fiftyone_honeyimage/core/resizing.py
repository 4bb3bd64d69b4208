"""The two ways that this package resizes: pixels by Pillow, and tensors with gradients, by the same filter."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .errors import ParameterError
from .images import check_image


def resize_uint8(array: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Resizes an image with Pillow's antialiased bilinear filter.

    Args:
        array: uint8 array of shape ``(height, width, 3)``
        size: ``(height, width)`` of the result, or one number for a square

    Returns:
        a uint8 array; ``array`` itself where it has that size already
    """
    check_image(array, "resize_uint8")
    height, width = height_width(size)
    if array.shape[:2] == (height, width):
        return array
    resized = Image.fromarray(np.ascontiguousarray(array)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    return np.array(resized, dtype=np.uint8)


def differentiable_resize(x: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Resizes a batch with the same filter as :func:`resize_uint8` (to rounding), with gradients.

    Args:
        x: floating point tensor of shape ``(B, C, height, width)``
        size: ``(height, width)`` of the result, or one number for a square

    Returns:
        a tensor of shape ``(B, C, *size)``; ``x`` itself where it has that size already
    """
    height, width = height_width(size)
    if x.shape[-2:] == (height, width):
        return x
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=False, antialias=True)


@lru_cache(maxsize=16)
def resize_map(length: int, size: int) -> Tensor:
    """One axis of :func:`differentiable_resize` as a matrix: a resized image is ``R_h X R_w^T``.

    It lets large images be resized, and gradients be carried back to them, a few rows at a time.

    Args:
        length: pixels along the axis
        size: pixels that they become

    Returns:
        float32 (size, length), shared: not to be changed
    """
    unit = torch.eye(length)
    if length == size:
        return unit
    return F.interpolate(
        unit[None, None], (size, length), mode="bilinear", align_corners=False, antialias=True
    )[0, 0]


def height_width(size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns a size as ``(height, width)``.

    Args:
        size: the side of a square, or ``(height, width)``, in pixels

    Raises:
        ParameterError: unless these are positive whole numbers
    """
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2 or not all(_is_positive_int(side) for side in sides):
        raise ParameterError(
            f"an image size is a positive whole number or (height, width), in pixels; got {size!r}"
        )
    return int(sides[0]), int(sides[1])


def _is_positive_int(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        return False
    return int(value) > 0
