"""An interrupted marking goes on only where the very same call is made again, and then always."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.ledger.ledger import load_ledger
from fiftyone_honeyimage.core.pipeline import crafting
from fiftyone_honeyimage.core.pipeline.labeled import LabeledSamples
from fiftyone_honeyimage.core.pipeline.mark import mark
from fiftyone_honeyimage.core.training import TrainingConfig

HARDNESS = np.random.default_rng(0).exponential(1.0, 60)


class Killed(BaseException):
    """As if the process were gone."""


@pytest.fixture
def call(
    write_digits: Callable[..., list[tuple[Path, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Any]:
    """``call(**changes)``: a quick marking."""
    monkeypatch.setattr(crafting, "_load_lpips", lambda file: (None, "not asked for"))
    files = write_digits(60, 3, 8)
    labels = np.array([int(label) for _, label in files])
    ids = [f"image {number}" for number in range(60)]
    labeled = LabeledSamples(ids, [str(path) for path, _ in files], labels, ["0", "1", "2"])
    settings: dict[str, Any] = {
        "num_honeyimages": 8,
        "num_pairs": 8,
        "input_size": 8,
        "method": "unperturbed",
        "proxy": "resnet_tiny",
        "training": TrainingConfig(epochs=1, batch_size=32),
        "exclude": (),
        "device": "cpu",
        "hardness": HARDNESS,
        "plan": Plan(alpha=0.05),
    }

    def make(**changes: Any) -> Any:
        given = {**settings, **changes}
        return mark(tmp_path / "marked", labeled, given.pop("hardness"), **given)

    return make


def _killed_at(monkeypatch: pytest.MonkeyPatch, name: str, call: Callable[..., Any]) -> None:
    def die(self: Path, *_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, name, die)
        with pytest.raises(Killed):
            call()


def test_another_call_does_not_go_on_with_what_was_made(call: Callable[..., Any]) -> None:
    def report(stage: str, done: int, total: int) -> None:
        if stage == "Measuring":
            raise Killed

    with pytest.raises(Killed):
        call(report=report)
    for name, changes in {
        "hardness": {"hardness": HARDNESS[::-1].copy()},
        "label_errors": {"label_errors": np.zeros(60, bool)},
        "plan": {"plan": Plan(alpha=0.001)},
        "trade_off": {"trade_off": 8},
    }.items():
        with pytest.raises(ParameterError, match=f"interrupted: {name} differ. Make that call"):
            call(**changes)
    assert len(call().pairs) == 8


def test_files_that_changed_meanwhile_are_noticed(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _killed_at(monkeypatch, "rename", call)
    path = next(tmp_path.glob("digits-*/*.png"))
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ParameterError, match="interrupted: files differ"):
        call()


@pytest.mark.parametrize("name", ["rename", "unlink"])
def test_killed_at_its_end_it_keeps_its_coins_and_its_plan(
    name: str, call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _killed_at(monkeypatch, name, call)
    (ledger,) = tmp_path.glob("marked*/ledger.json")
    commitment = load_ledger(ledger).commitment
    with pytest.raises(ParameterError, match=r"plan differ|exists already"):
        call(plan=Plan(alpha=0.001, test="e_process"))
    assert call().commitment == commitment
    left = {path.name for path in (tmp_path / "marked").iterdir()}
    assert "request.json" not in left
    with pytest.raises(ParameterError, match="exists already"):
        call()


def test_killed_while_its_folder_was_made(call: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "marked.partial").mkdir()
    (tmp_path / "marked.partial" / ".honeyimage-x.tmp").touch()
    assert len(call().pairs) == 8
