"""SSCL-BW: the generator, its losses, and that both keys of a pair are made alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.datasets import data_root, load_images
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.watermark_generator import (
    WatermarkGenerator,
    train_generator,
    watermark_losses,
)
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.training import TrainingConfig, predict_logits, train_models

OPTIONS = METHODS["sscl_bw"].Options(num_steps=40)


def test_the_losses_are_the_papers() -> None:
    rng = np.random.default_rng(0)
    own, others = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    change = rng.uniform(-1, 1, (9, 3, 4, 4))

    def share(row: np.ndarray, label: int) -> float:
        return float(np.exp(row[label]) / np.exp(row).sum())

    found = watermark_losses(*map(torch.from_numpy, (own, others)), 2, torch.from_numpy(change))

    assert float(found[0]) == pytest.approx(np.mean([-np.log(1 - share(row, 2)) for row in own]))
    assert float(found[1]) == pytest.approx(np.mean([-np.log(share(row, 2)) for row in others]))
    assert float(found[2]) == pytest.approx((change**2).mean())


def test_the_first_loss_pushes_most_where_the_surrogate_is_surest() -> None:
    for margin in (5.0, 16.0, 60.0):
        logits = torch.tensor([[0.0, 0.0, margin]], requires_grad=True)
        loss = watermark_losses(logits, torch.zeros(1, 3), 2, torch.zeros(1))[0]
        (gradient,) = torch.autograd.grad(loss, logits)
        assert float(loss.detach()) == pytest.approx(
            np.logaddexp.reduce([0, 0, margin]) - np.log(2), abs=1e-4
        )
        assert gradient[0].tolist() == pytest.approx([-0.5, -0.5, 1.0], abs=0.02)


@pytest.mark.parametrize("size", [15, 32])
def test_a_generator_is_its_seeds_and_another_for_every_image(size: int) -> None:
    images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    one, again, other = (WatermarkGenerator(size, seed)(images) for seed in (1, 1, 2))
    assert one.shape == images.shape
    assert one.abs().max() <= 1
    assert torch.equal(one, again)
    assert not torch.allclose(one, other, atol=1e-3)
    assert not torch.allclose(one[0], one[1], atol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(data_root() is None, reason="HONEYIMAGE_DATA is not set")
def test_a_surrogate_takes_what_a_generator_has_marked_for_the_class() -> None:
    """What L_nt asks for, on images of other classes that the generator has not seen; photographs, as digits are too plain."""
    images, labels, _, _ = load_images("cifar10", 1500, 32)
    x, y = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)
    surrogate = build_model("resnet_tiny", 10, input_size=32, seed=0)
    config = TrainingConfig(epochs=10, batch_size=64)
    train_models([surrogate], x[:1200], y[:1200], config=config, seeds=[0], device="cpu")
    surrogate.eval().requires_grad_(False)
    for target in (0, 3):
        unseen = x[1200:][y[1200:] != target]
        generator = train_generator(surrogate, x[:1200], y[:1200], target, target, OPTIONS)
        with torch.no_grad():
            marked = unseen + generator(unseen / 255) * OPTIONS.epsilon
        before, after = (
            (predict_logits(surrogate, each, device="cpu").argmax(1) == target).double().mean()
            for each in (unseen, marked.clamp(0, 255).round().byte())
        )
        assert after > before + 0.1  # measured: 0.08 to 0.29, and 0.04 to 0.44
