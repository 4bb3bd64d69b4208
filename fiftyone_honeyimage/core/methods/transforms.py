"""What may happen to a release before a model is trained on it, as it happens and with gradients."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

from ..resizing import differentiable_resize, resize_uint8

#: Sides of a random crop, as a share of the image's.
CROP = 7 / 8


@dataclass(frozen=True)
class Transform:
    """One change of an image that a mark may have to survive.

    Attributes:
        name: what reports call it
        apply: (uint8 (H, W, 3), generator) → uint8 (h, w, 3), exactly as common tools do it
        differentiable: (float (1, 3, H, W) in [0, 1], generator) → the same with gradients
    """

    name: str
    apply: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    differentiable: Callable[[torch.Tensor, np.random.Generator], torch.Tensor]


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Pillow's JPEG of that quality (4:2:0), decoded."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality)
    with Image.open(buffer) as image:
        return np.array(image.convert("RGB"))


def differentiable_jpeg(x: torch.Tensor, quality: int, rng: np.random.Generator) -> torch.Tensor:
    """kornia's JPEG (Reich et al. 2024), on slightly noisy pixels.

    Its rounding has no gradient at coefficients that are whole numbers of steps, as most of them are
    in flat regions; noise of ±4 values shows it which coefficients are within reach.
    """
    # Imported here: a machine that only trains and scores does without it
    from kornia.enhance import jpeg_codec_differentiable

    noise = rng.uniform(-4 / 255, 4 / 255, x.shape).astype(np.float32)
    height, width = x.shape[-2:]
    # Whole units of 16 pixels; "replicate" takes any amount
    noisy = F.pad(
        x + torch.from_numpy(noise).to(x.device), (0, -width % 16, 0, -height % 16), "replicate"
    )
    coded = jpeg_codec_differentiable(noisy, torch.tensor([float(quality)], device=x.device))
    return coded[..., :height, :width]


def resized_and_back(pixels: np.ndarray) -> np.ndarray:
    """Three quarters of the size and back, bilinear with antialiasing."""
    height, width = pixels.shape[:2]
    smaller = resize_uint8(pixels, (_three_quarters(height), _three_quarters(width)))
    return resize_uint8(smaller, (height, width))


def _differentiable_resized(x: torch.Tensor) -> torch.Tensor:
    height, width = x.shape[-2:]
    smaller = differentiable_resize(x, (_three_quarters(height), _three_quarters(width)))
    return differentiable_resize(smaller, (height, width))


def median(pixels: np.ndarray) -> np.ndarray:
    """The median of 3x3 pixels, each channel alone."""
    return np.array(Image.fromarray(pixels).filter(ImageFilter.MedianFilter(3)))


def _differentiable_median(x: torch.Tensor) -> torch.Tensor:
    from kornia.filters import median_blur

    # Padding by reflection needs two pixels a side
    border = "reflect" if min(x.shape[-2:]) > 1 else "replicate"
    return median_blur(x, 3, border)


def crop_and_flip(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random crop of seven eighths a side, mirrored with probability one half."""
    rows, columns, mirrored = _crop(pixels.shape[0], pixels.shape[1], rng)
    crop = pixels[rows, columns]
    return np.ascontiguousarray(crop[:, ::-1] if mirrored else crop)


def _differentiable_crop(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    rows, columns, mirrored = _crop(x.shape[-2], x.shape[-1], rng)
    crop = x[..., rows, columns]
    return crop.flip(-1) if mirrored else crop


def _crop(height: int, width: int, rng: np.random.Generator) -> tuple[slice, slice, bool]:
    rows, columns = random_part(height, CROP, rng), random_part(width, CROP, rng)
    return rows, columns, bool(rng.integers(2))


def random_part(length: int, share: float, rng: np.random.Generator) -> slice:
    """A share of a side, anywhere on it, one pixel at least."""
    kept = max(1, round(share * length))
    start = int(rng.integers(length - kept + 1))
    return slice(start, start + kept)


def _three_quarters(length: int) -> int:
    return max(1, round(0.75 * length))


#: What a release is expected to go through; the order fixes the seeds.
TRANSFORMS: tuple[Transform, ...] = (
    Transform("jpeg75", lambda x, rng: jpeg(x, 75), lambda x, rng: differentiable_jpeg(x, 75, rng)),
    Transform("jpeg50", lambda x, rng: jpeg(x, 50), lambda x, rng: differentiable_jpeg(x, 50, rng)),
    Transform(
        "resize75", lambda x, rng: resized_and_back(x), lambda x, rng: _differentiable_resized(x)
    ),
    Transform("median3", lambda x, rng: median(x), lambda x, rng: _differentiable_median(x)),
    Transform("crop_flip", crop_and_flip, _differentiable_crop),
)
