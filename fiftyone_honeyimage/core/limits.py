"""The numbers, switches, texts and paths that a run accepts: one place for the SDK and for the forms.

A form shows what these checks raise, so the SDK refuses the same values in the same words. The upper
limits are far above any use; they are there for slips of the finger that would fail after hours, or
never end.
"""

from __future__ import annotations

import math
import numbers
import os
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ParameterError

#: What the file systems in use allow, bytes
_MAX_NAME = 255
_MAX_PATH = 4096


@dataclass(frozen=True)
class Whole:
    """Whole numbers in a range.

    Attributes:
        least, most: the first and the last one
    """

    least: int
    most: float = math.inf

    def check(self, name: str, value: Any) -> int:
        """The value as Python's own type, which JSON can hold.

        Raises:
            ParameterError: if it is none of these numbers
        """
        if isinstance(value, numbers.Integral) and not isinstance(value, bool):
            number = int(value)
            if self.least <= number <= self.most:
                return number
        raise ParameterError(f"{name} must be {self.accepted}; found {shown(value)}")

    @property
    def accepted(self) -> str:
        """These numbers in words; so of the other kinds."""
        if self.most < math.inf:
            return f"an integer from {self.least} to {self.most}"
        return f"an integer of at least {self.least}"


@dataclass(frozen=True)
class Real:
    """Numbers in a range, with its ends unless it is said otherwise.

    Attributes:
        least, most: its ends
        without_least, without_most (False): whether an end is left out
        note (""): what the error says of the range
    """

    least: float
    most: float
    without_least: bool = False
    without_most: bool = False
    note: str = ""

    def check(self, name: str, value: Any) -> float:
        """The value as Python's own type, which JSON can hold.

        Raises:
            ParameterError: if it is none of these numbers; NaN never is
        """
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            number: Any = value  # compared exactly, whatever its size
            low = number > self.least if self.without_least else number >= self.least
            high = number < self.most if self.without_most else number <= self.most
            if low and high:
                return int(number) if isinstance(number, numbers.Integral) else float(number)
        raise ParameterError(f"{name} must be {self.accepted}; found {shown(value)}")

    @property
    def accepted(self) -> str:
        low_end = f"above {self.least}" if self.without_least else f"at least {self.least}"
        high_end = f"below {self.most}" if self.without_most else f"at most {self.most}"
        if self.without_least or self.without_most:
            return f"a number {low_end} and {high_end}{self.note}"
        return f"between {self.least} and {self.most}{self.note}"


@dataclass(frozen=True)
class Choice:
    """One of some names, each with what it means.

    Attributes:
        meanings: name → what it means, in a form's words
    """

    meanings: Mapping[str, str]

    def check(self, name: str, value: Any) -> str:
        """The name.

        Raises:
            ParameterError: if it is none of them
        """
        return check_choice(name, value, self.meanings)

    @property
    def accepted(self) -> str:
        return " or ".join(f'"{name}" ({told.rstrip(".")})' for name, told in self.meanings.items())


@dataclass(frozen=True)
class Flag:
    """A switch."""

    accepted = "True or False"

    def check(self, name: str, value: Any) -> bool:
        """The switch.

        Raises:
            ParameterError: if it is neither True nor False
        """
        return check_flag(name, value)


#: Passes over the images in a training
EPOCHS = Whole(1, 10_000)
#: Images a training step: batch norm has no statistics for a single one
TRAINING_BATCH = Whole(2, 65_536)
#: Peak learning rate
LEARNING_RATE = Real(0, 10, without_least=True)
#: Nesterov momentum, and the mass that label smoothing spreads
SHARE = Real(0, 1, without_most=True)
#: L2 decay
WEIGHT_DECAY = Real(0, 1, without_most=True)
#: Side of a proxy's input, pixels
PROXY_SIZE = Whole(8, 512)
#: Pixels around an image before it is cropped
CROP_PADDING = Whole(0, 512)
#: Seeds; the largest that NumPy, scikit-learn and a database's 64-bit numbers all take
SEED = Whole(0, 2**32 - 1)
#: Largest change of any value, 0 to 255
EPSILON = Real(1, 64, note=" in 0–255 units (the paper uses 4)")
#: Rounds of the ascent
NUM_STEPS = Whole(1, 1000)
#: Standard deviation of the Gaussian that smooths marks, pixels
SMOOTHING = Real(0, 16, note=" pixels (0 gives the paper's marks)")
#: Candidates that are also crafted at other budgets
TRADE_OFF = Whole(0, 10_000)
#: Reference models of a marking
NUM_REFERENCES = Whole(0, 1024)
#: Side of a suspect's input, pixels
SUSPECT_SIZE = Whole(1, 4096)
#: Images a query
QUERY_BATCH = Whole(1, 4096)
#: Random unmarked images that a suspect is asked about
NUM_RANDOM = Whole(0, 100_000)


def check_flag(name: str, value: Any) -> bool:
    """A switch.

    Raises:
        ParameterError: if it is neither True nor False
    """
    if not isinstance(value, bool):
        raise ParameterError(f"{name} must be True or False; found {shown(value)}")
    return value


def check_choice(name: str, value: Any, choices: Any) -> str:
    """One of some names.

    Raises:
        ParameterError: if it is none of them
    """
    if not isinstance(value, str) or value not in choices:
        *others, last = (repr(choice) for choice in choices)
        known = f"{', '.join(others)} or {last}" if others else last
        raise ParameterError(f"{name} must be {known}; found {shown(value)}")
    return value


def check_text(name: str, value: Any) -> str:
    """Text that a database and a file can hold.

    Raises:
        ParameterError: if it is no text, or holds half a character
    """
    if not isinstance(value, str):
        raise ParameterError(f"{name} must be text; found {shown(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ParameterError(
            f"{name} holds what is no character; found {shown(value)}. Type it anew"
        ) from error
    return value


def check_path(name: str, value: Any) -> Path:
    """A path as a person writes it, ``~`` and all, made absolute. Whether it exists is not looked at.

    Raises:
        ParameterError: if no file or folder can have it
    """
    if not isinstance(value, (str, os.PathLike)) or not str(value).strip():
        raise ParameterError(f"{name} must be a path; found {shown(value)}")
    text = os.fspath(value)
    if not isinstance(text, str) or "\0" in text:
        raise ParameterError(f"{name} must be a path; found {shown(value)}")
    try:
        encoded = os.fsencode(text)
        path = Path(text).expanduser().absolute()
    except UnicodeEncodeError as error:
        raise ParameterError(
            f"{name} holds what this system's file names cannot; found {shown(value)}"
        ) from error
    except RuntimeError as error:  # ~nobody
        raise ParameterError(
            f"{name} {shown(value)} begins with the home folder of somebody who is not known here; "
            "write the whole path, or './~...' for a name that begins with '~'"
        ) from error
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > _MAX_NAME or len(encoded) > _MAX_PATH:
        raise ParameterError(
            f"{name} is too long for a file system: a name may have {_MAX_NAME} bytes and a path "
            f"{_MAX_PATH}; found {shown(value)}"
        )
    return path


def shown(value: Any) -> str:
    """A value as an error shows it, whatever it is: never longer than a line."""
    if isinstance(value, str):
        return repr(value) if len(value) <= 100 else f"{value[:80]!r}… ({len(value):,} characters)"
    if isinstance(value, os.PathLike):
        return shown(os.fspath(value))
    return reprlib.repr(value)
