"""Histograms of losses and of loss gaps: plain values in, traces out.

No FiftyOne and no panel here, so that every figure can be tested alone. A bar's id tells its kind and
its number; what it holds is found again from the same values.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from .plot_style import GREY, LEGEND, ORANGE, TRANSPARENT, Trace
from .verification_figures import MIN_LOSS, Pair, needs_logarithm, usable

_NUM_BINS = 20


def histogram_traces(pairs: Sequence[Pair]) -> list[Trace]:
    """How many released and how many withheld twins have a loss in each bin.

    The bars' ids are ``bin:<role>:<number>``; :func:`bar_pairs` finds their pairs.
    """
    edges, bins = _loss_bins(pairs)
    return [
        _bars(
            f"{role} twins",
            edges,
            [len(members) for members in bins[role]],
            f"bin:{role}",
            color,
            f"%{{y}} {role} twins with a loss of %{{text}}",
        )
        for role, color in (("released", ORANGE), ("withheld", GREY))
    ]


def histogram_layout(pairs: Sequence[Pair], unit: str = "nats") -> dict[str, Any]:
    """The layout of :func:`histogram_traces`."""
    edges, _ = _loss_bins(pairs)
    return _layout(f"loss, {unit}", edges, {"title": {"text": "twins"}})


def bar_pairs(point: str, pairs: Sequence[Pair]) -> list[int]:
    """The numbers of the pairs that a clicked bar of :func:`histogram_traces` holds."""
    role, number = _parse(point, "bin", ("released", "withheld"))
    shown = usable(pairs)
    if role is None or not shown or any(pair[f"{role}_loss"] is None for pair in shown):
        return []
    bins = _loss_bins(pairs)[1][role]
    return [int(shown[i]["pair"]) for i in bins[number]] if number < len(bins) else []


def gap_traces(honey_gaps: Sequence[float], random_gaps: Sequence[float]) -> list[Trace]:
    """The loss gaps of released HoneyImages and of random unmarked images, as shares of each.

    The bars' ids are ``gap:honey:<number>`` and ``gap:random:<number>``; :func:`gap_members` finds
    what they hold.
    """
    edges = bin_edges([*honey_gaps, *random_gaps])
    return [
        _bars(
            f"{name} ({len(gaps):,})",
            edges,
            [len(members) / max(len(gaps), 1) for members in binned(gaps, edges)],
            f"gap:{kind}",
            color,
            f"%{{y:.0%}} of {name}: %{{text}}",
        )
        for kind, name, gaps, color in (
            ("honey", "HoneyImages", honey_gaps, ORANGE),
            ("random", "random unmarked images", random_gaps, GREY),
        )
    ]


def gap_layout(honey_gaps: Sequence[float], random_gaps: Sequence[float]) -> dict[str, Any]:
    """The layout of :func:`gap_traces`."""
    title = "loss gap (loss of the proxy less loss of the suspect), nats"
    edges = bin_edges([*honey_gaps, *random_gaps])
    return _layout(title, edges, {"title": {"text": "share of images"}, "tickformat": ".0%"})


def gap_members(
    point: str, honey_gaps: Sequence[float], random_gaps: Sequence[float]
) -> tuple[str, list[int]] | None:
    """What a clicked bar of the gap plot holds: "honey" or "random", and positions in the gaps."""
    kind, number = _parse(point, "gap", ("honey", "random"))
    if kind is None:
        return None
    members = binned(
        honey_gaps if kind == "honey" else random_gaps, bin_edges([*honey_gaps, *random_gaps])
    )
    return (kind, members[number]) if number < len(members) else None


def bin_edges(values: Sequence[float], logarithmic: bool = False) -> list[float]:
    """Edges of bins of equal width, on a logarithmic scale if asked for, that hold all values."""
    low, high = min(values), max(values)
    if logarithmic:
        low, high = math.log10(max(low, MIN_LOSS)), math.log10(max(high, MIN_LOSS))
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    width = (high - low) / _NUM_BINS
    edges = [low + width * number for number in range(_NUM_BINS + 1)]
    return [10**edge for edge in edges] if logarithmic else edges


def binned(values: Sequence[float], edges: Sequence[float]) -> list[list[int]]:
    """The positions of the values in each bin; a value beyond the edges is in the nearest bin."""
    found: list[list[int]] = [[] for _ in range(len(edges) - 1)]
    for position, value in enumerate(values):
        number = min(max(bisect_right(edges, value) - 1, 0), len(found) - 1)
        found[number].append(position)
    return found


def _loss_bins(pairs: Sequence[Pair]) -> tuple[list[float], dict[str, list[list[int]]]]:
    """Edges over all losses, and role → positions among the usable pairs in each bin."""
    shown = usable(pairs)
    losses = {
        role: [float(pair[f"{role}_loss"]) for pair in shown] for role in ("released", "withheld")
    }
    edges = bin_edges([*losses["released"], *losses["withheld"]], needs_logarithm(pairs))
    return edges, {role: binned(values, edges) for role, values in losses.items()}


def _bars(
    name: str, edges: Sequence[float], heights: Sequence[float], ids: str, color: str, hover: str
) -> Trace:
    """Bars that stand one beside the other, one a bin."""
    numbers = range(len(edges) - 1)
    return {
        "type": "bar",
        "name": name,
        "x": [number + 0.5 for number in numbers],
        "y": list(heights),
        "ids": [f"{ids}:{number}" for number in numbers],
        "text": [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)],
        "textposition": "none",
        "marker": {"color": color},
        "opacity": 0.75,
        "hovertemplate": f"{hover}<extra></extra>",
    }


def _layout(title: str, edges: Sequence[float], y_axis: dict[str, Any]) -> dict[str, Any]:
    """Of two kinds of bars, with ticks at every fifth edge."""
    numbers = list(range(0, len(edges), 5))
    x_axis = {
        "title": {"text": title},
        "tickvals": numbers,
        "ticktext": [f"{edges[number]:.2g}" for number in numbers],
        "range": [0, len(edges) - 1],
    }
    return {
        "barmode": "group",
        "bargap": 0.05,
        "xaxis": x_axis,
        "yaxis": y_axis,
        "showlegend": True,
        "legend": LEGEND,
        **TRANSPARENT,
        "margin": {"t": 40, "r": 16, "b": 64, "l": 56},
        "clickmode": "event",
    }


def _parse(point: str, prefix: str, kinds: Sequence[str]) -> tuple[str | None, int]:
    """The kind and number of a bar's id."""
    parts = point.split(":")
    if len(parts) != 3 or parts[0] != prefix or parts[1] not in kinds or not parts[2].isdigit():
        return None, 0
    return parts[1], int(parts[2])
