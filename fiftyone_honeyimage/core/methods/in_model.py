"""The in-model: a proxy that sees the HoneyImages as they are now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ..models import build_model
from ..seeds import derive_seed
from ..training import TrainingConfig, train_models
from .request import CraftRequest


def in_model_epochs(options: Any, epochs: int) -> int:
    """Epochs of the in-model over all rounds, if a training takes so many."""
    if options.inner == "redrawn":
        return int(options.num_steps)
    if options.inner == "retrain":
        return int(options.num_steps * epochs)
    return int(epochs + options.num_steps - 1)


def new_in_model(request: CraftRequest, step: int) -> torch.nn.Module:
    """A fresh in-model: round 0's for ``inner="warm"``, each round's own for ``"retrain"``."""
    number = step if request.options.inner == "retrain" else 0
    size = int(request.rest.shape[-1])
    seed = derive_seed(request.seed, "f_in", number)
    return build_model(request.proxy, request.num_classes, input_size=size, seed=seed)


def train_in_model(
    request: CraftRequest,
    f_in: torch.nn.Module | None,
    images: torch.Tensor,
    labels: torch.Tensor,
    step: int,
    rows: torch.Tensor | None = None,
) -> torch.nn.Module:
    """Trains ``f_in`` on the rest and the current HoneyImages: from scratch, or one epoch on.

    Args:
        request: a :class:`.request.CraftRequest`
        f_in: of the round before, or None
        images, labels: uint8 (N, 3, S, S) and int64 (N,), the rest and the HoneyImages
        step: the round
        rows: which of the images it is trained on, int64; None for all
    """
    fresh = f_in is None or request.options.inner == "retrain"
    model = new_in_model(request, step) if fresh else f_in
    assert model is not None
    # On the images as they were, whatever the options. Later rounds are this marking's own
    kept = fresh and step == 0
    train_models(
        [model],
        images,
        labels,
        subsets=None if rows is None else [rows],
        config=request.config if fresh else continuation(request.config),
        seeds=[derive_seed(request.seed, "f_in", "data", step)],
        device=request.device,
        report=request.report if kept else None,
        stage="Training a model with the marks",
        executor=request.executor if kept else None,
        checkpoint_dir=request.trained_dir if kept else None,
    )
    return model


def continuation(config: TrainingConfig) -> TrainingConfig:
    """One epoch at a tenth of the peak learning rate: enough to follow a change of α per value."""
    return replace(config, epochs=1, schedule="constant", learning_rate=config.learning_rate / 10)
