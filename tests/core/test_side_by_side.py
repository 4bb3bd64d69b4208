"""Models that are trained as one network: the same as by themselves, and found again by the same names."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from fiftyone_honeyimage.core import side_by_side
from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.side_by_side import SideBySide
from fiftyone_honeyimage.core.training import TrainingConfig, train_models

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 256, (48, 3, 16, 16), generator=GENERATOR).byte()
LABELS = torch.randint(0, 3, (48,), generator=GENERATOR)
SUBSETS = [torch.arange(32), torch.arange(16, 48), torch.arange(0, 48, 2)]
CONFIG = TrainingConfig(epochs=2, batch_size=16, precision="fp32", learning_rate=0.02)


class Concatenating(torch.nn.Module):
    """Joins channels, as DenseNets do: those of a group would no longer lie together."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.fc = torch.nn.Linear(7, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.cat([x[:, :, 1:-1, 1:-1], self.conv(x)], dim=1).mean(dim=(2, 3)))


def _concatenating(num_classes: int) -> torch.nn.Module:
    return Concatenating()


def _deep(num_classes: int) -> torch.nn.Module:
    """Without batch norm."""
    layers = [torch.nn.Conv2d(3, 8, 3), *(torch.nn.Conv2d(8, 8, 3) for _ in range(3))]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(512, num_classes))


def _trained(proxy: Any, **given: Any) -> tuple[list[torch.nn.Module], list[Any]]:
    proxy = _concatenating if proxy == "concatenating" else proxy
    models = [build_model(proxy, 3, input_size=16, seed=seed) for seed in range(3)]
    settings = {"config": CONFIG, "seeds": [5, 6, 7], "subsets": SUBSETS, "device": "cpu"}
    return models, train_models(models, IMAGES, LABELS, **{**settings, **given})


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many models each network held that was trained."""
    found: list[int] = []
    real = side_by_side._train

    def counting(whole: Any, models: Any, *arguments: Any) -> Any:
        found.append(len(models))
        return real(whole, models, *arguments)

    monkeypatch.setattr(side_by_side, "_train", counting)
    return found


@pytest.mark.parametrize("proxy", ["resnet_tiny", "wrn28_2"])
def test_as_by_themselves(proxy: str, tmp_path: Path, together: list[int]) -> None:
    alone, told = _trained(proxy)
    models, found = _trained(proxy, executor=SideBySide(), checkpoint_dir=tmp_path)

    assert together == [2], "two have as many images, and the third one has fewer"
    for one, other in zip(alone, models, strict=True):
        for name, value in one.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-2, atol=2e-3)
    for one, other in zip(told, found, strict=True):
        assert (one.seed, one.num_images, one.num_steps) == (
            other.seed,
            other.num_images,
            other.num_steps,
        )
        assert other.losses == pytest.approx(one.losses, rel=1e-3)
        assert other.accuracy == pytest.approx(one.accuracy, abs=0.1)


@pytest.mark.parametrize("proxy", ["concatenating", "vit_small"])
def test_what_does_not_go_together_is_trained_by_itself(
    proxy: str, tmp_path: Path, together: list[int]
) -> None:
    config = TrainingConfig(epochs=1, batch_size=24, precision="fp32")
    settings: dict[str, Any] = {"config": config, "subsets": [torch.arange(24)] * 3}
    alone, _ = _trained(proxy, **settings)
    models, _ = _trained(proxy, **settings, executor=SideBySide(), checkpoint_dir=tmp_path)
    assert together == []
    for one, other in zip(alone, models, strict=True):
        for name, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], value)


def test_nothing_is_trained_twice_and_no_more_than_asked_for_at_once(
    tmp_path: Path, together: list[int]
) -> None:
    alike: dict[str, Any] = {"subsets": None, "checkpoint_dir": tmp_path}
    _trained("resnet_tiny", executor=SideBySide(2), **alike)
    assert together == [2]  # and one by itself
    models, _ = _trained("resnet_tiny", executor=SideBySide(), **alike)
    again, _ = _trained("resnet_tiny", **alike)  # by the same names without any executor
    assert together == [2]
    for one, other in zip(models, again, strict=True):
        for value, same in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.equal(value, same)


def test_a_loss_that_explodes_is_told(tmp_path: Path, together: list[int]) -> None:
    wild = TrainingConfig(epochs=9, batch_size=16, learning_rate=10, momentum=0.9, precision="fp32")
    with pytest.raises(ParameterError, match="lower the learning rate"):
        _trained(_deep, config=wild, subsets=None, executor=SideBySide(), checkpoint_dir=tmp_path)
    assert together == [3]


def test_the_comparison_of_logits_can_fail() -> None:
    models = [build_model("resnet_tiny", 3, input_size=16, seed=seed) for seed in range(2)]
    whole = side_by_side.put_side_by_side(models, IMAGES)
    assert whole is not None
    other = copy.deepcopy(models[1])
    with torch.no_grad():
        next(other.parameters()).mul_(1.1)
    assert not side_by_side._computes(whole, [models[0], other], IMAGES[:4])


def test_traces_as_by_themselves(tmp_path: Path, together: list[int]) -> None:
    _, told = _trained("resnet_tiny", traced=True)
    _, found = _trained("resnet_tiny", traced=True, executor=SideBySide(), checkpoint_dir=tmp_path)
    assert together == [2]
    for one, other in zip(told, found, strict=True):
        torch.testing.assert_close(other.trace, one.trace, rtol=1e-2, atol=2e-3)
