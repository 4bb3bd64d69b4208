"""The page of :mod:`benchmarks.paper`: tables and plots of every result that lies in ``benchmarks/results/``.

python -m benchmarks.paper_report
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from matplotlib import pyplot as plt

from benchmarks.paper_table import accused, beside_paper, innocent_p
from benchmarks.results_io import RESULTS

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "honeyimage"  # the same figures give the same file

PAGE = RESULTS.parent.parent / "docs" / "paper.html"

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Every method on the same work</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; font-size: 13px; } td, th { border: 1px solid #ccc; padding: 3px 7px; text-align: right; }
td { white-space: nowrap; } td:first-child, th:first-child { text-align: left; } figure { display: inline-block; margin: 1em 1em 1em 0; vertical-align: top; }
code { font-size: 12px; }
</style></head><body>
<h1>Every method on the same work</h1>
<p>Each method marks the same number of images; one suspect is trained on public images and the release, others without it. AUROC, TPR and TNR
are those of the method&rsquo;s published score, image by image, between a suspect that used the release and one that did not; the exact p is this
project&rsquo;s verdict over all pairs. In brackets: what the HoneyImage paper prints, at its larger scale. Intervals are Student&rsquo;s 95 % over seeds.</p>
{% for result in results %}
<h2>{{ result.title }}</h2>
<p>{{ result.setting }}<br><code>{{ result.command }}</code></p>
{% for plot in result.plots %}<figure>{{ plot }}</figure>{% endfor %}
<table><tr>{% for name in result.columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in result.rows %}<tr>{% for value in row %}<td>{{ value }}</td>{% endfor %}</tr>{% endfor %}
</table>
{% endfor %}
</body></html>
"""

_SETS = {"cifar10": "CIFAR-10", "eurosat": "EuroSAT", "ham10000": "HAM10000"}

#: Row → what it is, in the order of the README's table
_WORDS = {
    "honeyimage_smooth": "HoneyImages, as this project makes them",
    "honeyimage": "HoneyImages, as the paper makes them",
    "unperturbed": "hardest images unchanged (twins alone)",
    "random": "random images unchanged",
    "adv": "adversarial examples of hard images",
    "mixup": "mixup of hard images",
    "crop": "crops of hard images",
    "flip": "hard images mirrored",
    "lira_online": "LiRA online, hardest images unchanged",
    "lira_offline": "LiRA offline, likewise",
    "carlini_compat": "LiRA offline as its code has it, likewise",
    "bavaria": "BaVarIA, likewise",
    "model_loss": "Model-loss, likewise",
    "learn_original": "Learn-original, likewise",
    "badnets": "BadNets, 16 secrets of 3 images each",
    "blended": "Blended, likewise",
    "ubw_p": "UBW-P, likewise",
    "ubw_c": "UBW-C, likewise",
    "sscl_bw": "SSCL-BW, likewise",
    "radioactive": "Radioactive data, likewise",
}

_COLUMNS = (
    ("AUROC", "auroc"),
    ("TPR", "tpr"),
    ("TNR", "tnr"),
    ("TPR at 1 %", "tpr_at_0.01"),
    ("TPR at 0.1 %", "tpr_at_0.001"),
    ("right on the release (HL)", "hl"),
    ("alike (STL)", "stl"),
    ("accuracy lost, points (negative: gained)", "accuracy_cost_points"),
    ("seconds", "seconds"),
)


