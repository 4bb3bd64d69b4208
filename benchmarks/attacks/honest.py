"""No attack: the model that the others are compared with, and those who train for longer, shorter or otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.attacks.base import Attack, Stolen, Thief, of_everything


@dataclass(frozen=True)
class Nothing(Attack):
    title = "trains on everything"

    def steal(self, thief: Thief) -> Stolen:
        return of_everything(thief, thief.plain_model)


@dataclass(frozen=True)
class Epochs(Attack):
    """Stops after a share of the epochs, or trains for longer."""

    title = "trains for another number of epochs"
    times: float = 0.5

    def steal(self, thief: Thief) -> Stolen:
        epochs = max(1, round(self.times * thief.config.epochs))
        model = thief.train(thief.images, thief.labels, epochs=epochs)
        return of_everything(thief, model)


@dataclass(frozen=True)
class WeightDecay(Attack):
    title = "strong weight decay"
    decay: float = 5e-3

    def steal(self, thief: Thief) -> Stolen:
        model = thief.train(thief.images, thief.labels, weight_decay=self.decay)
        return of_everything(thief, model)


@dataclass(frozen=True)
class LabelSmoothing(Attack):
    title = "label smoothing"
    smoothing: float = 0.2

    def steal(self, thief: Thief) -> Stolen:
        model = thief.train(thief.images, thief.labels, label_smoothing=self.smoothing)
        return of_everything(thief, model)
