"""Drops what a detector finds that learned from marks which the thief made with this very tool on other images.

The detector is Fisher's discriminant of features of noise and compression, as the audit's, or a small network that sees
what is left of an image without its smooth part.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from benchmarks.attacks.base import Filter, Thief
from benchmarks.datasets import to_tensor
from benchmarks.marks import with_honeyimages
from fiftyone_honeyimage.core.audit.practice import detector_features, learn_detector

#: Images that he marks
_PRACTISED = 150


@dataclass(frozen=True)
class DropDetected(Filter):
    title = "drops what a detector of such marks finds"

    def suspicion(self, thief: Thief) -> np.ndarray:
        plain, marked = practised(thief)
        detector = learn_detector(_features(plain), _features(marked))
        return of_release(thief, detector.score(_features(thief.images[thief.num_own :])))


@dataclass(frozen=True)
class DropSeen(Filter):
    """The same by a network, which learns for so many epochs."""

    title = "drops what a network that learned such marks finds"
    epochs: int = 40

    def suspicion(self, thief: Thief) -> np.ndarray:
        plain, marked = practised(thief)
        torch.manual_seed(thief.seed)
        layers: list[nn.Module] = []
        for inside, outside in ((3, 16), (16, 32), (32, 32)):
            layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 1))
        both = torch.cat([_residuals(plain), _residuals(marked)])
        truth = torch.arange(2).repeat_interleave(len(plain)).float()
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-2)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(both)).split(32):
                loss = nn.functional.binary_cross_entropy_with_logits(
                    model(both[rows])[:, 0], truth[rows]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        model.eval()
        with torch.no_grad():
            found = model(_residuals(thief.images[thief.num_own :]))[:, 0]
        return of_release(thief, found.numpy().astype(np.float64))


def practised(thief: Thief) -> tuple[np.ndarray, np.ndarray]:
    """Some of his own images as they are, and marked: uint8 (K, S, S, 3) both."""
    count = min(_PRACTISED, thief.num_own // 3)
    rows, rest = np.arange(count), np.arange(count, thief.num_own)
    marked = with_honeyimages(
        *(thief.images, thief.labels, rows, rest, thief.num_classes),
        proxy=thief.model,
        config=thief.config,
        seed=thief.seed,
        device=thief.device,
    )
    return thief.images[:count], marked[:count]


def of_release(thief: Thief, found: np.ndarray) -> np.ndarray:
    """float64 (N,): what was found of the release, and nothing of the thief's own images."""
    return np.concatenate([np.full(thief.num_own, -np.inf), found])


def _residuals(images: np.ndarray) -> torch.Tensor:
    """What 3x3 means leave of images, float32 (K, 3, S, S), of about 1."""
    pixels = to_tensor(images).float()
    return (pixels - nn.functional.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False)) / 8


def _features(images: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.png"
        rows = []
        for image in images:
            Image.fromarray(image).save(path)
            rows.append(detector_features(path, image))
    return np.array(rows)
