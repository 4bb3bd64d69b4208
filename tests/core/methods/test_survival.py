"""What is left of marks after what a release may go through."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from fiftyone_honeyimage.core.errors import ImageError
from fiftyone_honeyimage.core.methods.survival import measure_survival
from fiftyone_honeyimage.core.methods.transforms import TRANSFORMS
from fiftyone_honeyimage.core.progress import silent

NAMES = ["jpeg75", "jpeg50", "resize75", "median3", "crop_flip"]


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from sklearn.datasets import load_sample_image

    return np.ascontiguousarray(load_sample_image("china.jpg")[60:165, 180:290])


def test_transforms_have_the_names_that_reports_use():
    assert [transform.name for transform in TRANSFORMS] == NAMES


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.name)
@pytest.mark.parametrize("shape", [(105, 110), (16, 48), (1, 1), (1, 40), (3, 2)])
def test_differentiable_transforms_are_near_the_real_ones(photo, transform, shape):
    pixels = photo[: shape[0], : shape[1]].copy()
    real = transform.apply(pixels, np.random.default_rng(3))
    x = (torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255).requires_grad_(True)
    soft = transform.differentiable(x, np.random.default_rng(3))
    assert real.dtype == np.uint8
    assert soft.shape[-2:] == real.shape[:2]
    difference = (255 * soft[0].permute(1, 2, 0)).detach().numpy() - real
    # Noise of ±4 goes through the differentiable JPEG; tiny images are mostly border.
    assert np.abs(difference).mean() < (6 if min(shape) > 8 else 30)
    (gradient,) = torch.autograd.grad(soft.sum(), x)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


class Contrast(nn.Module):
    """Logits that follow the fine contrast of an image, times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = (x[..., 1:] - x[..., :-1]).abs().mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(fine), self.factor * fine], dim=1)


def checkerboard(size: int, side: int) -> np.ndarray:
    tile = (np.indices((size, size)) // side).sum(axis=0)
    return np.repeat((tile % 2 * 80 + 80)[:, :, None], 3, axis=2).astype(np.uint8)


def test_effects_of_fine_patterns_are_lost_and_of_coarse_ones_kept():
    images = [checkerboard(64, 1), checkerboard(64, 16)]
    survival = measure_survival(
        images, np.zeros(2, dtype=np.int64), Contrast(20.0), Contrast(0.0), 64
    )
    assert set(survival.gaps) == {"none", *NAMES}
    assert (survival.gaps["none"] > 0).all()
    assert survival.kept["none"].all()
    assert survival.kept["resize75"].tolist() == [False, True]
    assert survival.kept["median3"][1]
    assert survival.gaps["resize75"][0] < 0.5 * survival.gaps["none"][0]
    summary = survival.summary()
    json.dumps(summary, allow_nan=False)
    assert summary["resize75"]["kept"] == 0.5


def test_an_effect_that_was_never_there_is_not_kept():
    images = [checkerboard(32, 2)]
    survival = measure_survival(
        images, np.zeros(1, dtype=np.int64), Contrast(0.0), Contrast(20.0), 32
    )
    assert (survival.gaps["none"] < 0).all()
    assert not any(kept.any() for kept in survival.kept.values())


def test_sizes_may_differ_and_the_seed_decides(photo):
    images = [photo, photo[:20, :33], photo[:1, :1]]
    labels = np.zeros(3, dtype=np.int64)
    first, again, other = (
        measure_survival(images, labels, Contrast(20.0), Contrast(0.0), 32, seed=seed)
        for seed in (1, 1, 2)
    )
    for name in NAMES:
        np.testing.assert_array_equal(first.gaps[name], again.gaps[name])
    assert (first.gaps["crop_flip"] != other.gaps["crop_flip"]).any()


def test_what_is_no_image_is_refused(photo):
    with pytest.raises(ImageError, match="image 1"):
        measure_survival(
            [photo, photo.astype(float)],
            np.zeros(2, dtype=np.int64),
            Contrast(1.0),
            Contrast(0.0),
            32,
            report=silent,
        )


def test_nothing_to_measure():
    survival = measure_survival([], np.zeros(0, np.int64), Contrast(1.0), Contrast(0.0), 32)
    assert survival.summary() == {}
