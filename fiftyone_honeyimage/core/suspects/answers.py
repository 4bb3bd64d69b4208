"""What a suspect answers, and how it is read: losses, and right or wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

Outputs = Literal["auto", "logits", "probabilities", "labels", "losses"]
OUTPUTS = ("auto", "logits", "probabilities", "labels", "losses")

#: Losses are cut here, in nats. Finite float32 logits stay below it unless they differ by more than this.
MAX_LOSS = 1e6

#: Probabilities are raised to this, the smallest positive double, so a probability of exactly 0 (float32
#: softmax underflows near a loss of 103) costs 744.44 nats: more than any probability above 0.
MIN_PROBABILITY = 2.0**-1074

#: How far a row may sum from 1 and still be probabilities. Wide enough for bfloat16 and for probabilities
#: that a service rounded to two decimals; logits of a whole run that all lie in [0, 1] and sum to 1 this
#: closely do not occur.
SUM_TOLERANCE = 0.05

_RANGE_TOLERANCE = 1e-3


def alike(before: npt.ArrayLike, now: npt.ArrayLike, least: float = 1e-9) -> bool:
    """Whether two answers on the same images may be one suspect's, which answers alike but for rounding.

    Args:
        before, now: figures of any shape
        least: what is nothing. On easy images all good models are sure, and differ in small figures alone
    """
    then, again = np.asarray(before, np.float64), np.asarray(now, np.float64)
    return then.shape == again.shape and bool(
        np.allclose(then, again, rtol=1e-2, atol=least, equal_nan=True)
    )


@dataclass(frozen=True, eq=False)
class Answers:
    """What a suspect answered to n images.

    Args:
        kind: ``"scores"`` if losses are known, ``"labels"`` if only the predicted classes are
        outputs: what the answers were taken for: ``"logits"``, ``"probabilities"``, ``"labels"`` or ``"losses"``.
            Pass it on to later queries of the same suspect, so that all are read the same way
        losses: float64 (n,), ``-log p(label)`` in nats, or the suspect's own; NaN where the query failed or ``kind`` is "labels"
        correct: bool (n,), whether the predicted class is the label; False where the query failed
        predicted: int64 (n,), the predicted class; -1 where the query failed, or none is told
        failed: bool (n,)
        failures: the reason by key, for each failed image
    """

    kind: Literal["scores", "labels"]
    outputs: Literal["logits", "probabilities", "labels", "losses"]
    losses: np.ndarray
    correct: np.ndarray
    predicted: np.ndarray
    failed: np.ndarray
    failures: dict[str, str] = field(default_factory=dict)


class BadAnswerError(Exception):
    """An answer that cannot be used, with the position in its batch where one is to blame."""

    def __init__(self, reason: str, position: int | None = None) -> None:
        super().__init__(reason)
        self.position = position


class Reader:
    """Reads the answers of one suspect, all in the same way.

    Args:
        num_classes: the number of classes
        outputs: what the answers are; "auto" lets the first answer show whether it is scores
    """

    def __init__(self, num_classes: int, outputs: Outputs) -> None:
        self.num_classes = num_classes
        self.outputs = outputs
        self.answer_ndim: int | None = None
        self.all_look_like_probabilities = True

    def check(self, answer: object, num_images: int) -> np.ndarray:
        """Returns the answer as float64 (B, C) or int64 (B,); float64 (B,) of losses.

        Raises:
            BadAnswerError: if it is neither, or of another kind than earlier ones
        """
        array = np.asarray(answer)
        if array.dtype.kind not in "biuf":
            raise BadAnswerError(
                f"it answered with {array.dtype} values, and numbers are needed: scores, or the classes' "
                "indices"
            )
        if array.ndim not in (1, 2) or len(array) != num_images:
            expected = f"({num_images}, {self.num_classes}) or ({num_images},)"
            raise BadAnswerError(f"it answered with shape {array.shape}, expected {expected}")
        if array.ndim == 2 and array.shape[1] != self.num_classes:
            raise BadAnswerError(
                f"it answered with {array.shape[1]} classes, and the dataset has {self.num_classes}"
            )
        if self.answer_ndim is not None and array.ndim != self.answer_ndim:
            raise BadAnswerError("it answered with labels to some images and with scores to others")
        if self.outputs == "losses":
            usable = self._losses(array)
        else:
            usable = self._scores(array) if array.ndim == 2 else self._classes(array)
        self.answer_ndim = array.ndim
        return usable

    def predicted(self, answer: np.ndarray) -> np.ndarray:
        """int64 (B,): the predicted class of each image of a checked answer."""
        if self.outputs == "losses":
            return np.full(len(answer), -1, dtype=np.int64)
        return answer if answer.ndim == 1 else answer.argmax(axis=1)

    def losses(self, answer: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float64 (B,) each: losses if a checked answer is logits, and if it is probabilities."""
        if self.outputs == "losses":
            return answer, answer
        if answer.ndim == 1:
            unknown = np.full(len(answer), np.nan)
            return unknown, unknown
        own = answer[np.arange(len(answer)), labels]
        with np.errstate(over="ignore"):
            logit_losses = np.clip(logsumexp(answer, axis=1) - own, 0.0, MAX_LOSS)
        in_range = (answer >= -_RANGE_TOLERANCE) & (answer <= 1 + _RANGE_TOLERANCE)
        sums = np.abs(answer.sum(axis=1) - 1) <= SUM_TOLERANCE
        self.all_look_like_probabilities &= bool(in_range.all() and sums.all())
        return logit_losses, -np.log(np.clip(own, MIN_PROBABILITY, 1.0))

    def resolved(self) -> Literal["logits", "probabilities", "labels", "losses"]:
        """What all answers so far are."""
        if self.outputs != "auto":
            return self.outputs
        if self.answer_ndim == 1:
            return "labels"
        if self.answer_ndim == 2 and self.all_look_like_probabilities:
            return "probabilities"
        return "logits"

    def _scores(self, array: np.ndarray) -> np.ndarray:
        scores = array.astype(np.float64)
        bad = ~np.isfinite(scores)
        if bad.any():
            i, c = np.argwhere(bad)[0]
            raise BadAnswerError(f"it answered with {scores[i, c]} for class {c}", int(i))
        if self.outputs == "probabilities":
            bad = (scores < -_RANGE_TOLERANCE) | (scores > 1 + _RANGE_TOLERANCE)
            if bad.any():
                i, c = np.argwhere(bad)[0]
                raise BadAnswerError(
                    f"it answered with {scores[i, c]:.6g} for class {c}, which is no probability; with "
                    "outputs='auto' or 'logits' such answers are read as logits",
                    int(i),
                )
        return scores

    def _losses(self, array: np.ndarray) -> np.ndarray:
        if array.ndim != 1:
            raise BadAnswerError(
                f"it answered with {array.shape[1]} numbers an image, and one loss an image is needed; for scores "
                "leave outputs out"
            )
        losses = array.astype(np.float64)
        bad = ~(np.isfinite(losses) & (losses >= 0))
        if bad.any():
            i = int(np.argmax(bad))
            raise BadAnswerError(
                f"it answered with the loss {array[i]}, and losses are finite and 0 or more", i
            )
        return np.minimum(losses, MAX_LOSS)

    def _classes(self, array: np.ndarray) -> np.ndarray:
        if self.outputs in ("logits", "probabilities"):
            raise BadAnswerError(
                f"it answered with one value an image, and {self.num_classes} {self.outputs} are needed"
            )
        if array.dtype.kind == "b":
            raise BadAnswerError("it answered with true or false, and class indices are needed")
        if array.dtype.kind == "f" and self.outputs == "auto":
            raise BadAnswerError(
                f"it answered with one {array.dtype} an image, and {self.num_classes} scores are needed; "
                "if these are class indices, pass outputs='labels', and if each is a loss, outputs='losses'"
            )
        bad = ~((array == np.floor(array)) & (array >= 0) & (array < self.num_classes))
        if bad.any():
            i = int(np.argmax(bad))
            raise BadAnswerError(
                f"it answered with class {array[i]}, and classes are 0 to {self.num_classes - 1}", i
            )
        return array.astype(np.int64)
