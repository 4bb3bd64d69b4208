"""How images become a model's input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.suspects import Preprocessing


def some_images(*sizes, seed=51):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]


def test_plain_input_is_the_pixels_divided_by_255():
    images = some_images((5, 7), (5, 7))
    batch = Preprocessing()(images)
    assert batch.dtype == torch.float32
    np.testing.assert_array_equal(
        batch.numpy(), np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    )


def test_normalisation_is_torchvisions():
    from torchvision.transforms.functional import normalize

    images = some_images((4, 4), (4, 4))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    torch.testing.assert_close(
        Preprocessing(mean=mean, std=std)(images), normalize(Preprocessing()(images), mean, std)
    )


def test_std_alone_can_give_plain_bytes():
    images = some_images((4, 4))
    batch = Preprocessing(std=[1 / 255] * 3)(images)
    np.testing.assert_allclose(batch[0].permute(1, 2, 0).numpy(), images[0], atol=1e-4)


def test_images_of_several_sizes_are_resized_each_alone():
    images = some_images((40, 30), (16, 24), (12, 20))
    resize = Preprocessing(input_size=(12, 20))
    batch = resize(images)
    assert batch.shape == (3, 3, 12, 20)
    for i, image in enumerate(images):
        assert torch.equal(resize([image])[0], batch[i])
        pillow = Image.fromarray(image).resize((20, 12), Image.Resampling.BILINEAR)
        difference = batch[i].permute(1, 2, 0).numpy() * 255 - np.asarray(pillow, np.float32)
        assert np.abs(difference).max() <= 1
    assert torch.equal(batch[2], Preprocessing()([images[2]])[0])


def test_images_of_several_sizes_need_an_input_size():
    with pytest.raises(ParameterError, match=r"\(20x12, 30x40\); give the model's input_size"):
        Preprocessing()(some_images((40, 30), (12, 20)))


def test_images_that_are_views_are_fine():
    (image,) = some_images((8, 8))
    flipped = image[:, ::-1]
    assert torch.equal(Preprocessing()([flipped]), Preprocessing()([flipped.copy()]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_size": 0}, "image size .* got 0"),
        ({"input_size": -3}, "image size"),
        ({"input_size": 2.5}, "image size"),
        ({"input_size": True}, "image size"),
        ({"input_size": (8, 8, 3)}, "image size"),
        ({"input_size": "32"}, "image size"),
        ({"mean": [123.7, 116.3, 103.5]}, "divide its values by 255"),
        ({"mean": [0.5, 0.5]}, "mean is three numbers"),
        ({"mean": 0.5}, "mean is three numbers"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean is three numbers"),
        ({"std": [0.2, 0.0, 0.2]}, "above 0"),
        ({"std": [58.4, 57.1, 57.4]}, "divide its values by 255"),
        ({"std": ["a", "b", "c"]}, "std is three numbers"),
    ],
)
def test_wrong_values_are_refused(arguments, message):
    with pytest.raises(ParameterError, match=message):
        Preprocessing(**arguments)
