"""A detector of marks, which crafting works against: a small network that looks at noise, learned anew each round."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ..device import seeded, seeded_generator

#: Passes over the images in a round, and images of each kind in a step.
_EPOCHS, _BATCH = 4, 32

_LEARNING_RATE = 0.005

#: Levels of noise that become one.
_SCALE = 4 / 255


class NoiseDetector(nn.Module):
    """(B, 3, S, S) in [0, 1] → (B,) logits, above 0 for a mark. It sees what differs from the pixels around alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1, stride=2)
        self.last = nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        around = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        hidden = torch.relu(self.first((x - around) / _SCALE))
        hidden = torch.relu(self.second(hidden)).mean(dim=(2, 3))
        return self.last(hidden)[:, 0]


def train_detector(
    plain: torch.Tensor, marked: torch.Tensor, seed: int, device: torch.device
) -> NoiseDetector:
    """A detector that tells images from what they were, in eval mode, on the device.

    Args:
        plain: float32 (K, 3, S, S), 0–255, the originals as models see them
        marked: likewise, the same images as they are now
        seed: of weights and order
        device: where to train
    """
    with seeded(seed):
        detector = NoiseDetector()
    detector.to(device).train()
    optimizer = torch.optim.Adam(detector.parameters(), lr=_LEARNING_RATE)
    generator = seeded_generator(seed)
    for _ in range(_EPOCHS):
        for rows in torch.randperm(len(plain), generator=generator).split(_BATCH):
            # Each image with and without its mark, so that the scene tells nothing
            both = torch.cat([plain[rows], marked[rows]]).to(device) / 255
            is_marked = torch.arange(len(both), device=device) >= len(rows)
            loss = F.binary_cross_entropy_with_logits(detector(both), is_marked.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return detector.eval().requires_grad_(False)
