"""What the protection panel shows of a marking: plain values in, Markdown and traces out.

No FiftyOne and no panel here, so that every figure can be tested alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..app.words import plan_rows
from ..core.methods import method_words
from .plot_style import GREY, LEGEND, ORANGE, Trace

#: Points of the visibility plot: a plot of more is no clearer, and slow to send.
MAX_POINTS = 2000

_CURVE_COLOR = "#56b4e9"
_MARGIN = {"t": 16, "r": 16, "b": 64, "l": 64}

_TRANSFORMS = {
    "none": "nothing: the file as it is",
    "jpeg75": "JPEG of quality 75",
    "jpeg50": "JPEG of quality 50",
    "resize75": "resizing to 75 % and back",
    "median3": "a 3×3 median filter",
    "crop_flip": "random crop and flip",
}

#: Measures of visibility: label, form
_MEASURES = {
    "linf": ("L∞, 0 to 255", "{:.3g}"),
    "psnr": ("PSNR, dB", "{:.1f}"),
    "ssim": ("SSIM", "{:.4f}"),
    "worst_window": ("SSIM, most visible spot", "{:.4f}"),
    "lpips": ("LPIPS", "{:.4f}"),
}


def marking_rows(config: Mapping[str, Any], results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a marking consists of."""
    pairs = config["num_pairs"]
    images = config["num_honeyimages"]
    candidates = len(results["images"])
    rows = [
        ("candidates", f"**{candidates:,}**: each became a HoneyImage"),
        ("HoneyImages in a release", f"**{images:,}**"),
        (
            "pairs of twins",
            f"**{pairs:,}**, so that {candidates - images:,} images are withheld from a release"
            if pairs
            else "**0**: no verdict can rest on this marking",
        ),
        ("left out of the choice", excluded_text(results.get("excluded") or {})),
        ("method", method_words(config["marking_method"], config)),
    ]
    gap = loss_gap_text(results.get("metrics") or {})
    if gap is not None:
        rows.append(("mean loss of the proxies", gap))
    if pairs:
        rows += plan_rows(config)
    rows.append(("commitment", commitment_text(config["commitment"])))
    if config.get("timestamp") is not None:
        rows.append(("time (UTC)", f"{config['timestamp']:%Y-%m-%d %H:%M}"))
    return rows


def commitment_text(commitment: str) -> str:
    """A commitment in two halves, which fit into a narrow panel."""
    half = len(commitment) // 2
    return f"`{commitment[:half]}` `{commitment[half:]}`"


def excluded_text(excluded: Mapping[str, int]) -> str:
    """How many images could not be chosen, by reason."""
    words = {
        "label_errors": "suspected label errors",
        "duplicates": "duplicates",
        "no_hardness": "without hardness",
        "no_room": "without room for a change: too flat, dark, bright or transparent",
        "cannot_be_marked": "of a file format that cannot be marked",
        "earlier_markings": "chosen by other markings",
    }
    parts = [
        f"{count:,} {words.get(name, name)}" for name, count in sorted(excluded.items()) if count
    ]
    return ", ".join(parts) or "none"


