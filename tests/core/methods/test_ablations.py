"""The paper's ablations of how marks are made: crop, flip, mixup and adversarial examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.request import CraftRequest, CraftResult
from fiftyone_honeyimage.core.training import TrainingConfig
from fiftyone_honeyimage.core.training_config import RECIPES

NAMES = ("crop", "flip", "mixup", "adv")
MARKED = 16


@pytest.fixture(scope="module")
def crafted(digits: Any) -> Any:
    """A function from a method and its options to what was asked for and what came back."""
    grey = np.asarray(digits[0][:400]).repeat(2, axis=1).repeat(2, axis=2)
    images = np.ascontiguousarray(grey[..., None].repeat(3, axis=3))
    labels = np.asarray(digits[1][:400], np.int64)

    def craft(name: str, **options: Any) -> tuple[CraftRequest, CraftResult]:
        request = CraftRequest(
            candidates=list(images[:MARKED]),
            candidate_labels=labels[:MARKED],
            sides=np.arange(MARKED).reshape(-1, 2, 1),
            rest=torch.from_numpy(images[MARKED:]).permute(0, 3, 1, 2).contiguous(),
            rest_labels=labels[MARKED:],
            num_classes=10,
            proxy="resnet_tiny",
            config=TrainingConfig(epochs=3, batch_size=64),
            options=METHODS[name].Options(**options),
            device="cpu",
        )
        return request, METHODS[name].craft(request)

    return craft


@pytest.mark.parametrize("name", NAMES)
def test_labels_stay_and_the_same_seed_gives_the_same_pixels(crafted: Any, name: str) -> None:
    (request, first), (_, second) = crafted(name), crafted(name)
    changed = 0
    for source, image, again in zip(request.candidates, first.images, second.images, strict=True):
        assert (np.asarray(image) == np.asarray(again)).all()
        assert image.shape == source.shape
        changed += bool((np.asarray(image) != source).any())
    assert changed >= MARKED - 2, "an image may be its own mirror image"
    assert first.labels is None
    assert not first.secrets
    assert np.isnan(first.in_losses).all()
    assert first.in_model is None


def test_a_flip_is_the_mirror_image(crafted: Any) -> None:
    request, result = crafted("flip")
    for source, image in zip(request.candidates, result.images, strict=True):
        expected = Image.fromarray(source).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        assert (np.asarray(image) == np.asarray(expected)).all()


def test_a_crop_is_an_enlarged_part_of_the_image(crafted: Any) -> None:
    request, result = crafted("crop", share=0.5)
    places = set()
    for source, image in zip(request.candidates, result.images, strict=True):
        parts = {
            (top, left): Image.fromarray(source)
            .crop((left, top, left + 8, top + 8))
            .resize((16, 16), Image.Resampling.BILINEAR)
            for top in range(9)
            for left in range(9)
        }
        own = [place for place, part in parts.items() if (np.asarray(part) == image).all()]
        assert own
        places.update(own)
    assert len(places) > 5, "at a random place"


def test_mixup_is_a_weighted_mean_with_an_image_that_is_not_marked(crafted: Any) -> None:
    request, result = crafted("mixup", weight=0.6)
    rest = request.rest.permute(0, 2, 3, 1).numpy().astype(np.float64)
    partners = set()
    for source, image in zip(request.candidates, result.images, strict=True):
        other = (np.asarray(image, np.float64) - 0.6 * source) / 0.4
        distances = np.abs(rest - other).max(axis=(1, 2, 3))
        assert distances.min() <= 0.5 / 0.4 + 1e-6, "but for rounding"
        partners.add(int(distances.argmin()))
    assert len(partners) > MARKED // 2


def test_adversarial_examples_are_harder_for_the_out_model_within_the_budget(crafted: Any) -> None:
    request, result = crafted("adv", smoothing=0.0)
    for source, image in zip(request.candidates, result.images, strict=True):
        assert np.abs(np.asarray(image).astype(int) - source).max() <= 4
    assert result.proxy_losses.mean() > result.original_losses.mean() + 0.02
    assert (result.proxy_losses > result.original_losses).mean() > 0.8
    assert result.history[-1] > result.history[0], "the loss that is climbed"
    _, more = crafted("adv", smoothing=0.0, epsilon=16.0, step_size=1.6)
    assert more.proxy_losses.mean() > result.proxy_losses.mean()


def test_options_of_one_ablation_are_no_others() -> None:
    for name, wrong in (
        ("crop", "weight"),
        ("mixup", "share"),
        ("adv", "inner"),
        ("flip", "share"),
    ):
        with pytest.raises(TypeError, match=wrong):
            METHODS[name].Options(**{wrong: 0.5})
    with pytest.raises(ParameterError, match="share"):
        METHODS["crop"].Options(share=0.0)


def test_the_papers_recipe_has_a_name() -> None:
    paper = TrainingConfig.named("paper")
    assert (paper.learning_rate, paper.epochs, paper.batch_size) == (0.1, 150, 256)
    assert paper.weight_decay == 0.05
    assert TrainingConfig.named("default") == TrainingConfig()
    assert RECIPES["paper_light_decay"].weight_decay == 5e-4
    with pytest.raises(ParameterError, match="recipe must be"):
        TrainingConfig.named("theirs")
