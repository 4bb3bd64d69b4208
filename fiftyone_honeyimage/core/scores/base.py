"""What a score is: one number for an image from a suspect's answer, blind to the coins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar

import numpy.typing as npt

from ..errors import ParameterError
from .references import FloatArray, References


class Access(IntEnum):
    """What a suspect has to give: the class, one loss an image of whatever kind, or scores of the classes."""

    LABELS = 1
    LOSSES = 2
    SCORES = 3


class Score(ABC):
    """A score: lower on what a model has seen. It is asked image by image and never sees a coin or a pair.

    Attributes:
        name: in the SDK and the ledger
        title: what it is, for a curator
        access: what a suspect has to give
        decides: whether a verdict may rest on it; others are shown
        least_references: so many reference models it needs at least; 0 for one that needs none
        is_recorded: whether it is what was recorded, which is compared as it is; what is computed from that is
            rounded, see :mod:`..evidence.rounding`
        follows_loss: whether it rises with the loss, so that it is higher on what a model has seen of a method that
            teaches mistakes (:attr:`..methods.base.Method.direction`). Others learn from reference models what seen
            images look like, and are lower on them whatever a method teaches
    """

    name: ClassVar[str]
    title: ClassVar[str]
    access: ClassVar[Access] = Access.SCORES
    decides: ClassVar[bool] = True
    least_references: ClassVar[int] = 0
    is_recorded: ClassVar[bool] = False
    follows_loss: ClassVar[bool] = True

    @abstractmethod
    def of(
        self, values: npt.ArrayLike, reference: npt.ArrayLike | References | None = None
    ) -> FloatArray:
        """The score of each image, float64 (n,).

        Args:
            values: what the suspect's answers were recorded as, (n,): losses in nats, 0 or more; for
                :attr:`Access.LABELS` whether the class was right, or the share of several
            reference (None): the same of a model that never saw a coin, (n,), for a score that needs it; where
                :attr:`least_references` is above 0, the :class:`.references.References` of these images, with what
                :meth:`fit` gave of all images
        """

    def sign(self, direction: str) -> int:
        """By what to multiply the score so that lower is seen, for a method of this direction: 1 or -1."""
        return -1 if self.follows_loss and direction == "higher" else 1

    def fit(self, references: References) -> Mapping[str, float]:
        """What the score learns from the reference models' losses on all images, before a coin is tossed and before
        a suspect is asked: finite numbers by name, which a plan commits to. Nothing, unless a score says otherwise.
        """
        return {}

    def check_references(self, number: int) -> None:
        """Checks that so many reference models are enough.

        Raises:
            ParameterError: if they are fewer than :attr:`least_references`
        """
        if number < self.least_references:
            raise ParameterError(
                f"score={self.name!r} compares a suspect with reference models and needs at least "
                f"{self.least_references}, but num_references is {number}; pass "
                f"num_references={self.least_references} or more, or a score that needs none"
            )
