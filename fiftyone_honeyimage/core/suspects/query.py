"""Queries a suspect model, and asks again where a failure may pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np

from ..errors import ParameterError, SuspectError
from ..images import check_image
from ..limits import QUERY_BATCH
from ..progress import Report, silent
from .answers import OUTPUTS, Answers, BadAnswerError, Outputs, Reader
from .base import Suspect
from .wrappers import Retrying, Wrapper

#: Receives the keys of a batch, its losses (nats; NaN for labels) and whether the answers are right
Keep = Callable[[Sequence[str], np.ndarray, np.ndarray], None]

#: How a chained error of TorchScript or of another interpreter begins its last part, the cause
_CAUSE = re.compile(r"^\s*[\w.]*(?:Error|Exception|Interrupt|Failure)\b.*: ", re.MULTILINE)


class _Checked(Wrapper):
    """Raises where an answer is of no use, so that it is asked for again."""

    def __init__(self, suspect: Suspect, reader: Reader) -> None:
        super().__init__(suspect)
        self._reader = reader

    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        answers = self.suspect.answer(images, keys)
        try:
            return self._reader.check(answers, len(keys))
        except Exception:
            self.suspect.forget(images)
            raise


class Asking:
    """Asks a suspect batch after batch; keeps what it answered.

    A batch that fails is sent again (:class:`.wrappers.Retrying`), then image by image, each of them again as often. A
    suspect that is ``metered`` gets its halves instead, each once, and the halves of what fails of them: two calls a
    halving, and not one an image. An image that fails by itself, as often, is a failure.

    Args:
        suspect: from :func:`~.load_suspect`
        num_classes: the number of classes
        outputs ("auto"): see :func:`query`; "auto" is what the suspect says itself, if it does
        tolerance (0): how many images in a row may fail. With 0 a batch is never split, and its failure is
            an error; with None failures never are
        keep (None): is called with every usable answer before anything else is done with it; ``outputs`` must
            then not be "auto", as losses are not known before all answers are
    """

    def __init__(
        self,
        suspect: Suspect,
        num_classes: int,
        outputs: Outputs = "auto",
        tolerance: int | None = 0,
        keep: Keep | None = None,
    ) -> None:
        if outputs not in OUTPUTS:
            raise ParameterError(f"outputs is one of {', '.join(OUTPUTS)}; got {outputs!r}")
        if outputs == "auto":
            outputs = suspect.outputs
        self.suspect = suspect
        self.tolerance = tolerance
        self.keep = keep
        self.failures: dict[str, str] = {}
        self._reader = Reader(num_classes, outputs)
        self._once = _Checked(suspect, self._reader)
        self._tried = Retrying(self._once)
        self._streak = 0
        self._keys: list[str] = []
        self._rows: dict[str, tuple[float, float, bool, int]] = {}
        self._image_shape: tuple[int, ...] | None = None

    @property
    def is_failing(self) -> bool:
        """Whether the last image failed, so that the suspect may be out of order."""
        return self._streak > 0

    def ask(self, images: Sequence[np.ndarray], keys: Sequence[str], labels: np.ndarray) -> None:
        """Asks one batch.

        Raises:
            SuspectError: naming the images, if more fail than may
        """
        absent = self.suspect.unanswerable(keys)
        positions = []
        for i, key in enumerate(keys):
            reason = self._refusal(images[i], key, absent)
            if reason is None:
                positions.append(i)
            elif key in absent or self.tolerance != 0:
                self.failures[key] = reason
            else:
                raise SuspectError(reason)
        if positions:
            self._ask_at(positions, images, keys, labels)
        self._keys.extend(keys)

    def answers(self) -> Answers:
        """All answers so far, in the order asked."""
        outputs = self._reader.resolved()
        failed = np.array([key not in self._rows for key in self._keys], dtype=bool)
        missing = (np.nan, np.nan, False, -1)
        rows = [self._rows.get(key, missing) for key in self._keys]
        losses = np.full(len(rows), np.nan)
        if outputs != "labels":
            column = 0 if outputs == "logits" else 1
            losses = np.array([row[column] for row in rows], dtype=np.float64)
        return Answers(
            kind="labels" if outputs == "labels" else "scores",
            outputs=outputs,
            losses=losses,
            correct=np.array([row[2] for row in rows], dtype=bool),
            predicted=np.array([row[3] for row in rows], dtype=np.int64),
            failed=failed,
            failures=dict(self.failures),
        )

    def _ask_at(
        self,
        positions: Sequence[int],
        images: Sequence[np.ndarray],
        keys: Sequence[str],
        labels: np.ndarray,
        is_part: bool = False,
    ) -> None:
        first = len(self._keys) + positions[0]
        asked = [keys[i] for i in positions]
        once = is_part and len(positions) > 1  # what may pass was waited for with the whole batch
        try:
            tried = self._once if once else self._tried
            answer = tried.answer([images[i] for i in positions], asked)
        except Exception as e:
            reason = self._explain(e, first, asked)
            if self.tolerance == 0:
                raise SuspectError(reason) from e
            if len(positions) > 1:
                size = (len(positions) + 1) // 2 if self.suspect.metered else 1
                for start in range(0, len(positions), size):
                    part = positions[start : start + size]
                    self._ask_at(part, images, keys, labels, is_part=True)
                return
            self._streak += 1
            if self.tolerance is not None and self._streak > self.tolerance:
                raise SuspectError(f"{reason} ({self._streak} images in a row failed)") from e
            self.failures[asked[0]] = reason
        else:
            self._take(answer, asked, labels[list(positions)])

    def _take(self, answer: np.ndarray, keys: Sequence[str], labels: np.ndarray) -> None:
        self._streak = 0
        predicted = self._reader.predicted(answer)
        correct = predicted == labels
        logit_losses, probability_losses = self._reader.losses(answer, labels)
        if self.keep is not None:
            is_logits = self._reader.resolved() == "logits"
            losses = logit_losses if is_logits else probability_losses
            if self._reader.outputs == "labels":
                losses = np.full(len(keys), np.nan)
            self.keep(keys, losses, correct)
        rows = zip(logit_losses, probability_losses, correct, predicted, strict=True)
        self._rows.update(zip(keys, rows, strict=True))

    def _refusal(self, image: np.ndarray, key: str, absent: set[str]) -> str | None:
        if key in absent:
            return f"{self.suspect.name!r} holds no answer for image {key!r}"
        if not self.suspect.needs_equal_sizes:
            return None
        self._image_shape = self._image_shape or image.shape
        if image.shape == self._image_shape:
            return None
        return (
            f"image {key!r} is {image.shape[1]}x{image.shape[0]} pixels and the first one "
            f"{self._image_shape[1]}x{self._image_shape[0]}; give the suspect's input_size"
        )

    def _explain(self, error: Exception, first: int, keys: Sequence[str]) -> str:
        position = error.position if isinstance(error, BadAnswerError) else None
        if position is not None:
            where = f"on image {keys[position]!r}"
        elif len(keys) == 1:
            where = f"on image {first} ({keys[0]!r})"
        else:
            where = f"on images {first} to {first + len(keys) - 1} ({keys[0]!r} to {keys[-1]!r})"
        what = str(error) if isinstance(error, BadAnswerError) else cause_of(error)
        return f"the suspect {self.suspect.name!r} failed {where}: {what}"


def query(
    suspect: Suspect,
    images: Iterable[np.ndarray],
    keys: Sequence[str],
    labels: np.ndarray,
    *,
    num_classes: int,
    batch_size: int = 64,
    outputs: Outputs = "auto",
    tolerance: int | None = 0,
    report: Report | None = None,
) -> Answers:
    """Queries a suspect model on labelled images, each once, in their order.

    With ``outputs="auto"`` one-dimensional integer answers are class indices. Of scores, those that all
    lie in [0, 1] in rows that sum to 1 (within :data:`~.answers.SUM_TOLERANCE`) are probabilities, and logits
    otherwise. This is decided once, on all answers together, so the batch size cannot matter.

    Losses are in float64, by log-sum-exp for logits. They are finite: see :data:`~.answers.MAX_LOSS` and
    :data:`~.answers.MIN_PROBABILITY`. Probabilities are used as served, and not scaled to sum to 1.

    Args:
        suspect: from :func:`~.load_suspect`
        images: n uint8 arrays of shape ``(height, width, 3)``, RGB; may be lazy, one batch is held at a time
        keys: n different names of the images, used in errors and by suspects that hold answers by name
        labels: int array (n,), the true classes in ``[0, num_classes)``
        num_classes: the number of classes
        batch_size (64): the number of images a query
        outputs ("auto"): what the answers are: "auto", "logits", "probabilities", "labels" or "losses". With
            "labels", rows of scores are reduced to the class with the highest
        tolerance (0): how many images in a row may fail without an error; None for any number. See
            :class:`Asking` for what is tried before an image counts as failed
        report (None): receives the progress

    Returns:
        :class:`~.answers.Answers`

    Raises:
        ParameterError: if the arguments do not fit each other
        ImageError: if one of the images is no uint8 RGB array
        SuspectError: naming the images, unless tolerated, if the suspect raises, or answers with
            a wrong shape, a wrong number of classes, NaN, infinity or a class out of range
    """
    labels = _checked_labels(labels, keys, num_classes)
    check_batch_size(batch_size)
    asking = Asking(suspect, num_classes, outputs, tolerance)
    report = report or silent
    stream = iter(images)
    for start in range(0, len(keys), batch_size):
        batch_keys = keys[start : start + batch_size]
        batch = list(islice(stream, len(batch_keys)))
        if len(batch) < len(batch_keys):
            raise ParameterError(f"{len(keys)} keys were given, but {start + len(batch)} images")
        for key, image in zip(batch_keys, batch, strict=True):
            check_image(image, f"image {key!r}")
        asking.ask(batch, batch_keys, labels[start : start + len(batch)])
        report("Querying", start + len(batch), len(keys))
    if next(stream, None) is not None:
        raise ParameterError(f"{len(keys)} keys were given, but more images")
    return asking.answers()


def check_batch_size(batch_size: object) -> int:
    """Returns the number of images a query.

    Raises:
        ParameterError: if it is none that is taken
    """
    return QUERY_BATCH.check("batch_size", batch_size)


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


def cause_of(error: BaseException) -> str:
    """What an error says, in short, with its cause: of a long one its beginning and its end.

    An interpreter within another (TorchScript, a remote worker) prints its traceback first and the cause
    last; a native library says what happened first and advises later.
    """
    try:
        text = str(error).strip()
    except Exception:
        text = "an error that cannot be told in words"
    if isinstance(error, (ParameterError, SuspectError)):
        return text
    name = type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "Traceback" in text:
        found = list(_CAUSE.finditer(text))
        last = text[found[-1].start() :].split() if found else " ".join(lines[-3:]).split()
        return f"{name}: {' '.join(last)[:500]}"
    if len(lines) > 3:
        lines = [lines[0], "…", *lines[-2:]]
    short = " ".join(lines)
    if len(short) > 500:
        short = f"{short[:300]} … {short[-200:]}"
    return f"{name}: {short}" if short else name


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
