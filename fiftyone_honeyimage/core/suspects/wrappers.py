"""What can be put around any suspect: further tries, a limit of its rate, answers on disk, a log.

Each is a suspect itself and passes on what it wraps: ``Logged(Cached(RateLimited(suspect, 60), folder), file)``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from tenacity import Retrying as Tries
from tenacity import retry_if_not_exception_type, stop_after_attempt, wait_chain, wait_fixed

from ..errors import SuspectError
from ..files import write_atomic
from ..limits import Real
from .answers import BadAnswerError, alike
from .base import Suspect

#: Seconds before each further try of a suspect whose failures may pass (a busy service, too many
#: requests a minute), and of one at hand
PAUSES = (1.0, 5.0)
_PAUSES_AT_HAND = (0.0,)

#: Kept answers that a suspect that is no file has to give again before it is taken for the one that gave them
NUM_COMPARED = 64

#: Mistakes in a suspect's own code, which no further try makes good
_MISTAKES = (
    TypeError,
    AttributeError,
    NameError,
    ImportError,
    LookupError,
    AssertionError,
    NotImplementedError,
)


class Wrapper(Suspect):
    """A suspect around another: whatever it does not change is the other's.

    Args:
        suspect: the other
    """

    def __init__(self, suspect: Suspect) -> None:
        self.suspect = suspect
        self.name = suspect.name
        self.digest = suspect.digest
        self.held = suspect.held
        self.needs_equal_sizes = suspect.needs_equal_sizes
        self.metered = suspect.metered
        self.preprocessing = suspect.preprocessing
        self.device = suspect.device
        self.outputs = suspect.outputs
        self.caution = suspect.caution
        self.blank_loss = suspect.blank_loss

    @property
    def way(self) -> str:
        return self.suspect.way

    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        return self.suspect.answer(images, keys)

    def unanswerable(self, keys: Sequence[str]) -> set[str]:
        return self.suspect.unanswerable(keys)

    def forget(self, images: Sequence[np.ndarray]) -> None:
        self.suspect.forget(images)


class Retrying(Wrapper):
    """Asks again where a failure may pass: twice with pauses if it is ``metered``, else once and at once.

    What is no failure of a service, such as a :class:`TypeError` in a function, is raised as it is. Where all tries fail, an
    answer that cannot be used says more than that a service was busy when it was asked again: it is what is raised.
    """

    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        pauses = PAUSES if self.metered else _PAUSES_AT_HAND
        tries = Tries(
            stop=stop_after_attempt(len(pauses) + 1),
            wait=wait_chain(*(wait_fixed(seconds) for seconds in pauses)),
            retry=retry_if_not_exception_type((*_MISTAKES, KeyboardInterrupt, SystemExit)),
            sleep=lambda seconds: time.sleep(seconds),
            reraise=True,
        )
        unusable: list[BadAnswerError] = []

        def once() -> np.ndarray:
            try:
                return self.suspect.answer(images, keys)
            except BadAnswerError as error:
                unusable.append(error)
                raise

        try:
            return tries(once)
        except Exception as error:
            if not unusable:
                raise
            raise unusable[0] from error


class RateLimited(Wrapper):
    """Waits before a query, so that no more images a minute are sent than a service allows, nor at once.

    Args:
        suspect: the suspect
        images_a_minute: above 0, up to 10^9

    Raises:
        ParameterError: if it is none
    """

    def __init__(self, suspect: Suspect, images_a_minute: float) -> None:
        super().__init__(suspect)
        images_a_minute = Real(0, 1e9, without_least=True).check("images_a_minute", images_a_minute)
        self._seconds = 60 / images_a_minute
        self._at_once = max(1, int(images_a_minute))
        self._free_at = -np.inf

    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        answers = []
        for start in range(0, max(1, len(images)), self._at_once):
            part = slice(start, start + self._at_once)
            time.sleep(max(0.0, self._free_at - time.monotonic()))
            self._free_at = time.monotonic() + self._seconds * len(images[part])
            answers.append(self.suspect.answer(images[part], keys[part]))
        return answers[0] if len(answers) == 1 else np.concatenate(answers)


class Cached(Wrapper):
    """Keeps every answer on disk, and never asks about the same picture twice; the first one that is of use stays.

    The folder holds what a suspect answers on marked images: keep it as secret as the ledger. Suspects of other
    digests, names or ways of asking may share it. One that is no file, such as a function, is known by its name or
    weights alone: it is asked once more about the first :data:`NUM_COMPARED` pictures whose answers are there, and has to
    answer as whoever filled the folder. Fewer would not do: on an easy picture all good models say the same.
    What already is held (predictions) is not kept once more; a file that is damaged is asked about anew.

    Args:
        suspect: the suspect
        folder: where the answers lie, a file an image; made if it is missing

    Raises:
        SuspectError: by :meth:`answer`, if the folder holds the answers of another suspect of its name
    """

    def __init__(self, suspect: Suspect, folder: str | os.PathLike[str]) -> None:
        super().__init__(suspect)
        # Another's answers would make a verdict of the one about the other
        who = f"{suspect.digest or suspect.name}\n{suspect.way}\n{suspect.preprocessing!r}"
        name = hashlib.sha256(who.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self._folder = Path(folder) / name
        self._num_to_compare = 0 if suspect.is_known_by_digest else NUM_COMPARED
        self._own: set[Path] = set()
        for own in (Path(folder), self._folder):
            own.mkdir(parents=True, exist_ok=True, mode=0o700)

    def forget(self, images: Sequence[np.ndarray]) -> None:
        for file in self._files(images):
            file.unlink(missing_ok=True)
        super().forget(images)

    def _files(self, images: Sequence[np.ndarray]) -> list[Path]:
        return [self._folder / f"{picture_digest(image)}.npy" for image in images]

    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        if self.suspect.held is not None:
            return self.suspect.answer(images, keys)
        files = self._files(images)
        held = {file: _read_answer(file) for file in files}
        self._recognise(images, keys, {file: one for file, one in held.items() if one is not None})
        # A picture that comes twice is asked about once
        new = {file: row for row, file in enumerate(files) if held[file] is None}
        if new:
            rows = new.values()
            answers = self.suspect.answer(
                [images[row] for row in rows], [keys[row] for row in rows]
            )
            if answers is None or len(answers) != len(new):
                return answers  # of no use, as who asks will say
            for file, one in zip(new, answers, strict=True):
                buffer = io.BytesIO()
                np.save(buffer, one, allow_pickle=False)
                write_atomic(file, buffer.getvalue())
                held[file] = np.asarray(one)
                self._own.add(file)
        return np.stack([np.asarray(held[file]) for file in files])

    def _recognise(
        self, images: Sequence[np.ndarray], keys: Sequence[str], held: Mapping[Path, np.ndarray]
    ) -> None:
        """Asks again about pictures whose answers were there before, as long as the suspect may be another one."""
        rows = {file: row for row, file in enumerate(self._files(images))}
        chosen = [file for file in held if file not in self._own][: self._num_to_compare]
        if not chosen:
            return
        again = self.suspect.answer(
            [images[rows[file]] for file in chosen], [keys[rows[file]] for file in chosen]
        )
        if again is None or len(again) != len(chosen):
            return  # of no use, as who asks will say
        for file, now in zip(chosen, again, strict=True):
            before = held[file]
            # Scores of classes are told apart against the largest of them, a loss of its own as it is
            least = 1e-5 * float(np.abs(before).max()) if before.ndim else 1e-9
            if not alike(before, now, least):
                raise SuspectError(
                    f"the folder '{self._folder.parent}' holds answers of another suspect that is called {self.name!r} "
                    f"or has its weights: on image {keys[rows[file]]!r} this one answers otherwise. Give it another "
                    "name=, or another folder"
                )
        self._own |= set(chosen)
        self._num_to_compare -= len(chosen)


class Logged(Wrapper):
    """Appends every query to a file, a line of JSON an image: time, key, digest of the picture, answer or error.

    Args:
        suspect: the suspect
        path: the file; made if it is missing, readable by its owner alone
    """

    def __init__(self, suspect: Suspect, path: str | os.PathLike[str]) -> None:
        super().__init__(suspect)
        self._path = Path(path)

    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        try:
            answers = self.suspect.answer(images, keys)
        except Exception as error:
            self._write(images, keys, [{"error": f"{type(error).__name__}: {error}"}] * len(images))
            raise
        # What is no answer is written down too, and refused by who asks
        each = answers if hasattr(answers, "__len__") else [answers] * len(images)
        self._write(images, keys, [{"answer": np.asarray(one).tolist()} for one in each])
        return answers

    def _write(
        self, images: Sequence[np.ndarray], keys: Sequence[str], found: Sequence[dict]
    ) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        about = zip(images, keys, found, strict=False)
        lines = [
            {"time": now, "key": key, "picture": picture_digest(image), **what}
            for image, key, what in about
        ]
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


def _read_answer(file: Path) -> np.ndarray | None:
    """A kept answer; None if there is none, or its file is damaged."""
    try:
        found: np.ndarray = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found


def picture_digest(image: np.ndarray) -> str:
    """The SHA-256 of an image's shape and values, hexadecimal."""
    return hashlib.sha256(
        f"{image.shape}".encode() + np.ascontiguousarray(image).tobytes()
    ).hexdigest()
