"""Loss gap against visibility, on HoneyImages that are really crafted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fiftyone_honeyimage.core.codecs import decoded_sources, open_codec
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.ascent import PASSES
from fiftyone_honeyimage.core.methods.honeyimage import HoneyImageOptions
from fiftyone_honeyimage.core.methods.request import CraftRequest, CraftResult
from fiftyone_honeyimage.core.methods.trade_off import (
    MAX_SHARE,
    TradeOffPlan,
    budgets,
    measure_trade_off,
    plan_trade_off,
)
from fiftyone_honeyimage.core.training import TrainingConfig

PLAN = TradeOffPlan(6, 4, 0)


@pytest.fixture(scope="module")
def request_() -> CraftRequest:
    from sklearn.datasets import load_digits

    loaded = load_digits()
    chosen = np.flatnonzero(loaded.target < 4)[:240]
    pixels = (64 + loaded.images[chosen] * 8).astype(np.uint8).repeat(2, 1).repeat(2, 2)
    images = torch.from_numpy(pixels)[:, None].repeat(1, 3, 1, 1)
    return CraftRequest(
        candidates=[images[row].permute(1, 2, 0).numpy().copy() for row in range(12)],
        candidate_labels=loaded.target[chosen][:12],
        rest=images[12:],
        rest_labels=loaded.target[chosen][12:],
        num_classes=4,
        proxy="resnet_tiny",
        config=TrainingConfig(epochs=6, flip=False),
        seed=3,
        options=HoneyImageOptions(num_steps=5, step_size=1.0),
    )


@pytest.fixture(scope="module")
def result(request_: CraftRequest) -> CraftResult:
    return METHODS["honeyimage"].craft(request_)


def test_more_change_is_more_visible_and_tells_more(
    request_: CraftRequest, result: CraftResult
) -> None:
    stages = []
    found = measure_trade_off(request_, result, PLAN, report=lambda *seen: stages.append(seen))

    assert found is not None
    points = found.points
    assert [point["epsilon"] for point in points] == [1, 2, 4, 8, 16]
    largest = [point["linf"] for point in points]
    assert largest[:4] == [1, 2, 4, 8]
    # So much cannot be hidden everywhere
    assert 8 < largest[4] <= 16
    gaps = [point["gap"] for point in points]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 1.2 * gaps[0] > 0
    for name in ("psnr", "ssim"):
        values = [point[name] for point in points]
        assert values == sorted(values, reverse=True)
    assert all(point["gap_error"] > 0 for point in points)
    assert all(point["lpips"] is None for point in points)
    assert found.produced["epsilon"] == 4
    assert found.produced["linf"] <= 4
    assert stages[-1] == ("Measuring the trade-off", 5, 5)
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


def test_nothing_of_the_run_changes(request_: CraftRequest, result: CraftResult) -> None:
    before = [image.copy() for image in result.images]
    weights = {name: value.clone() for name, value in result.in_model.state_dict().items()}
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002 (the global state must not move)
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002

    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    first = measure_trade_off(request_, result, PLAN)
    assert torch.equal(torch.rand(3), expected[0])
    assert (np.random.rand(3) == expected[1]).all()  # noqa: NPY002

    for image, old in zip(result.images, before, strict=True):
        np.testing.assert_array_equal(image, old)
    now = result.in_model.state_dict()
    assert all(torch.equal(now[name], value) for name, value in weights.items())
    assert measure_trade_off(request_, result, PLAN) == first
    again = METHODS["honeyimage"].craft(request_)
    for image, old in zip(again.images, before, strict=True):
        np.testing.assert_array_equal(image, old)


def test_files_are_measured_as_they_would_be_decoded(
    request_: CraftRequest, tmp_path: Path
) -> None:
    codecs = []
    for row, image in enumerate(request_.candidates):
        path = tmp_path / f"{row}.jpg"
        Image.fromarray(image).save(path, quality=90)
        codecs.append(open_codec(path))
    request = replace(request_, codecs=codecs, candidates=decoded_sources(codecs)).with_options(
        num_steps=2
    )
    result = METHODS["honeyimage"].craft(request)

    found = measure_trade_off(request, result, PLAN)

    assert found is not None
    for point in found.points:
        assert 0 < point["linf"] <= point["epsilon"]


def test_a_budget_of_ones_own_is_among_them(request_: CraftRequest) -> None:
    assert budgets(4) == [1, 2, 4, 8, 16]
    assert budgets(6) == [1, 2, 4, 6, 8, 16]
    request = request_.with_options(epsilon=6.5, step_size=3)
    found = measure_trade_off(request, METHODS["honeyimage"].craft(request), PLAN)
    assert found is not None
    assert [point["epsilon"] for point in found.points] == [1, 2, 4, 6.5, 8, 16]
    assert found.produced["epsilon"] == 6.5


def test_without_an_in_model_there_is_no_gap(request_: CraftRequest, result: CraftResult) -> None:
    assert measure_trade_off(request_, METHODS["unperturbed"].craft(request_), PLAN) is None
    assert measure_trade_off(request_, result, TradeOffPlan(0, 0, 0)) is None


RUN = {
    "num_candidates": 72,
    "num_rest": 2000,
    "num_steps": 20,
    "epochs": 30,
    "inner": "warm",
    "epsilon": 4,
    "relative_size": 1.0,
}


def plan_of(wanted: int, run: dict) -> TradeOffPlan:
    others = {k: v for k, v in run.items() if k not in ("num_steps", "inner", "epsilon")}
    return plan_trade_off(wanted, options=HoneyImageOptions.read(run), **others)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_rest": 60000, "num_candidates": 1200},
        {"relative_size": 2929.0, "num_candidates": 32, "num_rest": 200},
        {"num_candidates": 14, "num_rest": 58, "num_steps": 1, "epochs": 1},
        {"inner": "retrain", "num_rest": 200},
        {"num_candidates": 1},
    ],
)
def test_it_takes_a_tenth_of_the_crafting_at_most(changes: dict) -> None:
    run = {**RUN, **changes}
    plan = plan_of(16, run)
    every = run["num_candidates"] + run["num_rest"]
    rounds = run["epochs"] + run["num_steps"] - 1
    if run["inner"] == "retrain":
        rounds = run["epochs"] * run["num_steps"]
    ascents = run["num_candidates"] * run["num_steps"] * (PASSES + run["relative_size"])
    assert plan.num_passes <= MAX_SHARE * (every * rounds + ascents) + 1
    assert plan.num_images <= min(16, run["num_candidates"])


def test_a_usual_run_measures_what_was_asked_for() -> None:
    assert plan_of(16, RUN) == TradeOffPlan(16, 8, 16 * 12 * 9 * 5)
    assert plan_of(0, RUN).num_images == 0
    # Twelve megapixels: a few images, in a few rounds
    large = plan_of(16, {**RUN, "relative_size": 2929.0, "num_candidates": 32, "num_rest": 200})
    assert (large.num_images, large.num_steps) == (1, 3)
