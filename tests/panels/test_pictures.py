"""Pictures of an original and its HoneyImage, from pixels."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from fiftyone_honeyimage.panels import pictures


def test_differences_are_amplified_around_grey() -> None:
    original = np.array([[[100, 0, 255]]], dtype=np.uint8)
    marked = np.array([[[102, 4, 250]]], dtype=np.uint8)

    assert pictures.difference(original, marked, 10).tolist() == [[[148, 168, 78]]]
    assert pictures.difference(original, marked, 50).tolist() == [[[228, 255, 0]]]
    assert (pictures.difference(original, original, 50) == 128).all()


@pytest.mark.parametrize(
    ("shape", "fitted"),
    [
        ((8, 8), (512, 512)),
        ((32, 20), (512, 320)),
        ((512, 9), (512, 9)),
        ((1100, 2000), (275, 500)),
    ],
)
def test_images_are_brought_to_a_bounded_size(
    shape: tuple[int, int], fitted: tuple[int, int]
) -> None:
    image = np.random.default_rng(51).integers(0, 256, (*shape, 3), dtype=np.uint8)

    found = pictures.fit(image)

    assert found.shape == (*fitted, 3)
    assert set(map(tuple, found.reshape(-1, 3))) <= set(map(tuple, image.reshape(-1, 3)))


def test_pictures_lose_nothing() -> None:
    image = np.random.default_rng(51).integers(0, 256, (7, 5, 3), dtype=np.uint8)

    urls = pictures.comparison(image, image)

    assert list(urls) == ["original", "honeyimage", "difference_10", "difference_50"]
    data = base64.b64decode(urls["original"].removeprefix("data:image/png;base64,"))
    shown = np.asarray(Image.open(io.BytesIO(data)))
    assert (shown == pictures.fit(image)).all()
