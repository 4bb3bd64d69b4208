"""A small classifier trained on real digits, the images it saw, and where its files go."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fiftyone_honeyimage.core.suspects import wrappers


@dataclass(frozen=True)
class Digits:
    """Images uint8 (8, 8, 3), their labels and names."""

    images: list[np.ndarray]
    labels: np.ndarray
    keys: list[str]

    def batch(self) -> torch.Tensor:
        stacked = np.stack(self.images).transpose(0, 3, 1, 2)
        return torch.from_numpy(stacked.copy()).float() / 255


@pytest.fixture(scope="session")
def real_digits(digits) -> Digits:
    images, labels = digits
    colour = [np.repeat(image[:, :, None], 3, axis=2) for image in images[:40]]
    return Digits(colour, labels[:40], [f"digit-{i:02d}" for i in range(40)])


@pytest.fixture(scope="session")
def trained(digits) -> nn.Module:
    """A small CNN with batch normalisation and dropout, good but not perfect on the digits; do not change it."""
    images, labels = digits
    x = torch.from_numpy(images).float().div(255).unsqueeze(1).expand(-1, 3, -1, -1)
    y = torch.from_numpy(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(51)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(128, 10),
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(40):
            optimizer.zero_grad()
            F.cross_entropy(model(x[:800]), y[:800]).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def trained_logits(trained, real_digits) -> np.ndarray:
    with torch.no_grad():
        return trained(real_digits.batch()).numpy()


@pytest.fixture(autouse=True)
def pauses(monkeypatch) -> list[float]:
    """The seconds that a suspect's next tries wait, and do not wait in tests."""
    waited: list[float] = []
    monkeypatch.setattr(wrappers, "time", SimpleNamespace(sleep=waited.append))
    return waited
