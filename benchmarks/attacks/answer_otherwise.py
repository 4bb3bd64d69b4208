"""Answers less than the model knows: labels alone, rounded scores, noise, or nothing that it has seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.attacks.base import Attack, Stolen, Thief, everything
from fiftyone_honeyimage.core.seeds import derive_seed


@dataclass(frozen=True)
class LabelsAlone(Attack):
    title = "tells labels alone"

    def steal(self, thief: Thief) -> Stolen:
        return Stolen(thief.answers(thief.plain_model), everything(thief), labels_alone=True)


@dataclass(frozen=True)
class Rounded(Attack):
    title = "rounds probabilities to so many digits"
    digits: int = 2

    def steal(self, thief: Thief) -> Stolen:
        answers = thief.answers(thief.plain_model)

        def rounded(images: Tensor) -> Tensor:
            return answers(images).softmax(1).round(decimals=self.digits).clamp_min(1e-6).log()

        return Stolen(rounded, everything(thief))


@dataclass(frozen=True)
class Noise(Attack):
    title = "adds noise to its scores"
    spread: float = 0.5

    def steal(self, thief: Thief) -> Stolen:
        answers = thief.answers(thief.plain_model)
        generator = torch.Generator().manual_seed(derive_seed(thief.seed, "noise"))

        def noisy(images: Tensor) -> Tensor:
            logits = answers(images)
            return logits + self.spread * torch.randn(logits.shape, generator=generator)

        return Stolen(noisy, everything(thief))


@dataclass(frozen=True)
class LookUp(Attack):
    """Two models, each of half of the images: what is found among his images is answered by the one that has not seen it."""

    title = "answers for images that it holds by a model that has not seen them"

    def steal(self, thief: Thief) -> Stolen:
        half = (
            np.random.default_rng(derive_seed(thief.seed, "halves")).random(len(thief.labels)) < 0.5
        )
        models = [thief.train(thief.images[part], thief.labels[part]) for part in (half, ~half)]
        said_by = [thief.answers(model) for model in models]
        unseen = {
            image.tobytes(): int(is_first)
            for image, is_first in zip(thief.images.transpose(0, 3, 1, 2), half, strict=True)
        }

        def looked_up(images: Tensor) -> Tensor:
            first, second = (answers(images) for answers in said_by)
            both = torch.stack([first, second, (first + second) / 2])
            which = [unseen.get(image.contiguous().numpy().tobytes(), 2) for image in images]
            return both[which, torch.arange(len(images))]

        return Stolen(looked_up, everything(thief))
