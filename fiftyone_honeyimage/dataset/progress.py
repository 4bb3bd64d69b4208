"""One progress bar with named stages, as FiftyOne shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

import fiftyone as fo
import fiftyone.core.utils as fou

Progress = bool | Callable | None

_UNITS = 1000


class StageBar:
    """Maps the stages of a run onto one FiftyOne progress bar.

    Args:
        stages: stage name → share of the whole run's time, in any unit, in order
        progress (None): whether to render a bar (True/False), the FiftyOne default (None), or a
            callback that gets the bar, as everywhere in FiftyOne; the callback can read the stage
            from ``bar.stage``
        others (None): the stage in whose share every stage goes on that is none of these, such as a method's own

    Use it as a context manager and pass :meth:`report` down.
    """

    def __init__(
        self,
        stages: Mapping[str, float],
        progress: Progress = None,
        others: str | None = None,
    ) -> None:
        self._stages = dict(stages)
        self._others = others
        self._total = sum(self._stages.values()) or 1.0
        # The bar's units are shares of the whole: how many there are, or are done in a second, tells nobody anything
        self._bar = fou.ProgressBar(
            total=_UNITS, progress=progress, show_iteration=False, show_iter_rate=False
        )
        self._bar.stage = ""
        self._reached = 0

    def __enter__(self) -> StageBar:
        self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._bar.stage = "Done"
            self._bar.set_iteration(_UNITS, suffix="Done")
        self._bar.__exit__(kind, error, trace)

    def report(self, stage: str, done: int, total: int) -> None:
        """Called from below as ``report(stage, done, total)``; the bar never moves backwards."""
        names = list(self._stages)
        # Stages that a run finds already finished are never announced: whatever stands before the
        # current one counts as done.
        known = stage if stage in self._stages else self._others or stage
        before = sum(self._stages[name] for name in names[: names.index(known)])
        share = before + self._stages[known] * (done / total if total else 1.0)
        self._reached = max(self._reached, int(_UNITS * share / self._total))
        self._bar.stage = stage
        self._bar.set_iteration(self._reached, suffix=stage)


@contextmanager
def inner_bars_hidden() -> Iterator[None]:
    """Keeps FiftyOne's own bars from drawing over a :class:`StageBar`; their callbacks still run."""
    shown = fo.config.show_progress_bars
    fo.config.show_progress_bars = False
    try:
        yield
    finally:
        fo.config.show_progress_bars = shown
