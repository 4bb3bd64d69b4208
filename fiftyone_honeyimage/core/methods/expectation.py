"""Gradients that hold after what may happen to a release: expectation over transforms (EOT, Athalye 2018)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..resizing import differentiable_resize
from .perturbation import seen_by_model
from .together import Together
from .transforms import TRANSFORMS

#: (float (B, 3, S, S) in [0, 1], int64 (B,)) → what is climbed, (B,)
Climbed = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

#: Pixels up to which transforms are differentiated at native size. Larger images are transformed as they
#: are, and the gradient is carried straight through: at the proxy's size little is left of the transforms.
_DIFFERENTIABLE_PIXELS = 512 * 512


def over_transforms(
    part: Together,
    levels: Sequence[np.ndarray],
    labels: torch.Tensor,
    climbed: Climbed,
    rngs: Sequence[np.random.Generator],
    size: int,
    device: torch.device,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The gradients summed over each transform, one image after the other.

    Args:
        part: B images
        levels: (H, W, 3) of each
        labels: int64 (B,)
        climbed: what is climbed
        rngs: of each
        size: S
        device: where the models are

    Returns:
        float32 (B, 3, S, S) as models see the images, or None; and float32 (B, H, W, 3) at native size, or None
    """
    height, width = part.originals.shape[1:3]
    whole = _of_views if height * width > _DIFFERENTIABLE_PIXELS else _at_native_size
    found = [
        whole(part.one(place), levels[place], labels[place], climbed, rng, size, device)
        for place, rng in enumerate(rngs)
    ]
    gradients = torch.stack(found).to(part.originals.device)
    return (gradients, None) if whole is _of_views else (None, gradients)


def _of_views(
    alone: Together,
    levels: np.ndarray,
    label: torch.Tensor,
    climbed: Climbed,
    rng: np.random.Generator,
    size: int,
    device: torch.device,
) -> torch.Tensor:
    """float32 (3, S, S)."""
    pixels = np.rint(_current(alone, levels).cpu().numpy()).astype(np.uint8)
    views = [seen_by_model(t.apply(pixels, rng), size) for t in TRANSFORMS]
    x = torch.stack(views).float().to(device).requires_grad_(True)
    targets = label.to(device).expand(len(views))
    (gradients,) = torch.autograd.grad(climbed(x / 255, targets).sum(), x)
    return gradients.sum(dim=0)


def _at_native_size(
    alone: Together,
    levels: np.ndarray,
    label: torch.Tensor,
    climbed: Climbed,
    rng: np.random.Generator,
    size: int,
    device: torch.device,
) -> torch.Tensor:
    """float32 (H, W, 3)."""
    x = _current(alone, levels).permute(2, 0, 1)[None].to(device) / 255
    x.requires_grad_(True)
    batch = torch.cat([differentiable_resize(t.differentiable(x, rng), size) for t in TRANSFORMS])
    targets = label.to(device).expand(len(batch))
    (native,) = torch.autograd.grad(climbed(batch, targets).sum(), x)
    return (native[0] / 255).permute(1, 2, 0)


def _current(alone: Together, levels: np.ndarray) -> torch.Tensor:
    return torch.cat([part[0] for _, part in alone.perturbed([levels])])
