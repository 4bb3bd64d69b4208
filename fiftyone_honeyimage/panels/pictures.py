"""Pictures of an original, its HoneyImage and their difference, as the panel shows them: pixels in, URLs out."""

from __future__ import annotations

import base64
import io

import numpy as np

#: Longest side of an image in the panel, pixels.
MAX_SIDE = 512

#: The amplified differences that are shown.
FACTORS = (10, 50)


def difference(original: np.ndarray, marked: np.ndarray, factor: int) -> np.ndarray:
    """The change of an image around mid-grey, amplified and clipped.

    Args:
        original, marked: uint8 (H, W, 3)
        factor: by which the change is multiplied

    Returns:
        uint8 (H, W, 3); 128 is no change
    """
    change = marked.astype(np.int32) - original.astype(np.int32)
    return np.clip(128 + factor * change, 0, 255).astype(np.uint8)


def comparison(original: np.ndarray, marked: np.ndarray) -> dict[str, str]:
    """The pictures of a comparison as data URLs, by name."""
    pictures = {"original": original, "honeyimage": marked}
    for factor in FACTORS:
        pictures[f"difference_{factor}"] = difference(original, marked, factor)
    return {name: data_url(fit(picture)) for name, picture in pictures.items()}


def fit(image: np.ndarray, max_side: int = MAX_SIDE) -> np.ndarray:
    """Brings an image near ``max_side``, so that every pixel of a small one can be seen.

    Args:
        image: uint8 (H, W, 3)
        max_side (MAX_SIDE): longest side of the result

    Returns:
        uint8: whole repeats of a small image's pixels, or every k-th pixel of a large one. Neither
        mixes pixels, which would hide changes
    """
    side = max(image.shape[:2])
    if side > max_side:
        step = -(-side // max_side)
        return image[::step, ::step]
    repeats = max_side // side
    return image.repeat(repeats, axis=0).repeat(repeats, axis=1)


def data_url(image: np.ndarray) -> str:
    """An image as the URL of a lossless file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
