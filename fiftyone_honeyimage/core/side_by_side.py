"""Many small models on one GPU, trained in one go: as one network whose convolutions have a group for each.

Chosen by measurement (``benchmarks/grouped_training.py``, one H200, batches of 128): with eight models 5.6 times as fast as one
after the other for ``resnet_tiny`` and 2.6 times for ``wrn28_2``; ``torch.func.vmap`` reached 2.4 and 1.6 times and cannot keep
batch norm's running statistics. On two CPU cores nothing is gained.
"""

from __future__ import annotations

import copy
import json
import pickle
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .device import autocast_dtype, choose_device, seeded, seeded_generator
from .fleet import is_finished, leave, read_data, train_one
from .precision import autocast, deterministic
from .trainer import check_loss, epoch_batches, make_optimizer, make_scheduler, num_batches
from .training_config import TrainingConfig, TrainingSummary
from .training_data import check_labels

#: So much may the whole network's logits differ from a model's own, relative to the largest
_SAME = 1e-4


class SideBySide(Executor):
    """An executor that trains models of one architecture together, on this machine.

    To be passed as ``executor=``, beside ``checkpoint_dir=``. Models go together that have the same architecture, data, configuration and
    number of images, as reference models do. Each sees the batches that its seed gives it alone, so that its weights are those of a
    training by itself but for the rounding of sums in another order. What cannot be put side by side, such as a network that
    concatenates channels, is trained by itself.

    Args:
        at_once (8): models in one network, at most
    """

    def __init__(self, at_once: int = 8) -> None:
        self.at_once = at_once
        self._waiting: list[tuple[Future[None], dict[str, Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **task: Any) -> Future[Any]:
        """Keeps a training until a result is asked for, so that others can join it."""
        future = _Waiting(self.train_waiting)
        if fn is train_one and not args:
            self._waiting.append((future, task))
        else:
            _settle([future], lambda: future.set_result(fn(*args, **task)))
        return future

    def train_waiting(self) -> None:
        """Trains whatever waits."""
        waiting, self._waiting = self._waiting, []
        alike: dict[str, list[tuple[Future[None], dict[str, Any]]]] = {}
        for future, task in waiting:
            own = [task["data"], task["config"], task["device"], len(task["rows"])]
            own.append(task.get("traced", False))
            kind = repr(pickle.loads(task["model"]))
            alike.setdefault(json.dumps([*own, kind]), []).append((future, task))
        for group in alike.values():
            for start in range(0, len(group), self.at_once):
                futures, tasks = zip(*group[start : start + self.at_once], strict=True)
                _settle(futures, lambda tasks=tasks: train_together(tasks))  # type: ignore[misc]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Trains what waits, unless it is to be given up."""
        if cancel_futures:
            for future, _ in self._waiting:
                future.cancel()
            self._waiting = []
        self.train_waiting()


class _Waiting(Future):  # type: ignore[type-arg]
    def __init__(self, train: Callable[[], None]) -> None:
        super().__init__()
        self._train = train

    def result(self, timeout: float | None = None) -> Any:
        self._train()
        return super().result(timeout)


def _settle(futures: Sequence[Future[Any]], work: Callable[[], Any]) -> None:
    try:
        work()
    except Exception as error:
        for future in futures:
            future.set_exception(error)
    else:
        for future in futures:
            if not future.done():
                future.set_result(None)


def train_together(tasks: Sequence[dict[str, Any]]) -> None:
    """Does tasks of :func:`.fleet.train_one` that are alike but for initial weights, rows and seed.

    Raises:
        ParameterError: as :func:`.fleet.train_one` does
    """
    left = [task for task in tasks if not is_finished(task["checkpoint"])]
    if not left:
        return
    models = [pickle.loads(task["model"]) for task in left]
    content = read_data(left[0]["data"])
    whole = put_side_by_side(models, content["images"])
    if whole is None:
        for task in left:
            train_one(**task)
        return
    summaries = _train(
        whole,
        models,
        content["images"],
        content["labels"],
        [torch.tensor(task["rows"], dtype=torch.int64) for task in left],
        TrainingConfig(**left[0]["config"]),
        [task["seed"] for task in left],
        choose_device(left[0]["device"]),
        left[0].get("traced", False),
    )
    for task, model, summary in zip(left, models, summaries, strict=True):
        leave(task["checkpoint"], model, summary)


class GroupedLinear(nn.Module):
    """Linear layers side by side: (B, K·C) → (B, K, classes)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = nn.Parameter(torch.stack(biases)) if biases else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        number, _, channels = self.weight.shape
        found = torch.einsum("bkc,koc->bko", x.view(-1, number, channels), self.weight)
        return found if self.bias is None else found + self.bias


def put_side_by_side(models: Sequence[nn.Module], images: torch.Tensor) -> nn.Module | None:
    """One network that computes several of one architecture: (B, K·3, S, S) → (B, K, classes).

    Args:
        models: K of them
        images: uint8 (N, 3, S, S); a few are shown to all

    Returns:
        the network; None if there is one model alone, or the network does not compute what they do
    """
    if len(models) < 2 or any(not p.requires_grad for p in models[0].parameters()):
        return None
    whole = copy.deepcopy(models[0])
    for name, module in list(whole.named_modules()):
        parts = [model.get_submodule(name) for model in models]
        if isinstance(module, nn.Conv2d):
            new: nn.Module = _grouped_convolution(module, parts)
        elif isinstance(module, nn.BatchNorm2d):
            new = _wide_batch_norm(module, parts)
        elif isinstance(module, nn.Linear):
            new = GroupedLinear(parts)  # type: ignore[arg-type]
        elif next(module.parameters(recurse=False), None) is not None:
            return None
        else:
            continue
        parent, _, leaf = name.rpartition(".")
        setattr(whole.get_submodule(parent), leaf, new)
    return whole if _computes(whole, models, images[:4]) else None


def _grouped_convolution(module: nn.Conv2d, parts: Sequence[Any]) -> nn.Conv2d:
    new = copy.deepcopy(module)
    new.groups *= len(parts)
    new.in_channels *= len(parts)
    new.out_channels *= len(parts)
    new.weight = nn.Parameter(torch.cat([part.weight.detach() for part in parts]))
    if module.bias is not None:
        new.bias = nn.Parameter(torch.cat([part.bias.detach() for part in parts]))
    return new


def _wide_batch_norm(module: nn.BatchNorm2d, parts: Sequence[Any]) -> nn.BatchNorm2d:
    new = copy.deepcopy(module)
    new.num_features *= len(parts)
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.ndim:
            joined = torch.cat([getattr(part, name).detach() for part in parts])
            setattr(new, name, nn.Parameter(joined) if isinstance(value, nn.Parameter) else joined)
    return new


def _computes(whole: nn.Module, models: Sequence[nn.Module], images: torch.Tensor) -> bool:
    """Whether the network's logits are those of the models."""
    shown = images.float() / 255
    try:
        with torch.no_grad():
            found = whole.eval()(shown.repeat(1, len(models), 1, 1))
            own = torch.stack([model.cpu().eval()(shown) for model in models], dim=1)
    except (RuntimeError, ValueError):  # shapes do not fit
        return False
    return found.shape == own.shape and bool((found - own).abs().max() <= _SAME * own.abs().max())


def _take_apart(whole: nn.Module, models: Sequence[nn.Module]) -> None:
    """Gives each model its weights and running statistics of the network."""
    for name, module in whole.named_modules():
        if not isinstance(module, (nn.Conv2d, nn.BatchNorm2d, GroupedLinear)):
            continue
        for key, value in (
            *module.named_parameters(recurse=False),
            *module.named_buffers(recurse=False),
        ):
            parts = value.detach().cpu()
            for number, model in enumerate(models):
                own = getattr(model.get_submodule(name), key)
                if isinstance(module, GroupedLinear):
                    taken = parts[number]
                else:
                    taken = parts.chunk(len(models))[number] if parts.ndim else parts
                own.data.copy_(taken)


def _train(
    whole: nn.Module,
    models: Sequence[nn.Module],
    images: torch.Tensor,
    labels: torch.Tensor,
    rows: Sequence[torch.Tensor],
    config: TrainingConfig,
    seeds: Sequence[int],
    device: torch.device,
    traced: bool,
) -> list[TrainingSummary]:
    """As :func:`.trainer.train_here`, of all models at once."""
    start = time.perf_counter()
    for model, own in zip(models, rows, strict=True):
        check_labels(model, images, labels[own])
    images, labels = images.to(device), labels.to(device)
    dtype = autocast_dtype(device, config.precision)
    number, count = len(models), len(rows[0])
    whole.to(device).train()
    total_steps = config.epochs * num_batches(count, config)
    optimizer = make_optimizer(whole, config, device)
    scheduler = make_scheduler(optimizer, config, total_steps)
    generators = [seeded_generator(seed) for seed in seeds]
    losses: list[list[float]] = [[] for _ in models]
    shape = (number, config.epochs, len(images))
    traces = torch.zeros(shape, device=device) if traced else None
    with seeded(seeds[0], device), deterministic(device):
        for epoch in range(config.epochs):
            total, correct = torch.zeros((2, number), device=device)
            for parts in zip(
                *(
                    epoch_batches(images, labels, own, config, generator)
                    for own, generator in zip(rows, generators, strict=True)
                ),
                strict=True,
            ):
                truth = torch.stack([own for _, own, _ in parts])
                with autocast(device, dtype):
                    logits = whole(torch.cat([batch for batch, _, _ in parts], dim=1))
                logits = logits.float().transpose(0, 1)
                own = F.cross_entropy(
                    logits.flatten(0, 1),
                    truth.flatten(),
                    reduction="none",
                    label_smoothing=config.label_smoothing,
                ).view_as(truth)
                optimizer.zero_grad()
                own.mean(dim=1).sum().backward()
                optimizer.step()
                scheduler.step()
                total += own.detach().sum(dim=1)
                correct += (logits.detach().argmax(2) == truth).sum(dim=1)
                if traces is not None:
                    plain = F.cross_entropy(
                        logits.detach().flatten(0, 1), truth.flatten(), reduction="none"
                    ).view_as(truth)
                    for trace, value, (_, _, chunk) in zip(traces, plain, parts, strict=True):
                        trace[epoch, chunk] = value
            for each, value, seed in zip(losses, (total / count).tolist(), seeds, strict=True):
                check_loss(value, epoch, config, seed)
                each.append(value)
    _take_apart(whole, models)
    seconds = (time.perf_counter() - start) / number
    return [
        TrainingSummary(
            seed=seed,
            num_images=count,
            num_steps=total_steps,
            losses=tuple(own),
            accuracy=float(right) / count,
            seconds=seconds,
            trace=None if traces is None else traces[place][:, rows[place].to(device)].cpu(),
        )
        for place, (seed, own, right) in enumerate(
            zip(seeds, losses, correct.tolist(), strict=True)
        )
    ]
