"""Encodes, shrinks or filters every image before training."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.attacks.base import Attack, Stolen, Thief, of_everything


@dataclass(frozen=True)
class CleanImages(Attack):
    """How: "jpeg" (strength: quality), "resize" (to that share of the size, and back) or "median" (pixels a side)."""

    title = "changes every image before training"
    how: str = "jpeg"
    strength: float = 75

    def steal(self, thief: Thief) -> Stolen:
        cleaned = np.stack([self._cleaned(image) for image in thief.images])
        return of_everything(thief, thief.train(cleaned, thief.labels))

    def _cleaned(self, pixels: np.ndarray) -> np.ndarray:
        image = Image.fromarray(pixels)
        if self.how == "jpeg":
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=int(self.strength))
            image = Image.open(buffer)
        elif self.how == "resize":
            small = (round(self.strength * image.width), round(self.strength * image.height))
            image = image.resize(small, Image.Resampling.BICUBIC)
            image = image.resize(pixels.shape[1::-1], Image.Resampling.BICUBIC)
        else:
            image = image.filter(ImageFilter.MedianFilter(int(self.strength)))
        return np.asarray(image)
