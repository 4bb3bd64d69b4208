"""The table of :mod:`benchmarks.paper`: means over seeds with intervals, beside what the HoneyImage paper prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

#: AUROC that the paper prints (its Table 2, at its scale: all images, 150 epochs), by data set and row
PAPER_AUROC: dict[str, dict[str, float]] = {
    "cifar10": {
        "honeyimage": 0.988,
        "badnets": 0.996,
        "ubw_p": 0.853,
        "blended": 0.506,
        "learn_original": 0.571,
        "model_loss": 0.581,
        "lira_online": 0.627,
    },
    "eurosat": {"honeyimage": 0.965},
    "ham10000": {"honeyimage": 0.887, "mixup": 0.73},
}


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
        entry["queries"] = found[0]["queries"]
        entry["seconds"] = interval([cell.get("seconds", np.nan) for cell in found])
        entry["seeds"] = [cell["seed"] for cell in found]
        entry["paper_auroc"] = PAPER_AUROC.get(found[0].get("data", "cifar10"), {}).get(row)
        summary[row] = entry
    return summary


def format_table(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """The summary as a Markdown table."""
    lines = [
        "| row | AUROC (95 % over seeds) | paper | TPR | TNR | TPR at 1 % | HL | STL | accuracy lost, points | "
        "exact p, infringing | exact p, innocent | queries |",
        "| --- " * 12 + "|",
    ]
    for row, entry in summary.items():
        innocent = [p for who, values in entry["p"].items() if who != "infringing" for p in values]
        lines.append(
            "| "
            + " | ".join(
                [
                    row,
                    shown(entry["auroc"]),
                    str(entry["paper_auroc"] or "–"),
                    shown(entry["tpr"]),
                    shown(entry["tnr"]),
                    shown(entry["tpr_at_0.01"]),
                    shown(entry["hl"]),
                    shown(entry["stl"]) if "stl" in entry else "–",
                    shown(entry["accuracy_cost_points"]),
                    ", ".join(f"{p:.1e}" for p in entry["p"]["infringing"]),
                    f"least {min(innocent):.2g} of {len(innocent)}",
                    f"{entry['queries']:,}",
                ]
            )
            + " |"
        )
    return "\n".join(lines)


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
