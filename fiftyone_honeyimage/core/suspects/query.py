"""Queries a suspect model and turns whatever it answers into losses and right or wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
from scipy.special import logsumexp

from ..errors import ParameterError, SuspectError
from ..images import check_image
from ..progress import Report, silent
from .base import Suspect

Outputs = Literal["auto", "logits", "probabilities", "labels"]
OUTPUTS = ("auto", "logits", "probabilities", "labels")

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


@dataclass(frozen=True, eq=False)
class Answers:
    """What a suspect answered to n images.

    Args:
        kind: ``"scores"`` if losses are known, ``"labels"`` if only the predicted classes are
        outputs: what the answers were taken for: ``"logits"``, ``"probabilities"`` or ``"labels"``.
            Pass it on to later queries of the same suspect, so that all are read the same way
        losses: float64 (n,), ``-log p(label)`` in nats; NaN where the query failed or ``kind`` is "labels"
        correct: bool (n,), whether the predicted class is the label; False where the query failed
        failed: bool (n,)
        failures: the reason by key, for each failed image
    """

    kind: Literal["scores", "labels"]
    outputs: Literal["logits", "probabilities", "labels"]
    losses: np.ndarray
    correct: np.ndarray
    failed: np.ndarray
    failures: dict[str, str] = field(default_factory=dict)


def query(
    suspect: Suspect,
    images: Iterable[np.ndarray],
    keys: Sequence[str],
    labels: np.ndarray,
    *,
    num_classes: int,
    batch_size: int = 64,
    outputs: Outputs = "auto",
    skip_failures: bool = False,
    report: Report | None = None,
) -> Answers:
    """Queries a suspect model on labelled images, each once, in their order.

    With ``outputs="auto"`` one-dimensional integer answers are class indices. Of scores, those that all
    lie in [0, 1] in rows that sum to 1 (within :data:`SUM_TOLERANCE`) are probabilities, and logits
    otherwise. This is decided once, on all answers together, so the batch size cannot matter.

    Losses are in float64, by log-sum-exp for logits. They are finite: see :data:`MAX_LOSS` and
    :data:`MIN_PROBABILITY`. Probabilities are used as served, and not scaled to sum to 1.

    Args:
        suspect: from :func:`~.load_suspect`
        images: n uint8 arrays of shape ``(height, width, 3)``, RGB; may be lazy, one batch is held at a time
        keys: n names of the images, used in errors and by suspects that hold answers by name
        labels: int array (n,), the true classes in ``[0, num_classes)``
        num_classes: the number of classes
        batch_size (64): the number of images a query
        outputs ("auto"): what the answers are: "auto", "logits", "probabilities" or "labels". With
            "labels", rows of scores are reduced to the class with the highest
        skip_failures (False): whether to mark images failed instead of raising an error. An image in a
            failing batch is first tried again alone, once
        report (None): receives the progress

    Returns:
        :class:`Answers`

    Raises:
        ParameterError: if the arguments do not fit each other
        ImageError: if one of the images is no uint8 RGB array
        SuspectError: naming the images, unless ``skip_failures``, if the suspect raises, or answers with
            a wrong shape, a wrong number of classes, NaN, infinity or a class out of range
    """
    labels = _checked_labels(labels, keys, num_classes)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ParameterError(f"batch_size is a whole number of at least 1, got {batch_size!r}")
    if outputs not in OUTPUTS:
        raise ParameterError(f"outputs is one of {', '.join(OUTPUTS)}; got {outputs!r}")
    absent = suspect.unanswerable(keys)
    report = report or silent
    run = _Run(suspect, labels, num_classes, outputs, skip_failures)
    stream = iter(images)
    for start in range(0, len(keys), batch_size):
        batch_keys = keys[start : start + batch_size]
        batch = list(islice(stream, len(batch_keys)))
        if len(batch) < len(batch_keys):
            raise ParameterError(f"{len(keys)} keys were given, but {start + len(batch)} images")
        for key, image in zip(batch_keys, batch, strict=True):
            check_image(image, f"image {key!r}")
        run.ask(start, batch, batch_keys, absent)
        report("Querying", start + len(batch), len(keys))
    if next(stream, None) is not None:
        raise ParameterError(f"{len(keys)} keys were given, but more images")
    return run.answers()


def check_answerable(suspect: Suspect, keys: Sequence[str]) -> None:
    """Raises :class:`SuspectError` if the suspect is known to answer none of the images.

    To be called before a run is opened: in :func:`query` such images merely fail.

    Args:
        suspect: from :func:`~.load_suspect`
        keys: the names of all images of the run
    """
    absent = suspect.unanswerable(keys)
    if keys and absent.issuperset(keys):
        raise SuspectError(
            f"{suspect.name!r} holds no answer for any of the {len(keys)} images, such as {keys[0]!r}; "
            "are its answers stored under other keys?"
        )


class _BadAnswerError(Exception):
    """An answer that cannot be used, with the position in its batch where one is to blame."""

    def __init__(self, reason: str, position: int | None = None) -> None:
        super().__init__(reason)
        self.position = position


class _Run:
    """The answers so far. Keeps both readings of each row of scores until all rows are known."""

    def __init__(
        self,
        suspect: Suspect,
        labels: np.ndarray,
        num_classes: int,
        outputs: Outputs,
        skip_failures: bool,
    ) -> None:
        n = len(labels)
        self.suspect = suspect
        self.labels = labels
        self.num_classes = num_classes
        self.outputs = outputs
        self.skip_failures = skip_failures
        self.logit_losses = np.full(n, np.nan)
        self.probability_losses = np.full(n, np.nan)
        self.all_look_like_probabilities = True
        self.correct = np.zeros(n, dtype=bool)
        self.failed = np.zeros(n, dtype=bool)
        self.failures: dict[str, str] = {}
        self.answer_ndim: int | None = None
        self.image_shape: tuple[int, ...] | None = None

    def ask(
        self, start: int, images: list[np.ndarray], keys: Sequence[str], absent: set[str]
    ) -> None:
        positions = []
        for i, key in enumerate(keys):
            reason = self._refusal(images[i], key, absent)
            if reason is None:
                positions.append(i)
            elif key in absent or self.skip_failures:
                self._fail(start + i, key, reason)
            else:
                raise SuspectError(reason)
        if not positions:
            return

        asked = [keys[i] for i in positions]
        try:
            answer = self._usable(self.suspect.answer([images[i] for i in positions], asked), asked)
        except Exception as e:
            if not self.skip_failures:
                raise SuspectError(self._explain(e, start + positions[0], asked)) from e
            self._ask_one_by_one(start, images, keys, positions)
        else:
            self._take(np.array([start + i for i in positions]), answer)

    def _ask_one_by_one(
        self, start: int, images: list[np.ndarray], keys: Sequence[str], positions: list[int]
    ) -> None:
        for i in positions:
            try:
                answer = self._usable(self.suspect.answer([images[i]], [keys[i]]), [keys[i]])
            except Exception as e:
                self._fail(start + i, keys[i], self._explain(e, start + i, [keys[i]]))
            else:
                self._take(np.array([start + i]), answer)

    def _refusal(self, image: np.ndarray, key: str, absent: set[str]) -> str | None:
        if key in absent:
            return f"{self.suspect.name!r} holds no answer for image {key!r}"
        if not self.suspect.needs_equal_sizes:
            return None
        self.image_shape = self.image_shape or image.shape
        if image.shape == self.image_shape:
            return None
        return (
            f"image {key!r} is {image.shape[1]}x{image.shape[0]} pixels and the first one "
            f"{self.image_shape[1]}x{self.image_shape[0]}; give the suspect's input_size"
        )

    def _usable(self, answer: object, keys: Sequence[str]) -> np.ndarray:
        """The answer as float64 (B, C) or int64 (B,); raises _BadAnswerError if it is neither."""
        array = np.asarray(answer)
        if array.dtype.kind not in "biuf":
            raise _BadAnswerError(
                f"it answered with {array.dtype} values, and numbers are needed: scores, or the classes' "
                "indices"
            )
        if array.ndim not in (1, 2) or len(array) != len(keys):
            expected = f"({len(keys)}, {self.num_classes}) or ({len(keys)},)"
            raise _BadAnswerError(f"it answered with shape {array.shape}, expected {expected}")
        if array.ndim == 2 and array.shape[1] != self.num_classes:
            raise _BadAnswerError(
                f"it answered with {array.shape[1]} classes, and the dataset has {self.num_classes}"
            )
        if self.answer_ndim is not None and array.ndim != self.answer_ndim:
            raise _BadAnswerError(
                "it answered with labels to some images and with scores to others"
            )
        usable = self._checked_scores(array) if array.ndim == 2 else self._checked_classes(array)
        self.answer_ndim = array.ndim
        return usable

    def _checked_scores(self, array: np.ndarray) -> np.ndarray:
        scores = array.astype(np.float64)
        bad = ~np.isfinite(scores)
        if bad.any():
            i, c = np.argwhere(bad)[0]
            raise _BadAnswerError(f"it answered with {scores[i, c]} for class {c}", int(i))
        if self.outputs == "probabilities":
            bad = (scores < -_RANGE_TOLERANCE) | (scores > 1 + _RANGE_TOLERANCE)
            if bad.any():
                i, c = np.argwhere(bad)[0]
                raise _BadAnswerError(
                    f"it answered with {scores[i, c]:.6g} for class {c}, which is no probability; with "
                    "outputs='auto' or 'logits' such answers are read as logits",
                    int(i),
                )
        return scores

    def _checked_classes(self, array: np.ndarray) -> np.ndarray:
        if self.outputs in ("logits", "probabilities"):
            raise _BadAnswerError(
                f"it answered with one value an image, and {self.num_classes} {self.outputs} are needed"
            )
        if array.dtype.kind == "b":
            raise _BadAnswerError("it answered with true or false, and class indices are needed")
        if array.dtype.kind == "f" and self.outputs == "auto":
            raise _BadAnswerError(
                f"it answered with one {array.dtype} an image, and {self.num_classes} scores are needed; "
                "if these are class indices, pass outputs='labels'"
            )
        bad = ~((array == np.floor(array)) & (array >= 0) & (array < self.num_classes))
        if bad.any():
            i = int(np.argmax(bad))
            raise _BadAnswerError(
                f"it answered with class {array[i]}, and classes are 0 to {self.num_classes - 1}", i
            )
        return array.astype(np.int64)

    def _take(self, at: np.ndarray, answer: np.ndarray) -> None:
        labels = self.labels[at]
        if answer.ndim == 1:
            self.correct[at] = answer == labels
            return
        self.correct[at] = answer.argmax(axis=1) == labels
        own = answer[np.arange(len(at)), labels]
        with np.errstate(over="ignore"):
            self.logit_losses[at] = np.clip(logsumexp(answer, axis=1) - own, 0.0, MAX_LOSS)
        self.probability_losses[at] = -np.log(np.clip(own, MIN_PROBABILITY, 1.0))
        in_range = (answer >= -_RANGE_TOLERANCE) & (answer <= 1 + _RANGE_TOLERANCE)
        sums = np.abs(answer.sum(axis=1) - 1) <= SUM_TOLERANCE
        self.all_look_like_probabilities &= bool(in_range.all() and sums.all())

    def _fail(self, at: int, key: str, reason: str) -> None:
        self.failed[at] = True
        self.failures[key] = reason

    def _explain(self, error: Exception, first: int, keys: Sequence[str]) -> str:
        position = error.position if isinstance(error, _BadAnswerError) else None
        if position is not None:
            where = f"on image {keys[position]!r}"
        elif len(keys) == 1:
            where = f"on image {first} ({keys[0]!r})"
        else:
            where = f"on images {first} to {first + len(keys) - 1} ({keys[0]!r} to {keys[-1]!r})"
        what = str(error) if isinstance(error, _BadAnswerError) else _raised(error)
        return f"the suspect {self.suspect.name!r} failed {where}: {what}"

    def answers(self) -> Answers:
        outputs = self._resolved()
        losses = np.full(len(self.labels), np.nan)
        if outputs == "logits":
            losses = self.logit_losses
        if outputs == "probabilities":
            losses = self.probability_losses
        return Answers(
            kind="labels" if outputs == "labels" else "scores",
            outputs=outputs,
            losses=losses,
            correct=self.correct,
            failed=self.failed,
            failures=self.failures,
        )

    def _resolved(self) -> Literal["logits", "probabilities", "labels"]:
        if self.outputs != "auto":
            return self.outputs
        if self.answer_ndim == 1:
            return "labels"
        if self.answer_ndim == 2 and self.all_look_like_probabilities:
            return "probabilities"
        return "logits"


def _raised(error: Exception) -> str:
    text = str(error).strip()
    if isinstance(error, (ParameterError, SuspectError)):
        return text
    # the first lines say what happened; a native library's whole stack is in the chained exception
    short = " ".join(text.splitlines()[:3])[:500]
    return f"{type(error).__name__}: {short}" if short else type(error).__name__


def _checked_labels(labels: np.ndarray, keys: Sequence[str], num_classes: int) -> np.ndarray:
    if isinstance(num_classes, bool) or not isinstance(num_classes, (int, np.integer)):
        raise ParameterError(f"num_classes is a whole number, got {num_classes!r}")
    if num_classes < 2:
        raise ParameterError(f"num_classes is at least 2, got {num_classes}")
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) != len(keys):
        raise ParameterError(f"{len(keys)} keys were given, but labels of shape {labels.shape}")
    if len(labels) == 0:
        return labels.astype(np.int64)
    if labels.dtype.kind not in "iu":
        raise ParameterError(f"labels are whole numbers, got {labels.dtype}")
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        i = int(np.argmax(bad))
        raise ParameterError(
            f"the label of image {keys[i]!r} is {labels[i]}, and classes are 0 to {num_classes - 1}"
        )
    return labels.astype(np.int64)
