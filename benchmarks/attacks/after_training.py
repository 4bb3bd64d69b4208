"""Makes another model of one: fine-tuning, distillation, pruning, quantisation."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from benchmarks.attacks.base import Attack, Stolen, Thief, of_everything
from benchmarks.datasets import to_tensor


@dataclass(frozen=True)
class FineTune(Attack):
    """Starts from a model that never saw the release, and goes on with it for a share of the epochs at a low rate."""

    title = "fine-tunes a model that never saw the release"
    times: float = 0.5

    def steal(self, thief: Thief) -> Stolen:
        model = thief.train(thief.images[: thief.num_own], thief.labels[: thief.num_own])
        epochs = max(1, round(self.times * thief.config.epochs))
        thief.train(thief.images, thief.labels, model, epochs=epochs, learning_rate=0.02)
        return of_everything(thief, model)


@dataclass(frozen=True)
class Distil(Attack):
    """A student that learns a teacher's probabilities on other data alone."""

    title = "distils to a student on other data"
    temperature: float = 2.0

    def steal(self, thief: Thief) -> Stolen:
        own = thief.images[: thief.num_own]
        logits = thief.answers(thief.plain_model)(to_tensor(own))
        targets = torch.softmax(logits / self.temperature, dim=1)
        student = thief.train_by_batches(own, targets, lambda images, wanted: (images, wanted))
        return of_everything(thief, student)


@dataclass(frozen=True)
class Prune(Attack):
    """Sets the smallest weights of all layers to 0."""

    title = "prunes the model"
    share: float = 0.5

    def steal(self, thief: Thief) -> Stolen:
        model = copy.deepcopy(thief.plain_model)
        weights = [weight for weight in model.parameters() if weight.dim() > 1]
        sizes = torch.cat([weight.detach().abs().flatten() for weight in weights])
        least = sizes.kthvalue(max(1, round(self.share * len(sizes)))).values
        with torch.no_grad():
            for weight in weights:
                weight[weight.abs() <= least] = 0
        return of_everything(thief, model)


@dataclass(frozen=True)
class Quantise(Attack):
    """Rounds weights to so many bits, each tensor on its own scale."""

    title = "quantises the model"
    bits: int = 4

    def steal(self, thief: Thief) -> Stolen:
        model = copy.deepcopy(thief.plain_model)
        levels = 2 ** (self.bits - 1) - 1
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() > 1:
                    scale = weight.abs().max() / levels
                    weight.copy_((weight / scale).round() * scale)
        return of_everything(thief, model)
