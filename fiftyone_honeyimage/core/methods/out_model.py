"""The out-model: a proxy that saw none of the marked images, and what it says of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..checkpoints import load_checkpoint, save_checkpoint
from ..models import build_model
from ..models.last_layer import last_layer
from ..seeds import derive_seed
from ..training import cross_entropy, predict_logits, train_models
from .perturbation import seen_by_model
from .request import CraftRequest


def train_out_models(request: CraftRequest) -> list[torch.nn.Module]:
    """``f_out``, and as many further ones as the options ask for; none beside one that is given.

    Raises:
        ParameterError: if the options need what the proxy has not, before anything is trained
    """
    if request.options.diversity:
        last_layer(
            build_model(request.proxy, request.num_classes, input_size=_size(request), seed=0)
        )
    number = 1 if request.out_model is not None else request.options.num_out_models
    return [train_out_model(request, place) for place in range(number)]


def train_out_model(request: CraftRequest, place: int = 0) -> torch.nn.Module:
    """``f_out``: a proxy trained on the rest alone, as given or from a checkpoint if there is one.

    Args:
        request: a :class:`.request.CraftRequest`
        place (0): which of several; each has a seed of its own
    """
    if request.out_model is not None:
        return request.out_model.eval()
    seed = derive_seed(request.seed, "f_out", *([place] if place else []))
    size = _size(request)
    model = build_model(request.proxy, request.num_classes, input_size=size, seed=seed)
    name = f"f_out_{place}.pt" if place else "f_out.pt"
    path = request.checkpoint_dir / name if request.checkpoint_dir else None
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
        stage="Training a model without the marks",
        executor=request.executor,
        checkpoint_dir=request.trained_dir,
    )
    model.cpu()
    if path is not None:
        save_checkpoint(path, model.state_dict())
    return model


def _size(request: CraftRequest) -> int:
    return int(request.rest.shape[-1])


def thumbnails(images: Sequence[np.ndarray], size: int) -> torch.Tensor:
    """Native uint8 (H, W, 3) images as one uint8 (K, 3, size, size) batch, as the models see them."""
    rows = torch.empty((len(images), 3, size, size), dtype=torch.uint8)
    for row, image in zip(rows, images, strict=True):
        row.copy_(seen_by_model(image, size))
    return rows


def losses(
    model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, device: torch.device
) -> np.ndarray:
    """A model's losses on a uint8 batch, nats, float64 (K,)."""
    return cross_entropy(predict_logits(model, images, device=device), labels)
