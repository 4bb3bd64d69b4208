"""The table of :mod:`benchmarks.paper`: means over seeds with intervals, beside what the HoneyImage paper prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

#: Figures that the paper prints at its scale (all images, 150 epochs), as far as we know them, by data set (its ISIC is
#: HAM10000), row and figure. Its STL of HoneyImages is "at least 0.996" on all four sets
PAPER: dict[str, dict[str, dict[str, float]]] = {
    "cifar10": {
        "honeyimage": {"auroc": 0.988, "hl": 0.749, "stl": 0.996},
        "badnets": {"auroc": 0.996},
        "ubw_p": {"auroc": 0.853},
        "blended": {"auroc": 0.506},
        "learn_original": {"auroc": 0.571},
        "model_loss": {"auroc": 0.581},
        "lira_online": {"auroc": 0.627},
    },
    "eurosat": {"honeyimage": {"auroc": 0.965, "stl": 0.996}},
    "organmnist": {"honeyimage": {"auroc": 0.913, "stl": 0.996}},
    "ham10000": {
        "honeyimage": {"auroc": 0.887, "stl": 0.996},
        "honeyimage epsilon=1": {"auroc": 0.856},
        "honeyimage epsilon=7": {"auroc": 0.919},
        "learn_original": {"auroc": 0.641},
        "model_loss": {"auroc": 0.679},
        "lira_online": {"auroc": 0.658},
        "mixup": {"auroc": 0.73},
        "crop": {"hl": 1.0, "stl": 0.18},
    },
}


#: The level at which innocents are counted as accused
ALPHA = 0.001


def summarise(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By row: mean and 95 % interval over seeds of every figure, and every p-value."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for cell in cells:
        rows.setdefault(cell["row"], []).append(cell)
        for name, own in cell.get("membership", {}).items():
            p = {who: own[f"p_{who}"] for who in ("infringing", "innocent")}
            figures = {k: v for k, v in own.items() if not k.startswith("p_")}
            variant = cell["row"].removeprefix("unperturbed")
            rows.setdefault(f"{name}{variant}", []).append({**cell, "published": figures, "p": p})
    summary = {}
    for row, found in rows.items():
        names = list(found[0]["published"])
        entry: dict[str, Any] = {
            name: interval([cell["published"][name] for cell in found]) for name in names
        }
        entry["hl"] = interval([cell["hl"] for cell in found])
        if all(cell["stl"] is not None for cell in found):
            entry["stl"] = interval([cell["stl"] for cell in found])
        entry["accuracy_cost_points"] = interval(
            [
                100 * (cell["test_accuracy_unprotected"] - cell["test_accuracy_infringing"])
                for cell in found
            ]
        )
        entry["p"] = {who: [cell["p"][who] for cell in found] for who in found[0]["p"]}
        innocent = innocent_p(entry)
        entry["false_accusations"] = [sum(p <= ALPHA for p in innocent), len(innocent)]
        entry["queries"] = found[0]["queries"]
        entry["seconds"] = interval([cell.get("seconds", np.nan) for cell in found])
        entry["seeds"] = [cell["seed"] for cell in found]
        entry["paper"] = PAPER.get(found[0]["data"], {}).get(row, {})
        summary[row] = entry
    return summary


def format_table(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """The summary as a Markdown table."""
    lines = [
        "| row | AUROC (95 % over seeds) [the paper's, at its larger scale] | TPR | TNR | TPR at 1 % | TPR at 0.1 % | right on the release (HL) | alike (STL) | accuracy lost, points (negative: gained) | "
        "exact p, infringing | exact p of innocents; accused at 0.001 | queries | seconds |",
        "| --- " * 13 + "|",
    ]
    for row, entry in summary.items():
        lines.append(
            "| "
            + " | ".join(
                [
                    row,
                    *(
                        beside_paper(entry, name)
                        for name in (
                            *("auroc", "tpr", "tnr", "tpr_at_0.01", "tpr_at_0.001"),
                            *("hl", "stl", "accuracy_cost_points"),
                        )
                    ),
                    ", ".join(f"{p:.1e}" for p in entry["p"]["infringing"]),
                    f"least {min(innocent_p(entry)):.2g}; {accused(entry)}",
                    f"{entry['queries']:,}",
                    f"{entry['seconds']['mean']:.0f}",
                ]
            )
            + " |"
        )
    return "\n".join(lines)


def innocent_p(entry: Mapping[str, Any]) -> list[float]:
    """Of a row: the exact p of every suspect that used no release."""
    return [p for who, values in entry["p"].items() if who != "infringing" for p in values]


def accused(entry: Mapping[str, Any]) -> str:
    """Of a row: how many of these were accused."""
    number, of = entry["false_accusations"]
    return f"{number} of {of}"


def interval(values: Sequence[float]) -> dict[str, Any]:
    """Mean and, from two seeds on, Student's 95 % interval."""
    array = np.asarray(values, np.float64)
    found: dict[str, Any] = {"mean": float(array.mean())}
    if array.size > 1:
        half = float(stats.t.ppf(0.975, array.size - 1) * stats.sem(array))
        found["interval"] = [found["mean"] - half, found["mean"] + half]
    return found


def shown(found: Mapping[str, Any]) -> str:
    if "interval" not in found:
        return f"{found['mean']:.3f}"
    low, high = found["interval"]
    return f"{found['mean']:.3f} ({low:.3f} to {high:.3f})"


def beside_paper(entry: Mapping[str, Any], figure: str) -> str:
    """A figure of a row, and in brackets what the paper prints; a dash where neither is known."""
    own = shown(entry[figure]) if figure in entry else "–"
    return f"{own} [{entry['paper'][figure]:g}]" if figure in entry["paper"] else own
