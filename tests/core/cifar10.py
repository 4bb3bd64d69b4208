"""Real images for tests, with a skip that says why where there are none."""

from __future__ import annotations

import pytest
import torch

from benchmarks.datasets import data_root, load_cifar10


def cifar10(start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns CIFAR-10 as a uint8 tensor (N, 3, 32, 32) and int64 labels (N,), or skips."""
    root = data_root()
    if root is None or not (root / "cifar10").is_dir():
        pytest.skip("HONEYIMAGE_DATA does not name a folder with cifar10")

    images, labels, _ = load_cifar10(start, stop)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)
