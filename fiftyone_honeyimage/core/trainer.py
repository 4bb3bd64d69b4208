"""One trainer for every proxy: data kept on the device, batched augmentation, low precision."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler

from .augmentation import random_crop_flip, to_float
from .device import autocast_dtype, seeded, seeded_generator
from .errors import ParameterError
from .precision import autocast, deterministic
from .training_config import TrainingConfig, TrainingSummary
from .training_data import check_labels


def train_here(
    models: Sequence[nn.Module],
    images: torch.Tensor,
    labels: torch.Tensor,
    rows: Sequence[torch.Tensor],
    config: TrainingConfig,
    seeds: Sequence[int],
    target: torch.device,
    report: Callable[[int], None],
    traced: bool = False,
) -> list[TrainingSummary]:
    """Trains models one after the other on this machine; see :func:`.training.train_models`, which checks.

    Args:
        rows: of each model
        report: is called with the epochs that are done, over all models
        traced (False): whether summaries hold each image's loss in every epoch
    """
    dtype = autocast_dtype(target, config.precision)
    images = images.to(target)
    labels = labels.to(target)
    for model, row in zip(models, rows, strict=True):
        model.to(target, memory_format=torch.channels_last)  # type: ignore[call-overload]
        check_labels(model, images, labels[row.to(target)])

    summaries = []
    for index, (model, row, seed) in enumerate(zip(models, rows, seeds, strict=True)):

        def epoch_done(epoch: int, offset: int = index * config.epochs) -> None:
            report(offset + epoch)

        with seeded(seed, target), deterministic(target):
            summaries.append(
                _train_model(model, images, labels, row, config, seed, dtype, epoch_done, traced)
            )

    return summaries


def _train_model(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    rows: torch.Tensor,
    config: TrainingConfig,
    seed: int,
    dtype: torch.dtype | None,
    epoch_done: Callable[[int], None],
    traced: bool,
) -> TrainingSummary:
    start = time.perf_counter()
    device = images.device
    total_steps = config.epochs * num_batches(len(rows), config)
    optimizer = make_optimizer(model, config, device)
    scheduler = make_scheduler(optimizer, config, total_steps)
    generator = seeded_generator(seed)
    model.train()
    losses = []
    trace = torch.zeros((config.epochs, len(images)), device=device) if traced else None
    correct = torch.zeros((), device=device)
    for epoch in range(config.epochs):
        total = torch.zeros((), device=device)
        correct.zero_()
        for batch, truth, chunk in epoch_batches(images, labels, rows, config, generator):
            with autocast(device, dtype):
                logits = model(batch)
            logits = logits.float()
            loss = F.cross_entropy(logits, truth, label_smoothing=config.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.detach() * len(truth)
            correct += (logits.detach().argmax(1) == truth).sum()
            if (
                trace is not None
            ):  # beside the loss that is trained, which stays the same to the bit
                trace[epoch, chunk] = F.cross_entropy(logits.detach(), truth, reduction="none")

        # The epoch's only wait for the device
        losses.append(total.item() / len(rows))
        check_loss(losses[-1], epoch, config, seed)
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
        trace=None if trace is None else trace[:, rows.to(device)].cpu(),
    )


def epoch_batches(
    images: torch.Tensor,
    labels: torch.Tensor,
    rows: torch.Tensor,
    config: TrainingConfig,
    generator: torch.Generator,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """One epoch: images as they are shown, float32 (B, 3, S, S), their labels and which they are, int64 (B,)."""
    size, device = images.shape[-1], images.device
    padding = size // 8 if config.crop_padding is None else config.crop_padding
    # Drawn on the CPU, so that every device sees the same batches
    order = rows[torch.randperm(len(rows), generator=generator)]
    offsets = torch.randint(2 * padding + 1, (2, len(rows)), generator=generator)
    flips = torch.rand(len(rows), generator=generator) < (0.5 if config.flip else 0.0)
    order, offsets, flips = order.to(device), offsets.to(device), flips.to(device)
    number = num_batches(len(rows), config)
    for chunk, (top, left), flip in zip(
        order.tensor_split(number),
        (pair.unbind() for pair in offsets.tensor_split(number, dim=1)),
        flips.tensor_split(number),
        strict=True,
    ):
        shown = random_crop_flip(images.index_select(0, chunk), top, left, flip, padding)
        yield to_float(shown), labels[chunk], chunk


def check_loss(loss: float, epoch: int, config: TrainingConfig, seed: int) -> None:
    """Raises ParameterError if the mean loss of an epoch is no finite number."""
    if not math.isfinite(loss):
        raise ParameterError(
            f"The training loss became {loss} in epoch {epoch + 1} of {config.epochs} "
            f"(seed {seed}): lower the learning rate, now {config.learning_rate}"
        )


def make_optimizer(
    model: nn.Module, config: TrainingConfig, device: torch.device
) -> torch.optim.Optimizer:
    """SGD as a configuration asks for it."""
    return torch.optim.SGD(
        model.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
        fused=device.type in ("cpu", "cuda"),
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


def num_batches(num_images: int, config: TrainingConfig) -> int:
    """Batches of an epoch: of even size, and none of one image, which batch norm could not take."""
    return min(math.ceil(num_images / config.batch_size), num_images // 2)
