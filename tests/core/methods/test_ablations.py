"""The paper's ablations of how marks are made: crop, flip, mixup and adversarial examples."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from fiftyone_honeyimage.core.codecs import decoded_sources, open_codec
from fiftyone_honeyimage.core.codecs.base import check_change_kept
from fiftyone_honeyimage.core.errors import ParameterError, SamplesError
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.request import CraftRequest, CraftResult
from fiftyone_honeyimage.core.metrics import compare_images
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
            partners=list(images[MARKED : 2 * MARKED]),
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
    for source, other, image in zip(
        request.candidates, request.partners, result.images, strict=True
    ):
        expected = Image.blend(Image.fromarray(source), Image.fromarray(other), 0.4)
        assert np.abs(image.astype(int) - np.asarray(expected)).max() <= 1, "but for rounding"


def test_what_is_mixed_in_is_neither_marked_nor_left_out() -> None:
    method, rng = METHODS["mixup"], np.random.default_rng(0)
    hidden = np.arange(200) % 5 == 0
    asked: dict[str, Any] = {"num_honeyimages": 40, "num_pairs": 30, "seed": 4}

    def choose(excluded: np.ndarray) -> Any:
        return method.choose(
            hardness,
            np.arange(200) % 4,
            options=method.Options(),
            excluded={"earlier_markings": excluded},
            **asked,
        )

    hardness = rng.random(200)
    found = choose(hidden)
    assert found.partners.shape == found.rows.shape == (70,)
    assert not set(found.partners) & (set(found.rows) | set(np.flatnonzero(hidden)))
    assert len(set(found.partners)) == 70, "each once while there are enough"
    assert (choose(hidden).partners == found.partners).all()
    few = np.ones(200, bool)
    few[:90] = False
    assert set(choose(few).partners) <= set(range(90))
    few[:90] = np.arange(90) >= 70
    with pytest.raises(SamplesError, match="no image is left to be mixed into the 70"):
        choose(few)


def _files(folder: Path) -> dict[str, Path]:
    """Real pictures, cut to several sizes, as files of the kinds that may be marked."""
    pictures = load_sample_images().images
    small = [Image.fromarray(p).resize((96, 64)) for p in pictures]
    grey, faded = small[0].convert("L"), small[0].convert("RGBA")
    faded.putalpha(grey)
    opaque = small[1].convert("RGBA")
    files = {
        "colours.png": small[0],
        "colours.jpg": small[1].crop((0, 0, 61, 47)),
        "grey.png": grey,
        "grey.jpg": grey.crop((3, 5, 75, 60)),
        "opaque.png": opaque,
        "faded.png": faded,
    }
    for name, image in files.items():
        image.save(folder / name, **({"quality": 90} if name.endswith("jpg") else {}))
    return {name: folder / name for name in files}


@pytest.mark.parametrize("name", NAMES)
def test_files_keep_their_kind(name: str, tmp_path: Path) -> None:
    """PNG and JPEG, of colours and grey, of any size, mixed with a picture of another size and kind."""
    method, files = METHODS[name], _files(tmp_path)
    options = method.Options(**({"epsilon": 8.0, "step_size": 4.0} if name == "adv" else {}))
    codecs = [open_codec(path) for kind, path in files.items() if kind != "faded.png"]
    if (
        name != "adv"
    ):  # which needs detail that hides it, and none of these may be transparent in part
        assert not method.has_room(open_codec(files["faded.png"]), options)
        assert all(method.has_room(codec, options) for codec in codecs)
    request = CraftRequest(
        candidates=decoded_sources(codecs),
        codecs=codecs,
        candidate_labels=np.zeros(len(codecs), np.int64),
        partners=[read_image(files["colours.jpg"]), read_image(files["colours.png"])] * 3,
        rest=torch.zeros((4, 3, 16, 16), dtype=torch.uint8),
        rest_labels=np.array([0, 1, 0, 1]),
        num_classes=2,
        proxy="resnet_tiny",
        config=TrainingConfig(epochs=1),
        options=options,
        device="cpu",
    )
    result = method.craft(request)
    assert result.encoded is not None
    for codec, data, image in zip(codecs, result.encoded, result.images, strict=True):
        with Image.open(io.BytesIO(data)) as file:
            assert (file.format, file.mode, file.size) == (
                codec.format,
                codec.mode,
                (codec.width, codec.height),
            )
        source = codec.original()
        assert (image != source).any() or name == "adv"
        check_change_kept(source, image, method.most_changed(options), codec.path)
        if name == "flip":
            apart = np.abs(image.astype(int) - source[:, ::-1])
            assert apart.max() == 0 if codec.lossless else apart.mean() < 4
        if codec.path.name.startswith("grey"):
            assert (image[..., 0] == image[..., 1]).all()
    assert compare_images(codecs[0].original(), result.images[0])["psnr"]


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
    assert RECIPES["quick"] == TrainingConfig(epochs=15)
    with pytest.raises(ParameterError, match="recipe must be"):
        TrainingConfig.named("theirs")
