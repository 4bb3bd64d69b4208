"""Suspects that live in this process: a torch module, or any function of a batch of images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoints import digest_of
from ..errors import SuspectError
from .base import Preprocessing, Suspect


class CallableSuspect(Suspect):
    """Wraps a ``torch.nn.Module``, or any callable, that takes a batch of images.

    The callable receives a float32 tensor of shape ``(B, 3, height, width)`` (see
    :class:`~.base.Preprocessing`), without gradients, and may return a tensor (of any floating type), an
    array, a list of rows, a tuple or list whose first element is the batch of scores, or an object or
    mapping with ``logits``.

    A module is queried in evaluation mode on the device and in the floating type of its weights, and its
    submodules' training flags are put back afterwards. Only a plain callable's own state is out of reach:
    one that hides a module has to put it in evaluation mode itself.

    Args:
        model: the module or callable
        preprocessing (Preprocessing()): how images become its input
        device (None): where to query it. A module on another device is copied there, and stays itself
            where it is; None leaves a module where it is, and gives CPU tensors to a plain callable
        name (None): what to call it; None takes the class's or function's name

    Raises:
        SuspectError: if ``model`` is a class, or cannot be called or copied
    """

    title = "a torch module or a function of a batch"

    preprocessing: Preprocessing

    @classmethod
    def opens(cls, target: Any) -> bool:
        return callable(target)

    def __init__(
        self,
        model: nn.Module | Callable[..., Any],
        preprocessing: Preprocessing | None = None,
        *,
        device: torch.device | None = None,
        name: str | None = None,
    ) -> None:
        if isinstance(model, type):
            raise SuspectError(
                f"the suspect is the class {model.__name__}; pass an instance of it, with its weights"
            )
        if not callable(model):
            raise SuspectError(f"a suspect of type {type(model).__name__} cannot be called")
        self.preprocessing = preprocessing or Preprocessing()
        self.name = name or getattr(model, "__name__", None) or type(model).__name__
        self.needs_equal_sizes = self.preprocessing.input_size is None
        self.device = device or torch.device("cpu")
        self.dtype = torch.float32
        self.model = model
        if not isinstance(model, nn.Module):
            self.metered = True  # a function may be somebody's paid service
            return

        self.digest = digest_of_state(model)
        at = next(iter([*model.parameters(), *model.buffers()]), None)
        if device is not None and at is not None and at.device != device:
            self.model = self._copied_to(model, device)
        elif at is not None:
            self.device = at.device
        self.dtype = next(
            (p.dtype for p in model.parameters() if p.is_floating_point()), self.dtype
        )

    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        batch = self.preprocessing(images).to(self.device, self.dtype)
        with torch.no_grad(), evaluation_mode(self.model):
            return as_array(self.model(batch))

    def _copied_to(self, model: nn.Module, device: torch.device) -> nn.Module:
        try:
            return copy.deepcopy(model).to(device)
        except Exception as e:
            raise SuspectError(
                f"the suspect {self.name!r} cannot be copied to {device} ({e}); move it there yourself"
            ) from e


def as_array(output: Any) -> np.ndarray:
    """Returns what a model returned as an array, on the CPU, with bfloat16 and float16 as float32.

    Args:
        output: a tensor, an array, an object or mapping with ``logits``, a tuple or list whose first
            element is the batch of scores, or a list of rows

    Raises:
        SuspectError: if it is none of these
    """
    if hasattr(output, "logits"):
        output = output.logits
    if isinstance(output, Mapping):
        if "logits" not in output:
            raise SuspectError(
                f"it answered with a mapping of {sorted(map(str, output))} without 'logits'; wrap it in a "
                "function that returns the scores"
            )
        output = output["logits"]
    if isinstance(output, (tuple, list)) and output and getattr(output[0], "ndim", 0) >= 2:
        output = output[0]
    if isinstance(output, (tuple, list)) and any(isinstance(row, Tensor) for row in output):
        output = [as_array(row) for row in output]
    if isinstance(output, Tensor):
        output = output.detach().to("cpu")
        if output.is_floating_point() and output.dtype != torch.float64:
            output = output.float()
        return output.numpy()
    try:
        array = np.asarray(output)
    except ValueError as e:
        raise SuspectError(f"it answered with rows of different lengths ({e})") from e
    if array.dtype == object or array.ndim == 0:
        raise SuspectError(f"it answered with {type(output).__name__}, and an array is needed")
    return array


def digest_of_state(module: nn.Module) -> str | None:
    """The SHA-256 of a module's ``state_dict`` (names, types, shapes, bytes), or None if it is empty."""
    state = module.state_dict()
    return digest_of(state) if state else None


@contextmanager
def evaluation_mode(model: object) -> Iterator[None]:
    """A module in evaluation mode in a block; every part's own mode comes back afterwards."""
    if not isinstance(model, nn.Module):
        yield
        return
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
