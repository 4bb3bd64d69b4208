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
from . import onnx, torchscript
from .base import Preprocessing, Suspect
from .callable_suspect import CallableSuspect
from .predictions import PredictionsSuspect


def load_suspect(
    suspect: str | os.PathLike[str] | nn.Module | Callable[..., Any] | Suspect | None = None,
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
    if isinstance(suspect, Mapping) and predictions is None:
        suspect, predictions = None, suspect
    if predictions is not None:
        if suspect is not None:
            raise ParameterError("give a suspect or its predictions, not both")
        _refuse("answers that are already held", how_given)
        return PredictionsSuspect(predictions, name=name)
    if suspect is None:
        raise SuspectError(
            "no suspect was given: pass a model file, a module, a callable or predictions"
        )
    if isinstance(suspect, Suspect):
        _refuse("a suspect that is already loaded", how_given | {"name": name})
        return suspect

    preprocessing = Preprocessing(
        input_size=input_size, mean=mean, std=std, channels=channels or "RGB"
    )
    where = None if device is None else choose_device(device)
    if isinstance(suspect, (str, os.PathLike)):
        return _load_file(Path(suspect), preprocessing, where, name)
    return CallableSuspect(suspect, preprocessing, device=where, name=name)


def _load_file(
    path: Path, preprocessing: Preprocessing, device: torch.device | None, name: str | None
) -> Suspect:
    if not path.exists():
        raise SuspectError(f"there is no suspect model at {path}")
    suffix = path.suffix.lower()
    if suffix in torchscript.SUFFIXES:
        return torchscript.TorchScriptSuspect(path, preprocessing, device=device, name=name)
    if suffix in onnx.SUFFIXES:
        return onnx.OnnxSuspect(path, preprocessing, device=device, name=name)
    known = ", ".join([*torchscript.SUFFIXES, *onnx.SUFFIXES])
    raise SuspectError(
        f"{path.name} is of no kind that can be loaded ({known}); for weights alone, build the model and "
        "pass the torch.nn.Module"
    )


def _refuse(what: str, arguments: Mapping[str, object]) -> None:
    given = [name for name, value in arguments.items() if value is not None]
    if given:
        raise ParameterError(f"{', '.join(given)} cannot be given with {what}")
