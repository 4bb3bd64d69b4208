"""The models' own pattern stays out of the gradient: layers that move by two pixels leave a line in the spectrum."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fiftyone_honeyimage.core.methods.ascent import PASSES, gap_gradients, gaps_of, shift_origin
from fiftyone_honeyimage.core.models import build_model

SIZE = 32


@pytest.fixture(scope="module")
def scenes() -> torch.Tensor:
    """48 pictures with the spectrum of scenes, float32, 0–255."""
    rng = np.random.default_rng(0)
    distance = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)[None])
    falling = 1 / np.maximum(distance, 1 / SIZE)
    waves = np.fft.fft2(rng.standard_normal((48, 3, SIZE, SIZE))) * falling
    images = np.fft.ifft2(waves).real
    images *= 40 / images.std(axis=(1, 2, 3), keepdims=True)
    return torch.from_numpy(np.clip(128 + images, 0, 255)).float()


def line(gradients: np.ndarray) -> float:
    """Power at half the input's side in cycles an image, over that one cycle below."""
    waves = np.fft.fft2(gradients.mean(axis=1), axes=(-2, -1))
    power = (np.abs(waves) ** 2).mean(axis=0)
    on, beside = (power[k, 1:].mean() + power[1:, k].mean() for k in (SIZE // 2, SIZE // 2 - 1))
    return float(on / beside)


def plain(seen, labels, models) -> np.ndarray:
    """The gradient at the images as they are, as it was used before."""
    x = seen.clone().requires_grad_(True)
    losses = [
        torch.nn.functional.cross_entropy(m(x / 255), labels, reduction="sum") for m in models
    ]
    (gradient,) = torch.autograd.grad(losses[0] - losses[1], x)
    return gradient.numpy()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_strides_line_is_gone(scenes, seed):
    labels = torch.arange(len(scenes)) % 10
    models = [
        build_model("resnet_tiny", 10, input_size=SIZE, seed=2 * seed + k).eval() for k in (0, 1)
    ]
    before = line(plain(scenes, labels, models))
    _, gradients = gap_gradients(
        scenes, labels, *models, torch.device("cpu"), shift_origin(seed, 0)
    )
    after = line(gradients.numpy())
    assert before > 1.8
    assert after < 1.25


def test_gaps_are_means_over_four_shifts_and_cost_what_is_said():
    calls = []

    def model(images):
        calls.append(images)
        return images.mean(dim=(2, 3))

    x = torch.rand((2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 2])
    gaps, climbed = gaps_of(x, labels, model, lambda images: model(images) * 0, (-1, 0))
    assert len(calls) == PASSES
    assert {tuple(call.shape) for call in calls} == {(2, 3, 8, 8)}
    wanted = np.mean(
        [
            torch.nn.functional.cross_entropy(call.mean(dim=(2, 3)), labels, reduction="none")
            for call in calls[::2]
        ],
        axis=0,
    ) - np.log(3)
    np.testing.assert_allclose(gaps.numpy(), wanted, atol=1e-6)
    assert torch.equal(gaps, climbed)
    # down −1 and right 0, then right 1
    np.testing.assert_array_equal(calls[0][:, :, 1:], x[:, :, :-1])
    np.testing.assert_array_equal(calls[2][:, :, 1:, :-1], x[:, :, :-1, 1:])


def test_the_place_of_the_shifts_changes_from_round_to_round():
    places = {shift_origin(3, step) for step in range(40)}
    assert len(places) > 8
    assert all(-2 <= place <= 1 for pair in places for place in pair)
    assert shift_origin(3, 5) == shift_origin(3, 5)
