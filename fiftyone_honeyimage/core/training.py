"""One trainer for every proxy: data kept on the device, batched augmentation, low precision."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler

from . import limits
from .device import PRECISIONS, autocast_dtype, choose_device, seeded, seeded_generator
from .errors import ParameterError
from .progress import Report, silent

SCHEDULES = ("one_cycle", "cosine", "constant")


@dataclass(frozen=True)
class TrainingConfig:
    """How proxy models are trained: SGD with Nesterov momentum, random crops and flips.

    The HoneyImage paper states SGD with a learning rate of 0.1, 150 epochs in batches of 256 and a weight
    decay of 0.05. That decay is 100 times the one of TDDBench, from which the other values come
    unchanged, and with it a model memorises next to nothing; it is taken for a misprint, and the
    default is 5e-4.

    Args:
        epochs (60): passes over the images
        batch_size (128): the largest batch; batches of one epoch differ by at most one image
        learning_rate (0.1): the peak learning rate
        momentum (0.9): Nesterov momentum; 0 for plain SGD
        weight_decay (5e-4): L2 decay of all parameters
        schedule ("one_cycle"): ``"one_cycle"`` (torch's `OneCycleLR`, momentum kept constant),
            ``"cosine"`` (from the peak to 0) or ``"constant"``; stepped every batch
        crop_padding (None): black pixels added on each side before a random crop to the original
            size; by default an eighth of the size; 0 for no crop
        flip (True): whether images are mirrored left to right with probability one half
        label_smoothing (0.0): the probability mass spread evenly over the classes
        precision ("auto"): see :func:`.device.autocast_dtype`

    Raises:
        ParameterError: if a value is out of range
    """

    epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "one_cycle"
    crop_padding: int | None = None
    flip: bool = True
    label_smoothing: float = 0.0
    precision: str = "auto"

    def __post_init__(self) -> None:
        limits.EPOCHS.check("epochs", self.epochs)
        limits.TRAINING_BATCH.check("batch_size", self.batch_size)
        if self.crop_padding is not None:
            limits.CROP_PADDING.check("crop_padding", self.crop_padding)

        limits.LEARNING_RATE.check("learning_rate", self.learning_rate)
        limits.SHARE.check("momentum", self.momentum)
        limits.WEIGHT_DECAY.check("weight_decay", self.weight_decay)
        limits.SHARE.check("label_smoothing", self.label_smoothing)
        for name, value, known in (
            ("schedule", self.schedule, SCHEDULES),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in known:
                raise ParameterError(
                    f"Unknown {name} {limits.shown(value)}: use one of {', '.join(known)}"
                )

        limits.check_flag("flip", self.flip)


@dataclass(frozen=True)
class TrainingSummary:
    """What one training did.

    Args:
        seed: its seed
        num_images: the images it saw
        num_steps: the optimiser steps it took
        losses: the mean training loss of each epoch, on augmented images
        accuracy: the share of augmented images that it got right in the last epoch
        seconds: how long it took
    """

    seed: int
    num_images: int
    num_steps: int
    losses: tuple[float, ...]
    accuracy: float
    seconds: float


def train_models(
    models: Sequence[nn.Module],
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    subsets: Sequence[torch.Tensor | None] | None = None,
    config: TrainingConfig | None = None,
    seeds: Sequence[int],
    device: str | torch.device | None = None,
    report: Report | None = None,
    stage: str = "Training",
) -> list[TrainingSummary]:
    """Trains models in place, each on its own rows of one set of images.

    The images go to the device once, as bytes, and are cropped, mirrored and converted there a
    batch at a time. The same seeds on the same device and number of threads give the same weights,
    byte for byte, whether models are trained in one call or in several. Torch's global generators
    are left as they were. The models end on the device, in eval mode.

    Args:
        models: the models, which take float images in [0, 1] and return logits
        images: uint8 tensor (N, 3, S, S), RGB
        labels: int64 tensor (N,); only those of a model's own rows are looked at
        subsets (None): for each model the rows it is trained on (int64 tensor, without repetition),
            or None for all rows
        config (None): a :class:`TrainingConfig`; by default one with its defaults
        seeds: for each model the seed of its batches, augmentation and dropout
        device (None): see :func:`.device.choose_device`
        report (None): called after every epoch with the epochs done, over all models
        stage ("Training"): the stage named to ``report``

    Returns:
        a :class:`TrainingSummary` for each model

    Raises:
        ParameterError: if the data, a subset or a number of seeds is wrong, or the loss of a model
            becomes infinite or not a number
    """
    config = config or TrainingConfig()
    target = choose_device(device)
    dtype = autocast_dtype(target, config.precision)
    report = report or silent
    _check_data(images, labels)
    if len(seeds) != len(models):
        raise ParameterError(f"{len(models)} models need as many seeds, not {len(seeds)}")

    if subsets is not None and len(subsets) != len(models):
        raise ParameterError(f"{len(models)} models need as many subsets, not {len(subsets)}")

    rows = [_check_subset(subset, len(images)) for subset in subsets or [None] * len(models)]
    images = images.to(target)
    labels = labels.to(target)
    for model, row in zip(models, rows, strict=True):
        model.to(target, memory_format=torch.channels_last)  # type: ignore[call-overload]
        _check_labels(model, images, labels[row.to(target)])

    summaries = []
    for index, (model, row, seed) in enumerate(zip(models, rows, seeds, strict=True)):

        def epoch_done(epoch: int, offset: int = index * config.epochs) -> None:
            report(stage, offset + epoch, len(models) * config.epochs)

        with seeded(seed, target), _deterministic(target):
            summaries.append(
                _train_model(model, images, labels, row, config, seed, dtype, epoch_done)
            )

    return summaries


def random_crop_flip(
    images: torch.Tensor,
    top: torch.Tensor,
    left: torch.Tensor,
    flip: torch.Tensor,
    padding: int,
) -> torch.Tensor:
    """Crops and mirrors a batch, each image in its own way.

    Args:
        images: tensor (B, 3, S, S)
        top: int64 tensor (B,), the first row of the crop in the padded image, 0 to ``2 * padding``
        left: int64 tensor (B,), the first column, likewise
        flip: bool tensor (B,), whether the crop is then mirrored left to right
        padding: the black pixels around each image

    Returns:
        tensor (B, 3, S, S) of the same type
    """
    size = images.shape[-1]
    steps = torch.arange(size, device=images.device)
    rows = top[:, None] + steps
    columns = left[:, None] + torch.where(flip[:, None], size - 1 - steps, steps)
    if padding:
        images = F.pad(images, (padding,) * 4)

    # One gather for the whole batch: on a CPU four times as fast as indexing with three tensors
    pixels = rows[:, :, None] * images.shape[-1] + columns[:, None, :]
    pixels = pixels.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, pixels).unflatten(2, (size, size))


def to_float(images: torch.Tensor) -> torch.Tensor:
    """Converts uint8 images to float32 in [0, 1]."""
    return images.to(torch.float32).div_(255)


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
    _check_images(images)
    limits.Whole(1).check("batch_size", batch_size)
    target = choose_device(device)
    dtype = autocast_dtype(target, precision)
    was_training = model.training
    model.to(target, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    logits = []
    try:
        with torch.no_grad(), _autocast(target, dtype), _deterministic(target):
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


def _train_model(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    rows: torch.Tensor,
    config: TrainingConfig,
    seed: int,
    dtype: torch.dtype | None,
    epoch_done: Callable[[int], None],
) -> TrainingSummary:
    start = time.perf_counter()
    device = images.device
    size = images.shape[-1]
    padding = size // 8 if config.crop_padding is None else config.crop_padding
    num_batches = _num_batches(len(rows), config.batch_size)
    total_steps = config.epochs * num_batches
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
        fused=device.type in ("cpu", "cuda"),
    )
    scheduler = make_scheduler(optimizer, config, total_steps)
    generator = seeded_generator(seed)
    model.train()
    losses = []
    correct = torch.zeros((), device=device)
    for epoch in range(config.epochs):
        # Drawn on the CPU, so that every device sees the same batches
        order = rows[torch.randperm(len(rows), generator=generator)]
        offsets = torch.randint(2 * padding + 1, (2, len(rows)), generator=generator)
        flips = torch.rand(len(rows), generator=generator) < (0.5 if config.flip else 0.0)
        order, offsets, flips = order.to(device), offsets.to(device), flips.to(device)
        total = torch.zeros((), device=device)
        correct.zero_()
        for chunk, (top, left), flip in zip(
            order.tensor_split(num_batches),
            (pair.unbind() for pair in offsets.tensor_split(num_batches, dim=1)),
            flips.tensor_split(num_batches),
            strict=True,
        ):
            shown = random_crop_flip(images.index_select(0, chunk), top, left, flip, padding)
            batch = to_float(shown)
            truth = labels[chunk]
            with _autocast(device, dtype):
                logits = model(batch)
            logits = logits.float()
            loss = F.cross_entropy(logits, truth, label_smoothing=config.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.detach() * len(chunk)
            correct += (logits.detach().argmax(1) == truth).sum()

        # The epoch's only wait for the device
        losses.append(total.item() / len(rows))
        if not math.isfinite(losses[-1]):
            raise ParameterError(
                f"The training loss became {losses[-1]} in epoch {epoch + 1} of {config.epochs} "
                f"(seed {seed}): lower the learning rate, now {config.learning_rate}"
            )
        epoch_done(epoch + 1)

    model.eval()
    optimizer.zero_grad()
    return TrainingSummary(
        seed=seed,
        num_images=len(rows),
        num_steps=total_steps,
        losses=tuple(losses),
        accuracy=correct.item() / len(rows),
        seconds=time.perf_counter() - start,
    )


def make_scheduler(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, total_steps: int
) -> lr_scheduler.LRScheduler:
    """Returns the learning-rate schedule of a configuration, to be stepped after every batch."""
    if config.schedule == "one_cycle":
        return lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=config.learning_rate,
            # The schedule ends one step early otherwise: it is stepped after the last batch too
            total_steps=total_steps + 1,
            cycle_momentum=False,
        )

    if config.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=total_steps)

    return lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def _num_batches(num_images: int, batch_size: int) -> int:
    # Batches of even size, and none of one image, which batch norm could not take
    return min(math.ceil(num_images / batch_size), num_images // 2)


def _autocast(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return

    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


def _check_images(images: torch.Tensor) -> None:
    if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8:
        found = images.dtype if isinstance(images, torch.Tensor) else type(images).__name__
        raise ParameterError(f"images must be a uint8 tensor (N, 3, S, S), not {found}")

    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ParameterError(f"images must have shape (N, 3, S, S), not {tuple(images.shape)}")

    if not len(images):
        raise ParameterError("There are no images")


def _check_data(images: torch.Tensor, labels: torch.Tensor) -> None:
    _check_images(images)
    if not isinstance(labels, torch.Tensor) or labels.dtype != torch.int64:
        found = labels.dtype if isinstance(labels, torch.Tensor) else type(labels).__name__
        raise ParameterError(f"labels must be an int64 tensor (N,), not {found}")

    if labels.shape != images.shape[:1]:
        raise ParameterError(
            f"{len(images)} images need labels of shape ({len(images)},), not {tuple(labels.shape)}"
        )


def _check_subset(subset: torch.Tensor | None, num_images: int) -> torch.Tensor:
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


def _check_labels(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
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
