"""How long work reports its progress, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable

#: ``report(stage, done, total)``: the stage's name, units done so far, units in all.
Report = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """The report that nobody listens to."""
