"""A small U-Net that writes a watermark into an image, other for every image, and how it is trained.

Source: SSCL-BW, sample-specific clean-label backdoor watermarking. Its generator G is trained against a surrogate f by

    L = a L_t + b L_nt + c L_v

L_t: f does not take G(x) for the target class where x is of it, so that a model has to learn the mark to be right;
L_nt: f takes G(x) for the target class where x is of another; L_v: G(x) looks like x. The weights a, b and c cannot be read in
our copy of the paper, and L_v there is LPIPS, which needs a network's weights: here the change is bounded by ε, and L_v is
its mean square in units of ε.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..device import choose_device, seeded
from ..errors import SamplesError
from .bounded_changes import with_change, write_changes
from .keys import KeyedImages, Keys
from .out_model import thumbnails, train_out_model
from .request import CraftRequest

#: Images of either kind a step
_BATCH = 32
_LEARNING_RATE = 5e-3
_WIDTH = 16

#: Channels of the secret pattern that a generator sees beside an image
_PATTERN = 2


class WatermarkGenerator(nn.Module):
    """A U-Net of two levels: images (B, 3, S, S) in [0, 1] → changes (B, 3, S, S) in [-1, 1], in units of ε.

    Args:
        size: S
        seed: of its weights and of the pattern that it sees beside an image
    """

    def __init__(self, size: int, seed: int) -> None:
        super().__init__()
        with seeded(seed):
            self.enter = _block(3 + _PATTERN, _WIDTH)
            self.middle = _block(_WIDTH, 2 * _WIDTH)
            self.leave = _block(3 * _WIDTH, _WIDTH)
            self.last = nn.Conv2d(_WIDTH, 3, 1)
            pattern = torch.randn(1, _PATTERN, size, size)
        self.pattern: Tensor
        self.register_buffer("pattern", pattern)

    def forward(self, images: Tensor) -> Tensor:
        pattern = self.pattern.expand(len(images), -1, -1, -1)
        fine = self.enter(torch.cat([images * 2 - 1, pattern], dim=1))
        coarse = self.middle(F.avg_pool2d(fine, 2, ceil_mode=True))
        back = F.interpolate(coarse, size=fine.shape[-2:], mode="nearest")
        return torch.tanh(self.last(self.leave(torch.cat([fine, back], dim=1))))


def _block(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.GroupNorm(4, width),
        nn.SiLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.SiLU(),
    )


def watermark_losses(
    logits_target: Tensor, logits_others: Tensor, target: int, change: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """L_t, L_nt and L_v, see the module.

    Args:
        logits_target: the surrogate's on marked images of the target class, (B, C)
        logits_others: on marked images of other classes, (B', C)
        target: the target class
        change: of all of them, (B + B', 3, S, S), in units of ε
    """
    # -log(1 - p) from logits, so that it pushes most where the surrogate is surest
    others = torch.arange(logits_target.shape[1], device=logits_target.device) != target
    not_target = (logits_target.logsumexp(1) - logits_target[:, others].logsumexp(1)).mean()
    wanted = torch.full((len(logits_others),), target, device=logits_others.device)
    return not_target, F.cross_entropy(logits_others, wanted), change.square().mean()


def train_generator(
    surrogate: nn.Module, images: Tensor, labels: Tensor, target: int, seed: int, options: Any
) -> WatermarkGenerator:
    """A generator for one key.

    Args:
        surrogate: in eval mode
        images: uint8 (N, 3, S, S) on the surrogate's device
        labels: int64 (N,), likewise
        target: the target class
        seed: of its weights, its pattern and the order of the images
        options: ``epsilon``, ``num_steps`` and the losses' weights
    """
    own, others = (torch.nonzero(mask).flatten() for mask in (labels == target, labels != target))
    generator = WatermarkGenerator(images.shape[-1], seed).to(images.device)
    optimizer = torch.optim.Adam(generator.parameters(), _LEARNING_RATE)
    order = torch.Generator().manual_seed(seed)
    for _ in range(options.num_steps):
        rows = torch.cat(
            [
                kind[torch.randint(len(kind), (_BATCH,), generator=order).to(kind.device)]
                for kind in (own, others)
            ]
        )
        plain = images[rows] / 255
        change = generator(plain)
        marked = (plain + change * options.epsilon / 255).clamp(0, 1)
        logits = surrogate(marked)
        parts = watermark_losses(logits[:_BATCH], logits[_BATCH:], target, change)
        weights = (options.weight_target, options.weight_others, options.weight_change)
        loss = torch.stack([w * part for w, part in zip(weights, parts, strict=True)]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return generator.eval()


def watermark(keys: Keys) -> KeyedImages:
    """Trains a generator for every key and marks its images, and the images to be asked about, with it.

    Raises:
        SamplesError: if a class is not among the images that the generators learn from
    """
    request = keys.request
    missing = set(keys.targets.tolist()) - set(np.asarray(request.rest_labels).tolist())
    if missing:
        raise SamplesError(
            f"no image of class {min(missing)} is left to train a secret on; mark fewer images"
        )
    device = choose_device(request.device)
    surrogate = train_out_model(request).to(device).eval().requires_grad_(False)
    images = request.rest.to(device)
    labels = torch.as_tensor(request.rest_labels, dtype=torch.int64, device=device)
    size = int(images.shape[-1])
    sources = list(request.probe_sources)
    shown = thumbnails(sources, size).to(device)
    changes: dict[int, Tensor] = {}
    asked: dict[str, list[np.ndarray]] = {}
    for places, key, target in keys.sides():
        seed = int(key["generator"], 16) % 2**63
        generator = train_generator(surrogate, images, labels, target, seed, request.options)
        own = thumbnails([request.candidates[place] for place in places], size).to(device)
        changes.update(zip(map(int, places), _changes(generator, own, request), strict=True))
        of_sources = _changes(generator, shown, request)
        asked[key["generator"]] = list(map(with_change, sources, of_sources))
        request.report("Training secrets", len(asked), 2 * len(keys.pairs))
    surrogate.requires_grad_(True)
    return KeyedImages(
        **write_changes(request, changes, request.options.epsilon),
        asked=lambda key, rows: [asked[key["generator"]][row] for row in rows],
        out_model=surrogate,
    )


@torch.no_grad()
def _changes(generator: nn.Module, images: Tensor, request: CraftRequest) -> list[Tensor]:
    """In 0-255 units, on the CPU."""
    parts = [
        (generator(images[start : start + 256] / 255) * request.options.epsilon).cpu()
        for start in range(0, len(images), 256)
    ]
    return list(torch.cat(parts))
