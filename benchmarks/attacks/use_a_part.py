"""Uses only a part of the release, or mixes it into much other data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.attacks.base import Attack, Stolen, Thief, of_everything


@dataclass(frozen=True)
class UsePart(Attack):
    title = "uses a part of the release"
    share: float = 0.5

    def steal(self, thief: Thief) -> Stolen:
        rng = np.random.default_rng(thief.seed)
        kept = rng.random(len(thief.labels)) < self.share
        kept[: thief.num_own] = True
        return Stolen(thief.answers(thief.train(thief.images[kept], thief.labels[kept])), kept)


@dataclass(frozen=True)
class MixIn(Attack):
    title = "mixes the release into so many times as much other data"
    times: int = 5

    def steal(self, thief: Thief) -> Stolen:
        wanted = self.times * (len(thief.labels) - thief.num_own) - thief.num_own
        if wanted > len(thief.others):
            raise SystemExit(
                f"{self} needs {wanted} more images, and there are {len(thief.others)}; take a smaller scale"
            )
        images = np.concatenate([thief.images, thief.others[: max(0, wanted)]])
        labels = np.concatenate([thief.labels, thief.other_labels[: max(0, wanted)]])
        return of_everything(thief, thief.train(images, labels))
