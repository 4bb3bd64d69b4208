"""Proxy architectures by name. A new one is a file here and a line in `PROXIES`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import nn

from ..device import seeded
from ..errors import ParameterError
from ..limits import shown
from .densenet import densenet121
from .resnet import resnet18, resnet_tiny
from .vgg import vgg11_bn
from .vision import check_torchvision_name, torchvision_classifier
from .vit import vit_small
from .wide_resnet import wrn28_2

#: A name of `PROXIES`, ``"torchvision:<name>"``, or a factory ``f(num_classes) -> module``
Proxy = str | Callable[[int], nn.Module]

#: Name → builder ``(num_classes, input_size) -> module`` that takes normalised images
PROXIES: dict[str, Callable[[int, int], nn.Module]] = {
    "densenet121": densenet121,
    "resnet18": resnet18,
    "resnet_tiny": resnet_tiny,
    "vgg11_bn": vgg11_bn,
    "vit_small": vit_small,
    "wrn28_2": wrn28_2,
}

TORCHVISION_PREFIX = "torchvision:"


class Normalized(nn.Module):
    """A network behind a fixed normalisation, so that it takes images in [0, 1].

    The constants are the same for every dataset: a proxy must not depend on images that it is
    not trained on, not even through their mean.

    Args:
        network: the network, which takes ``(x - 0.5) / 0.25``
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(0.5))
        self.register_buffer("std", torch.tensor(0.25))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network((x - self.mean) / self.std)


def build_model(proxy: Proxy, num_classes: int, *, input_size: int, seed: int) -> nn.Module:
    """Builds an untrained proxy model on the CPU.

    Args:
        proxy: a name of `PROXIES`, ``"torchvision:<name>"`` for any torchvision classifier
            (untrained), or a factory ``f(num_classes) -> nn.Module`` whose module takes float
            images in [0, 1] of shape (B, 3, S, S), normalises them itself if it wants to, and
            returns logits (B, num_classes)
        num_classes: the number of classes, at least 2
        input_size: S, the height and width of its images in pixels
        seed: the seed of the weights; torch's global generators are left as they were

    Returns:
        a module in training mode: float images in [0, 1], (B, 3, S, S) → logits (B, num_classes)

    Raises:
        ParameterError: if the proxy is unknown, does not take images of this size, or does not
            return logits of shape (B, num_classes)
    """
    if num_classes < 2:
        raise ParameterError(f"num_classes is {num_classes}: a classifier needs at least 2 classes")

    if input_size < 1:
        raise ParameterError(f"input_size is {input_size}: it must be a positive number of pixels")

    with seeded(seed):
        model = _build(proxy, num_classes, input_size)

    _check_logits(model, proxy_name(proxy), num_classes, input_size)
    return model.train()


def check_proxy(
    proxy: Proxy, num_classes: int | None = None, input_size: int | None = None
) -> None:
    """Checks a proxy before any image is read, without its weights.

    Args:
        proxy: see :func:`build_model`. Of a factory only its type is checked
        num_classes, input_size (None): what it is to be built for, if that is known by now

    Raises:
        ParameterError: if it is unknown, or takes no images of this size
    """
    if not isinstance(proxy, str):
        proxy_name(proxy)
        return
    if proxy.startswith(TORCHVISION_PREFIX):
        check_torchvision_name(proxy[len(TORCHVISION_PREFIX) :])
    elif proxy not in PROXIES:
        raise _unknown_proxy(proxy)
    if num_classes is not None and input_size is not None:
        _check_input(proxy, num_classes, input_size)


@lru_cache(maxsize=64)
def _check_input(proxy: str, num_classes: int, input_size: int) -> None:
    try:
        # Shapes alone: neither memory nor time, however large the model
        with torch.device("meta"):
            model = _build(proxy, num_classes, input_size)
            _check_logits(model, proxy, num_classes, input_size)
    except NotImplementedError:
        return  # an operation of torchvision's that has no shapes alone: found out when it is built


@lru_cache(maxsize=64)
def weight_bytes(proxy: str, num_classes: int, input_size: int) -> int:
    """Bytes of a named proxy's weights, without making them."""
    with torch.device("meta"):
        model = _build(proxy, num_classes, input_size)
    return sum(value.nbytes for value in model.state_dict().values())


def proxy_name(proxy: Proxy) -> str:
    """Returns the name to show and store for a proxy."""
    if isinstance(proxy, str):
        return proxy

    if not callable(proxy):
        raise ParameterError(
            f"A proxy must be a name or a factory f(num_classes), not {type(proxy).__name__}"
        )

    module = getattr(proxy, "__module__", None)
    name = getattr(proxy, "__qualname__", type(proxy).__qualname__)
    return f"{module}.{name}" if module else name


def _build(proxy: Proxy, num_classes: int, input_size: int) -> nn.Module:
    if isinstance(proxy, str):
        if proxy.startswith(TORCHVISION_PREFIX):
            name = proxy[len(TORCHVISION_PREFIX) :]
            return Normalized(torchvision_classifier(name, num_classes, input_size))

        if proxy not in PROXIES:
            raise _unknown_proxy(proxy)

        return Normalized(PROXIES[proxy](num_classes, input_size))

    if isinstance(proxy, nn.Module) or not callable(proxy):
        raise ParameterError(
            "A proxy must be a name or a factory f(num_classes) that returns a new module, "
            f"not {type(proxy).__name__}: several models with fresh weights are built from it"
        )

    model = proxy(num_classes)
    if not isinstance(model, nn.Module):
        raise ParameterError(
            f"The factory {proxy_name(proxy)} returned {type(model).__name__}, not a torch module"
        )

    return model


def _unknown_proxy(proxy: str) -> ParameterError:
    return ParameterError(
        f"Unknown proxy {shown(proxy)}: use one of {', '.join(sorted(PROXIES))}, "
        f"'{TORCHVISION_PREFIX}<name>', or a factory f(num_classes)"
    )


def _check_logits(model: nn.Module, name: str, num_classes: int, input_size: int) -> None:
    images = torch.zeros(2, 3, input_size, input_size)
    model.eval()
    try:
        # Not inference mode: what a module caches here must serve for training too
        with torch.no_grad():
            logits = model(images)
    except NotImplementedError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ParameterError(
            f"Proxy {name} does not take images of {input_size}x{input_size} pixels: {error}"
        ) from error

    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (2, num_classes):
        raise ParameterError(
            f"Proxy {name} must return logits of shape (B, {num_classes}), but 2 images "
            f"gave {shape}"
        )
