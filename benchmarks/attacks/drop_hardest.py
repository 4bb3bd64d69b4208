"""Drops the images that are hardest for models of the thief's own that have not seen them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.attacks.base import Filter, Thief


@dataclass(frozen=True)
class DropHardest(Filter):
    title = "drops the hardest by out-of-fold loss"

    def suspicion(self, thief: Thief) -> np.ndarray:
        return thief.out_of_fold.hardness
