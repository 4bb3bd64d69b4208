"""A small diffusion model of 8-pixel grey images that learns by heart in a second."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.diffusion import linear_schedule

#: Eight time steps with little noise, at which an image is told from others
SCHEDULE = linear_schedule()[100:340:30]


class Denoiser(nn.Module):
    """Guesses the image, and from it the noise, of batches (B, 3, 8, 8) whose channels are alike but for noise."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64 + len(SCHEDULE), width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 64),
        )

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        share = SCHEDULE[timesteps][:, None, None, None]
        step = F.one_hot(timesteps, len(SCHEDULE)).to(x.dtype)
        image = self.layers(torch.cat([x.mean(1).flatten(1), step], dim=1)).view(-1, 1, 8, 8)
        noise: Tensor = (x - share.sqrt() * image) / (1 - share).sqrt()
        return noise


def train_denoiser(images: np.ndarray, *, seed: int, steps: int = 1000) -> Denoiser:
    """Trains one on uint8 images (N, 8, 8, 3): any step, any noise, mean squared error of the noise."""
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 127.5 - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Denoiser()
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            batch = x[torch.randint(0, len(x), (128,))]
            timesteps = torch.randint(0, len(SCHEDULE), (128,))
            noise = torch.randn_like(batch)
            share = SCHEDULE[timesteps][:, None, None, None]
            predicted = model(share.sqrt() * batch + (1 - share).sqrt() * noise, timesteps)
            loss = F.mse_loss(predicted, noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            fall.step()
    return model.eval()
