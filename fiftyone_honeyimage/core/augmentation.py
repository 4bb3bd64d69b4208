"""Batches of bytes as a model sees them in training: cropped, mirrored, as floats."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def random_crop_flip(
    images: torch.Tensor,
    top: torch.Tensor,
    left: torch.Tensor,
    flip: torch.Tensor,
    padding: int,
) -> torch.Tensor:
    """Crops and mirrors a batch, each image in its own way.

    Args:
        images: tensor (B, 3, S, S)
        top: int64 tensor (B,), the first row of the crop in the padded image, 0 to ``2 * padding``
        left: int64 tensor (B,), the first column, likewise
        flip: bool tensor (B,), whether the crop is then mirrored left to right
        padding: the black pixels around each image

    Returns:
        tensor (B, 3, S, S) of the same type
    """
    size = images.shape[-1]
    steps = torch.arange(size, device=images.device)
    rows = top[:, None] + steps
    columns = left[:, None] + torch.where(flip[:, None], size - 1 - steps, steps)
    if padding:
        images = F.pad(images, (padding,) * 4)

    # One gather for the whole batch: on a CPU four times as fast as indexing with three tensors
    pixels = rows[:, :, None] * images.shape[-1] + columns[:, None, :]
    pixels = pixels.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, pixels).unflatten(2, (size, size))


def to_float(images: torch.Tensor) -> torch.Tensor:
    """Converts uint8 images to float32 in [0, 1]."""
    return images.to(torch.float32).div_(255)
