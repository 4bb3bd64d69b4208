"""Drops images that are nearly the same as another, by the difference of small grey copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.attacks.base import Filter, Thief
from benchmarks.datasets import to_tensor


@dataclass(frozen=True)
class Deduplicate(Filter):
    title = "drops the nearest duplicates"

    def suspicion(self, thief: Thief) -> np.ndarray:
        small = torch.nn.functional.adaptive_avg_pool2d(
            to_tensor(thief.images).float().mean(1, keepdim=True), 8
        ).flatten(1)
        nearest = [
            torch.cdist(part, small).topk(2, largest=False).values[:, 1]
            for part in small.split(512)
        ]
        return -torch.cat(nearest).numpy()
