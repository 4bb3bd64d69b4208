"""What each way of cleaning a release, or of answering, costs a thief, and what it leaves of the proof.

Kinds of pairs lie in one release (:mod:`benchmarks.thieves_world`, which says what scores are); a cell is one attack
(:mod:`benchmarks.attacks`) on one seed's release: the accuracy that it costs beside the thief who does nothing, the share of
each kind's released twins that it dropped, how well its filter told them from unmarked images, and for each kind and score the effect of a pair (the mean of its
differences over their standard deviation), the exact p, the pairs that α = 0.001 at power 0.9 would take, which fall
with the square of the effect, and, in brackets in the table, the share of verdicts of releases of 40, 100 and 200 pairs whose
coins are drawn again and again. The attack "dp_sgd" takes Opacus (pip install opacus).

    python -m benchmarks.thieves --scale small --seeds 0 1 2 --cells build/thieves
    python -m benchmarks.thieves --join build/thieves --name thieves
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.attacks import ATTACKS
from benchmarks.cells import Benchmark
from benchmarks.paper_table import interval, shown
from benchmarks.thieves_world import KINDS, LEVEL, SCORES, SIZES, Scale, World

ALPHA, POWER = 0.001, 0.9

#: What the table shows
SHOWN = "loss adjusted"

#: What of it the documents show: the default first
DOCUMENTED = (
    "largest out − in, unchanged",
    "hardest, unchanged",
    "hardest, HoneyImages",
    "hardest, the paper's HoneyImages",
    "any, unchanged",
)

SCALES = {
    "smoke": Scale(
        *(240, 160, 60, 3000, 6, 1, "resnet_tiny", "resnet_tiny"), batch_size=64, num_steps=1
    ),
    "small": Scale(1600, 1200, 2000, 14_400, 30, 20, "resnet_tiny", "resnet_tiny"),
    "middle": Scale(8000, 4000, 4000, 30_000, 60, 30, "wrn28_2", "wrn28_2", batch_size=256),
}


def run_cell(world: World, attack: str) -> dict[str, Any]:
    """One attack on one seed; JSON-serialisable."""
    start = time.perf_counter()
    found = world.judge(ATTACKS[attack].steal(world.thief))
    kinds = found["kinds"]
    return {
        "attack": attack,
        "title": ATTACKS[attack].title,
        "seed": world.seed,
        **found,
        "p": {kind: kinds[kind]["loss"]["p"] for kind in KINDS},
        "seconds": time.perf_counter() - start,
    }


def summarise(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By attack: over the seeds the accuracy lost, what was dropped, and of each kind and score what is left."""
    sets = {cell.get("data") for cell in cells}
    if len(sets) > 1:
        raise SystemExit(f"cells of {', '.join(map(str, sets))} do not go into one table")
    by = {(cell["attack"], cell["seed"]): cell for cell in cells}
    needed = (stats.norm.isf(ALPHA) + stats.norm.isf(1 - POWER)) ** 2
    summary = {}
    for attack in [name for name in ATTACKS if any(name == found for found, _ in by)]:
        own = [cell for (name, _), cell in sorted(by.items()) if name == attack]
        entry: dict[str, Any] = {
            "title": own[0]["title"],
            "seeds": [cell["seed"] for cell in own],
            "test_accuracy": interval([cell["test_accuracy"] for cell in own]),
        }
        plain = [by.get(("nothing", cell["seed"])) for cell in own]
        if all(plain):
            entry["accuracy_lost_points"] = interval(
                [
                    100 * (first["test_accuracy"] - cell["test_accuracy"])
                    for first, cell in zip(plain, own, strict=True)
                    if first is not None
                ]
            )
        for kind in KINDS:
            of_kind: dict[str, Any] = {
                "dropped": float(np.mean([cell["dropped"][kind] for cell in own]))
            }
            for score in SCORES:
                found = [cell["kinds"][kind][score] for cell in own]
                effect = interval([one["effect"] for one in found])
                of_kind[score] = {
                    "effect": effect,
                    "pairs_needed": int(np.ceil(needed / effect["mean"] ** 2))
                    if effect["mean"] > 0
                    else None,
                    "p": [one["p"] for one in found],
                    "derived": sum(one["p"] <= LEVEL for one in found),
                    "verdicts": {
                        str(size): float(np.mean([one["verdicts"][str(size)] for one in found]))
                        for size in SIZES
                    }
                    if all("verdicts" in one for one in found)
                    else None,
                }
            if all("auroc" in cell for cell in own):
                of_kind["auroc"] = interval([cell["auroc"][kind] for cell in own])
            entry[kind] = of_kind
        summary[attack] = entry
    return summary


def format_table(summary: Mapping[str, Mapping[str, Any]], columns: Sequence[str] = KINDS) -> str:
    """By :data:`SHOWN`, as a Markdown table: of each kind the pairs needed, the share of verdicts, and what was dropped."""
    lines = [
        f"| attack | accuracy lost, points | {' | '.join(columns)} |",
        "| --- " * (2 + len(columns)) + "|",
    ]
    for attack, entry in summary.items():
        lost = shown(entry["accuracy_lost_points"]) if "accuracy_lost_points" in entry else "–"
        kinds = [_told(entry[kind]) for kind in columns]
        lines.append(f"| {attack} | {' | '.join([lost, *kinds])} |")
    return "\n".join(lines)


def _told(of_kind: Mapping[str, Any]) -> str:
    found = of_kind[SHOWN]
    needed = found["pairs_needed"]
    pairs = "none" if needed is None else f"{needed:,}" if needed < 5000 else "over 5,000"
    told = []
    if found["verdicts"] is not None:
        shares = ", ".join(f"{100 * found['verdicts'][str(size)]:.0f}" for size in SIZES)
        told.append(f"{shares} %")
    if of_kind["dropped"]:
        told.append(f"{of_kind['dropped']:.0%} dropped")
    return f"{pairs} ({'; '.join(told)})" if told else pairs


BENCHMARK = Benchmark(
    name="thieves",
    about=__doc__.splitlines()[0],
    kind="attack",
    kinds=[
        name for name, attack in ATTACKS.items() if all(map(importlib.util.find_spec, attack.needs))
    ],
    scales=SCALES,
    default_scale="smoke",
    world=World,
    run_cell=run_cell,
    summarise=summarise,
    format_table=format_table,
)


if __name__ == "__main__":
    BENCHMARK.main()
