"""Changes of images whose gradient in training points where another loss's gradient points.

Source: Geiping et al., Witches' Brew (arXiv 2009.02276), which UBW-C (arXiv 2210.00875, Sec. 4.2) follows: signed Adam
on ``1 - cos(∇CE(x + δ, y), ∇[-(CE + β H)](x_patch, y))``, ``‖δ‖∞ ≤ ε``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..device import choose_device
from .bounded_changes import write_changes
from .keys import Keys
from .out_model import thumbnails, train_out_model

#: β, the weight of the entropy
BETA = 2.0

#: The first step of signed Adam, in [0, 1]; a tenth of it after 3/8, 5/8 and 7/8 of the steps
STEP_SIZE = 0.025

Put = Callable[[np.ndarray, Mapping[str, Any], Any], np.ndarray]


def match_gradients(keys: Keys, put: Put) -> dict[str, Any]:
    """Changes every key's images; both sides of a pair by the same steps and against the same other images.

    Args:
        keys: their request has the options ``epsilon``, ``num_steps`` and ``num_sources``
        put: puts a key into an image

    Returns:
        ``changed``, ``files`` and ``out_model`` for :func:`.changed_images.finish_changed`
    """
    request = keys.request
    device = choose_device(request.device)
    model = train_out_model(request).to(device).eval()
    size = int(request.rest.shape[-1])
    options = request.options
    number = min(options.num_sources, len(request.rest))
    changes: dict[int, Tensor] = {}
    for pair, (sides, both) in enumerate(zip(request.sides, keys.pairs, strict=True)):
        rows = np.sort(keys.rng.choice(len(request.rest), number, replace=False))
        sources = request.rest[rows].permute(0, 2, 3, 1).numpy()
        source_labels = torch.as_tensor(request.rest_labels[rows], dtype=torch.int64)
        for places, key in zip(sides, both, strict=True):
            own = [request.candidates[place] for place in places]
            # A trigger is put into an image of the size that suspects are asked about, which their models then shrink
            shapes = itertools.cycle([image.shape[:2] for image in own])
            patched = [
                put(enlarged(image, shape), key, options)
                for image, shape in zip(sources, shapes, strict=False)
            ]
            images = thumbnails(own, size)
            change = match_side(
                model,
                images.to(device),
                torch.as_tensor(request.candidate_labels[places], dtype=torch.int64, device=device),
                thumbnails(patched, size).to(device),
                source_labels.to(device),
                epsilon=options.epsilon,
                num_steps=options.num_steps,
            )
            changes.update(zip(map(int, places), change.cpu(), strict=True))
        request.report("Matching gradients", pair + 1, len(keys.pairs))
    return {**write_changes(request, changes, options.epsilon), "out_model": model}


def enlarged(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A uint8 (S, S, 3) image at another height and width."""
    if image.shape[:2] == shape:
        return image
    from PIL import Image

    height, width = shape
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def match_side(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    patched: Tensor,
    patched_labels: Tensor,
    *,
    epsilon: float,
    num_steps: int,
) -> Tensor:
    """The change of one key's images, float32 (F, 3, S, S), in 0–255 units, at most ε.

    Args:
        model: in eval mode
        images: uint8 (F, 3, S, S)
        labels: int64 (F,)
        patched: uint8 (N, 3, S, S), other images with the patch
        patched_labels: int64 (N,), their true classes
        epsilon: 0–255 units
        num_steps: of signed Adam
    """
    weights = [value for value in model.parameters() if value.requires_grad]
    wanted = torch.autograd.grad(dispersing_loss(model(patched / 255), patched_labels), weights)
    bound = epsilon / 255
    plain = images / 255
    change = torch.zeros_like(plain, requires_grad=True)
    optimizer = torch.optim.Adam([change], lr=STEP_SIZE)
    milestones = [num_steps * part // 8 for part in (3, 5, 7)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones)
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(plain + change), labels)
        given = torch.autograd.grad(loss, weights, create_graph=True)
        (change.grad,) = torch.autograd.grad(1 - cosine(given, wanted), [change])
        change.grad.sign_()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            change.clamp_(-bound, bound)
            change.copy_((plain + change).clamp(0, 1) - plain)
    return change.detach() * 255


def dispersing_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """``-(CE + β H)``, nats: low where a model is wrong and unsure. Source: UBW-C, eq. 5 to 7."""
    log_p = F.log_softmax(logits, dim=1)
    entropy = -(log_p.exp() * log_p).sum(dim=1).mean()
    return -(F.nll_loss(log_p, labels) + BETA * entropy)


def cosine(given: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The cosine between two gradients, over all weights together."""
    dot = torch.stack([(a * b).sum() for a, b in zip(given, wanted, strict=True)]).sum()
    norms = [torch.stack([(a * a).sum() for a in each]).sum().sqrt() for each in (given, wanted)]
    return dot / (norms[0] * norms[1]).clamp_min(1e-12)
