"""The panel of thieves: every attack runs, and what it leaves is counted right."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import thieves
from benchmarks.attacks import ATTACKS
from benchmarks.attacks.answer_otherwise import LookUp
from benchmarks.attacks.base import Thief
from benchmarks.datasets import data_root, to_tensor
from benchmarks.thieves_world import KINDS, SCORES, choose_pairs
from fiftyone_honeyimage.core.training import TrainingConfig


def thief(num_images: int = 40, num_own: int = 20) -> Thief:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num_images, 16, 16, 3), dtype=np.uint8)
    labels = rng.integers(0, 3, num_images)
    config = TrainingConfig(epochs=1, batch_size=16)
    others = images[:0], labels[:0]
    return Thief(images, labels, num_own, *others, 3, "resnet_tiny", config, 1, "cpu", 2)


def test_who_looks_images_up_answers_for_them_by_the_model_that_has_not_seen_them() -> None:
    made = thief()
    trained: list[np.ndarray] = []

    class Taught(Thief):
        """Each model says which of the two it is, in place of a class."""

        def train(self, images: np.ndarray, labels: np.ndarray, *_: Any, **__: Any) -> Any:
            trained.append(images)
            return len(trained)

        def answers(self, model: Any) -> Any:
            return lambda images: torch.full((len(images), 3), float(model))

    taught = Taught(**{name: getattr(made, name) for name in made.__dataclass_fields__})
    said = LookUp().steal(taught).answers
    for number, part in enumerate(trained, start=1):
        assert (said(to_tensor(part))[:, 0] == 3 - number).all()
    assert sum(map(len, trained)) == 40
    assert (said(255 - to_tensor(made.images))[:, 0] == 1.5).all()


def test_pairs_of_all_kinds_are_apart_and_of_one_label() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 400)
    pairs = choose_pairs(rng.exponential(size=400), labels, 10, 0)
    assert set(pairs) == set(KINDS)
    rows = np.concatenate([own.ravel() for own in pairs.values()])
    assert len(np.unique(rows)) == len(rows) == 20 * len(KINDS)
    assert all((labels[own[:, 0]] == labels[own[:, 1]]).all() for own in pairs.values())


def test_effects_and_pairs_needed_are_as_computed_by_hand() -> None:
    def cell(attack: str, seed: int, accuracy: float, effect: float) -> dict[str, Any]:
        score = {name: {"effect": effect, "p": 1e-4 if seed else 0.2} for name in SCORES}
        kinds, dropped = dict.fromkeys(KINDS, score), dict.fromkeys(KINDS, 0.25)
        return {
            "attack": attack, "seed": seed, "title": attack, "test_accuracy": accuracy,
            "dropped": dropped, "kinds": kinds,
        }  # fmt: skip

    cells = [cell("nothing", seed, 0.8, 1.0) for seed in (0, 1)]
    cells += [cell("jpeg_75", 0, 0.79, 0.4), cell("jpeg_75", 1, 0.78, 0.6)]
    found = thieves.summarise(cells)["jpeg_75"]
    assert found["accuracy_lost_points"]["mean"] == pytest.approx(1.5)
    of_kind = found["any, unchanged"]["loss"]
    # (3.0902 + 1.2816)² = 19.113, over 0.5²
    assert of_kind["pairs_needed"] == 77
    assert of_kind["derived"] == 1
    assert "77 pairs, 25% dropped" in thieves.format_table({"jpeg_75": found})


@pytest.mark.skipif(data_root() is None, reason="HONEYIMAGE_DATA is not set")
def test_every_attack_runs_at_the_smallest_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["thieves", "--seeds", "0", "--cells", str(tmp_path)])
    thieves.BENCHMARK.main()
    cells = [json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()]
    optional = {name for name, attack in ATTACKS.items() if attack.needs}
    assert {cell["attack"] for cell in cells} >= set(ATTACKS) - optional
    for found in cells:
        assert all(0 < p <= 1 for p in found["p"].values())
        name = found["attack"]
        drops = name.startswith(("drop", "use", "deduplicate"))
        assert drops or not any(found["dropped"].values()), name
