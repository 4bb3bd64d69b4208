"""Candidates of one size whose files make the same of a change: their pixels are worked on at once, on the device."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..codecs.base import Codec, strips
from .perturbation import (
    Scale,
    enlarge_gradient,
    realised,
    shrink,
    smooth,
    smoothing_reach,
)

#: Pixels of the images that are worked on at once; a larger image is alone, and worked on a few rows at a time.
_PIXELS = 1 << 18


@dataclass(frozen=True)
class Together:
    """B candidates.

    Attributes:
        rows: which candidates of the request
        codec: of any of their files, as all of them realise and project alike; None for pixels without a file
        originals: uint8 (B, H, W, 3), on the device
        budget: float32 (B, H, W), how much each pixel may change, on the device
        scale: how levels count
        sigma: of the smoothing, pixels; above 0 the three channels move together
        share: of each image's quantised coefficients that may change, 0 to 1; None where pixels are changed
    """

    rows: Sequence[int]
    codec: Codec | None
    originals: torch.Tensor
    budget: torch.Tensor
    scale: Scale
    sigma: float
    share: float | None = None

    def one(self, place: int) -> Together:
        """One of them alone."""
        only = slice(place, place + 1)
        return replace(
            self, rows=self.rows[only], originals=self.originals[only], budget=self.budget[only]
        )

    def see(self, levels: Sequence[np.ndarray], size: int) -> torch.Tensor:
        """How models of input size S see them, float32 (B, 3, S, S), 0–255.

        Args:
            levels: (H, W, 3) of each
            size: S
        """
        height, width = self.originals.shape[1:3]
        return shrink(self.perturbed(levels), height, width, size)

    def perturbed(self, levels: Sequence[np.ndarray]) -> Iterator[tuple[slice, torch.Tensor]]:
        """Rows of the images, and what their files would give back: float32 (B, h, W, 3), 0–255."""
        for rows in strips(self.originals.shape[1]):
            change = self._read(levels, rows) * self.scale.unit
            if self.codec is not None and not self.codec.lossless:
                budget = self.budget[:, rows].cpu().numpy()
                _, after = realised(self.codec, change.cpu().numpy(), budget)
                change = self._from_numpy(after)
            yield rows, (self.originals[:, rows] + change).clamp(0, 255)

    def move(
        self, levels: Sequence[np.ndarray], gradient: torch.Tensor, native: torch.Tensor | None
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows, and their levels one signed step up the gradient, inside the budgets and 0–255: (B, h, W, 3).

        Args:
            levels: (H, W, 3) of each
            gradient: float32 (B, 3, S, S), to be carried back to native size
            native: float32 (B, H, W, 3), added to it, or None
        """
        # A quotient by a plain number may be a product with its rounded inverse
        unit = torch.tensor(self.scale.unit, device=self.originals.device)
        for rows in strips(self.originals.shape[1]):
            up = self._direction(gradient, native, rows)
            placed = self._placed(levels, up, rows)
            if placed is not None:
                yield rows, placed
                continue
            up = self._projected(up)
            pixels = self.originals[:, rows].to(torch.float32)
            # Levels of a whole ε come out a rounding below it
            bound = torch.floor(self.budget[:, rows, :, None] / unit + 1e-3)
            bound = bound.clamp(max=self.scale.bound)
            lowest = torch.maximum(-bound, torch.ceil(-pixels / unit))
            highest = torch.minimum(bound, torch.floor((255 - pixels) / unit))
            moved = self._read(levels, rows) + self.scale.step * torch.sign(up)
            moved = torch.minimum(torch.maximum(moved, lowest), highest)
            yield rows, moved.cpu().numpy()

    def _read(self, levels: Sequence[np.ndarray], rows: slice) -> torch.Tensor:
        return self._from_numpy(np.stack([one[rows] for one in levels])).to(torch.float32)

    def _from_numpy(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(self.originals.device)

    def _direction(
        self, gradient: torch.Tensor, native: torch.Tensor | None, rows: slice
    ) -> torch.Tensor:
        """The ascent direction for some rows at native size, smoothed as asked: float32 (B, h, W, 3)."""
        height, width = self.originals.shape[1:3]
        margin = smoothing_reach(self.sigma)
        wider = slice(max(0, rows.start - margin), min(height, rows.stop + margin))
        up = enlarge_gradient(gradient, wider, height, width)
        if native is not None:
            up = up + native[:, wider]
        return smooth(up, self.sigma).narrow(1, rows.start - wider.start, rows.stop - rows.start)

    def _placed(
        self, levels: Sequence[np.ndarray], up: torch.Tensor, rows: slice
    ) -> np.ndarray | None:
        """Some rows' levels after a step of whole quantisation steps, or None where pixels are changed."""
        if self.share is None or self.codec is None:
            return None
        change = self.codec.placed(
            (self._read(levels, rows) * self.scale.unit).cpu().numpy(),
            up.cpu().numpy(),
            self.originals[:, rows].cpu().numpy(),
            self.budget[:, rows].cpu().numpy(),
            self.share,
            self.scale.step / self.scale.bound,
        )
        if change is None:
            return None
        bound = self.scale.bound
        return np.clip(np.rint(change / np.float32(self.scale.unit)), -bound, bound)

    def _projected(self, up: torch.Tensor) -> torch.Tensor:
        if self.codec is None or self.codec.kind == (True, False):
            return up
        values = self.codec.project(np.ascontiguousarray(up.cpu().numpy()), grey=self.sigma > 0)
        return self._from_numpy(values)


def split(
    rows: Sequence[int], shapes: Sequence[tuple[int, int]], codecs: Sequence[Codec | None]
) -> list[list[int]]:
    """Which candidates can be worked on at once.

    Args:
        rows: candidates
        shapes: (H, W) of all candidates
        codecs: of all candidates
    """
    kinds: dict[Hashable, list[list[int]]] = {}
    for row in rows:
        codec = codecs[row]
        height, width = shapes[row]
        parts = kinds.setdefault((height, width, None if codec is None else codec.kind), [[]])
        if parts[-1] and (len(parts[-1]) + 1) * height * width > _PIXELS:
            parts.append([])
        parts[-1].append(row)
    return [part for parts in kinds.values() for part in parts]
