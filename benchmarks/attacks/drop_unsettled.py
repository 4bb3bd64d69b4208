"""Drops the images whose loss moved most while a model trained: LT-IQR (arXiv 2411.05743)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.attacks.base import Filter, Thief
from benchmarks.datasets import to_tensor
from fiftyone_honeyimage.core.training import cross_entropy, predict_logits

#: How often the loss is looked at
_LOOKS = 8


@dataclass(frozen=True)
class DropUnsettled(Filter):
    title = "drops the images whose loss moved most in training"

    def suspicion(self, thief: Thief) -> np.ndarray:
        pixels, truth = to_tensor(thief.images), torch.from_numpy(thief.labels)
        model, traces = thief.new_model(), []
        for _ in range(_LOOKS):
            # A constant rate: each stretch goes on where the last ended
            stretch = max(1, thief.config.epochs // _LOOKS)
            thief.train(
                thief.images, thief.labels, model, epochs=stretch, schedule="constant", learning_rate=0.03
            )  # fmt: skip
            traces.append(cross_entropy(predict_logits(model, pixels, device=thief.device), truth))
        low, high = np.percentile(traces, (25, 75), axis=0)
        return high - low
