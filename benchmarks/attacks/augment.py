"""Strong augmentation: RandAugment, mixup, cutmix (torchvision's)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.attacks.base import Attack, Batch, Stolen, Thief, of_everything, one_hot


@dataclass(frozen=True)
class Augment(Attack):
    """How: "randaugment" (strength: magnitude, of 30), "mixup" or "cutmix" (strength: alpha)."""

    title = "strong augmentation"
    how: str = "randaugment"
    strength: float = 9

    def steal(self, thief: Thief) -> Stolen:
        targets = one_hot(thief, thief.labels)
        torch.manual_seed(thief.first_seed)  # torchvision's transforms draw from it
        model = thief.train_by_batches(thief.images, targets, self._change(thief))
        return of_everything(thief, model)

    def _change(self, thief: Thief) -> Batch:
        if self.how == "randaugment":
            policy = v2.RandAugment(magnitude=int(self.strength))

            def augmented(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
                levels = (images * 255).to(torch.uint8)
                return torch.stack([policy(image) for image in levels]).float() / 255, targets

            return augmented
        kind = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[self.how]
        mix = kind(num_classes=thief.num_classes, alpha=self.strength)
        return lambda images, targets: mix(images, targets.argmax(1))
