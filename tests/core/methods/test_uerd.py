"""Marks of whole steps of JPEG coefficients, where the gradient exceeds UERD's cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn

from fiftyone_honeyimage.core.codecs import open_codec
from fiftyone_honeyimage.core.codecs.base import decode
from fiftyone_honeyimage.core.codecs.jpeg import _opened
from fiftyone_honeyimage.core.codecs.jpeg_placement import uerd_costs
from fiftyone_honeyimage.core.codecs.jpeg_segments import split
from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.methods import METHODS, together
from fiftyone_honeyimage.core.methods.finishing import finish
from fiftyone_honeyimage.core.methods.honeyimage import HoneyImageOptions
from fiftyone_honeyimage.core.methods.perturbation import Scale
from fiftyone_honeyimage.core.methods.request import CraftRequest
from fiftyone_honeyimage.core.methods.room import budget_of
from fiftyone_honeyimage.core.methods.together import Together
from fiftyone_honeyimage.core.training import TrainingConfig

EPSILON = 8.0
PLACED = {"placement": "uerd", "placement_share": 0.02}


def textured(seed: int, side: int = 64) -> Image.Image:
    """Noise of several sizes, in colours that are neither dark nor saturated."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.integers(-30, 30, (side // 4, side // 4, 1)), np.ones((4, 4, 1)))
    fine = rng.normal(0, 14, (side, side, 3))
    return Image.fromarray(np.clip(128 + coarse + fine, 40, 215).astype(np.uint8))


def coefficients(data: bytes) -> list[np.ndarray]:
    """Of every component, in steps."""
    with _opened(split(data)) as file:
        return [np.array(plane).astype(int) for plane in (file.Y, file.Cb, file.Cr)]


def changed(codec, data: bytes) -> list[np.ndarray]:
    before = coefficients(codec.path.read_bytes())
    return [new - old for new, old in zip(coefficients(data), before, strict=True)]


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    path = tmp_path_factory.mktemp("textured") / "a.jpg"
    textured(1).save(path, quality=85)
    return open_codec(path)


@pytest.fixture(scope="module")
def jpeg_request(digits, tmp_path_factory):
    pixels, labels = digits
    folder = tmp_path_factory.mktemp("uerd")
    chosen = np.flatnonzero(labels < 4)[:160]
    images = torch.from_numpy(pixels[chosen])[:, None].repeat(1, 3, 1, 1)
    labels = labels[chosen]
    codecs = []
    for row in range(8):
        path = folder / f"{row}.jpg"
        # The last one's blocks are cut at its borders
        textured(row, 64).crop((0, 0, *((64, 64) if row < 7 else (60, 44)))).save(path, quality=85)
        codecs.append(open_codec(path))
    return CraftRequest(
        candidates=[codec.original() for codec in codecs],
        codecs=codecs,
        candidate_labels=labels[:8],
        rest=images[8:],
        rest_labels=labels[8:],
        num_classes=4,
        proxy="resnet_tiny",
        config=TrainingConfig(epochs=2, flip=False),
        seed=3,
        device="cpu",
        options=HoneyImageOptions(num_steps=6, step_size=2.0, epsilon=EPSILON),
        sides=np.arange(8).reshape(4, 2, 1),
    )


@pytest.fixture(scope="module")
def placed(jpeg_request):
    return METHODS["honeyimage"].craft(jpeg_request.with_options(**PLACED))


def test_costs_by_hand() -> None:
    steps = np.full((8, 8), 3.0, dtype=np.float32)
    steps[0, 0], steps[0, 1], steps[1, 0], steps[2, 2] = 16, 4, 8, 10
    blocks = np.zeros((1, 2, 8, 8), dtype=np.float32)
    blocks[0, 0, 0, 0] = 500  # the mean is no energy
    blocks[0, 0, 0, 1], blocks[0, 0, 3, 3] = -12, 8  # 20
    blocks[0, 1, 1, 0] = 4
    # Mirrored above, below and outside: left has itself five times around, right thrice
    weights = (20 + (5 * 20 + 3 * 4) / 4, 4 + (3 * 20 + 5 * 4) / 4)
    costs = uerd_costs(blocks, steps)
    for column, energy in enumerate(weights):
        assert costs[0, column, 2, 2] == pytest.approx(10 / energy)
        assert costs[0, column, 0, 1] == pytest.approx(4 / energy)
        assert costs[0, column, 0, 0] == pytest.approx(6 / energy), "the mean of 4 and 8"
    assert np.isinf(uerd_costs(np.zeros((2, 2, 8, 8)), steps)).all()


