"""What a score is: one number for an image from a suspect's answer, blind to the coins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import IntEnum
from typing import ClassVar

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Access(IntEnum):
    """What a suspect has to give; each includes the ones before it."""

    LABELS = 1
    SCORES = 2


class Score(ABC):
    """A score: lower on what a model has seen. It is asked image by image and never sees a coin or a pair.

    Attributes:
        name: in the SDK and the ledger
        title: what it is, for a curator
        access: what a suspect has to give
        decides: whether a verdict may rest on it; others are shown
        is_recorded: whether it is what was recorded, which is compared as it is; what is computed from that is
            rounded, see :mod:`..evidence.rounding`
    """

    name: ClassVar[str]
    title: ClassVar[str]
    access: ClassVar[Access] = Access.SCORES
    decides: ClassVar[bool] = True
    is_recorded: ClassVar[bool] = False

    @abstractmethod
    def of(self, values: npt.ArrayLike, reference: npt.ArrayLike | None = None) -> FloatArray:
        """The score of each image, float64 (n,).

        Args:
            values: what the suspect's answers were recorded as, (n,): losses in nats, 0 or more; for
                :attr:`Access.LABELS` whether the class was right, or the share of several
            reference (None): the same of a model that never saw a coin, (n,), for a score that needs it
        """
