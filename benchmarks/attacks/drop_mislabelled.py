"""Drops what confident learning calls mislabelled (Northcutt et al., 2021), as far as it goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.attacks.base import Attack, Stolen, Thief
from fiftyone_honeyimage.core.hardness import contradicted_labels


@dataclass(frozen=True)
class DropMislabelled(Attack):
    title = "drops what confident learning calls mislabelled"

    def steal(self, thief: Thief) -> Stolen:
        kept = ~np.asarray(contradicted_labels(thief.out_of_fold.logits, thief.labels), bool)
        return Stolen(thief.answers(thief.train(thief.images[kept], thief.labels[kept])), kept)
