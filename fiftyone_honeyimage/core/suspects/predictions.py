"""Suspects whose answers are already held, such as a field of predictions or a file from a service."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import SuspectError
from .base import Suspect
from .callable_suspect import as_array


class PredictionsSuspect(Suspect):
    """Answers by key: for each image a row of scores, the index of the predicted class, or one loss.

    Images without an answer (absent, or None) are marked failed, with or without ``skip_failures``.

    Args:
        predictions: for each key a sequence of ``num_classes`` numbers, or one number
        name ("predictions"): what to call the model

    Raises:
        SuspectError: if there are none, or some are rows and others class indices
    """

    title = "answers by key"
    held: Collection[str] = ()

    @classmethod
    def opens(cls, target: Any) -> bool:
        return isinstance(target, Mapping)

    @classmethod
    def load(cls, target: Any, how: Any, device: Any, name: str | None) -> PredictionsSuspect:
        return cls(target, name=name)

    def __init__(self, predictions: Mapping[str, Any], *, name: str | None = None) -> None:
        self.name = name or "predictions"
        self.predictions = {
            key: _checked(key, value) for key, value in predictions.items() if value is not None
        }
        self.held = tuple(self.predictions)
        if not self.held:
            raise SuspectError("the predictions are empty; give a row of scores or a class by key")
        first_key, first = next(iter(self.predictions.items()))
        for key, value in self.predictions.items():
            if value.shape != first.shape:
                raise SuspectError(
                    f"predictions are all rows of one length or all class indices, but that of {key!r} has "
                    f"shape {value.shape} and that of {first_key!r} {first.shape}"
                )

    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        return np.stack([self.predictions[key] for key in keys])

    def unanswerable(self, keys: Sequence[str]) -> set[str]:
        return {key for key in keys if key not in self.predictions}


def _checked(key: str, value: Any) -> np.ndarray:
    if isinstance(value, (bool, str)):
        raise SuspectError(
            f"the prediction of {key!r} is {value!r}; give the class's index, a row of scores, or a loss"
        )
    array = as_array(value) if isinstance(value, (Tensor, list, tuple)) else np.asarray(value)
    if array.dtype.kind not in "iuf" or array.ndim > 1:
        raise SuspectError(
            f"the prediction of {key!r} is {array.dtype} of shape {array.shape}; give the class's index, "
            "a row of scores, or a loss"
        )
    return array
