"""What every function of the SDK does beside its own work."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from .core.errors import DatabaseError

P = ParamSpec("P")
R = TypeVar("R")

_MAX_LETTERS = 200


def public(function: Callable[P, R]) -> Callable[P, R]:
    """A function of the SDK: it clears what killed runs left, and explains errors of the database."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with database_errors_explained():
            from .dataset.running import clear_leftovers

            clear_leftovers()
            return function(*args, **kwargs)

    return call


@contextmanager
def database_errors_explained() -> Iterator[None]:
    """Says what to do where the database died in the middle, instead of the driver's topology.

    Raises:
        DatabaseError: in place of an error of the driver or of FiftyOne's documents
    """
    from mongoengine.errors import DoesNotExist
    from pymongo.errors import ConnectionFailure, PyMongoError

    try:
        yield
    except ConnectionFailure as error:
        raise DatabaseError(
            f"FiftyOne's database does not answer any more ({type(error).__name__}). Start it again, or see "
            "that it can be reached, and make the same call again: an interrupted marking goes on where it "
            "stopped, and a release appears whole or not at all"
        ) from error
    except PyMongoError as error:
        raise DatabaseError(
            f"FiftyOne's database refused what it was asked: {_first_words(error)}. See whether its disk is "
            "full and what its log says, and make the same call again"
        ) from error
    except DoesNotExist as error:
        raise DatabaseError(
            f"something of the dataset was deleted while it was used ({_first_words(error)}); reload the "
            "dataset, and make the same call again"
        ) from error


def _first_words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _MAX_LETTERS else f"{text[:_MAX_LETTERS]}…"
