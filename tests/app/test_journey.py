"""A newcomer's way through the App, from an open dataset to verdicts on three suspects."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from app_page import AppPage
from PIL import Image

PROTECT, VERIFY = "HoneyImage protection", "HoneyImage verification"

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def train(files: Iterable[tuple[Path, str]], network: str, epochs: int, save_as: Path) -> Path:
    """Trains a model on image files as a stranger would, and saves it as TorchScript."""
    from fiftyone_honeyimage.core.models import build_model
    from fiftyone_honeyimage.core.training import TrainingConfig, train_models

    pairs = sorted(files)
    classes = sorted({label for _, label in pairs})
    stack = np.stack([np.asarray(Image.open(path).convert("RGB")) for path, _ in pairs])
    images = torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor([classes.index(label) for _, label in pairs])
    model = build_model(network, len(classes), input_size=images.shape[-1], seed=7)
    train_models(
        [model], images, labels, config=TrainingConfig(epochs=epochs, flip=False), seeds=[7]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.trace(model.cpu().eval(), images[:2].float() / 255)
        torch.jit.save(scripted, str(save_as))
    return save_as


def test_from_a_dataset_to_verdicts(
    noisy_digits: Any,
    worker: Any,
    open_window: Callable[..., AppPage],
    screens: Callable[..., None],
    picture: Callable[..., None],
    tmp_path: Path,
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = noisy_digits
    window = open_window(dataset)
    page = window.page
    screens(window, "dataset")

    # The newcomer: at most twelve clicks, and nothing typed but a name and a model's path
    window.open_panel(PROTECT)
    window.press("Compute hardness…")
    screens(window, "hardness-form")
    window.press("Schedule")
    page.locator(".bars path").first.wait_for()
    screens(window, "hardness")

    window.press("Generate HoneyImages…")
    window.type_into(window.field("Name of the marking"), "release_2026")
    screens(window, "generate-form")
    window.press("Schedule")
    page.get_by_text("matches the commitment").wait_for()
    screens(window, "marking")

    window.press("Export release…")
    screens(window, "export-form")
    window.press("Schedule")
    page.get_by_text("Exported").first.wait_for()
    screens(window, "release")

    dataset.reload()
    (release,) = fhi.list_releases(dataset, "release_2026")
    stolen = [(path, path.parent.name) for path in release.export_dir.rglob("*.png")]
    assert len(stolen) == release.num_images
    thief = train(stolen, "resnet_tiny", 60, tmp_path / "thief.pt")

    window.press("Verify a model…")
    window.type_into(window.field("Model file"), str(thief))
    screens(window, "verify-form")
    window.press("Schedule")
    page.get_by_text("Derived from the release").first.wait_for()
    screens(window, "verdict")
    assert len(window.clicks) <= 12, window.clicks
    assert window.typed == ["release_2026", str(thief)]
