"""HoneyImages, really crafted on scikit-learn's digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fiftyone_honeyimage.core import fleet
from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.finishing import round_into_ball
from fiftyone_honeyimage.core.methods.honeyimage import HoneyImageOptions
from fiftyone_honeyimage.core.methods.out_model import thumbnails
from fiftyone_honeyimage.core.methods.request import CraftRequest
from fiftyone_honeyimage.core.training import TrainingConfig, cross_entropy, predict_logits


@pytest.fixture(scope="module")
def request_of(digits):
    pixels, labels = digits
    chosen = np.flatnonzero(labels < 4)[:240]
    images = torch.from_numpy(pixels[chosen])[:, None].repeat(1, 3, 1, 1)
    labels = labels[chosen]
    candidates = [images[row].permute(1, 2, 0).numpy().copy() for row in range(12)]

    def make(**changes) -> CraftRequest:
        request = CraftRequest(
            candidates=candidates,
            candidate_labels=labels[:12],
            rest=images[12:],
            rest_labels=labels[12:],
            num_classes=4,
            proxy="resnet_tiny",
            config=TrainingConfig(epochs=6, flip=False),
            seed=3,
            options=HoneyImageOptions(num_steps=5, step_size=1.0),
        )
        own = {q.name for q in HoneyImageOptions.questions()} & set(changes)
        options = {name: changes.pop(name) for name in own}
        return replace(request, **changes).with_options(**options)

    return make


@pytest.mark.parametrize("inner", ["warm", "retrain"])
def test_images_change_by_at_most_epsilon_and_the_gap_grows(request_of, inner):
    request = request_of(inner=inner)
    result = METHODS["honeyimage"].craft(request)
    for image, original in zip(result.images, request.candidates, strict=True):
        assert image.dtype == np.uint8
        assert image.shape == original.shape
        assert np.abs(image.astype(int) - original.astype(int)).max() <= 4
    assert sum((i != o).any() for i, o in zip(result.images, request.candidates, strict=True)) > 6
    assert result.history.shape == (5,)
    # What the ascent climbs, under the models of its end: 0.018 to 0.084 on four seeds
    labels = torch.as_tensor(request.candidate_labels)

    def gap(pixels):
        seen = thumbnails(pixels, request.rest.shape[-1])
        own, others = (
            cross_entropy(predict_logits(model, seen), labels)
            for model in (result.in_model, result.out_model)
        )
        return (others - own).mean()

    assert gap(result.images) > gap(request.candidates)


def test_same_seed_same_bytes_and_another_seed_others(request_of):
    first, second, other = (METHODS["honeyimage"].craft(request_of(seed=s)) for s in (3, 3, 4))
    for a, b in zip(first.images, second.images, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(first.images, other.images, strict=True))


def test_interrupted_run_resumes_to_the_same_bytes(request_of, tmp_path):
    whole = METHODS["honeyimage"].craft(request_of())

    class StopError(Exception):
        pass

    def stop_in_round_three(stage: str, done: int, total: int) -> None:
        if stage == "Crafting HoneyImages" and done == 3:
            raise StopError

    with pytest.raises(StopError):
        METHODS["honeyimage"].craft(request_of(checkpoint_dir=tmp_path, report=stop_in_round_three))
    assert {path.name for path in tmp_path.iterdir()} == {"f_out.pt", "rounds.pt"}
    stages = []
    resumed = METHODS["honeyimage"].craft(
        request_of(checkpoint_dir=tmp_path, report=lambda stage, done, total: stages.append(stage))
    )
    assert stages == ["Crafting HoneyImages"] * 2
    for a, b in zip(whole.images, resumed.images, strict=True):
        np.testing.assert_array_equal(a, b)


def test_images_of_several_sizes_keep_theirs(request_of):
    request = request_of(num_steps=1)
    sizes = [(8, 8), (20, 12), (9, 31)]
    candidates = [
        np.random.default_rng(n).integers(40, 216, (*sizes[n % 3], 3), dtype=np.uint8)
        for n in range(12)
    ]
    result = METHODS["honeyimage"].craft(replace(request, candidates=candidates))
    assert [image.shape[:2] for image in result.images] == [sizes[n % 3] for n in range(12)]
    assert all((i != c).any() for i, c in zip(result.images, candidates, strict=True))


def test_unperturbed_returns_the_originals(request_of):
    request = request_of()
    result = METHODS["unperturbed"].craft(request)
    for image, original in zip(result.images, request.candidates, strict=True):
        np.testing.assert_array_equal(image, original)
    np.testing.assert_array_equal(result.proxy_losses, result.original_losses)


@pytest.mark.parametrize("epsilon", [1, 2.9, 4])
def test_rounding_stays_inside_the_ball_and_the_range(epsilon):
    rng = np.random.default_rng(1)
    original = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    values = original + rng.uniform(-2 * epsilon, 2 * epsilon, original.shape)
    rounded = round_into_ball(values, original, epsilon)
    assert np.abs(rounded.astype(int) - original.astype(int)).max() <= epsilon


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 0},
        {"epsilon": 65},
        {"epsilon": float("nan")},
        {"step_size": 0},
        {"step_size": 5},
        {"num_steps": 0},
        {"num_steps": 2.5},
        {"inner": "cold"},
    ],
    ids=str,
)
def test_budget_out_of_range_is_refused(request_of, changes):
    with pytest.raises(ParameterError, match=next(iter(changes))):
        request_of(**changes)


def test_other_options_train_nothing_anew(request_of, tmp_path, monkeypatch):
    trained = []
    real = fleet.train_here
    monkeypatch.setattr(
        fleet, "train_here", lambda *arguments: trained.append(arguments[5]) or real(*arguments)
    )
    expected = [METHODS["honeyimage"].craft(request_of(epsilon=e)).images for e in (4, 8)]
    assert not trained
    for epsilon, images in zip((4, 8), expected, strict=True):
        found = METHODS["honeyimage"].craft(request_of(epsilon=epsilon, trained_dir=tmp_path))
        assert all((a == b).all() for a, b in zip(found.images, images, strict=True))
        assert len(trained) == 2  # the out-model and the first in-model, of the first call
