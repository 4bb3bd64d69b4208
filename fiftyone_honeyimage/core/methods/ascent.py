"""Which way is up: the gap ``L_out − L_in`` of images, or ``L_out`` alone, and its gradient, without the models' own
pattern."""

from __future__ import annotations

import numpy as np
import torch

from ..seeds import derive_seed

#: Pixels of the models' input by which gradients are shifted against each other at most. Layers that move by two
#: pixels leave a line at half the input's side in cycles an image, and those behind them at a quarter and an
#: eighth, which a Fourier transform shows (:func:`gaps_of`).
SHIFT = 2

#: Passes of an image forward and back through a proxy in a round: four shifts, two models.
PASSES = 8


def gap_gradients(
    seen: torch.Tensor,
    labels: torch.Tensor,
    f_out: torch.nn.Module,
    f_in: torch.nn.Module | None,
    device: torch.device,
    origin: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """``L_out − L_in`` of a batch (B,), and its gradient for the pixels (B, 3, S, S), on the device."""
    x = seen.to(device).requires_grad_(True)
    gaps = gaps_of(x / 255, labels.to(device), f_out, f_in, origin)
    (gradients,) = torch.autograd.grad(gaps.sum(), x)
    return gaps.detach().cpu(), gradients


def shift_origin(seed: int, step: int) -> tuple[int, int]:
    """Where the four shifts of a round begin, in pixels of the models' input, down and right."""
    rng = np.random.default_rng(derive_seed(seed, "shift", step))
    down, right = rng.integers(-SHIFT, SHIFT, 2)
    return int(down), int(right)


def gaps_of(
    x: torch.Tensor,
    labels: torch.Tensor,
    f_out: torch.nn.Module,
    f_in: torch.nn.Module | None,
    origin: tuple[int, int],
) -> torch.Tensor:
    """``L_out − L_in`` of a batch (B,), or ``L_out`` without an in-model, mean over four shifts of the images by a
    pixel down and right.

    A gradient with the period of a stride of two cancels against the one that is shifted by a pixel. The
    place of the four changes from round to round, against the larger periods of the layers behind.
    """
    height, width = x.shape[-2:]
    wider = torch.nn.functional.pad(x, (SHIFT,) * 4, mode="replicate")
    total = torch.zeros(len(x), device=x.device)
    models = [(1, f_out)] if f_in is None else [(1, f_out), (-1, f_in)]
    for down in (origin[0], origin[0] + 1):
        for right in (origin[1], origin[1] + 1):
            shifted = wider.narrow(-2, SHIFT + down, height).narrow(-1, SHIFT + right, width)
            for sign, model in models:
                loss = torch.nn.functional.cross_entropy(model(shifted), labels, reduction="none")
                total = total + sign * loss
    return total / 4
