"""Small denoising diffusion models in plain torch, for benchmarks and tests."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fiftyone_honeyimage.core.precision import autocast

#: Steps of the noise schedule
NUM_STEPS = 1000

#: Numbers that stand for a time step
_EMBEDDING = 32


def linear_schedule(num_steps: int = NUM_STEPS) -> Tensor:
    """ᾱ of a schedule whose β rises linearly from 1e-4 to 0.02, float32 (num_steps,).

    Source: Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020, section 4.
    """
    return (1 - torch.linspace(1e-4, 0.02, num_steps, dtype=torch.float64)).cumprod(0).float()


class _Block(nn.Module):
    """Two convolutions, of which the second sees the time step."""

    def __init__(self, channels: int, out: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1)
        )
        self.time = nn.Linear(embedding, out)
        self.second = nn.Sequential(
            nn.GroupNorm(8, out), nn.SiLU(), nn.Conv2d(out, out, 3, padding=1)
        )
        self.skip = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        inner = self.first(x) + self.time(embedded)[:, :, None, None]
        result: Tensor = self.skip(x) + self.second(inner)
        return result


class TinyUNet(nn.Module):
    """Predicts the noise in images: a U-Net of three resolutions without attention.

    Args:
        width (32): channels at the first resolution, a multiple of 8; twice as many below
        patch (1): pixels a side that are folded into channels first, so that larger images cost less
    """

    def __init__(self, width: int = 32, patch: int = 1) -> None:
        super().__init__()
        self.width, self.patch = width, patch
        self.embed = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU())
        channels = 3 * patch * patch
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        sizes = (width, 2 * width, 2 * width)
        self.down = nn.ModuleList(
            _Block(before, size, 4 * width)
            for before, size in zip((width, *sizes[:-1]), sizes, strict=True)
        )
        self.middle = _Block(sizes[-1], sizes[-1], 4 * width)
        self.up = nn.ModuleList(
            _Block(before + size, size, 4 * width)
            for before, size in zip((sizes[-1], *sizes[:0:-1]), sizes[::-1], strict=True)
        )
        self.leave = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1)
        )

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        """The noise in images (B, 3, S, S), S a multiple of 4·patch, at time steps (B,); as large."""
        embedded = self.embed(_sinusoids(timesteps, self.width).to(x.dtype))
        x = self.enter(F.pixel_unshuffle(x, self.patch))
        seen = []
        for number, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if number else x, embedded)
            seen.append(x)
        x = self.middle(x, embedded)
        for number, block in enumerate(self.up):
            if number:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, seen.pop()], dim=1), embedded)
        return F.pixel_shuffle(self.leave(x), self.patch)


class DenseDenoiser(nn.Module):
    """Predicts the noise in small images by way of the image: a fully connected network, which learns by heart soon.

    Args:
        size: pixels a side
        schedule: ᾱ, (T,)
        width (256): of its two hidden layers
    """

    schedule: Tensor

    def __init__(self, size: int, schedule: Tensor, width: int = 256) -> None:
        super().__init__()
        self.register_buffer("schedule", schedule)
        numbers = 3 * size * size
        self.layers = nn.Sequential(
            nn.Linear(numbers + _EMBEDDING, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, numbers),
        )

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        """The noise in images (B, 3, size, size) at time steps (B,); as large."""
        share = self.schedule[timesteps][:, None, None, None]
        embedded = _sinusoids(timesteps, _EMBEDDING).to(x.dtype)
        image = self.layers(torch.cat([x.flatten(1), embedded], dim=1)).view_as(x)
        noise: Tensor = (x - share.sqrt() * image) / (1 - share).sqrt()
        return noise


def _sinusoids(timesteps: Tensor, width: int) -> Tensor:
    rates = torch.exp(-math.log(10_000) * torch.arange(width // 2) / (width // 2))
    angles = timesteps.float()[:, None] * rates.to(timesteps.device)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def train_diffusion(
    images: np.ndarray,
    build: Callable[[], nn.Module],
    schedule: Tensor,
    *,
    epochs: int,
    seed: int,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    dtype: torch.dtype | None = None,
) -> tuple[nn.Module, float]:
    """Trains a model to tell the noise in images, as published: any step, any noise, mean squared error.

    Adam with a learning rate that falls to 0 as a cosine, on the CPU. No image is mirrored or cropped.

    Args:
        images: uint8 (N, S, S, 3)
        build: makes the model
        schedule: ᾱ, (T,)
        epochs: passes over the images
        seed: decides weights, order, steps and noise
        dtype (None): of a lower precision, such as bfloat16, which is faster for convolutions

    Returns:
        the model, in evaluation mode, and its mean loss over the last tenth of the epochs

    Source: Ho et al., NeurIPS 2020, algorithm 1.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
    generator = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 127.5 - 1
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    batches = math.ceil(len(x) / batch_size)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    losses: list[float] = []
    for _ in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(x), generator=generator).chunk(batches):
            steps = torch.randint(0, len(schedule), (len(rows),), generator=generator)
            noise = torch.randn(x[rows].shape, generator=generator)
            share = schedule[steps][:, None, None, None]
            noisy = share.sqrt() * x[rows] + (1 - share).sqrt() * noise
            with autocast(torch.device("cpu"), dtype):
                predicted = model(noisy, steps)
            loss = F.mse_loss(predicted.float(), noise)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            fall.step()
            total += loss.item() * len(rows)
        losses.append(total / len(x))
    return model.eval(), float(np.mean(losses[-max(1, epochs // 10) :]))
