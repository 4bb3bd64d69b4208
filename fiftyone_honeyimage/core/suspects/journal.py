"""The answers of a verification that is under way, on disk before they are used.

A crash, an error or a kill then costs neither the verification nor its position: the same call goes on where
it stopped, the first answers are kept, and nobody is asked twice. The file lies beside the ledger, readable by its
owner alone, and says for each image of side "a" or "b" of a pair what was answered; which side was released
only the ledger tells.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout

from ..errors import LedgerError

FORMAT = "honeyimage-answers/2"

#: A pair's index, "a" or "b", and which of that side's images
Place = tuple[int, str, int]


class Journal:
    """The journal of one call of ``verify_model``; opened by :meth:`open` in a ``with``, and locked
    that long.

    Attributes:
        path: its file
        was_there: whether an earlier call left it
        verification_id: the ledger's verification, None if it was not opened yet
        trial: what the suspect answered on unmarked images when this began
        answers: (pair, side, image) → loss (nats; NaN for labels) and whether it is right
        failures: (pair, side, image) → the reason
    """

    def __init__(self, path: Path, lock: BaseFileLock) -> None:
        self.path = path
        self._lock = lock
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self.verification_id: str | None = None
        self.trial: list[Any] | None = None
        self.answers: dict[Place, tuple[float, bool]] = {}
        self.failures: dict[Place, str] = {}
        try:
            self.was_there = self._read()
        except BaseException:
            os.close(self._descriptor)
            raise

    @classmethod
    def open(cls, ledger_path: Path, call: Mapping[str, Any]) -> Journal:
        """Opens the journal of a call, or makes it.

        Args:
            ledger_path: the ledger that it belongs to
            call: what tells this call from others: suspect, protocol, pairs, level; JSON's own types

        Raises:
            LedgerError: if the same call is running, or the journal cannot be read
            OSError: if it cannot be written
        """
        path = journal_path(ledger_path, call)
        lock = FileLock(
            path.with_name(f".{path.name}.lock"), mode=0o600, timeout=0, thread_local=False
        )
        try:
            lock.acquire()
        except Timeout as error:
            raise LedgerError(
                "the same verification is running at this moment; wait for it, or end it first"
            ) from error
        try:
            return cls(path, lock)
        except BaseException:
            lock.release()
            raise

    def begin(self, trial: Sequence[Any]) -> None:
        """Starts it anew, with what the suspect answered on unmarked images."""
        os.ftruncate(self._descriptor, 0)
        self.verification_id, self.answers, self.failures = None, {}, {}
        self.trial = list(trial)
        self._write([{"format": FORMAT, "trial": self.trial}])

    def opened(self, verification_id: str) -> None:
        """Notes the verification that the ledger has opened."""
        self.verification_id = verification_id
        self._write([{"verification": verification_id}])

    def keep(self, places: Sequence[Place], losses: np.ndarray, correct: np.ndarray) -> None:
        """Puts answers on disk; returns when they are there.

        Raises:
            OSError: if they cannot be written
        """
        rows = [
            {
                "pair": pair,
                "twin": side,
                "image": image,
                "loss": None if np.isnan(loss) else float(loss),
                "correct": bool(right),
            }
            for (pair, side, image), loss, right in zip(places, losses, correct, strict=True)
        ]
        self._write(rows)
        self._take(rows)

    def fail(self, failures: Mapping[Place, str]) -> None:
        """Puts failures on disk that are not there yet."""
        rows = [
            {"pair": place[0], "twin": place[1], "image": place[2], "failed": reason}
            for place, reason in failures.items()
            if place not in self.failures
        ]
        if rows:
            self._write(rows)
            self._take(rows)

    def ask_again(self) -> None:
        """Forgets failures, so that the same call asks about these images again; answers stay."""
        self._write([{"asked_again": True}])
        self.failures = {}

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.trial is None:
            self.remove()  # nothing was begun
        self.close()

    def close(self) -> None:
        """Lets go of it; the same call may go on with it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._lock.release()

    def remove(self) -> None:
        """Removes it: what it held is in the ledger and on the dataset."""
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        self.path.unlink(missing_ok=True)
        self._lock.release()

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        written = os.fstat(self._descriptor).st_size
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fsync(self._descriptor)
        except BaseException:
            # No torn line in the middle, should there be a next one
            os.ftruncate(self._descriptor, written)
            raise

    def _read(self) -> bool:
        data = _read_all(self._descriptor)
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.ftruncate(self._descriptor, len(whole))  # killed while writing: never used
        try:
            first, *rows = [json.loads(line) for line in whole.splitlines()] or [{}]
            if not first:
                return False
            if first["format"] != FORMAT:
                raise LedgerError(f"{self.path} has the unknown format {first['format']!r}")
            self.trial = first["trial"]
            for row in rows:
                if "verification" in row:
                    self.verification_id = row["verification"]
            self._take([row for row in rows if "pair" in row or "asked_again" in row])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LedgerError(
                f"{self.path}, the answers of a verification under way, was altered ({error!r}); restore it "
                "from a backup"
            ) from error
        return True

    def _take(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            if "asked_again" in row:
                self.failures = {}
                continue
            place = (int(row["pair"]), str(row["twin"]), int(row["image"]))
            if "failed" in row:
                self.failures[place] = row["failed"]
                continue
            loss = float("nan") if row["loss"] is None else float(row["loss"])
            # The first answer counts
            self.answers.setdefault(place, (loss, bool(row["correct"])))


def begun_elsewhere(own: Path, ledger_path: Path) -> set[str]:
    """The verifications that journals of other calls hold, beside the same ledger."""
    path = ledger_path.resolve()
    found = set()
    for other in path.parent.glob("*.answers"):
        if other.name == own.name or not other.name.startswith(f"{path.name}."):
            continue
        for line in other.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue  # killed while writing
            if isinstance(row, dict) and isinstance(row.get("verification"), str):
                found.add(row["verification"])
    return found


def journal_path(ledger_path: Path, call: Mapping[str, Any]) -> Path:
    """Where the journal of a call lies."""
    text = json.dumps(call, sort_keys=True, ensure_ascii=False)
    # surrogates: a name that the file system gave in another encoding
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    path = ledger_path.resolve()
    return path.with_name(f"{path.name}.{digest}.answers")


def _read_all(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    parts = []
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
    return b"".join(parts)
