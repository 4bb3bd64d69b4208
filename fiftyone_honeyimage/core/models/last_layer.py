"""A classifier as features and a last layer: what it computes before its logits, and the weights that make these."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import ParameterError


def last_layer(model: nn.Module) -> nn.Linear:
    """The linear layer that gives the logits: the last one that the model has.

    Raises:
        ParameterError: if it has none
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ParameterError(
            f"{type(model).__name__} has no linear layer at its end, and so no features with which classes are told "
            "apart; take a classifier that has one, such as the proxies of this plugin"
        )
    return layers[-1]


def features(model: nn.Module, images: Tensor) -> Tensor:
    """What goes into :func:`last_layer`: (B, D), with its gradient; see :func:`logits_and_features`."""
    return logits_and_features(model, images)[1]


def logits_and_features(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """A model's answer (B, C), and what goes into its :func:`last_layer`: (B, D), both with their gradients.

    Args:
        model: a classifier
        images: float (B, 3, S, S), as the model takes them

    Raises:
        ParameterError: if the last layer has no part in the model's answer, or is asked about anything but vectors
    """
    seen: list[Tensor] = []
    with watched(model, seen.append):
        logits = model(images)
    if not seen or seen[-1].ndim != 2 or len(seen[-1]) != len(images):
        raise ParameterError(
            f"the last linear layer of {type(model).__name__} does not take one vector of features an image"
        )
    return logits, seen[-1]


@contextmanager
def watched(model: nn.Module, look: Callable[[Tensor], None]) -> Iterator[None]:
    """Shows what goes into :func:`last_layer` of every batch that the model is asked about meanwhile.

    Raises:
        ParameterError: see :func:`last_layer`
    """
    handle = last_layer(model).register_forward_pre_hook(lambda _, given: look(given[0]))
    try:
        yield
    finally:
        handle.remove()


def class_weights(model: nn.Module) -> Tensor:
    """The weights of :func:`last_layer`: float32 (C, D), on the CPU."""
    return last_layer(model).weight.detach().to("cpu", torch.float32)
