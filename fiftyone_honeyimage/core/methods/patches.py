"""Square patches of random colours: the triggers of BadNets and of both untargeted watermarks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

#: Patches are drawn for images of this width. They grow in whole steps with larger ones, so that a model that sees an
#: image at a smaller size still sees the patch, and shrink with smaller ones: one that covers much of an image disturbs
#: any model, whether it was trained on the mark or not
REFERENCE_SIZE = 32

#: A patch's place is kept in parts of the way that it can go
_PARTS = 1000


def draw_patch(rng: np.random.Generator, size: int, place: str) -> dict[str, Any]:
    """A patch of random colours and its place.

    Args:
        rng: draws it
        size: pixels a side
        place: "bottom_right", "corner" (any of the four) or "anywhere"

    Returns:
        ``patch``, the values of uint8 (size, size, 3) in their order, and ``place``, how far down and right,
        in thousandths
    """
    patch = rng.integers(0, 256, 3 * size * size)
    spot = {
        "bottom_right": lambda: [_PARTS, _PARTS],
        "corner": lambda: (_PARTS * rng.integers(0, 2, 2)).tolist(),
        "anywhere": lambda: rng.integers(0, _PARTS + 1, 2).tolist(),
    }[place]()
    return {"patch": patch.tolist(), "place": spot}


def put_patch(image: np.ndarray, key: Mapping[str, Any]) -> np.ndarray:
    """A uint8 (H, W, 3) image with the patch of :func:`draw_patch` in it, grey in a grey image; a new array."""
    from ..codecs.base import in_its_colours  # loads Pillow, which a form does not need

    values = np.array(key["patch"], dtype=np.uint8)
    size = round((len(values) / 3) ** 0.5)
    height, width = image.shape[:2]
    rows = np.arange(size).repeat(max(1, min(height, width) // REFERENCE_SIZE))
    side = max(min(size, 2), round(size * min(height, width) / REFERENCE_SIZE))
    if side < size:
        rows = np.arange(side) * size // side
    patch = values.reshape(size, size, 3)[rows][:, rows]
    patch = in_its_colours(patch[:height, :width], image)
    top, left = (
        (part * (length - own) + _PARTS // 2) // _PARTS
        for part, length, own in zip(key["place"], (height, width), patch.shape[:2], strict=True)
    )
    marked = np.array(image)
    marked[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
    return marked