def test_what_changes_is_where_the_gradient_exceeds_the_cost_most(codec) -> None:
    original = codec.original()
    budget = budget_of(original, EPSILON, *codec.cell(grey=True))
    scale = Scale.of(EPSILON, 2.0)
    share = 0.02
    part = Together(
        [0],
        codec,
        torch.from_numpy(original)[None],
        torch.from_numpy(budget)[None],
        scale,
        1.0,
        share,
    )
    gradient = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 64, 64))).float()
    levels = np.zeros(original.shape, dtype=scale.dtype)
    counts = []
    for _ in range(6):
        ((_, moved),) = part.move([levels], gradient, None)
        levels = moved[0].astype(scale.dtype)
        steps = np.rint(codec.blocks.steps_of(levels * np.float32(scale.unit))[0])
        counts.append(int(np.count_nonzero(steps)))

    up = part._direction(gradient, None, slice(0, 64))[0].numpy().sum(axis=-1)
    blocks = up.reshape(8, 8, 8, 8).swapaxes(1, 2)
    table = codec.blocks.planes[0].steps
    source = coefficients(codec.path.read_bytes())[0]
    gains = dctn(blocks, axes=(2, 3), norm="ortho") * table / uerd_costs(source * table, table)
    room = budget.reshape(8, 8, 8, 8).min(axis=(1, 3)) >= 1
    gains = np.abs(gains) * room[:, :, None, None] * (table / 8 < EPSILON)
    assert counts[0] < counts[-1] <= np.ceil(share * 64 * room.sum())
    assert counts[-1] > 10

    data = finish(codec, original, levels, scale, budget).data
    brightness, *colours = changed(codec, data)
    assert not any(plane.any() for plane in colours)
    assert set(np.unique(brightness)) == {-1, 0, 1}
    chosen = np.sort(gains[brightness != 0])
    best = np.sort(gains, axis=None)[::-1]
    # Budgets pass over a few of the largest
    assert np.count_nonzero(gains > np.median(chosen)) <= 1.2 * len(chosen) / 2
    assert chosen[0] >= best[3 * len(chosen)]
    assert (np.sign(brightness) * np.sign(dctn(blocks, axes=(2, 3), norm="ortho")) >= 0).all()


def test_fewer_coefficients_change_and_budgets_hold(jpeg_request, placed) -> None:
    masked = METHODS["honeyimage"].craft(jpeg_request)
    assert jpeg_request.with_options(placement="masking").options == jpeg_request.options
    numbers = {}
    for name, result in (("masking", masked), ("uerd", placed)):
        numbers[name] = [
            sum(int(np.count_nonzero(plane)) for plane in changed(codec, data))
            for codec, data in zip(jpeg_request.codecs, result.encoded, strict=True)
        ]
    for few, many in zip(numbers["uerd"], numbers["masking"], strict=True):
        assert 0 < few < many
    for codec, data in zip(jpeg_request.codecs, placed.encoded, strict=True):
        original = codec.original()
        budget = budget_of(original, EPSILON, *codec.cell(grey=True))
        moved = np.abs(decode(data, "file").astype(int) - original)
        assert (moved <= np.floor(budget)[..., None]).all()
        rows, columns = codec.height // 8, codec.width // 8
        brightness, *colours = changed(codec, data)
        assert np.abs(brightness).max() == 1
        assert not brightness[rows:].any()
        assert not brightness[:, columns:].any()
        assert not any(plane.any() for plane in colours)


def test_a_smaller_share_changes_fewer(jpeg_request, placed) -> None:
    fewer = METHODS["honeyimage"].craft(
        jpeg_request.with_options(placement="uerd", placement_share=0.005)
    )
    for codec, few, many in zip(jpeg_request.codecs, fewer.encoded, placed.encoded, strict=True):
        counts = [np.count_nonzero(changed(codec, data)[0]) for data in (few, many)]
        assert 0 < counts[0] < counts[1]


class StopError(Exception):
    """Where a run is interrupted."""


def test_same_seed_same_bytes_after_an_interruption_too(jpeg_request, placed, tmp_path) -> None:
    request = jpeg_request.with_options(**PLACED)
    assert list(METHODS["honeyimage"].craft(request).encoded) == list(placed.encoded)

    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("Crafting HoneyImages", 3):
            raise StopError

    with pytest.raises(StopError):
        METHODS["honeyimage"].craft(replace(request, checkpoint_dir=tmp_path, report=stop))
    resumed = METHODS["honeyimage"].craft(replace(request, checkpoint_dir=tmp_path))
    assert list(resumed.encoded) == list(placed.encoded)


def test_images_worked_on_at_once_come_out_as_one_by_one(jpeg_request, placed, monkeypatch) -> None:
    monkeypatch.setattr(together, "_PIXELS", 1)
    alone = METHODS["honeyimage"].craft(jpeg_request.with_options(**PLACED))
    assert list(alone.encoded) == list(placed.encoded)


def test_files_of_other_formats_are_as_without_it(jpeg_request) -> None:
    request = replace(jpeg_request, codecs=None)
    plain = METHODS["honeyimage"].craft(request)
    other = METHODS["honeyimage"].craft(request.with_options(placement="uerd"))
    for one, two in zip(plain.images, other.images, strict=True):
        np.testing.assert_array_equal(one, two)


def test_its_options_are_not_written_where_nobody_asked_for_them() -> None:
    assert not {"placement", "placement_share"} & set(HoneyImageOptions().to_dict())
    told = HoneyImageOptions(placement="uerd", placement_share=0.1).to_dict()
    assert told["placement"] == "uerd"
    assert told["placement_share"] == 0.1
    with pytest.raises(ParameterError, match="placement must be 'masking' or 'uerd'"):
        HoneyImageOptions(placement="juniward")
    with pytest.raises(ParameterError, match="placement_share must be"):
        HoneyImageOptions(placement="uerd", placement_share=0)