def read_results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Every result of :mod:`benchmarks.paper` in a folder."""
    records = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("paper*.json"))
    ]
    # The benchmark of causes has cells of settings, not of rows
    return [record for record in records if "row" in record["figures"]["cells"][0]]


def page(records: Sequence[Mapping[str, Any]]) -> str:
    """The page, HTML."""
    environment = Environment(autoescape=True)
    results = [
        {**_described(record), "plots": [Markup(plot) for plot in _plots(record)]}
        for record in records
    ]
    return environment.from_string(_TEMPLATE).render(results=results)


def main_table(records: Sequence[Mapping[str, Any]]) -> str:
    """The README's table, Markdown: of every row AUROC and exact p on each data set that was measured at the scale "small"."""
    small = {
        record["figures"]["cells"][0]["data"]: record["figures"]["summary"]
        for record in records
        if record["figures"]["cells"][0]["scale"]["name"] == "small"
    }
    heads = [f"{_SETS[data]}: AUROC | {_SETS[data]}: exact p" for data in small]
    lines = [
        f"| method or score | {' | '.join(heads)} |",
        "| --- " * (1 + 2 * len(small)) + "|",
    ]
    for row, words in _WORDS.items():
        cells = [words]
        for summary in small.values():
            entry = summary[row]
            own = f"{entry['auroc']['mean']:.2f}"
            if "interval" in entry["auroc"]:
                low, high = entry["auroc"]["interval"]
                own = f"{own} ({low:.2f} to {high:.2f})"
            paper = f" [{entry['paper']['auroc']:g}]" if "auroc" in entry["paper"] else ""
            cells += [own + paper, ", ".join(f"{p:.1e}" for p in entry["p"]["infringing"])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _described(record: Mapping[str, Any]) -> dict[str, Any]:
    cell = record["figures"]["cells"][0]
    scale, summary = cell["scale"], record["figures"]["summary"]
    rows = []
    for name, entry in summary.items():
        row = [name, *(beside_paper(entry, figure) for _, figure in _COLUMNS)]
        row.append(", ".join(f"{p:.1e}" for p in entry["p"]["infringing"]))
        row.append(f"{min(innocent_p(entry)):.2g}")
        row.append(accused(entry))
        row.append(f"{entry['queries']:,}")
        rows.append(row)
    seeds = ", ".join(map(str, record["seeds"]))
    return {
        "title": f"{cell['data']}, {scale['name']}",
        "setting": f"{scale['num_public']:,} public and {scale['num_private']:,} private images, {scale['num_test']:,} for tests, "
        f"proxy {scale['proxy']}, suspect {scale['suspect']}, {cell['num_marked']:,} marked images released, {scale['epochs']} epochs in batches of {scale['batch_size']}; seeds "
        f"{seeds}; {record['device']['name']}",
        "command": record["command"],
        "columns": [
            "method or score",
            *(title for title, _ in _COLUMNS),
            "exact p",
            "least p of innocents",
            "innocents accused at 0.001",
            "queries",
        ],
        "rows": rows,
    }


def _plots(record: Mapping[str, Any]) -> list[str]:
    summary = record["figures"]["summary"]
    names = list(summary)[::-1]
    places = np.arange(len(names))

    def intervals(axes: Any, figure: str) -> None:
        for place, name in zip(places, names, strict=True):
            found = summary[name][figure]
            low, high = found.get("interval", [found["mean"]] * 2)
            axes.plot([low, high], [place, place], color="#888", lw=2)
            axes.plot(found["mean"], place, "o", color="#1f77b4")

    def auroc(axes: Any) -> None:
        intervals(axes, "auroc")
        for place, name in zip(places, names, strict=True):
            if paper := summary[name]["paper"].get("auroc"):
                axes.plot(paper, place, "x", color="#d62728")
        axes.axvline(0.5, color="#ccc", lw=1)
        axes.set_xlabel("AUROC, image by image (cross: the paper\u2019s)")

    def exact(axes: Any) -> None:
        for place, name in zip(places, names, strict=True):
            for values, colour in (
                (innocent_p(summary[name]), "#888"),
                (summary[name]["p"]["infringing"], "#d62728"),
            ):
                axes.plot(-np.log10(values), [place] * len(values), "o", color=colour, ms=4)
        axes.axvline(3, color="#ccc", lw=1)
        axes.set_xlabel("\u2212log10 of p (red: used the release; line: 0.001)")

    def cost(axes: Any) -> None:
        intervals(axes, "accuracy_cost_points")
        axes.axvline(0, color="#ccc", lw=1)
        axes.set_xlabel("test accuracy that the release costs, points")

    return [_drawn(draw, places, names) for draw in (auroc, exact, cost)]


def _drawn(draw: Any, places: np.ndarray, names: Sequence[str]) -> str:
    figure, axes = plt.subplots(figsize=(5.2, 0.8 + 0.28 * len(names)))
    draw(axes)
    axes.set_yticks(places, names)
    figure.tight_layout()
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    plt.close(figure)
    return text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    records = read_results(args.results)
    args.page.write_text(page(records), encoding="utf-8")
    print(f"{main_table(records)}\n\n{args.page} was written")


if __name__ == "__main__":
    main()
