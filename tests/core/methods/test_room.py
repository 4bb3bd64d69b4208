"""Where a mark may lie: not in what is flat, dark or saturated, whatever the file's format."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fiftyone_honeyimage.core.codecs import decoded_sources, open_codec
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.finishing import finish
from fiftyone_honeyimage.core.methods.honeyimage import HoneyImageOptions
from fiftyone_honeyimage.core.methods.perturbation import Scale
from fiftyone_honeyimage.core.methods.request import CraftRequest
from fiftyone_honeyimage.core.methods.room import WINDOW, budget_of, has_room
from fiftyone_honeyimage.core.metrics import LEAST_SIMILARITY, worst_window
from fiftyone_honeyimage.core.training import TrainingConfig

AREAS = {"sky": (0, 0), "black": (0, 64), "white": (64, 0), "busy": (64, 64)}
#: A pixel format's change reaches so near to a flat area as half a window: an edge hides it there
EDGE = WINDOW // 2


def picture() -> np.ndarray:
    """A clear sky with a camera's noise, a dark border and white paper, 64 pixels wide, and texture."""
    rng = np.random.default_rng(7)
    image = np.zeros((192, 192, 3))
    image[:64, :64] = (150, 180, 220) + np.linspace(0, 20, 64)[:, None, None]
    image[:64, 64:] = 12
    image[64:, :64] = 255
    image[64:, 64:] = 120 + 25 * rng.standard_normal((128, 128, 1))
    image[:64] += 0.7 * rng.standard_normal((64, 192, 3))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def area(values: np.ndarray, name: str, margin: int = 0) -> np.ndarray:
    top, left = AREAS[name]
    side = 128 if name == "busy" else 64
    return values[top + margin : top + side - margin, left + margin : left + side - margin]


@pytest.mark.parametrize(("cell", "spill"), [(1, False), (8, False), (16, True)])
def test_flat_dark_and_saturated_areas_get_nothing_and_texture_gets_all(cell, spill):
    budget = budget_of(picture(), 4, cell, spill)
    for name in ("sky", "black", "white"):
        assert not area(budget, name, EDGE if cell == 1 else 0).any(), name
    margin = WINDOW if cell == 1 else 2 * cell
    assert (area(budget, "busy", margin) == 4).all()
    assert has_room(budget)
    assert not has_room(budget_of(picture()[:64], 4))


def test_budget_is_from_one_level_to_epsilon_and_steady():
    image = picture()
    budget = budget_of(image, 2.5)
    np.testing.assert_array_equal(budget, budget_of(image.copy(), 2.5))
    assert budget.dtype == np.float32
    assert budget.max() == 2.5
    assert budget[budget > 0].min() >= 1


def test_a_spot_beside_white_is_white_too():
    """A value a little below 255 is found by counting, wherever its neighbours are saturated."""
    image = picture()
    image[90:100, 90:100] = 255
    budget = budget_of(image, 4)
    reach = WINDOW // 2
    assert not budget[90 - reach : 100 + reach, 90 - reach : 100 + reach].any()


def test_fine_grain_does_not_hide_a_mark_in_a_large_picture():
    """Shrunk to the screen, noise averages away, and what is as wide as the mark stays."""
    rng = np.random.default_rng(0)
    noise = (128 + 6 * rng.standard_normal((64, 64, 1))).repeat(3, axis=2).astype(np.uint8)
    assert has_room(budget_of(noise, 4))
    large = (128 + 6 * rng.standard_normal((1100, 1100, 1))).repeat(3, axis=2).astype(np.uint8)
    assert not budget_of(large, 4).any()


def test_ordinary_small_photographs_have_room_and_what_is_on_black_has_none(data_dir, digits):
    """CIFAR-10: the few without are white, black or sky. Digits on grey paper all have it, on black none."""
    with Image.open(data_dir / "cifar10" / "mosaic_00.webp") as mosaic:
        pixels = np.asarray(mosaic.convert("RGB"))
    photographs = pixels.reshape(25, 32, 40, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
    assert np.mean([has_room(budget_of(photograph, 4)) for photograph in photographs]) > 0.97
    for digit in digits[0][::20]:
        on_grey = digit[:, :, None].repeat(3, axis=2)
        assert has_room(budget_of(on_grey, 4))
        on_black = ((on_grey.astype(int) - 64) * 255 // 128).astype(np.uint8)
        assert not has_room(budget_of(on_black, 4))


def test_tiny_and_odd_sizes_have_budgets():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (8, 8), (7, 300), (300, 261)):
        image = rng.integers(60, 200, (*shape, 3), dtype=np.uint8)
        for cell, spill in ((1, False), (8, False), (16, True)):
            assert budget_of(image, 4, cell, spill).shape == shape


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "444.jpg", "a.tif"])
@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_crafted_files_leave_plain_areas_as_they_are(tmp_path, name, smoothing):
    path = tmp_path / name
    options = {"quality": 90} if name == "a.jpg" else {}
    if name == "444.jpg":
        options = {"quality": 90, "subsampling": 0}
    Image.fromarray(picture()).save(path, **options)
    codec = open_codec(path)
    rng = np.random.default_rng(1)
    rest = torch.from_numpy(rng.integers(0, 256, (24, 3, 16, 16), dtype=np.uint8))
    request = CraftRequest(
        candidates=decoded_sources([codec, codec]),
        codecs=[codec, codec],
        candidate_labels=np.array([0, 1]),
        rest=rest,
        rest_labels=np.arange(24) % 2,
        num_classes=2,
        proxy="resnet_tiny",
        config=TrainingConfig(epochs=1),
        options=HoneyImageOptions(num_steps=3, step_size=2.0, smoothing=smoothing),
    )
    original = read_image(path)
    for robust in (False, True):
        result = METHODS["honeyimage"].craft(request.with_options(robust=robust))
        changed = np.abs(result.images[0].astype(int) - original).max(axis=2)
        for plain in ("sky", "black", "white"):
            assert not area(changed, plain, 0 if name.endswith("jpg") else EDGE).any(), plain
        assert area(changed, "busy").max() > 1
        assert changed.max() <= 4
        assert worst_window(original, result.images[0]) >= LEAST_SIMILARITY
        if smoothing and name.endswith("jpg"):
            # Colours stay: no blocks of a tint
            moved = result.images[0].astype(int) - original
            assert np.ptp(moved, axis=2).max() <= 1


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "lossless.webp"])
def test_what_can_be_seen_is_made_weaker(tmp_path, name):
    """Whatever the search found: a window that shows the change is not written."""
    path = tmp_path / name
    options = {"quality": 90} if name == "a.jpg" else {}
    if name == "lossless.webp":
        options = {"lossless": True}
    Image.fromarray(picture()).save(path, **options)
    codec, original = open_codec(path), read_image(path)
    scale = Scale.of(8, 0.8)
    levels = np.zeros(original.shape, dtype=scale.dtype)
    levels[20:36, 20:36] = scale.bound  # a dot in the sky
    levels[90:110, 90:110] = scale.bound  # and a change of what is busy
    careless = finish(codec, original, levels, scale, 8, least_similarity=0).pixels
    result = finish(codec, original, levels, scale, 8).pixels
    assert worst_window(original, careless) < LEAST_SIMILARITY
    assert worst_window(original, result) >= LEAST_SIMILARITY
    assert (result[95:105, 95:105] != original[95:105, 95:105]).any()
