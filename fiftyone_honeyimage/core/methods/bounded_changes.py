"""Changes that were computed at a proxy's input size, bounded by ε and written into files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..codecs.base import in_its_colours
from ..resizing import differentiable_resize
from .finishing import FinishedFiles, decoded_files, finish
from .perturbation import Scale
from .request import CraftRequest

#: Levels of ε in which a change is kept
_LEVELS = 100


def write_changes(
    request: CraftRequest, changes: Mapping[int, Tensor], epsilon: float
) -> dict[str, Any]:
    """The changed candidates, and their files where there are codecs, with no value further than ε from the original's.

    Args:
        request: what was asked for
        changes: for every candidate its change, float (3, S, S), 0–255 units
        epsilon: 0–255 units

    Returns:
        ``changed`` and ``files`` for :func:`.changed_images.finish_changed`
    """
    scale = Scale.of(epsilon, epsilon / _LEVELS)
    codecs = request.codecs or [None] * len(request.candidates)  # type: ignore[list-item]
    folder = request.checkpoint_dir / "files" if request.checkpoint_dir else None
    files = FinishedFiles(len(codecs), folder)
    images = []
    for row, codec in enumerate(codecs):
        original = request.candidates[row]
        levels = np.rint(changes[row].numpy() / scale.unit).astype(scale.dtype)
        own = resized_change(levels, original.shape[:2]).astype(scale.dtype)
        # As published: ε alone bounds a change, also where it can be seen
        finished = finish(codec, original, own, scale, epsilon, -1.0)
        if finished.data is None:
            images.append(finished.pixels)
        else:
            files.put(row, finished.data)
    if request.codecs is None:
        return {"changed": images}
    return {"changed": decoded_files(files), "files": files}


def with_change(image: np.ndarray, change: Tensor) -> np.ndarray:
    """An image of any size, uint8 (H, W, 3), with a change as of :func:`write_changes`, and grey if it was."""
    own = in_its_colours(resized_change(change.numpy(), image.shape[:2]), image)
    return np.clip(image + own, 0, 255).astype(np.uint8)


def resized_change(change: np.ndarray, height_width: tuple[int, int]) -> np.ndarray:
    """A change (3, S, S) at an image's own size: (H, W, 3), whole numbers."""
    native = differentiable_resize(
        torch.from_numpy(change.astype(np.float32)).unsqueeze(0), height_width
    )[0]
    return native.round().permute(1, 2, 0).numpy()
