"""What a thief has and does: an attack takes a release and answers whoever asks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.datasets import to_tensor
from fiftyone_honeyimage.core.hardness import HardnessResult, compute_hardness
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.seeds import derive_seed
from fiftyone_honeyimage.core.trainer import (
    epoch_batches,
    make_optimizer,
    make_scheduler,
    num_batches,
)
from fiftyone_honeyimage.core.training import TrainingConfig, predict_logits, train_models

#: uint8 (B, 3, S, S) → logits (B, C), of what an owner asks
Answers = Callable[[Tensor], Tensor]

#: Changes a batch of a training: float images in [0, 1] and target probabilities
Batch = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Thief:
    """What a thief has.

    Attributes:
        images: uint8 (N, S, S, 3): his own data first, then the release
        labels: int64 (N,)
        num_own: how many of them are his own
        others: uint8 (M, S, S, 3), more data that he could get
        other_labels: int64 (M,)
        num_classes: C
        model: the architecture that he trains
        config: how he trains
        seed: of everything
        device: where
        first_seed: of the training that all comparable attacks share, so that they differ by what they do alone
    """

    images: np.ndarray
    labels: np.ndarray
    num_own: int
    others: np.ndarray
    other_labels: np.ndarray
    num_classes: int
    model: str
    config: TrainingConfig
    seed: int
    device: str | None
    first_seed: int

    def new_model(self) -> nn.Module:
        """An untrained one, always the same."""
        size = self.images.shape[1]
        return build_model(self.model, self.num_classes, input_size=size, seed=self.first_seed)

    def train(
        self, images: np.ndarray, labels: np.ndarray, model: nn.Module | None = None, **changes: Any
    ) -> nn.Module:
        """A model trained on some images, or one trained on.

        Args:
            images: uint8 (N, S, S, 3)
            labels: int64 (N,)
            model (None): goes on from this one, in place
            **changes: of the training
        """
        model = model or self.new_model()
        train_models(
            [model],
            to_tensor(images),
            torch.from_numpy(labels),
            config=replace(self.config, **changes),
            seeds=[self.first_seed],
            device=self.device,
        )
        return model

    def train_by_batches(self, images: np.ndarray, targets: Tensor, change: Batch) -> nn.Module:
        """The same training with target probabilities, and something done to every batch.

        Args:
            images: uint8 (N, S, S, 3)
            targets: float (N, C)
            change: is called with each augmented batch
        """
        device = torch.device(self.device or "cpu")
        model = self.new_model().to(device).train()
        config = self.config
        pixels, wanted, rows = (
            to_tensor(images).to(device),
            targets.to(device),
            torch.arange(len(images)),
        )
        optimizer = make_optimizer(model, config, device)
        scheduler = make_scheduler(
            optimizer, config, config.epochs * num_batches(len(images), config)
        )
        generator = torch.Generator().manual_seed(self.first_seed)
        for _ in range(config.epochs):
            for batch, truth, _ in epoch_batches(pixels, wanted, rows, config, generator):
                shown, probabilities = change(batch, truth)
                with torch.autocast(device.type, torch.bfloat16):
                    logits = model(shown)
                loss = -(probabilities * F.log_softmax(logits.float(), 1)).sum(1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
        return model.eval()

    def answers(self, model: nn.Module) -> Answers:
        """What a model says, as it is."""
        return lambda images: predict_logits(model, images, device=self.device)

    @cached_property
    def plain_model(self) -> nn.Module:
        """Trained on everything; not to be changed."""
        return self.train(self.images, self.labels)

    @cached_property
    def suspicions(self) -> dict[str, np.ndarray]:
        """What filters found, by their title: those of one kind differ by how much they drop alone."""
        return {}

    @cached_property
    def out_of_fold(self) -> HardnessResult:
        """What models of his say of the images of the half that they have not seen."""
        return compute_hardness(
            to_tensor(self.images),
            self.labels,
            self.num_classes,
            proxy=self.model,
            config=self.config,
            seed=derive_seed(self.seed, "thief"),
            device=self.device,
        )


@dataclass(frozen=True)
class Stolen:
    """What an attack made.

    Attributes:
        answers: of the model, to whoever asks
        kept: bool (N,), which of the thief's images it was trained on
        labels_alone: whether it tells classes alone
        suspicion: float (N,), by which a filter dropped images: the largest first; None if nothing was
    """

    answers: Answers
    kept: np.ndarray
    labels_alone: bool = False
    suspicion: np.ndarray | None = None


@dataclass(frozen=True)
class Attack(ABC):
    """An attack, frozen with its strength.

    Attributes:
        title: what the thief does, in words
    """

    title: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def steal(self, thief: Thief) -> Stolen:
        """Trains, and hides."""


@dataclass(frozen=True)
class Filter(Attack):
    """Trains on what is left of the data."""

    share: float = 0.02

    @abstractmethod
    def suspicion(self, thief: Thief) -> np.ndarray:
        """float (N,): the images with the most are dropped."""

    def steal(self, thief: Thief) -> Stolen:
        if self.title not in thief.suspicions:
            thief.suspicions[self.title] = self.suspicion(thief)
        values = thief.suspicions[self.title]
        gone = np.argsort(-values, kind="stable")[: round(self.share * len(values))]
        kept = np.ones(len(values), dtype=bool)
        kept[gone] = False
        model = thief.train(thief.images[kept], thief.labels[kept])
        return Stolen(thief.answers(model), kept, suspicion=values)


def everything(thief: Thief) -> np.ndarray:
    """bool (N,): that nothing was dropped."""
    return np.ones(len(thief.labels), dtype=bool)


def of_everything(thief: Thief, model: nn.Module) -> Stolen:
    """A model that was trained on all of it, as it is."""
    return Stolen(thief.answers(model), everything(thief))


def one_hot(thief: Thief, labels: np.ndarray) -> Tensor:
    """float32 (N, C)."""
    return F.one_hot(torch.from_numpy(labels), thief.num_classes).float()
