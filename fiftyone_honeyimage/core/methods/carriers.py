"""Secret directions in feature space, and images that are moved along them.

Source: Sablayrolles et al., Radioactive data (arXiv 2002.00937), section 3: an image x is changed to x' that
minimises ``-(φ(x') - φ(x)) · u + λ1 ‖x' - x‖² + λ2 ‖φ(x') - φ(x)‖`` under random flips and crops, ``‖x' - x‖∞ ≤ ε``.
There by 90 steps of gradient descent with a rate of 1 on features of a ResNet-18; here by Adam, whose steps do not depend
on how large a small proxy's features are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..device import choose_device
from ..models.last_layer import features, last_layer
from ..seeds import derive_seed
from .bounded_changes import with_change, write_changes
from .keys import KeyedImages, Keys
from .out_model import thumbnails, train_out_model
from .request import CraftRequest

#: λ1 and λ2, as published, for pixels in units of :data:`PIXEL_STD`
PIXEL_WEIGHT, FEATURE_WEIGHT = 5e-4, 1e-2
PIXEL_STD = 0.225

#: Images are shifted by up to this share of their side
_SHIFT = 0.125

#: Images that are changed at once
_BATCH = 64


def carrier_of(key: Mapping[str, Any], dimension: int) -> np.ndarray:
    """A key's carrier: a unit vector whose direction is uniform, float32 (D,)."""
    drawn = np.random.default_rng(int(key["carrier"], 16)).standard_normal(dimension)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def draw_carrier(rng: np.random.Generator) -> dict[str, str]:
    """A new key: the seed of its carrier, 128 bits in hexadecimal."""
    return {"carrier": rng.bytes(16).hex()}


def carry(keys: Keys) -> KeyedImages:
    """Moves every candidate along its side's carrier; both sides of a pair by the same steps."""
    request = keys.request
    model = train_out_model(request)
    changes: dict[int, Tensor] = {}
    for places, key, _ in keys.sides():
        images = [request.candidates[place] for place in places]
        changes.update(zip(map(int, places), moved(request, model, images, key), strict=True))
        request.report("Moving images along carriers", len(changes), len(request.candidates))

    def asked(key: Mapping[str, Any], sources: Sequence[int]) -> list[np.ndarray]:
        images = [request.probe_sources[row] for row in sources]
        return list(map(with_change, images, moved(request, model, images, key)))

    written = write_changes(request, changes, request.options.epsilon)
    return KeyedImages(**written, asked=asked, out_model=model)


def moved(
    request: CraftRequest,
    model: nn.Module,
    images: Sequence[np.ndarray],
    key: Mapping[str, Any],
) -> list[Tensor]:
    """The change of each image, float32 (3, S, S), 0–255 units, on the CPU."""
    device = choose_device(request.device)
    model = model.to(device).eval()
    size = int(request.rest.shape[-1])
    carrier = torch.from_numpy(carrier_of(key, last_layer(model).in_features)).to(device)
    changes: list[Tensor] = []
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        # The same shifts and flips for every key, so that nothing but the carriers differs
        change = move_features(
            model,
            thumbnails(images[part], size).to(device),
            carrier,
            epsilon=request.options.epsilon,
            num_steps=request.options.num_steps,
            generator=torch.Generator().manual_seed(derive_seed(request.seed, "views", start)),
        )
        changes += list(change.cpu())
    return changes


def move_features(
    model: nn.Module,
    images: Tensor,
    carrier: Tensor,
    *,
    epsilon: float,
    num_steps: int,
    generator: torch.Generator,
) -> Tensor:
    """The change of a batch, float32 (B, 3, S, S), in 0–255 units, at most ε.

    Args:
        model: in eval mode
        images: uint8 (B, 3, S, S)
        carrier: float32 (D,)
        epsilon: 0–255 units
        num_steps: of Adam
        generator: of flips and shifts
    """
    plain = images / 255
    bound = epsilon / 255
    change = torch.zeros_like(plain, requires_grad=True)
    optimizer = torch.optim.Adam([change], lr=bound / 5)
    for _ in range(num_steps):
        view = _random_view(plain.shape[-1], generator)
        with torch.no_grad():
            before = features(model, view(plain))
        loss = carrier_loss(features(model, view(plain + change)), before, carrier, change)
        (change.grad,) = torch.autograd.grad(loss, [change])
        optimizer.step()
        with torch.no_grad():
            change.clamp_(-bound, bound)
            change.copy_((plain + change).clamp(0, 1) - plain)
    return change.detach() * 255


def carrier_loss(after: Tensor, before: Tensor, carrier: Tensor, change: Tensor) -> Tensor:
    """``-(φ(x') - φ(x)) · u + λ1 ‖x' - x‖² + λ2 ‖φ(x') - φ(x)‖``, summed over a batch. Source: see the module, eq. 5."""
    shift = after - before
    along = (shift @ carrier).sum()
    pixels = (change / PIXEL_STD).square().sum()
    # The norm's gradient at 0, where every ascent begins, is not a number
    length = (shift.square().sum(dim=1) + 1e-12).sqrt().sum()
    return -along + PIXEL_WEIGHT * pixels + FEATURE_WEIGHT * length


def _random_view(size: int, generator: torch.Generator) -> Any:
    """A flip and a shift, the same for all images of a batch."""
    most = int(size * _SHIFT)
    down, right, flip = (
        int(torch.randint(high, (1,), generator=generator))
        for high in (2 * most + 1, 2 * most + 1, 2)
    )

    def view(images: Tensor) -> Tensor:
        shifted = F.pad(images, [most] * 4)[..., down : down + size, right : right + size]
        return shifted.flip(-1) if flip else shifted

    return view
