"""What every suspect model has in common, and how images become a model's input."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..limits import check_choice
from ..resizing import differentiable_resize, height_width
from .answers import Outputs

CHANNELS = ("RGB", "BGR")


class Suspect(ABC):
    """A third-party model that can be reached by queries alone.

    Attributes:
        title: what it opens, for a curator, such as "an ONNX file"
        suffixes: of the files that it opens
        held: the keys of all answers, where they are already held and there are none on other images; else None
        name: what the user calls the model
        digest: SHA-256 of the model's file or weights in hexadecimal, or None if it has neither
        needs_equal_sizes: whether all images of a run need one size, as nothing resizes them
        metered: whether its calls may cost money, be limited in number or fail for a while, as those
            of a service do
        preprocessing: how images become its input, None where that is its own affair
        device: where it is queried, None where that is its own affair
        outputs: what its answers are where its kind tells, see :func:`~.query.query`; "auto" where it does not
        caution: what ends the statement of every verdict on it, None where there is nothing to say
        blank_loss: of one that tells one loss an image, the mean loss of a model that knows nothing, where that is known
    """

    title: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()

    name: str
    digest: str | None = None
    held: Collection[str] | None = None
    needs_equal_sizes: bool = False
    metered: bool = False
    preprocessing: Preprocessing | None = None
    device: torch.device | None = None
    outputs: Outputs = "auto"
    caution: str | None = None
    blank_loss: float | None = None

    @classmethod
    def opens(cls, target: Any) -> bool:
        """Whether this is what the user has given: by default a file with one of its suffixes."""
        is_path = isinstance(target, (str, os.PathLike))
        return is_path and Path(target).suffix.lower() in cls.suffixes

    @classmethod
    def load(
        cls, target: Any, how: Preprocessing, device: torch.device | None, name: str | None
    ) -> Suspect:
        """What the user has given as a suspect; its class by default takes the arguments as they are.

        Args:
            target: what :meth:`opens` was true of
            how: how images become its input
            device: where to query it, None for its own choice
            name: what to call it, None for its own choice

        Raises:
            SuspectError: if it cannot be loaded
        """
        return cls(target, how, device=device, name=name)  # type: ignore[call-arg]

    @property
    def way(self) -> str:
        """How it is asked, for the record: the name of its class."""
        return type(self).__name__

    @abstractmethod
    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        """Answers one batch.

        Args:
            images: B uint8 arrays of shape ``(height, width, 3)``, RGB
            keys: B names of the images, for suspects that hold answers by name

        Returns:
            logits or probabilities of shape ``(B, num_classes)``, class indices of shape ``(B,)``, or one loss an image
            of shape ``(B,)``; :func:`~.query.query` checks them
        """

    @property
    def is_known_by_digest(self) -> bool:
        """Whether its digest covers all of it: a file's does, a module's not what its code holds beside the weights."""
        return self.digest is not None and bool(self.suffixes)

    def unanswerable(self, keys: Sequence[str]) -> set[str]:
        """The keys that this suspect is known not to answer, before anything is asked."""
        return set()

    def forget(self, images: Sequence[np.ndarray]) -> None:  # noqa: B027
        """Is told that the answers on these images were of no use, so that none of them is kept."""


@dataclass(frozen=True)
class Preprocessing:
    """How uint8 images become a model's input.

    The input is a float32 tensor of shape ``(B, 3, height, width)``, RGB in [0, 1], resized (antialiased
    bilinear) where a size is given, its channels reversed where "BGR" is asked for, then normalised as
    ``(x - mean) / std`` where these are given.
    Every image is resized alone, so that its input does not depend on the others of its batch.

    Args:
        input_size (None): the side of a square, or ``(height, width)``; None keeps the images' own size
        mean (None): three numbers in [0, 1]
        std (None): three numbers in (0, 1]
        channels ("RGB"): the order of the input's channels, "RGB" or "BGR"; ``mean`` and ``std`` are in it

    Raises:
        ParameterError: if one of them is out of range
    """

    input_size: int | tuple[int, int] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    channels: str = "RGB"

    def __post_init__(self) -> None:
        if self.input_size is not None:
            object.__setattr__(self, "input_size", height_width(self.input_size))
        check_choice("channels", self.channels, CHANNELS)
        for name, values, low in (("mean", self.mean, True), ("std", self.std, False)):
            if values is not None:
                object.__setattr__(self, name, _channel_values(name, values, zero_allowed=low))

    def __call__(self, images: Sequence[np.ndarray]) -> Tensor:
        """Returns the float32 CPU batch of B uint8 ``(height, width, 3)`` images.

        Raises:
            ParameterError: if the images differ in size and no ``input_size`` was given
        """
        if self.input_size is None and len({image.shape for image in images}) > 1:
            sizes = sorted({f"{image.shape[1]}x{image.shape[0]}" for image in images})
            raise ParameterError(
                f"the images have different sizes ({', '.join(sizes[:4])}); give the model's input_size"
            )
        batch = torch.stack([self._resized(image) for image in images])
        if self.channels == "BGR":
            batch = batch.flip(1)
        if self.mean is not None:
            batch = batch - torch.tensor(self.mean, dtype=torch.float32).view(1, 3, 1, 1)
        if self.std is not None:
            batch = batch / torch.tensor(self.std, dtype=torch.float32).view(1, 3, 1, 1)
        return batch

    def _resized(self, image: np.ndarray) -> Tensor:
        x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255)
        if self.input_size is None:
            return x
        return differentiable_resize(x.unsqueeze(0), self.input_size).squeeze(0)


def _channel_values(name: str, values: Sequence[float], *, zero_allowed: bool) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    lowest_ok = all(number >= 0 if zero_allowed else number > 0 for number in numbers)
    if len(numbers) != 3 or not lowest_ok or any(number > 1 for number in numbers):
        raise ParameterError(
            f"{name} is three numbers, one a channel, on the scale of [0, 1] "
            f"{'' if zero_allowed else '(above 0) '}; got {values!r}. For a model that takes 0–255, "
            "divide its values by 255 (std=1/255 alone gives it plain 0–255 pixels)"
        )
    return numbers
