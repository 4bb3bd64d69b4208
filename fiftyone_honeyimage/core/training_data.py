"""Checks of what a model is trained on, before it costs anything."""

from __future__ import annotations

import torch
from torch import nn

from .augmentation import to_float
from .errors import ParameterError


def check_images(images: torch.Tensor) -> None:
    if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8:
        found = images.dtype if isinstance(images, torch.Tensor) else type(images).__name__
        raise ParameterError(f"images must be a uint8 tensor (N, 3, S, S), not {found}")

    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ParameterError(f"images must have shape (N, 3, S, S), not {tuple(images.shape)}")

    if not len(images):
        raise ParameterError("There are no images")


def check_data(images: torch.Tensor, labels: torch.Tensor) -> None:
    check_images(images)
    if not isinstance(labels, torch.Tensor) or labels.dtype != torch.int64:
        found = labels.dtype if isinstance(labels, torch.Tensor) else type(labels).__name__
        raise ParameterError(f"labels must be an int64 tensor (N,), not {found}")

    if labels.shape != images.shape[:1]:
        raise ParameterError(
            f"{len(images)} images need labels of shape ({len(images)},), not {tuple(labels.shape)}"
        )


def check_subset(subset: torch.Tensor | None, num_images: int) -> torch.Tensor:
    if subset is None:
        subset = torch.arange(num_images)
    elif not isinstance(subset, torch.Tensor) or subset.dtype != torch.int64 or subset.ndim != 1:
        raise ParameterError("A subset must be a one-dimensional int64 tensor of row numbers")

    subset = subset.cpu()
    if len(subset) < 2:
        raise ParameterError(f"A model needs at least 2 images, but its subset has {len(subset)}")

    if subset.min() < 0 or subset.max() >= num_images:
        raise ParameterError(
            f"A subset has rows {int(subset.min())} to {int(subset.max())}, but there are "
            f"{num_images} images"
        )

    if len(subset.unique()) != len(subset):
        raise ParameterError("A subset names a row more than once")

    return subset


def check_labels(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    # A label out of range would stop a GPU with an error that it does not recover from
    was_training = model.training
    model.eval()
    with torch.no_grad():
        num_classes = model(to_float(images[:1])).shape[1]
    model.train(was_training)
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= num_classes:
        raise ParameterError(
            f"Labels run from {lowest} to {highest}, but the model has {num_classes} classes: they "
            f"must lie in 0 to {num_classes - 1}"
        )
