"""The measured cost of training: real steps, in a process of their own, never a constant."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from fiftyone_honeyimage.core import training_time as cost
from fiftyone_honeyimage.core.errors import ParameterError


def test_larger_images_cost_more() -> None:
    small, large = (
        cost.measure_training_seconds("resnet_tiny", 3, size, batch_size=8, device="cpu")
        for size in (8, 96)
    )
    # 144 times as many pixels
    assert 0 < small < large


def test_measuring_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)

    torch.manual_seed(7)
    cost.measure_training_seconds("resnet_tiny", 3, 8, batch_size=4, device="cpu")

    assert torch.equal(torch.rand(3), expected)


def test_what_cannot_be_measured_says_why() -> None:
    with pytest.raises(ParameterError, match="Unknown proxy 'resnet_huge'"):
        cost.training_seconds("resnet_huge", 3, 8)


def test_it_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    run = cost.subprocess.run
    monkeypatch.setattr(cost.subprocess, "run", lambda *a, **k: runs.append(1) or run(*a, **k))

    # The App asks twice at the same time
    with ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(cost.training_seconds, "resnet_tiny", 5, 8, device="cpu") for _ in range(2)
        ]
    first, second = (answer.result() for answer in asked)

    assert first == second > 0
    assert len(runs) == 1


def test_what_takes_too_long_says_how_long_it_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], timeout: float, **_: object) -> None:
        raise cost.subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(cost.subprocess, "run", run)

    with pytest.raises(
        ParameterError, match="a few training steps of resnet_tiny take over 2 minutes"
    ):
        cost.training_seconds("resnet_tiny", 7, 8)
