"""What the protection panel shows of a hardness run: plain values in, Markdown and traces out.

No FiftyOne and no panel here, so that every figure can be tested alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .plot_style import GREY, LEGEND, Trace

#: Bars of the hardness histogram. What is sent depends on this and :data:`MAX_CLASSES` alone.
NUM_BINS = 30
#: Classes with a colour of their own; the others share one.
MAX_CLASSES = 8

OTHER = "other classes"

# Okabe and Ito's colours, told apart by everyone; readable on light and dark
_COLORS = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#0072b2",
    "#b8a800",
    "#8c6bb1",
)
_MARGIN = {"t": 16, "r": 16, "b": 64, "l": 64}


def bin_width(low: float, high: float) -> float:
    """The width of a bar when hardness lies between ``low`` and ``high``."""
    return (high - low) / NUM_BINS or 1.0


def shown_classes(counts: Mapping[tuple[str, int], int]) -> list[str]:
    """The largest classes, which get a colour of their own, in order of their names."""
    totals: dict[str, int] = {}
    for (label, _), count in counts.items():
        totals[label] = totals.get(label, 0) + count
    largest = sorted(totals, key=lambda label: (-totals[label], label))[:MAX_CLASSES]
    return sorted(largest)


def histogram_traces(counts: Mapping[tuple[str, int], int], low: float, high: float) -> list[Trace]:
    """Hardness by class, as stacked bars.

    Args:
        counts: (class, number of the bar) → images
        low, high: the smallest and the largest hardness, nats

    Returns:
        a trace for each shown class, and one for the others; a bar's id is read by :func:`parse_bar`
    """
    shown = shown_classes(counts)
    names = list(shown)
    rows = {name: [0] * NUM_BINS for name in shown}
    for (label, number), count in counts.items():
        name = label if label in rows else OTHER
        if name not in rows:
            rows[name] = [0] * NUM_BINS
            names.append(name)
        rows[name][number] += count

    width = bin_width(low, high)
    starts = [low + number * width for number in range(NUM_BINS)]
    traces = []
    for position, name in enumerate(names):
        other = position >= len(shown)
        bars = [number for number in range(NUM_BINS) if rows[name][number]]
        traces.append(
            {
                "type": "bar",
                "name": name,
                "x": [starts[number] + width / 2 for number in bars],
                "y": [rows[name][number] for number in bars],
                "width": [width] * len(bars),
                # The class by position: a class may be called anything
                "ids": [f"{number}/{'other' if other else position}" for number in bars],
                "text": [
                    f"{name}<br>hardness {starts[number]:.2f} to {starts[number] + width:.2f} nats"
                    for number in bars
                ],
                "textposition": "none",
                "marker": {"color": GREY if other else _COLORS[position]},
                "hovertemplate": "%{y:,} images of %{text}<extra></extra>",
            }
        )
    return traces


def histogram_layout(num_traces: int) -> dict[str, Any]:
    """The layout of :func:`histogram_traces`."""
    # Three names a row, as beside the grid; above the plot, or they would hide its highest bar
    legend_rows = -(-num_traces // 3) if num_traces > 1 else 0
    return {
        "barmode": "stack",
        "bargap": 0,
        "showlegend": num_traces > 1,
        "legend": {**LEGEND, "traceorder": "normal"},
        "xaxis": {"title": {"text": "hardness, nats", "standoff": 8}},
        "yaxis": {"title": {"text": "images"}},
        "margin": {**_MARGIN, "t": 16 + 22 * legend_rows},
        "clickmode": "event",
        # Dragging marks a range of hardness
        "dragmode": "select",
        "selectdirection": "h",
    }


def parse_bar(bar: Any) -> tuple[int, int | None] | None:
    """A bar's id as (number of the bar, position of its class or None for the others).

    Returns:
        None if it is no bar's id
    """
    number, _, position = str(bar).partition("/")
    if not number.isdigit() or int(number) >= NUM_BINS:
        return None
    if position == "other":
        return int(number), None
    return (int(number), int(position)) if position.isdigit() else None


def hardness_rows(results: Mapping[str, Any], config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a hardness run found."""
    skipped = results["num_skipped"]
    images = f"{results['num_images']:,}"
    if skipped:
        images += f", and {skipped:,} that could not be read"
    return [
        ("images scored", images),
        (
            "out-of-fold accuracy",
            f"{results['accuracy']:.1%} of the two proxies, on unseen images; guessing the largest class: "
            f"{results['chance']:.1%}",
        ),
        ("mean hardness", f"{results['mean']:.3f} nats"),
        (
            "proxy",
            f"{config['proxy']}, {config['training']['epochs']} epochs, on `{config['label_field']}`",
        ),
    ]


def label_error_text(total: int, hardest: int, num_hardest: int) -> str:
    """How many labels look wrong, and how many of them are among the hardest images."""
    if not total:
        return "**No label looks wrong.**"
    noun = "label looks" if total == 1 else "labels look"
    return (
        f"**{total:,} {noun} wrong**, {hardest:,} of them among the {num_hardest:,} hardest images "
        "(the hardest tenth). Check them first: a HoneyImage with a wrong label is found by anyone "
        "who cleans the release. *Generate HoneyImages* leaves them out if it is asked to."
    )
