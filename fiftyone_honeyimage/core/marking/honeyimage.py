"""HoneyImage (arXiv 2508.00892), Algorithm 1: hard images that a model remembers.

``f_out`` is trained on the rest of the private set. Then T rounds: train ``f_in`` on the rest and
the current HoneyImages, and move every HoneyImage one signed gradient step up
``L(f_out, x) − L(f_in, x)``, inside the ε-ball around its original (eq. 3 to 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..checkpoints import load_checkpoint, save_checkpoint
from ..device import choose_device
from ..images import differentiable_resize
from ..models import build_model
from ..seeds import derive_seed
from ..training import TrainingConfig, cross_entropy, predict_logits, train_models
from .base import CraftRequest, CraftResult

#: Values (pixels × channels) that one gradient step holds at a time; bounds memory, not results.
_VALUES_PER_STEP = 12_000_000


def craft_honeyimages(request: CraftRequest) -> CraftResult:
    """Turns every candidate into a HoneyImage.

    Both twins of a pair are candidates like any other and pass through the same steps; nothing here
    knows of pairs or coins.

    Args:
        request: a :class:`CraftRequest`

    Returns:
        a :class:`CraftResult`; same seed and same device give the same bytes
    """
    device = choose_device(request.device)
    size = int(request.rest.shape[-1])
    labels = torch.as_tensor(request.candidate_labels, dtype=torch.int64)

    f_out = train_out_model(request)
    current = [torch.from_numpy(image.astype(np.float32)) for image in request.candidates]
    f_in, history, first = None, [], 0

    saved = _load_round(request.checkpoint_dir)
    if saved is not None:
        current, history, first = saved["current"], saved["history"], saved["round"]
        f_in = _new_in_model(request, first - 1)
        f_in.load_state_dict(saved["f_in"])

    every = torch.cat([request.rest, thumbnails(current, size)])
    every_labels = torch.cat([torch.as_tensor(request.rest_labels, dtype=torch.int64), labels])
    for step in range(first, request.num_steps):
        every[len(request.rest) :] = thumbnails(current, size)
        f_in = _train_in_model(request, f_in, every, every_labels, step)
        gap = _ascend(current, request.candidates, labels, f_out, f_in, request, device, size)
        history.append(gap)
        _save_round(request.checkpoint_dir, current, history, step + 1, f_in)
        request.report("Crafting HoneyImages", step + 1, request.num_steps)

    images = [
        round_into_ball(values.numpy(), original, request.epsilon)
        for values, original in zip(current, request.candidates, strict=True)
    ]
    assert f_in is not None  # num_steps >= 1 is checked by the request
    finished = thumbnails([torch.from_numpy(image) for image in images], size)
    originals = thumbnails(_tensors(request.candidates), size)
    return CraftResult(
        images=images,
        proxy_losses=_losses(f_out, finished, labels, device),
        original_losses=_losses(f_out, originals, labels, device),
        in_losses=_losses(f_in, finished, labels, device),
        history=np.array(history, dtype=np.float64),
        out_model=f_out.cpu(),
    )


def train_out_model(request: CraftRequest) -> torch.nn.Module:
    """``f_out``: a proxy trained on the rest alone, from a checkpoint if there is one."""
    size = int(request.rest.shape[-1])
    seed = derive_seed(request.seed, "f_out")
    model = build_model(request.proxy, request.num_classes, input_size=size, seed=seed)
    path = request.checkpoint_dir / "f_out.pt" if request.checkpoint_dir else None
    if path is not None and path.exists():
        model.load_state_dict(load_checkpoint(path))
        return model.eval()

    train_models(
        [model],
        request.rest,
        torch.as_tensor(request.rest_labels, dtype=torch.int64),
        config=request.config,
        seeds=[seed],
        device=request.device,
        report=request.report,
        stage="Training the out-model",
    )
    model.cpu()
    if path is not None:
        save_checkpoint(path, model.state_dict())
    return model


def round_into_ball(values: np.ndarray, original: np.ndarray, epsilon: float) -> np.ndarray:
    """Rounds to 8 bits without leaving the ε-ball.

    Args:
        values: float (H, W, 3), 0–255
        original: uint8 (H, W, 3)
        epsilon: 0–255 units; a fraction is rounded down, since the stored change is an integer

    Returns:
        uint8 (H, W, 3) with ``|result − original| ≤ epsilon``
    """
    budget = int(np.floor(epsilon))
    change = np.clip(np.rint(values - original.astype(np.float32)), -budget, budget)
    return np.clip(original.astype(np.int16) + change.astype(np.int16), 0, 255).astype(np.uint8)


def thumbnails(images: Sequence[torch.Tensor], size: int) -> torch.Tensor:
    """Native (H, W, 3) images, 0–255, as one uint8 (K, 3, size, size) batch for training."""
    rows = torch.empty((len(images), 3, size, size), dtype=torch.uint8)
    for row, image in zip(rows, images, strict=True):
        resized = differentiable_resize(image.permute(2, 0, 1)[None].float(), size)
        row.copy_(resized[0].round().clamp(0, 255))
    return rows


def _tensors(images: Sequence[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(image)) for image in images]


def _new_in_model(request: CraftRequest, step: int) -> torch.nn.Module:
    """A fresh in-model: round 0's for ``inner="warm"``, each round's own for ``"retrain"``."""
    number = step if request.inner == "retrain" else 0
    size = int(request.rest.shape[-1])
    seed = derive_seed(request.seed, "f_in", number)
    return build_model(request.proxy, request.num_classes, input_size=size, seed=seed)


def _train_in_model(
    request: CraftRequest,
    f_in: torch.nn.Module | None,
    images: torch.Tensor,
    labels: torch.Tensor,
    step: int,
) -> torch.nn.Module:
    """Trains ``f_in`` on the rest and the current HoneyImages: from scratch, or one epoch on."""
    fresh = f_in is None or request.inner == "retrain"
    model = _new_in_model(request, step) if fresh else f_in
    assert model is not None
    train_models(
        [model],
        images,
        labels,
        config=request.config if fresh else continuation(request.config),
        seeds=[derive_seed(request.seed, "f_in", "data", step)],
        device=request.device,
        report=request.report if fresh and step == 0 else None,
        stage="Training the in-model",
    )
    return model


def continuation(config: TrainingConfig) -> TrainingConfig:
    """One epoch at a tenth of the peak learning rate: enough to follow a change of α per value."""
    return replace(config, epochs=1, schedule="constant", learning_rate=config.learning_rate / 10)


def _ascend(
    current: list[torch.Tensor],
    originals: Sequence[np.ndarray],
    labels: torch.Tensor,
    f_out: torch.nn.Module,
    f_in: torch.nn.Module,
    request: CraftRequest,
    device: torch.device,
    size: int,
) -> float:
    """One step of projected gradient ascent on every image, in place; the mean gap before it."""
    f_out.to(device).eval()
    f_in.to(device).eval()
    total = 0.0
    for rows in _groups_of_one_size(originals):
        start = torch.stack(_tensors([originals[row] for row in rows])).float().to(device)
        x = torch.stack([current[row] for row in rows]).to(device).requires_grad_(True)
        resized = differentiable_resize(x.permute(0, 3, 1, 2) / 255.0, size)
        target = labels[rows].to(device)
        loss_out = torch.nn.functional.cross_entropy(f_out(resized), target, reduction="sum")
        loss_in = torch.nn.functional.cross_entropy(f_in(resized), target, reduction="sum")
        gap = loss_out - loss_in
        (gradient,) = torch.autograd.grad(gap, x)
        with torch.no_grad():
            moved = x + request.step_size * gradient.sign()
            moved = torch.minimum(
                torch.maximum(moved, start - request.epsilon), start + request.epsilon
            )
            moved = moved.clamp(0, 255).cpu()
        for row, image in zip(rows, moved, strict=True):
            current[row] = image
        total += float(gap.detach())
    return total / max(1, len(originals))


def _groups_of_one_size(images: Sequence[np.ndarray]) -> list[list[int]]:
    """Rows of images that share a size, in batches that bound memory."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for row, image in enumerate(images):
        by_size.setdefault(image.shape, []).append(row)
    groups = []
    for shape, rows in by_size.items():
        batch = max(1, _VALUES_PER_STEP // int(np.prod(shape)))
        batch = min(batch, 256)
        groups += [rows[start : start + batch] for start in range(0, len(rows), batch)]
    return groups


def _losses(
    model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, device: torch.device
) -> np.ndarray:
    return cross_entropy(predict_logits(model, images, device=device), labels)


def _save_round(
    folder: Path | None,
    current: list[torch.Tensor],
    history: list[float],
    done: int,
    f_in: torch.nn.Module,
) -> None:
    if folder is None:
        return
    state = {name: value.cpu() for name, value in f_in.state_dict().items()}
    payload = {"current": current, "history": history, "round": done, "f_in": state}
    save_checkpoint(folder / "rounds.pt", payload)


def _load_round(folder: Path | None) -> dict | None:
    path = folder / "rounds.pt" if folder else None
    if path is None or not path.exists():
        return None
    return load_checkpoint(path)
