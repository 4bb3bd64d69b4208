"""Turns what a user calls a suspect into a :class:`~.base.Suspect`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..device import choose_device
from ..errors import ParameterError, SuspectError
from .base import Preprocessing, Suspect
from .callable_suspect import CallableSuspect
from .onnx import OnnxSuspect
from .predictions import PredictionsSuspect
from .torchscript import TorchScriptSuspect

#: name → kind of suspect; the first one that opens what was given is taken. Adding a kind means adding one file
#: and one line here.
SUSPECTS: dict[str, type[Suspect]] = {
    "torchscript": TorchScriptSuspect,
    "onnx": OnnxSuspect,
    "predictions": PredictionsSuspect,
    "callable": CallableSuspect,
}


def load_suspect(
    suspect: str
    | os.PathLike[str]
    | nn.Module
    | Callable[..., Any]
    | Mapping[str, Any]
    | Suspect
    | None = None,
    *,
    input_size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channels: str | None = None,
    device: str | torch.device | None = None,
    name: str | None = None,
    predictions: Mapping[str, Any] | None = None,
) -> Suspect:
    """Loads a suspect model.

    Args:
        suspect (None): a TorchScript file (.pt, .pth, .ts, .jit, .torchscript), an ONNX file (.onnx), a
            ``torch.nn.Module``, a callable on a float32 batch of shape ``(B, 3, height, width)``, RGB in
            [0, 1], or a :class:`Suspect`, which is returned as it is
        input_size (None): side of a square, or ``(height, width)``, that images are resized to; None keeps
            their size
        mean (None), std (None): three numbers each, on the scale of [0, 1], to normalise by
        channels (None): the order of the input's channels, "RGB" (None) or "BGR"
        device (None): where to query it. None queries a module where it is and files on the CPU
        name (None): what to call it
        predictions (None): instead of a suspect, its answers by key: a row of scores or a class index each

    Returns:
        a :class:`Suspect`

    Raises:
        ParameterError: if an argument is out of range or makes no sense for this suspect
        SuspectError: if the suspect cannot be loaded
    """
    how_given = {
        "input_size": input_size,
        "mean": mean,
        "std": std,
        "channels": channels,
        "device": device,
    }
    if predictions is not None:
        if suspect is not None:
            raise ParameterError("give a suspect or its predictions, not both")
        suspect = predictions
    if suspect is None:
        raise SuspectError(
            "no suspect was given: pass a model file, a module, a callable or predictions"
        )
    if isinstance(suspect, Suspect):
        _refuse("a suspect that is already loaded", how_given | {"name": name})
        return suspect

    kind = kind_of(suspect)
    if kind is None:
        raise SuspectError(_unknown(suspect))
    if kind.held is not None:
        _refuse("answers that are already held", how_given)
    how = Preprocessing(input_size=input_size, mean=mean, std=std, channels=channels or "RGB")
    where = None if device is None else choose_device(device)
    return kind.load(suspect, how, where, name)


def kind_of(target: Any) -> type[Suspect] | None:
    """The kind of suspect that opens this; None if none does."""
    return next((kind for kind in SUSPECTS.values() if kind.opens(target)), None)


def titles() -> str:
    """What can be given as a suspect, in words."""
    return ", ".join(kind.title for kind in SUSPECTS.values())


def _unknown(target: Any) -> str:
    if not isinstance(target, (str, os.PathLike)):
        return f"a suspect of type {type(target).__name__} cannot be asked; pass {titles()}"
    path = Path(target)
    if not path.exists():
        return f"there is no suspect model at {path}"
    known = ", ".join(suffix for kind in SUSPECTS.values() for suffix in kind.suffixes)
    return (
        f"{path.name} is of no kind that can be loaded ({known}); for weights alone, build the model and "
        "pass the torch.nn.Module"
    )


def _refuse(what: str, arguments: Mapping[str, object]) -> None:
    given = [name for name, value in arguments.items() if value is not None]
    if given:
        raise ParameterError(f"{', '.join(given)} cannot be given with {what}")
