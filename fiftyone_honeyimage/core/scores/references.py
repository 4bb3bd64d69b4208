"""What reference models said of images of which it is known whether they had seen them: what scores compare with."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SideReferences:
    """What reference models said of one side of a pair.

    Attributes:
        losses: of each model, nats, finite, 0 or more; of a side with several images their mean
        members: whether each model was trained on the side

    Raises:
        ParameterError: if the numbers differ, or a value is none
    """

    losses: tuple[float, ...]
    members: tuple[bool, ...]

    def __post_init__(self) -> None:
        if len(self.losses) != len(self.members) or not self.losses:
            raise ParameterError(
                f"{len(self.losses)} reference losses have {len(self.members)} memberships; give one of each a model"
            )
        if not all(type(loss) is float and 0 <= loss < math.inf for loss in self.losses):
            raise ParameterError("Reference models' losses must be finite numbers, 0 or more")
        if not all(type(member) is bool for member in self.members):
            raise ParameterError("Whether a reference model has seen a side must be True or False")


@dataclass(frozen=True)
class References:
    """The losses of reference models (shadow models), each trained on a random half of the images.

    Attributes:
        losses: float64 (n_models, n_images), nats, finite, 0 or more
        members: bool (n_models, n_images), whether the model was trained on the image
        fitted: what a score learned from all images' losses, see :meth:`.base.Score.fit`; empty before that

    Raises:
        ParameterError: if the shapes differ, a loss is none, or an image has no model on one of the two sides
    """

    losses: FloatArray
    members: npt.NDArray[np.bool_]
    fitted: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        losses = np.asarray(self.losses, np.float64)
        members = np.asarray(self.members)
        if losses.ndim != 2 or members.shape != losses.shape or members.dtype != np.bool_:
            raise ParameterError(
                "References are losses (n_models, n_images) and booleans of the same shape, not shapes "
                f"{losses.shape} and {members.shape} of {members.dtype}"
            )
        if not (np.isfinite(losses) & (losses >= 0)).all():
            raise ParameterError("Reference models' losses must be finite and 0 or more")
        counts = members.sum(axis=0)
        if ((counts == 0) | (counts == len(members))).any():
            image = int(((counts == 0) | (counts == len(members))).argmax())
            raise ParameterError(
                f"Of {len(members)} reference models {counts[image]} have seen image {image}; at least one must "
                "have seen it, and one not"
            )
        object.__setattr__(self, "losses", losses)
        object.__setattr__(self, "members", members)

    @classmethod
    def of_sides(
        cls, sides: Sequence[SideReferences], fitted: Mapping[str, float] | None = None
    ) -> References:
        """Of sides in their order.

        Raises:
            ParameterError: if there is none, or sides were told by other numbers of models
        """
        numbers = sorted({len(side.losses) for side in sides})
        if len(numbers) != 1:
            raise ParameterError(
                f"Sides need the same reference models each, not {numbers or 'none'} of them"
            )
        losses = np.array([side.losses for side in sides], np.float64).T
        members = np.array([side.members for side in sides], np.bool_).T
        return cls(losses, members, fitted or {})

    @property
    def num_models(self) -> int:
        """How many reference models there are."""
        return int(self.losses.shape[0])

    def with_fitted(self, fitted: Mapping[str, float]) -> References:
        """The same with what a score learned."""
        return dataclasses.replace(self, fitted=fitted)

    def without(self, model: int) -> References:
        """The same without one model, and without what a score learned with it."""
        return References(np.delete(self.losses, model, 0), np.delete(self.members, model, 0))

    def value(self, name: str) -> float:
        """One of the numbers that a score learned.

        Raises:
            ParameterError: if it has not
        """
        if name not in self.fitted:
            raise ParameterError(
                f"The references lack {name!r}, which the score learns from all images; add it by "
                "with_fitted(score.fit(references))"
            )
        return float(self.fitted[name])


def references_of(reference: object, values: FloatArray) -> References:
    """The references that a score was given, checked against a suspect's values.

    Raises:
        ParameterError: if they are none, or of another number of images
    """
    if not isinstance(reference, References):
        raise ParameterError(
            "This score compares with reference models: give References with losses and members"
        )
    if values.shape != reference.losses.shape[1:]:
        raise ParameterError(
            f"The suspect has values of shape {values.shape} and the references are of "
            f"{reference.losses.shape[1]} images; give one value an image"
        )
    return reference


def mean_where(values: FloatArray, chosen: npt.NDArray[np.bool_]) -> FloatArray:
    """The mean over the chosen models of each image, float64 (n_images,)."""
    return np.where(chosen, values, 0.0).sum(axis=0) / chosen.sum(axis=0)


def residual_std(values: FloatArray, chosen: npt.NDArray[np.bool_]) -> float:
    """The standard deviation around each image's own mean, pooled over all images.

    ``sqrt(Σ_i Σ_k (v_ki - mean_i)² / Σ_i (n_i - 1))``: what lies between images does not enter.

    Raises:
        ParameterError: if no image has two chosen models
    """
    freedom = int((chosen.sum(axis=0) - 1).sum())
    if freedom < 1:
        raise ParameterError(
            "A spread takes an image that two reference models have seen, and one that two have not"
        )
    residuals = np.where(chosen, values - mean_where(values, chosen), 0.0)
    return float(np.sqrt((residuals**2).sum() / freedom))
