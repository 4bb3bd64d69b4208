"""What each of a thief's ways leaves, from the figures of :mod:`benchmarks.thieves`: the numbers of ``core/pipeline/thieves.py``.

A twin that was dropped tells nothing. Of the others a weaker model leaves less: the mean of pairs' differences over their
root mean square, which falls as the share of the pairs falls whose sign still tells anything. How much less, beside what was
dropped, is taken over all kinds of pairs together, as each alone has few.

    python -m benchmarks.thief_table
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fiftyone_honeyimage.core.pipeline.thieves import THIEVES

RESULTS = Path(__file__).with_name("results") / "thieves_cpu.json"

#: Kinds of pairs of the benchmark whose shares dropped stand for the hardest images, and for others
HARDEST = ("hardest, unchanged", "largest out − in, unchanged")
OTHERS = ("any, unchanged",)

#: What the pilot of a plan plays with
SCORE = "loss"


def derive(summary: Mapping[str, Mapping[str, Any]], attack: str) -> tuple[float, float, float]:
    """What an attack leaves: the shares kept of the hardest and of other images, and the factor on the effect, 0 to 1.

    Args:
        summary: ``figures.summary`` of the benchmark's JSON
        attack: its name there
    """
    plain, own = summary["nothing"], summary[attack]
    kinds = [kind for kind, found in plain.items() if "dropped" in found]

    def kept(names: tuple[str, ...]) -> float:
        return 1 - sum(own[name]["dropped"] for name in names) / len(names)

    expected = sum((1 - own[kind]["dropped"]) * _told(plain[kind]) for kind in kinds)
    left = sum(_told(own[kind]) for kind in kinds) / expected
    return round(kept(HARDEST), 2), round(kept(OTHERS), 2), round(min(1.0, max(0.0, left)), 2)


def _told(found: Mapping[str, Any]) -> float:
    """The mean over the root mean square, from the mean over the standard deviation."""
    effect = found[SCORE]["effect"]["mean"]
    return effect / math.sqrt(1 + effect**2)


def read_summary(path: Path = RESULTS) -> dict[str, Any]:
    """``figures.summary`` of a file of results."""
    return json.loads(path.read_text(encoding="utf-8"))["figures"]["summary"]


def main() -> None:
    """Prints the lines of the table as they should be."""
    summary = read_summary()
    for thief in THIEVES.values():
        if thief.attack is None:
            continue
        numbers = ", ".join(f"{number:g}" for number in derive(summary, thief.attack))
        print(f'Thief("{thief.name}", "{thief.title}", {numbers}, "{thief.attack}"),')


if __name__ == "__main__":
    main()
