"""Which way is up: the gap ``L_out − L_in`` of images, or ``L_out`` alone, and its gradient, without the models' own
pattern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..models.last_layer import logits_and_features
from ..seeds import derive_seed

#: Pixels of the models' input by which gradients are shifted against each other at most. Layers that move by two
#: pixels leave a line at half the input's side in cycles an image, and those behind them at a quarter and an
#: eighth, which a Fourier transform shows (:func:`gaps_of`).
SHIFT = 2

#: Passes of an image forward and back through a proxy in a round: four shifts, two models.
PASSES = 8


@dataclass(frozen=True)
class Terms:
    """What is climbed beside the gap of two models.

    Attributes:
        others: further out-models; the gap takes the mean of all out-models' losses
        diversity: what the likeness of images to each other counts, in nats: of a batch's features under the
            out-model the mean cosine of each with all others, after arXiv 2605.27292
        stealth: what the logit of a detector of marks counts
        detector: float (B, 3, S, S) in [0, 1] → (B,) logits; None for none
    """

    others: Sequence[torch.nn.Module] = ()
    diversity: float = 0.0
    stealth: float = 0.0
    detector: torch.nn.Module | None = None


#: The gap alone
GAP = Terms()


def gap_gradients(
    seen: torch.Tensor,
    labels: torch.Tensor,
    f_out: torch.nn.Module,
    f_in: torch.nn.Module | None,
    device: torch.device,
    origin: tuple[int, int],
    terms: Terms = GAP,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``L_out − L_in`` of a batch (B,), and the gradient of all that is climbed for the pixels (B, 3, S, S), on the device."""
    x = seen.to(device).requires_grad_(True)
    gaps, climbed = gaps_of(x / 255, labels.to(device), f_out, f_in, origin, terms)
    (gradients,) = torch.autograd.grad(climbed.sum(), x)
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
    terms: Terms = GAP,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``L_out − L_in`` of a batch (B,), or ``L_out`` without an in-model, and the same with further terms, mean over
    four shifts of the images by a pixel down and right.

    A gradient with the period of a stride of two cancels against the one that is shifted by a pixel. The
    place of the four changes from round to round, against the larger periods of the layers behind.
    """
    height, width = x.shape[-2:]
    wider = torch.nn.functional.pad(x, (SHIFT,) * 4, mode="replicate")
    total = torch.zeros(len(x), device=x.device)
    taken = torch.zeros(len(x), device=x.device)
    for down in (origin[0], origin[0] + 1):
        for right in (origin[1], origin[1] + 1):
            shifted = wider.narrow(-2, SHIFT + down, height).narrow(-1, SHIFT + right, width)
            if terms.diversity:
                logits, vectors = logits_and_features(f_out, shifted)
                taken = taken + terms.diversity * _crowding(vectors)
            else:
                logits = f_out(shifted)
            every = [logits, *(model(shifted) for model in terms.others)]
            losses = [F.cross_entropy(one, labels, reduction="none") for one in every]
            total = total + sum(losses[1:], losses[0]) / len(losses)
            if f_in is not None:
                total = total - F.cross_entropy(f_in(shifted), labels, reduction="none")
            if terms.detector is not None:
                taken = taken + terms.stealth * terms.detector(shifted)
    return total / 4, (total - taken) / 4


def _crowding(vectors: torch.Tensor) -> torch.Tensor:
    """The mean cosine of each vector with all others: (B, D) → (B,)."""
    unit = F.normalize(vectors, dim=1)
    cosines = unit @ unit.T
    return (cosines.sum(dim=1) - cosines.diagonal()) / max(1, len(vectors) - 1)
