"""Runs calls of the SDK that kill themselves at a given point. Started by the fixture ``worker``.

Reads one JSON object a line: ``function`` and ``arguments`` of the SDK, the ``dataset``'s name, and where to
end: ``stage`` of the progress bar, or ``before`` or ``after`` a ``"module:name"``, at the ``nth`` time.
Answers with the exit status of each. Every call has a process of its own, which is a fork, because importing
FiftyOne takes seconds.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import sys
import traceback
from typing import Any

import fiftyone as fo

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.pipeline import crafting
from fiftyone_honeyimage.dataset.release import export as release  # noqa: F401


def run(order: dict[str, Any]) -> None:
    """Makes the call; does not return if the point is reached."""
    calls = iter(range(1, 1_000_000))

    def end() -> None:
        if next(calls) == order.get("nth", 1):
            os.kill(os.getpid(), signal.SIGKILL)

    def progress(bar: Any) -> None:
        if bar.stage == order["stage"]:
            end()

    for when in ("before", "after"):
        if when in order:
            module, _, name = order[when].partition(":")
            owner: Any = importlib.import_module(module)
            *path, name = name.split(".")
            for part in path:
                owner = getattr(owner, part)
            setattr(owner, name, ending(getattr(owner, name), end, when))

    crafting._load_lpips = lambda file: (None, "not asked for")
    arguments = dict(order["arguments"])
    if "dataset_type" in arguments:
        arguments["dataset_type"] = getattr(fo.types, arguments["dataset_type"])
    if order["function"] in ("compute_hardness", "generate_honeyimages", "export_release"):
        arguments["progress"] = progress if "stage" in order else False
    getattr(fhi, order["function"])(fo.load_dataset(order["dataset"]), **arguments)


def ending(function: Any, end: Any, when: str) -> Any:
    """The function, with the end before or after it."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            end()
        result = function(*args, **kwargs)
        if when == "after":
            end()
        return result

    return call


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print("ready", file=answers)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                run(json.loads(line))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers)


if __name__ == "__main__":
    main()
