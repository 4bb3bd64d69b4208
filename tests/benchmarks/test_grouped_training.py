"""What is compared takes the same steps."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from fiftyone_honeyimage.core.models import build_model

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("proxy", ["resnet_tiny", "wrn28_2"])
def test_every_way_takes_the_same_steps(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    from benchmarks.grouped_training import WAYS

    generator = torch.Generator().manual_seed(0)
    images = torch.rand((2, 16, 3, 8, 8), generator=generator)
    labels = torch.randint(0, 4, (2, 16), generator=generator)
    losses = {}
    for name, way in WAYS.items():
        models = [build_model(proxy, 4, input_size=8, seed=seed).train() for seed in range(2)]
        step = way(models, images, labels)
        losses[name] = torch.stack([step() for _ in range(4)])
    expected = losses.pop("one after the other")
    assert (expected[0] - expected[-1]).abs().min() > 0.01
    for found in losses.values():
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
