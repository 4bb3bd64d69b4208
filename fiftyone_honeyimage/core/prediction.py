"""What a model says of images: logits, and the losses that follow from them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from . import limits
from .augmentation import to_float
from .device import autocast_dtype, choose_device
from .errors import ParameterError
from .precision import autocast, deterministic
from .training_data import check_images


def predict_logits(
    model: nn.Module,
    images: torch.Tensor,
    *,
    batch_size: int = 512,
    device: str | torch.device | None = None,
    precision: str = "fp32",
) -> torch.Tensor:
    """Returns a model's logits in eval mode; the model's mode is restored afterwards.

    Args:
        model: the model; it is moved to the device
        images: uint8 tensor (N, 3, S, S), RGB
        batch_size (512): images a batch
        device (None): see :func:`.device.choose_device`
        precision ("fp32"): see :func:`.device.autocast_dtype`

    Returns:
        float32 tensor (N, C) on the CPU

    Raises:
        ParameterError: if the images or the batch size are wrong
    """
    check_images(images)
    limits.Whole(1).check("batch_size", batch_size)
    target = choose_device(device)
    dtype = autocast_dtype(target, precision)
    was_training = model.training
    model.to(target, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    logits = []
    try:
        with torch.no_grad(), autocast(target, dtype), deterministic(target):
            for batch in images.split(batch_size):
                logits.append(model(to_float(batch.to(target))).float())
    finally:
        model.train(was_training)

    return torch.cat(logits).cpu()


def cross_entropy(
    logits: torch.Tensor | np.ndarray, labels: torch.Tensor | np.ndarray
) -> np.ndarray:
    """Returns each image's cross-entropy in nats, by log-sum-exp in float64.

    Args:
        logits: (N, C)
        labels: integers (N,), 0 to C - 1

    Returns:
        float64 array (N,)
    """
    scores = np.asarray(torch.as_tensor(logits).detach().cpu(), dtype=np.float64)
    truth = np.asarray(torch.as_tensor(labels).detach().cpu())
    if scores.ndim != 2 or truth.shape != scores.shape[:1]:
        raise ParameterError(
            f"Logits of shape {scores.shape} and labels of shape {truth.shape} do not belong "
            "together: they must be (N, C) and (N,)"
        )

    if truth.size and not (truth.min() >= 0 and truth.max() < scores.shape[1]):
        raise ParameterError(
            f"Labels from {truth.min()} to {truth.max()} do not fit {scores.shape[1]} logits"
        )

    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(truth)), truth]
