"""Tests of the trainer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import logsumexp
from torch import nn
from torchvision.transforms import functional as vision

from fiftyone_honeyimage.core.augmentation import random_crop_flip, to_float
from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.training import (
    TrainingConfig,
    TrainingSummary,
    cross_entropy,
    predict_logits,
    train_models,
)

SHORT = TrainingConfig(epochs=2, batch_size=16)


def noise(num_images: int, size: int = 16, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num_images, 3, size, size), generator=generator).byte()


def random_labels(num_images: int, num_classes: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randint(num_classes, (num_images,), generator=torch.Generator().manual_seed(seed))


def tiny(seed: int = 0, num_classes: int = 4, size: int = 16) -> nn.Module:
    return build_model("resnet_tiny", num_classes, input_size=size, seed=seed)


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    one, two = first.state_dict(), second.state_dict()
    assert one.keys() == two.keys()
    return all(torch.equal(one[key], two[key]) for key in one)


class Recorder(nn.Module):
    """A linear classifier that keeps every training batch."""

    def __init__(self, num_classes: int = 4, size: int = 8) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * size * size, num_classes)
        self.batches: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.batches.append((x.detach() * 255).round().byte())
        return self.fc(x.flatten(1))


def test_the_same_seed_gives_the_same_bytes():
    images, labels = noise(40), random_labels(40)
    before = torch.get_rng_state()
    models = [tiny(), tiny(), tiny()]
    for model, seed in zip(models, (3, 3, 4), strict=True):
        train_models([model], images, labels, config=SHORT, seeds=[seed], device="cpu")

    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_follows_the_seed():
    def build() -> nn.Module:
        return build_model(
            lambda classes: nn.Sequential(
                nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 64, classes)
            ),
            4,
            input_size=8,
            seed=0,
        )

    images, labels = noise(40, 8), random_labels(40)
    models = []
    for state in (1, 2):
        torch.manual_seed(state)
        models.append(build())
        train_models([models[-1]], images, labels, config=SHORT, seeds=[3], device="cpu")

    assert same_weights(*models)


def test_models_together_equal_models_one_by_one():
    images, labels = noise(50), random_labels(50)
    subsets = [torch.arange(0, 30), None, torch.arange(20, 50)]
    together = [tiny(seed) for seed in range(3)]
    steps: list[tuple[str, int, int]] = []
    summaries = train_models(
        together,
        images,
        labels,
        subsets=subsets,
        config=SHORT,
        seeds=[5, 6, 7],
        device="cpu",
        report=lambda *step: steps.append(step),
        stage="Both halves",
    )
    assert steps == [("Both halves", done, 6) for done in range(1, 7)]
    assert [summary.num_images for summary in summaries] == [30, 50, 30]
    assert [summary.num_steps for summary in summaries] == [4, 8, 4]
    assert all(len(summary.losses) == 2 and summary.seconds > 0 for summary in summaries)
    for seed in range(3):
        alone = tiny(seed)
        train_models(
            [alone],
            images,
            labels,
            subsets=[subsets[seed]],
            config=SHORT,
            seeds=[5 + seed],
            device="cpu",
        )
        assert same_weights(alone, together[seed])
        assert not alone.training


def test_a_model_sees_nothing_outside_its_subset():
    images, labels = noise(60), random_labels(60)
    subset = torch.randperm(60, generator=torch.Generator().manual_seed(1))[:33]
    outside = torch.ones(60, dtype=torch.bool)
    outside[subset] = False
    poisoned_images, poisoned_labels = images.clone(), labels.clone()
    poisoned_images[outside] = 255 - poisoned_images[outside]
    # No class has these: a single look at one would raise
    poisoned_labels[outside] = torch.tensor([-100, 10**9] * 14)[: int(outside.sum())]

    models = [tiny(), tiny(), tiny()]
    train_models(models[:1], images, labels, subsets=[subset], config=SHORT, seeds=[0])
    train_models(
        models[1:2], poisoned_images, poisoned_labels, subsets=[subset], config=SHORT, seeds=[0]
    )
    train_models(models[2:], images[subset], labels[subset], config=SHORT, seeds=[0])
    assert same_weights(models[0], models[1])
    assert same_weights(models[0], models[2])

    with pytest.raises(ParameterError, match="Labels run from -100 to 1000000000"):
        train_models([tiny()], poisoned_images, poisoned_labels, config=SHORT, seeds=[0])


def test_each_epoch_shows_each_image_of_the_subset_once():
    images, labels = noise(41, 8), random_labels(41)
    subset = torch.arange(1, 40, 2)
    model = Recorder()
    config = TrainingConfig(epochs=3, batch_size=8, flip=False, crop_padding=0)
    train_models([model], images, labels, subsets=[subset], config=config, seeds=[0], device="cpu")
    assert [len(batch) for batch in model.batches] == [7, 7, 6] * 3
    orders = []
    for epoch in range(3):
        shown = torch.cat(model.batches[3 * epoch : 3 * epoch + 3])
        rows = [int((images == image).all(dim=(1, 2, 3)).nonzero().squeeze()) for image in shown]
        assert sorted(rows) == subset.tolist()
        orders.append(rows)
    assert orders[0] != orders[1] != orders[2]


def test_augmentation_crops_and_mirrors():
    images = noise(1, 8).repeat(200, 1, 1, 1)
    model = Recorder()
    config = TrainingConfig(epochs=1, batch_size=200, crop_padding=1)
    train_models([model], images, random_labels(200), config=config, seeds=[0], device="cpu")
    seen = {bytes(image.contiguous().numpy()) for image in model.batches[0]}
    padded = F.pad(images[0], (1,) * 4)
    expected = set()
    for top in range(3):
        for left in range(3):
            crop = padded[:, top : top + 8, left : left + 8]
            expected |= {bytes(c.contiguous().numpy()) for c in (crop, crop.flip(2))}
    assert seen == expected


@pytest.mark.parametrize(("size", "padding"), [(8, 1), (32, 4), (13, 0)])
def test_crops_equal_those_of_one_image_at_a_time(size, padding):
    images = noise(50, size)
    generator = torch.Generator().manual_seed(4)
    top, left = torch.randint(2 * padding + 1, (2, 50), generator=generator)
    flip = torch.rand(50, generator=generator) < 0.5
    batch = random_crop_flip(images, top, left, flip, padding)
    for row in range(50):
        image = vision.pad(images[row], [padding] * 4)
        image = vision.crop(image, int(top[row]), int(left[row]), size, size)
        if flip[row]:
            image = vision.hflip(image)
        assert torch.equal(batch[row], image)
    assert batch.dtype == torch.uint8


def test_images_become_floats_between_zero_and_one():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 3, 16, 16)
    values = to_float(images)
    assert torch.equal(values[0, 0].flatten(), torch.arange(256) / 255)


# The transformer sees images of 4 pixels, which make 16 patches instead of 64
@pytest.mark.parametrize(("name", "size"), [("resnet_tiny", 16), ("vit_small", 4)])
# Without a CUDA device "auto" is fp32 (test_device.py): the same training once more
@pytest.mark.parametrize("precision", ["fp32", "auto"] if torch.cuda.is_available() else ["auto"])
def test_random_labels_are_memorised(name, size, precision):
    images, labels = noise(64, size), random_labels(64, 10)
    model = build_model(name, 10, input_size=size, seed=0)
    config = TrainingConfig(
        epochs=60,
        batch_size=32,
        learning_rate=0.05,
        crop_padding=0,
        flip=False,
        precision=precision,
    )
    (summary,) = train_models([model], images, labels, config=config, seeds=[0])
    logits = predict_logits(model, images)
    assert (logits.argmax(1) == labels).all()
    assert cross_entropy(logits, labels).mean() < 0.2
    assert summary.accuracy == 1.0
    assert summary.losses[-1] < 0.2 < 1.0 < summary.losses[0]


def test_real_images_are_learnt(data_dir, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    from benchmarks.datasets import load_cifar10

    pixels, classes, _ = load_cifar10(0, 1500)
    images, labels = torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(classes)
    model = build_model("resnet_tiny", 10, input_size=32, seed=0)
    config = TrainingConfig(epochs=8, batch_size=64)
    train_models([model], images, labels, subsets=[torch.arange(1000)], config=config, seeds=[0])
    correct = predict_logits(model, images[1000:]).argmax(1) == labels[1000:]
    # Chance is 0.1
    assert correct.double().mean() > 0.3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_and_batch_norm_stay_in_float32(precision):
    images, labels = noise(48), random_labels(48)
    model = tiny()
    config = replace(SHORT, precision=precision)
    train_models([model], images, labels, config=config, seeds=[0], device="cpu")
    tensors = [value for value in model.state_dict().values() if value.is_floating_point()]
    assert all(value.dtype == torch.float32 for value in tensors)
    assert all(parameter.grad is None for parameter in model.parameters())

    # bfloat16 has 8 bits of precision: running statistics kept in it would show no others
    stem = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    for statistic in (stem.running_mean, stem.running_var):
        assert not torch.equal(statistic, statistic.bfloat16().float())
    assert int(stem.num_batches_tracked) == 6


def test_bfloat16_is_used_only_when_asked():
    types = []

    class Spy(Recorder):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = super().forward(x)
            if self.training:
                types.append(logits.dtype)
            return logits

    for precision in ("fp32", "bf16"):
        config = TrainingConfig(epochs=1, precision=precision)
        train_models([Spy()], noise(8, 8), random_labels(8), config=config, seeds=[0], device="cpu")
    assert types == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize(("num_images", "batch_size"), [(17, 16), (2, 16), (3, 2), (33, 32)])
def test_no_batch_holds_a_single_image(num_images, batch_size):
    # Images of 8 pixels shrink to one: batch norm of a single one would raise
    images, labels = noise(num_images, 8), random_labels(num_images)
    model = tiny(size=8)
    config = TrainingConfig(epochs=2, batch_size=batch_size)
    (summary,) = train_models([model], images, labels, config=config, seeds=[0])
    assert np.isfinite(summary.losses).all()
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_classes_may_be_missing_from_a_subset():
    images, labels = noise(40), random_labels(40, 6)
    subset = (labels < 2).nonzero().flatten()
    model = tiny(num_classes=6)
    train_models([model], images, labels, subsets=[subset], config=SHORT, seeds=[0])
    assert predict_logits(model, images).shape == (40, 6)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_schedules(schedule, monkeypatch):
    rates = []
    step = torch.optim.SGD.step

    def record(self, closure=None):
        rates.append(self.param_groups[0]["lr"])
        return step(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", record)
    config = TrainingConfig(
        epochs=10, batch_size=8, schedule=schedule, crop_padding=0, learning_rate=0.02
    )
    train_models([Recorder()], noise(32, 8), random_labels(32), config=config, seeds=[0])
    assert len(rates) == 40
    assert max(rates) == pytest.approx(0.02, rel=0.01)
    if schedule == "constant":
        assert set(rates) == {0.02}
    elif schedule == "cosine":
        steps = np.arange(40)
        assert rates == pytest.approx(0.01 * (1 + np.cos(np.pi * steps / 40)))
    else:
        assert rates[0] == pytest.approx(0.02 / 25)
        assert rates.index(max(rates)) == pytest.approx(0.3 * 40, abs=1)
        assert rates[-1] < 0.001


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer from 1 to 10000; found 0"),
        ({"epochs": 2.5}, "epochs must be an integer"),
        ({"epochs": True}, "epochs must be an integer"),
        ({"batch_size": 1}, "batch_size must be an integer from 2 to 65536"),
        ({"learning_rate": 0.0}, "learning_rate must be a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number"),
        ({"learning_rate": float("inf")}, "learning_rate must be a number"),
        ({"momentum": 1.0}, "momentum must be a number at least 0 and below 1"),
        ({"weight_decay": -1e-4}, "weight_decay must be a number at least 0 and below 1"),
        ({"weight_decay": "5e-4"}, "weight_decay must be a number"),
        ({"schedule": "step"}, "Unknown schedule 'step': use one of one_cycle"),
        ({"crop_padding": -1}, "crop_padding must be an integer from 0 to 512"),
        ({"flip": "yes"}, "flip must be True or False"),
        ({"label_smoothing": 1.0}, "label_smoothing must be a number"),
        ({"precision": "fp16"}, "Unknown precision 'fp16'"),
    ],
)
def test_wrong_configurations_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        TrainingConfig(**options)


IMAGES, LABELS = noise(8, 8), random_labels(8)


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        (IMAGES.float(), LABELS, {}, "images must be a uint8 tensor"),
        (IMAGES.numpy(), LABELS, {}, "not ndarray"),
        (IMAGES[:, :1], LABELS, {}, r"shape \(N, 3, S, S\), not \(8, 1, 8, 8\)"),
        (IMAGES[:, :, :4], LABELS, {}, r"not \(8, 3, 4, 8\)"),
        (IMAGES[:0], LABELS[:0], {}, "There are no images"),
        (IMAGES, LABELS.float(), {}, "labels must be an int64 tensor"),
        (IMAGES, LABELS[:5], {}, r"8 images need labels of shape \(8,\), not \(5,\)"),
        (IMAGES, LABELS + 1, {}, "Labels run from .* to 4, but the model has 4 classes"),
        (IMAGES, LABELS, {"seeds": [0, 1]}, "1 models need as many seeds, not 2"),
        (IMAGES, LABELS, {"subsets": []}, "1 models need as many subsets, not 0"),
        (IMAGES, LABELS, {"subsets": [torch.tensor([3])]}, "at least 2 images"),
        (IMAGES, LABELS, {"subsets": [torch.tensor([0, 8])]}, "rows 0 to 8, but there are 8"),
        (IMAGES, LABELS, {"subsets": [torch.tensor([-1, 2])]}, "rows -1 to 2"),
        (IMAGES, LABELS, {"subsets": [torch.tensor([2, 2])]}, "more than once"),
        (IMAGES, LABELS, {"subsets": [torch.ones(8) > 0]}, "one-dimensional int64"),
        (IMAGES, LABELS, {"device": "abacus"}, "Unknown device"),
    ],
)
def test_wrong_data_are_refused(images, labels, options, message):
    model = Recorder()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ParameterError, match=message):
        train_models([model], images, labels, **{"seeds": [0], "config": SHORT, **options})
    assert not model.batches
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_divergence_is_told():
    config = TrainingConfig(epochs=100, learning_rate=10, weight_decay=0.9, schedule="constant")
    with pytest.raises(ParameterError, match=r"loss became .* in epoch .*lower the learning rate"):
        train_models([Recorder()], noise(32, 8), random_labels(32), config=config, seeds=[0])


def test_predictions_do_not_depend_on_batches_or_mode():
    images = noise(21)
    model = tiny()
    train_models([model], images, random_labels(21), config=SHORT, seeds=[0], device="cpu")
    with torch.inference_mode():
        expected = model(to_float(images))
    model.train()
    logits = predict_logits(model, images, batch_size=4, device="cpu")
    assert model.training
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ParameterError, match="batch_size"):
        predict_logits(model, images, batch_size=0)


def test_cross_entropy_equals_scipy_even_for_extreme_logits():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(30, 7)) * 10.0 ** rng.integers(-3, 4, size=(30, 1))
    labels = rng.integers(7, size=30)
    losses = cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    assert losses.dtype == np.float64
    expected = logsumexp(logits, axis=1) - logits[np.arange(30), labels]
    np.testing.assert_allclose(losses, expected, rtol=1e-12, atol=1e-12)
    assert cross_entropy(np.array([[1e4, 0.0]]), np.array([1])) == 1e4


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((3, 4)), np.array([0, 1]), "do not belong together"),
        (np.zeros(3), np.array([0, 1, 2]), "do not belong together"),
        (np.zeros((2, 4)), np.array([0, 4]), "Labels from 0 to 4 do not fit 4 logits"),
        (np.zeros((2, 4)), np.array([-1, 0]), "Labels from -1 to 0"),
    ],
)
def test_cross_entropy_refuses_labels_that_do_not_fit(logits, labels, message):
    with pytest.raises(ParameterError, match=message):
        cross_entropy(logits, labels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_seed_gives_the_same_bytes_on_cuda():
    images, labels = noise(200, 32), random_labels(200)
    for name in ("resnet_tiny", "wrn28_2", "vit_small", "vgg11_bn"):
        models = [build_model(name, 4, input_size=32, seed=0) for _ in range(2)]
        for model in models:
            train_models([model], images, labels, config=SHORT, seeds=[3], device="cuda")
        assert same_weights(*models), name


def test_traces_are_the_losses_that_were_trained_on() -> None:
    images, labels, rows = noise(60), random_labels(60), torch.arange(59, 9, -1)
    config = replace(SHORT, epochs=3)

    def trained(traced: bool) -> tuple[nn.Module, TrainingSummary]:
        model = tiny()
        (found,) = train_models(
            [model], images, labels, subsets=[rows], config=config, seeds=[4], traced=traced
        )
        return model, found

    (plain, without), (model, found) = trained(False), trained(True)
    assert without.trace is None
    assert found.losses == without.losses
    for a, b in zip(plain.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(a, b), "recording changes no weight"
    assert found.trace is not None
    assert found.trace.shape == (3, 50)
    np.testing.assert_allclose(found.trace.mean(dim=1), found.losses, rtol=1e-5)
    assert (found.trace.std(dim=1) > 0).all()