def visibility_table(metrics: Mapping[str, float | None], worst: Mapping[str, float | None]) -> str:
    """How visible the HoneyImages are, as a Markdown table.

    Args:
        metrics: mean of each measure over the HoneyImages; of the most visible spot too
        worst: its most visible value, which no HoneyImage exceeds
    """
    lines = ["| Visibility | Mean | Worst |", "| --- | --- | --- |"]
    for name, (label, form) in _MEASURES.items():
        cells = [
            "not measured" if values.get(name) is None else form.format(values[name])
            for values in (metrics, worst)
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def loss_gap_text(metrics: Mapping[str, float | None]) -> str | None:
    """What crafting did to the proxies' losses; None if it was not measured."""
    before, after = metrics.get("original_loss"), metrics.get("proxy_loss")
    if before is None or after is None:
        return None
    text = f"{before:.2f} → {after:.2f} nats for a model that has not seen them"
    trained = metrics.get("in_loss")
    return text if trained is None else f"{text}, {trained:.2f} for one that has"


def survival_rows(
    survival: Mapping[str, Mapping[str, float]],
) -> list[tuple[str, str]]:
    """Share of HoneyImages that keep their effect, and the mean loss gap left, by transform."""
    return [
        (
            _TRANSFORMS.get(name, name.replace("_", " ")),
            f"{row['kept']:.0%} keep their effect, mean loss gap {row['gap']:.2f} nats",
        )
        for name, row in survival.items()
    ]


def thin(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """At most :data:`MAX_POINTS` of the points, evenly spread over their order."""
    if len(points) <= MAX_POINTS:
        return list(points)
    return [points[len(points) * number // MAX_POINTS] for number in range(MAX_POINTS)]


def visibility_traces(points: Sequence[Mapping[str, Any]]) -> list[Trace]:
    """Every HoneyImage by how visible it is and how hard it is for the proxy.

    Args:
        points: ``source``, ``pair``, ``linf``, ``psnr``, ``ssim``, ``lpips`` and ``proxy_loss`` each;
            those without PSNR, which are unchanged, or without loss are not drawn

    Returns:
        a trace of the images with a twin and one of those without; a point's id is its source
    """
    drawn = [p for p in points if p["psnr"] is not None and p["proxy_loss"] is not None]
    traces = []
    for name, color, group in (
        ("with a twin", ORANGE, [p for p in drawn if p["pair"] is not None]),
        ("without a twin", GREY, [p for p in drawn if p["pair"] is None]),
    ):
        if group:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": name,
                    "x": [point["psnr"] for point in group],
                    "y": [point["proxy_loss"] for point in group],
                    "ids": [point["source"] for point in group],
                    "text": ["<br>".join(_facts(point)) for point in group],
                    "marker": {"color": color, "size": 8},
                    "hovertemplate": "%{text}<extra></extra>",
                }
            )
    return traces


def visibility_layout(num_traces: int) -> dict[str, Any]:
    """The layout of :func:`visibility_traces`."""
    return {
        "showlegend": num_traces > 1,
        "legend": LEGEND,
        "xaxis": {"title": {"text": "PSNR, dB (to the right: less visible)", "standoff": 8}},
        "yaxis": {"title": {"text": "loss of the proxy, nats"}, "rangemode": "tozero"},
        "margin": {**_MARGIN, "t": 40 if num_traces > 1 else 16},
        "hovermode": "closest",
        "clickmode": "event",
    }


def trade_off_traces(trade_off: Mapping[str, Any], measure: str) -> list[Trace]:
    """Loss gap against visibility, one point a budget, and the marking's own HoneyImages.

    Args:
        trade_off: as stored, see ``core.methods.trade_off.TradeOff``
        measure: of visibility: ``"psnr"``, ``"ssim"`` or ``"lpips"``
    """
    label, form = _MEASURES[measure]

    def trace(points: Sequence[Mapping[str, Any]], **style: Any) -> Trace:
        drawn = [point for point in points if point.get(measure) is not None]
        return {
            "type": "scatter",
            "x": [point[measure] for point in drawn],
            "y": [point["gap"] for point in drawn],
            "error_y": {
                "type": "data",
                "array": [1.96 * (point["gap_error"] or 0) for point in drawn],
                "thickness": 1,
                "width": 3,
            },
            "hovertext": [
                f"ε = {point['epsilon']:g}<br>loss gap {point['gap']:.2f} nats"
                f"<br>{label}: {form.format(point[measure])}"
                for point in drawn
            ],
            "hovertemplate": "%{hovertext}<extra></extra>",
            **style,
        }

    points = trade_off["points"]
    return [
        trace(
            points,
            name="crafted anew at each ε",
            mode="lines+markers+text",
            text=[f"ε = {p['epsilon']:g}" for p in points if p.get(measure) is not None],
            textposition="top center",
            line={"color": _CURVE_COLOR},
            marker={"color": _CURVE_COLOR, "size": 7},
        ),
        trace(
            [trade_off["produced"]],
            name="this marking",
            mode="markers",
            marker={"color": ORANGE, "size": 13, "symbol": "star"},
        ),
    ]


def trade_off_measures(trade_off: Mapping[str, Any]) -> dict[str, str]:
    """The measures that the curve can be drawn against, with their labels, best first."""
    return {
        name: _MEASURES[name][0]
        for name in ("lpips", "psnr", "ssim")
        if any(point.get(name) is not None for point in trade_off["points"])
    }


def trade_off_layout(measure: str) -> dict[str, Any]:
    """The layout of :func:`trade_off_traces`: to the right, changes are more visible."""
    axis: dict[str, Any] = {
        "title": {
            "text": f"{_MEASURES[measure][0]} (to the right: more visible)",
            "standoff": 8,
        }
    }
    if measure in ("psnr", "ssim"):
        axis["autorange"] = "reversed"
    return {
        "showlegend": True,
        "legend": LEGEND,
        "xaxis": axis,
        "yaxis": {"title": {"text": "mean loss gap, nats"}},
        "margin": {**_MARGIN, "t": 48},
        "hovermode": "closest",
    }


def trade_off_text(trade_off: Mapping[str, Any]) -> str:
    """What the curve rests on."""
    images, steps = trade_off["num_images"], trade_off["num_steps"]
    of_what = (
        "One candidate, so there is no interval: it"
        if images == 1
        else f"Mean over {images} of the candidates, with 95 % intervals: each"
    )
    return (
        f"{of_what} was crafted anew at every ε, in {steps} rounds with this marking's finished proxies. A marking at another ε trains its "
        "own, so this is an estimate. A larger loss gap means that a model which used the release is "
        "easier to tell."
    )


def caption(point: Mapping[str, Any]) -> str:
    """One HoneyImage's figures, in a line."""
    return ", ".join(_facts(point))


def _facts(point: Mapping[str, Any]) -> list[str]:
    forms = (
        ("linf", "L∞ {:g}"),
        ("psnr", "PSNR {:.1f} dB"),
        ("ssim", "SSIM {:.4f}"),
        ("worst_window", "most visible spot {:.4f}"),
        ("lpips", "LPIPS {:.4f}"),
        ("proxy_loss", "proxy loss {:.3g} nats"),
    )
    facts = [form.format(point[name]) for name, form in forms if point.get(name) is not None]
    return ["no twin" if point["pair"] is None else f"pair {point['pair']}", *facts]
