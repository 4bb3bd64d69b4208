"""Radioactive data: carriers, the loss that moves images along them, and what a model that trained on them shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from fiftyone_honeyimage.core.errors import ParameterError, SamplesError
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.carriers import (
    carrier_loss,
    carrier_of,
    draw_carrier,
    move_features,
)
from fiftyone_honeyimage.core.methods.selection import select_by_class
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.models.last_layer import class_weights, features, last_layer


def test_carriers_have_length_one_and_no_direction_of_their_own() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([carrier_of(draw_carrier(rng), 48) for _ in range(400)])
    assert np.allclose(np.linalg.norm(drawn, axis=1), 1)
    # The cosine with any fixed direction: (1 + c) / 2 follows Beta((D - 1) / 2, (D - 1) / 2)
    direction = np.linspace(-1, 2, 48) / np.linalg.norm(np.linspace(-1, 2, 48))
    cosines = (1 + drawn @ direction) / 2
    assert stats.kstest(cosines, stats.beta(23.5, 23.5).cdf).pvalue > 0.01
    assert (carrier_of({"carrier": "0f"}, 5) == carrier_of({"carrier": "0f"}, 5)).all()


def test_the_loss_is_the_papers() -> None:
    rng = np.random.default_rng(1)
    after, before = rng.normal(size=(2, 3, 7))
    carrier, change = rng.normal(size=7), rng.normal(size=(3, 3, 4, 4))

    expected = 0.0
    for row in range(3):
        shift = after[row] - before[row]
        expected -= sum(shift[i] * carrier[i] for i in range(7))
        expected += 5e-4 * ((change[row] / 0.225) ** 2).sum() + 1e-2 * np.sqrt((shift**2).sum())

    found = carrier_loss(*(torch.from_numpy(value) for value in (after, before, carrier, change)))
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_features_and_weights_make_the_logits() -> None:
    model = build_model("resnet_tiny", 5, input_size=16, seed=0).eval()
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = features(model, images) @ class_weights(model).T + last_layer(model).bias
        assert torch.allclose(logits, model(images), atol=1e-5)
    with pytest.raises(ParameterError, match="no linear layer"):
        last_layer(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()))


def test_images_move_along_the_carrier_and_stay_within_the_budget() -> None:
    model = build_model("resnet_tiny", 5, input_size=16, seed=0).eval()
    images = torch.randint(
        0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    dimension = class_weights(model).shape[1]
    for seed in range(3):
        carrier = torch.from_numpy(carrier_of({"carrier": f"{seed:x}"}, dimension))
        change = move_features(
            model,
            images,
            carrier,
            epsilon=10,
            num_steps=20,
            generator=torch.Generator().manual_seed(seed),
        )
        assert change.abs().max() <= 10 + 1e-4
        assert ((images + change) >= -1e-3).all()
        assert ((images + change) <= 255 + 1e-3).all()
        with torch.no_grad():
            shift = features(model, (images + change) / 255) - features(model, images / 255)
        assert ((shift @ carrier) > 0).all()


def test_all_images_of_a_pair_are_of_one_class_and_classes_take_turns() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [60, 40, 13])
    found = select_by_class(
        rng.random(len(labels)),
        labels,
        num_pairs=9,
        files_a_side=3,
        excluded={"first": np.arange(len(labels)) < 6},
        rule="random",
        seed=0,
    )
    classes = labels[found.rows][found.sides]  # (9, 2, 3)
    assert (classes == classes[:, :1, :1]).all()
    assert np.bincount(classes[:, 0, 0]).tolist() in ([4, 3, 2], [3, 4, 2])
    assert len(set(found.rows)) == 54
    assert found.rows.min() >= 6
    with pytest.raises(SamplesError, match="only 2 can be formed"):
        select_by_class(
            rng.random(24),
            np.repeat([0, 1], 12),
            num_pairs=3,
            files_a_side=6,
            excluded={},
            rule="random",
            seed=0,
        )


def test_it_is_asked_as_the_class_of_its_images() -> None:
    method = METHODS["radioactive"]
    labels = np.repeat(np.arange(4), 30)
    chosen = method.choose(
        np.random.default_rng(0).random(120),
        labels,
        options=method.Options(num_probes=20, selection="random"),
        num_honeyimages=12,
        num_pairs=6,
        excluded={},
        seed=0,
    )
    assert chosen.files_a_side == 2
    assert not set(chosen.probes) & set(chosen.rows)
    assert not method.changes_labels
