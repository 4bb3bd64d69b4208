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
from benchmarks.results_io import RESULTS
from benchmarks.thieves_world import (
    DEALT,
    KINDS,
    LEVEL,
    RULES,
    SCORES,
    SIZES,
    VIEWS,
    choose_pairs,
    least_rank_sum,
    seen_as,
    share_derived,
)
from fiftyone_honeyimage.core.evidence.twins import signed_rank_test
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


def test_every_image_is_in_one_pair_and_kinds_take_the_pairs_that_they_say() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 400)
    hardness, gains = rng.exponential(size=(2, 400))
    pairs, groups = choose_pairs(hardness, gains, labels, 10, 0)
    assert set(groups) == set(KINDS)
    assert len(np.unique(pairs)) == pairs.size == 400 - sum(np.bincount(labels) % 2)
    assert (labels[pairs[:, 0]] == labels[pairs[:, 1]]).all()
    dealt = np.concatenate([groups[kind] for kind in DEALT])
    assert sorted(dealt) == list(range(30))
    of_pairs = hardness[pairs].mean(axis=1)
    assert of_pairs[dealt].min() >= np.delete(of_pairs, dealt).max()
    marked = np.concatenate([groups[kind] for kind, how in DEALT.items() if how is not None])
    assert all(not np.isin(groups[kind], marked).any() for kind in RULES)
    assert len(groups["any, unchanged"]) == len(pairs) - 20
    by_gain = gains[pairs].mean(axis=1)
    others = np.setdiff1d(groups["any, unchanged"], groups["largest out − in, unchanged"])
    assert by_gain[groups["largest out − in, unchanged"]].min() > by_gain[others].max()


def test_verdicts_are_counted_at_the_level_of_the_exact_test() -> None:
    for size in (12, 40):
        least = least_rank_sum(size)
        ranks = np.arange(1.0, size + 1)
        over, under = (_with_sum(ranks, least - less) for less in (0, 1))
        assert signed_rank_test(over).p_value <= LEVEL < signed_rank_test(under).p_value
    rng = np.random.default_rng(0)
    nothing = rng.normal(size=400)
    nothing = np.concatenate([nothing, -nothing])
    assert share_derived(nothing, 100) < 0.02
    # An effect of 0.5: 77 pairs find nine of ten at 0.001
    assert 0.85 < share_derived(nothing / nothing.std() + 0.5, 100) < 0.99


def _with_sum(ranks: np.ndarray, wanted: int) -> np.ndarray:
    """Differences of these sizes whose positive ones add up to a sum."""
    signed = -ranks
    for place in reversed(range(len(ranks))):
        if ranks[place] <= wanted:
            signed[place], wanted = ranks[place], wanted - ranks[place]
    assert not wanted
    return signed


def test_views_move_and_mirror_images() -> None:
    image = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    image[0, 2, 3] = 9
    found = {view: torch.nonzero(seen_as(image, *view)[0, 0]).tolist() for view in VIEWS}
    assert found == {
        (0, 0, 0): [[2, 3]], (1, 0, 0): [[2, 4]], (0, 2, 0): [[4, 3]],
        (0, -2, 0): [[0, 3]], (0, 0, 2): [[2, 5]], (0, 0, -2): [[2, 1]],
    }  # fmt: skip


def test_effects_and_pairs_needed_are_as_computed_by_hand() -> None:
    def cell(attack: str, seed: int, accuracy: float, effect: float) -> dict[str, Any]:
        verdicts = {str(size): effect for size in SIZES}
        score = {
            name: {"effect": effect, "p": 1e-4 if seed else 0.2, "verdicts": verdicts}
            for name in SCORES
        }
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
    assert of_kind["verdicts"]["100"] == pytest.approx(0.5)
    assert "77 (50, 50, 50 %; 25% dropped)" in thieves.format_table({"jpeg_75": found})


@pytest.mark.parametrize("name", ["thieves", "thieves_eurosat"])
def test_the_documents_show_the_committed_table(name: str) -> None:
    path = RESULTS / f"{name}_cpu.json"
    summary = json.loads(path.read_text(encoding="utf-8"))["figures"]["summary"]
    shown = (RESULTS.parents[1] / "docs" / "measured.md").read_text(encoding="utf-8").splitlines()
    for line in thieves.format_table(summary, thieves.DOCUMENTED).splitlines():
        assert line in shown


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
