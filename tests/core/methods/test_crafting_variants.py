"""What HoneyImages can climb beside the gap of two models: each term moves what it is said to move."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.methods import METHODS, crafting
from fiftyone_honeyimage.core.methods.base import RunSize
from fiftyone_honeyimage.core.methods.detector import train_detector
from fiftyone_honeyimage.core.methods.honeyimage import AscentOptions, HoneyImageOptions
from fiftyone_honeyimage.core.methods.out_model import thumbnails
from fiftyone_honeyimage.core.methods.redrawn import Redrawn
from fiftyone_honeyimage.core.methods.request import CraftRequest, CraftResult
from fiftyone_honeyimage.core.models.last_layer import features
from fiftyone_honeyimage.core.training import TrainingConfig

VARIANTS: tuple[dict[str, Any], ...] = (
    {"inner": "redrawn"},
    {"num_out_models": 2},
    {"diversity": 1.0},
    {"stealth": 1.0},
    {"num_out_models": 2, "diversity": 1.0, "stealth": 1.0},
)


@pytest.fixture(scope="module")
def request_of(digits):
    pixels, labels = digits
    chosen = np.flatnonzero(labels < 4)[:240]
    images = (64 + pixels[chosen].astype(int) // 2).astype(np.uint8)
    images = torch.from_numpy(images)[:, None].repeat(1, 3, 1, 1)
    labels = labels[chosen]
    request = CraftRequest(
        candidates=[images[row].permute(1, 2, 0).numpy().copy() for row in range(24)],
        candidate_labels=labels[:24],
        rest=images[24:],
        rest_labels=labels[24:],
        num_classes=4,
        proxy="resnet_tiny",
        config=TrainingConfig(epochs=4, flip=False),
        seed=3,
        device="cpu",
        options=HoneyImageOptions(num_steps=4, step_size=1.0),
        sides=np.arange(20).reshape(10, 2, 1),
    )
    return lambda **options: request.with_options(**options)


@pytest.fixture(scope="module")
def plain(request_of) -> CraftResult:
    return METHODS["honeyimage"].craft(request_of())


def same(a: CraftResult, b: CraftResult) -> bool:
    return all((x == y).all() for x, y in zip(a.images, b.images, strict=True))


class StopError(Exception):
    """Where a run is interrupted."""


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_a_variant_changes_marks_and_resumes_to_the_same_bytes(
    request_of, plain, tmp_path, options
):
    request = request_of(**options)
    whole = METHODS["honeyimage"].craft(request)
    assert not same(whole, plain)
    for image, original in zip(whole.images, request.candidates, strict=True):
        assert np.abs(image.astype(int) - original).max() <= 4

    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("Crafting HoneyImages", 2):
            raise StopError

    with pytest.raises(StopError):
        METHODS["honeyimage"].craft(replace(request, checkpoint_dir=tmp_path, report=stop))
    resumed = METHODS["honeyimage"].craft(replace(request, checkpoint_dir=tmp_path))
    assert same(resumed, whole)
    # Sums may differ by a rounding where tensors lie elsewhere in memory; so do they without variants
    np.testing.assert_allclose(resumed.history, whole.history, atol=1e-6)


@pytest.mark.parametrize("options", VARIANTS[1:], ids=str)
def test_adversarial_examples_take_the_same_terms(request_of, options):
    request = replace(request_of(), options=AscentOptions(num_steps=2, step_size=2.0))
    results = [METHODS["adv"].craft(request.with_options(**more)) for more in ({}, options)]
    assert not same(*results)


def test_redrawn_halves_take_both_sides_of_a_pair_and_every_image_by_turns(request_of):
    request = request_of()
    redrawn = Redrawn(request)
    drawn = torch.stack([redrawn.draw(step) for step in range(40)])
    for a, b in request.sides[:, :, 0]:
        assert torch.equal(drawn[:, a], drawn[:, b])
    assert torch.equal(drawn, torch.stack([Redrawn(request).draw(step) for step in range(40)]))
    others = Redrawn(replace(request, seed=4))
    assert not torch.equal(drawn, torch.stack([others.draw(step) for step in range(40)]))
    # Ten pairs and four of no pair
    units = drawn[:, [*range(0, 20, 2), 20, 21, 22, 23]]
    assert (units.sum(dim=1) == 7).all()
    assert ((units.sum(dim=0) > 8) & (units.sum(dim=0) < 32)).all()
    assert len(torch.unique(units.T, dim=0)) == 14


def test_redrawn_gaps_are_of_the_last_round_without_an_image_and_the_last_with_it(request_of):
    redrawn = Redrawn(request_of())
    rows, shape = range(24), (24, 3, 8, 8)
    redrawn.begin(rows, torch.full((24,), 5.0), torch.full(shape, 5.0))
    last = torch.tensor([[5.0, 0.0]]).repeat(24, 1)
    for step in range(6):
        taken = redrawn.draw(step)
        told = float(10 + step)
        gaps, gradients = redrawn.gaps(rows, torch.full((24,), told), torch.full(shape, told))
        last[torch.arange(24), taken.long()] = told
        never = last[:, 1] == 0
        assert torch.equal(gradients[:, 0, 0, 0], last[:, 0] - last[:, 1])
        expected = torch.where(never, last[:, 0] - 5, last[:, 0] - last[:, 1])
        assert torch.equal(gaps, expected)
    assert not never.any()


def test_redrawn_trains_on_half_of_the_images_alone(request_of, monkeypatch):
    taken = []
    train = crafting.train_in_model

    def spy(request, f_in, images, labels, step, rows=None):
        taken.append(rows)
        return train(request, f_in, images, labels, step, rows)

    monkeypatch.setattr(crafting, "train_in_model", spy)
    request = request_of(inner="redrawn")
    result = METHODS["honeyimage"].craft(request)
    rest = len(request.rest)
    assert len(taken) == 4
    for step, rows in enumerate(taken):
        assert (rows[:rest] == torch.arange(rest)).all()
        drawn = Redrawn(request).draw(step).nonzero()[:, 0]
        assert torch.equal(rows[rest:] - rest, drawn)
    assert np.isfinite(result.in_losses).all()


def test_the_gap_is_climbed_against_every_out_model(request_of, plain):
    both = METHODS["honeyimage"].craft(request_of(num_out_models=2))
    # The first is the same, and the only one that is kept
    for name, value in plain.out_model.state_dict().items():
        assert torch.equal(value, both.out_model.state_dict()[name])


def test_diversity_takes_images_apart(request_of, plain):
    request = request_of(diversity=20.0)
    found = METHODS["honeyimage"].craft(request)

    def crowding(result: CraftResult) -> float:
        seen = thumbnails(result.images, 8).float() / 255
        with torch.no_grad():
            vectors = features(plain.out_model.eval(), seen)
        unit = torch.nn.functional.normalize(vectors, dim=1)
        return float((unit @ unit.T).mean())

    assert crowding(found) < crowding(plain)


def test_stealth_lowers_a_detectors_answers(request_of, plain):
    request = request_of(stealth=20.0)
    found = METHODS["honeyimage"].craft(request)
    originals = thumbnails(request.candidates, 8).float()

    def surely(result: CraftResult) -> float:
        """How far apart a detector that nobody worked against keeps them, learned on the plain marks."""
        detector = train_detector(
            originals, thumbnails(plain.images, 8).float(), 9, torch.device("cpu")
        )
        marked = thumbnails(result.images, 8).float()
        with torch.no_grad():
            return float((detector(marked / 255) - detector(originals / 255)).mean())

    assert surely(plain) > 0
    assert surely(found) < surely(plain)


def test_a_detector_is_the_same_with_the_same_seed_and_leaves_the_generators_alone(request_of):
    originals = thumbnails(request_of().candidates, 8).float()
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 8, originals.shape)).float()
    before = torch.random.get_rng_state()
    first, second = (
        train_detector(originals, originals + noise, 1, torch.device("cpu")) for _ in range(2)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    x = torch.cat([originals, originals + noise]) / 255
    assert (first(x)[24:] > first(x)[:24]).float().mean() > 0.9


@pytest.mark.parametrize(
    "changes", [{"robust": True}, {"num_out_models": 2}, {"diversity": 1.0}, {"stealth": 0.5}]
)
def test_one_model_for_both_takes_no_further_terms(changes):
    with pytest.raises(ParameterError, match=f"{next(iter(changes))}=.* has no part in it"):
        HoneyImageOptions(inner="redrawn", **changes)


def test_diversity_needs_features_and_says_so_before_training(request_of, monkeypatch):
    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.Parameter(torch.zeros(3, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(dim=(2, 3)) @ self.weights

    request = replace(
        request_of(diversity=1.0),
        proxy=lambda *_, **__: Flat(),
        report=lambda *_: pytest.fail("it was trained"),
    )
    with pytest.raises(ParameterError, match="no linear layer"):
        METHODS["honeyimage"].craft(request)


def test_options_that_came_later_are_not_written_at_their_defaults():
    assert set(HoneyImageOptions().to_dict()) == {
        *("epsilon", "step_size", "num_steps", "inner", "robust", "smoothing"),
        *("selection", "matched", "diverse", "unchanged_share"),
    }
    options = HoneyImageOptions(diversity=2)
    assert options.to_dict()["diversity"] == 2.0
    assert "stealth" not in options.to_dict()
    assert HoneyImageOptions.read(options.to_dict()) == options


def test_what_a_variant_costs():
    size = RunSize(num_images=1000, num_marked=100, epochs=10, trade_off=0)
    method = METHODS["honeyimage"]

    def cost(**options: Any) -> int:
        return method.passes(size, HoneyImageOptions(**{"num_steps": 5, **options}))

    warm = 900 * 10 + 1000 * 14 + 8 * 5 * 100
    assert cost() == warm
    assert cost(num_out_models=3) == warm + 2 * 900 * 10 + 2 * 4 * 5 * 100
    assert cost(inner="redrawn") == 900 * 10 + 950 * 5 + 4 * 6 * 100
