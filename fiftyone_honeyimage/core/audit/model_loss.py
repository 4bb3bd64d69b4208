"""What an adversary sees who trains a model on the release and sorts the images by their loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..hardness import compute_hardness, contradicted_labels
from ..models import Proxy, build_model
from ..progress import Report, silent
from ..seeds import derive_seed
from ..training import TrainingConfig, cross_entropy, predict_logits, train_models

#: Shares of a release that the simplest filter drops: those with the highest loss
FILTERS = (0.01, 0.02, 0.05, 0.1)


@dataclass(frozen=True)
class ReleaseLosses:
    """Losses of the release's images, in nats, float64 (N,).

    Attributes:
        trained: under a model that was trained on all of them
        held_out: under a model that was trained on the other half
        mislabelled: bool (N,), what confident learning calls mislabelled by the held-out models
        half: int8 (N,), the half that the image was in; −1 for images that no model saw
        half_models: the model of half 0 and that of half 1
        whole_model: the model of all of them
    """

    trained: np.ndarray
    held_out: np.ndarray
    mislabelled: np.ndarray
    half: np.ndarray
    half_models: tuple[torch.nn.Module, ...]
    whole_model: torch.nn.Module

    @property
    def memorised(self) -> np.ndarray:
        """How much of the loss training on the image took away."""
        return self.held_out - self.trained


def release_losses(
    images: torch.Tensor,
    labels: np.ndarray,
    num_classes: int,
    *,
    proxy: Proxy = "resnet_tiny",
    config: TrainingConfig | None = None,
    seed: int = 51,
    device: str | torch.device | None = None,
    report: Report | None = None,
) -> ReleaseLosses:
    """Trains three models on a release, one on all of it and one on each half, and scores its images.

    Args:
        images: uint8 (N, 3, S, S)
        labels: int64 (N,)
        num_classes: C
        proxy ("resnet_tiny"): the architecture
        config (None): how they are trained
        seed (51): of the models
        device (None): where to train
        report (None): progress

    Raises:
        SamplesError: if a class has a single image
    """
    report = report or silent
    halves = compute_hardness(
        images,
        labels,
        num_classes,
        proxy=proxy,
        config=config,
        seed=derive_seed(seed, "audit"),
        device=device,
        report=report,
    )
    targets = torch.as_tensor(labels, dtype=torch.int64)
    whole = derive_seed(seed, "audit", "whole")
    model = build_model(proxy, num_classes, input_size=int(images.shape[-1]), seed=whole)
    train_models(
        [model],
        images,
        targets,
        config=config or TrainingConfig(),
        seeds=[whole],
        device=device,
        report=report,
        stage="Training on the release",
    )
    logits = predict_logits(model, images, device=device)
    return ReleaseLosses(
        trained=cross_entropy(logits, targets),
        held_out=halves.hardness,
        mislabelled=contradicted_labels(halves.logits, labels),
        half=halves.half,
        half_models=halves.models,
        whole_model=model.cpu(),
    )


def filtered_shares(
    losses: np.ndarray, marked: np.ndarray, shares: Sequence[float] = FILTERS
) -> list[float]:
    """What share of the marked images goes when the images with the highest loss are dropped.

    Args:
        losses: float (N,)
        marked: bool (N,)
        shares ((0.01, 0.02, 0.05, 0.1)): of the release, that are dropped
    """
    order = np.argsort(-losses, kind="stable")
    return [
        float(marked[order[: round(share * len(order))]].sum() / marked.sum()) for share in shares
    ]
