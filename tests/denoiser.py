"""A small diffusion model of 8-pixel images that learns by heart in two seconds."""

from __future__ import annotations

import numpy as np
from torch import nn

from benchmarks.diffusion import DenseDenoiser, linear_schedule, train_diffusion

#: Eight time steps with little noise, at which an image is told from others
SCHEDULE = linear_schedule()[100:340:30]


def train_denoiser(images: np.ndarray, *, seed: int, epochs: int = 1000) -> nn.Module:
    """Trains one on uint8 images (N, 8, 8, 3)."""
    model, _ = train_diffusion(
        images,
        lambda: DenseDenoiser(8, SCHEDULE),
        SCHEDULE,
        epochs=epochs,
        seed=seed,
        batch_size=128,
        learning_rate=3e-3,
    )
    return model
