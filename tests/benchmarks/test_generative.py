"""The benchmark of generative suspects, at its smallest scale."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import generative
from benchmarks.datasets import load_images
from benchmarks.diffusion import TinyUNet, linear_schedule, train_diffusion
from fiftyone_honeyimage.core.suspects import DenoisingSuspect


def test_smoke_marks_trains_and_judges_and_goes_on_where_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    cells = tmp_path / "cells"
    monkeypatch.setattr(sys, "argv", ["generative", "--seeds", "0", "--cells", str(cells)])
    generative.main()
    written = {path.name: path.read_bytes() for path in cells.glob("*.json")}
    assert len(written) == len(generative.MARKINGS)
    for content in written.values():
        cell = json.loads(content)
        scale = generative.SCALES["digits", "smoke"]
        assert cell["num_pairs"] == scale.num_pairs
        assert cell["num_released"] == scale.num_part - scale.num_pairs
        assert all(0 < p <= 1 for p in cell["p"].values())
        assert all(loss > 0 for loss in cell["final_loss"].values())
        assert 0 <= cell["auroc_of_members"] <= 1
        losses = np.array(cell["answers"]["infringing"])
        assert losses.shape == (scale.num_pairs, 2)
        coins = np.array([side == "b" for side in cell["released"]]).astype(int)
        assert generative._p_value(losses, coins) == pytest.approx(cell["p"]["infringing"])

    name = "digits-smoke-unperturbed-0.json"
    (cells / name).unlink()
    capsys.readouterr()
    generative.main()
    assert "digits unperturbed 0" in capsys.readouterr().out
    again = json.loads((cells / name).read_bytes())
    first = json.loads(written[name])
    # The innocent model was found again, and trained once
    assert again["final_loss"]["innocent"] == first["final_loss"]["innocent"]
    assert again["answers"]["innocent"] == first["answers"]["innocent"]


@pytest.mark.parametrize("name", ["dense", "unet"])
def test_a_model_gives_the_noise_at_the_images_size_and_learns(name: str) -> None:
    images = load_images("digits", 0)[0][:64]
    schedule = linear_schedule()
    assert schedule[0] == pytest.approx(1 - 1e-4)
    assert 0 < schedule[-1] < 1e-4
    scale = generative.Scale(64, 12, 1, name, 16)

    def train(epochs: int) -> tuple[torch.nn.Module, float]:
        return train_diffusion(images, lambda: scale.build(8), schedule, epochs=epochs, seed=3)

    model, before = train(1)
    again, same = train(1)
    assert before == same
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    assert train(60)[1] < 0.8 * before
    for patch in (1, 2):
        noise = TinyUNet(16, patch)(torch.zeros(2, 3, 16, 16), torch.tensor([0, 999]))
        assert noise.shape == (2, 3, 16, 16)
    suspect = DenoisingSuspect(model, schedule)
    assert suspect.answer(list(images[:3]), ["a", "b", "c"]).shape == (3,)
