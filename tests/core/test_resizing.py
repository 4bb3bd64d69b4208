"""The two ways of resizing against each other, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.resizing import differentiable_resize, height_width, resize_uint8


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A real colour photograph, 96x64."""
    from sklearn.datasets import load_sample_image

    return np.ascontiguousarray(load_sample_image("china.jpg")[100:164, 200:296])


@pytest.mark.parametrize("size", [32, (20, 70), (128, 200), (64, 48), (1, 1)])
def test_the_two_ways_of_resizing_agree_to_rounding(photo, size):
    resized = resize_uint8(photo, size)
    height, width = height_width(size)
    assert resized.shape == (height, width, 3)
    assert resized.dtype == np.uint8
    x = torch.from_numpy(photo).permute(2, 0, 1).unsqueeze(0).float()
    y = differentiable_resize(x, size)[0].permute(1, 2, 0).numpy()
    assert np.abs(y - resized).max() <= 1


def test_resizing_to_the_same_size_is_the_identity(photo):
    assert resize_uint8(photo, (64, 96)) is photo
    x = torch.rand(2, 3, 64, 96)
    assert differentiable_resize(x, (64, 96)) is x


def test_gradients_pass_through_the_resize():
    x = torch.rand(1, 3, 12, 10, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: differentiable_resize(x, (5, 7)), x)
    assert torch.autograd.gradcheck(lambda x: differentiable_resize(x, (15, 14)), x)


@pytest.mark.parametrize("size", [0, -1, 2.0, "8", None, True, (8,), (8, 0), (8, 8, 8)])
def test_other_sizes_are_refused(photo, size):
    with pytest.raises(ParameterError, match="image size"):
        resize_uint8(photo, size)
    with pytest.raises(ParameterError, match="image size"):
        differentiable_resize(torch.zeros(1, 3, 4, 4), size)
