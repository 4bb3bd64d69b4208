"""What the protection panel shows, from stored results: plain values in, Markdown and traces out.

No FiftyOne and no panel here, so that every figure can be tested alone.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Trace = dict[str, Any]

#: Bars of the hardness histogram. What is sent depends on this and :data:`MAX_CLASSES` alone.
NUM_BINS = 30
#: Classes with a colour of their own; the others share one.
MAX_CLASSES = 8
#: Points of the visibility plot: a plot of more is no clearer, and slow to send.
MAX_POINTS = 2000
#: Longest side of an image in the panel, pixels.
MAX_SIDE = 512

#: The amplified differences that are shown.
FACTORS = (10, 50)

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
_OTHER_COLOR = "#7a8794"
_PAIR_COLOR = "#ffb020"
_MARGIN = {"t": 16, "r": 16, "b": 64, "l": 64}

_TRANSFORMS = {
    "none": "nothing: the file as it is",
    "jpeg75": "JPEG of quality 75",
    "jpeg50": "JPEG of quality 50",
    "resize75": "resizing to 75 % and back",
    "median3": "a 3×3 median filter",
    "crop_flip": "random crop and flip",
}

_METHODS = {"honeyimage": "HoneyImages", "unperturbed": "hard images, unchanged"}


def bin_width(low: float, high: float) -> float:
    """The width of a bar when hardness lies between ``low`` and ``high``."""
    return (high - low) / NUM_BINS or 1.0


def shown_classes(counts: Mapping[tuple[str, int], int]) -> list[str]:
    """The largest classes, which get a colour of their own, in order of their names.

    Args:
        counts: (class, number of the bar) → images
    """
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
                "marker": {"color": _OTHER_COLOR if other else _COLORS[position]},
                "hovertemplate": "%{y:,} images of %{text}<extra></extra>",
            }
        )
    return traces


def histogram_layout(num_traces: int) -> dict[str, Any]:
    """The layout of :func:`histogram_traces`."""
    return {
        "barmode": "stack",
        "bargap": 0,
        "showlegend": num_traces > 1,
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        "xaxis": {"title": {"text": "hardness, nats", "standoff": 8}},
        "yaxis": {"title": {"text": "images"}},
        "margin": {**_MARGIN, "t": 48 if num_traces > 1 else 16},
        "clickmode": "event",
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
    """What a hardness run found.

    Args:
        results, config: of the run
    """
    skipped = results["num_skipped"]
    images = f"{results['num_images']:,}"
    if skipped:
        images += f", and {skipped:,} that could not be read"
    return [
        ("images scored", images),
        ("out-of-fold accuracy", f"{results['accuracy']:.1%} of the two proxies, on unseen images"),
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
        "who cleans the release. *Generate HoneyImages* leaves them out unless told otherwise."
    )


def marking_rows(config: Mapping[str, Any], results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a marking consists of.

    Args:
        config, results: of the run
    """
    pairs = config["num_pairs"]
    rows = [
        ("HoneyImages in a release", f"**{config['num_honeyimages']:,}**"),
        (
            "pairs of twins",
            f"**{pairs:,}**, so that {pairs:,} images are withheld from a release"
            if pairs
            else "**0**: no verdict can rest on this marking",
        ),
        ("left out of the choice", excluded_text(results.get("excluded") or {})),
        (
            "budget",
            f"ε = {config['epsilon']:g} of 255, step α = {config['step_size']:g}, "
            f"T = {config['num_steps']:,} steps",
        ),
        ("method", _METHODS.get(config["method"], str(config["method"]))),
        ("mean of visibility", visibility_text(results.get("metrics") or {})),
    ]
    gap = loss_gap_text(results.get("metrics") or {})
    if gap is not None:
        rows.append(("mean loss of the proxies", gap))
    rows.append(("commitment", f"`{config['commitment']}`"))
    if config.get("timestamp") is not None:
        rows.append(("time (UTC)", f"{config['timestamp']:%Y-%m-%d %H:%M}"))
    return rows


def excluded_text(excluded: Mapping[str, int]) -> str:
    """How many images could not be chosen, by reason."""
    words = {
        "label_errors": "suspected label errors",
        "duplicates": "duplicates",
        "no_hardness": "without hardness",
    }
    parts = [
        f"{count:,} {words.get(name, name)}" for name, count in sorted(excluded.items()) if count
    ]
    return ", ".join(parts) or "none"


def visibility_text(metrics: Mapping[str, float | None]) -> str:
    """Mean L∞, PSNR, SSIM, LPIPS and STL, as far as they were measured."""
    forms = {
        "linf": "L∞ {:.2f}",
        "psnr": "PSNR {:.1f} dB",
        "ssim": "SSIM {:.4f}",
        "lpips": "LPIPS {:.4f}",
        "stl": "STL {:.3f}",
    }
    parts = [
        form.format(metrics[name]) for name, form in forms.items() if metrics.get(name) is not None
    ]
    if metrics.get("lpips") is None:
        parts.append("LPIPS and STL not measured")
    return ", ".join(parts)


def loss_gap_text(metrics: Mapping[str, float | None]) -> str | None:
    """What crafting did to the proxies' losses; None if it was not measured."""
    before, after = metrics.get("original_loss"), metrics.get("proxy_loss")
    if before is None or after is None:
        return None
    text = f"{before:.2f} → {after:.2f} nats under the out-model"
    trained = metrics.get("in_loss")
    return text if trained is None else f"{text}, {trained:.2f} nats under the in-model"


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
        ("with a twin", _PAIR_COLOR, [p for p in drawn if p["pair"] is not None]),
        ("without a twin", _OTHER_COLOR, [p for p in drawn if p["pair"] is None]),
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
                    "text": [_point_text(point) for point in group],
                    "marker": {"color": color, "size": 8},
                    "hovertemplate": "%{text}<extra></extra>",
                }
            )
    return traces


def visibility_layout(num_traces: int) -> dict[str, Any]:
    """The layout of :func:`visibility_traces`."""
    return {
        "showlegend": num_traces > 1,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {"title": {"text": "PSNR, dB (to the right: less visible)", "standoff": 8}},
        "yaxis": {"title": {"text": "loss of the proxy, nats"}, "rangemode": "tozero"},
        "margin": {**_MARGIN, "t": 40 if num_traces > 1 else 16},
        "hovermode": "closest",
        "clickmode": "event",
    }


def caption(point: Mapping[str, Any]) -> str:
    """One HoneyImage's figures, in a line."""
    facts = [f"{name} {value}" for name, value in _facts(point)]
    pair = "no twin" if point["pair"] is None else f"pair {point['pair']}"
    return ", ".join([pair, *facts])


def difference(original: np.ndarray, marked: np.ndarray, factor: int) -> np.ndarray:
    """The change of an image around mid-grey, amplified and clipped.

    Args:
        original, marked: uint8 (H, W, 3)
        factor: by which the change is multiplied

    Returns:
        uint8 (H, W, 3); 128 is no change
    """
    change = marked.astype(np.int32) - original.astype(np.int32)
    return np.clip(128 + factor * change, 0, 255).astype(np.uint8)


def comparison(original: np.ndarray, marked: np.ndarray) -> dict[str, str]:
    """The pictures of a comparison as data URLs, by name.

    Args:
        original, marked: uint8 (H, W, 3), of one size
    """
    pictures = {"original": original, "honeyimage": marked}
    for factor in FACTORS:
        pictures[f"difference_{factor}"] = difference(original, marked, factor)
    return {name: data_url(fit(picture)) for name, picture in pictures.items()}


def fit(image: np.ndarray, max_side: int = MAX_SIDE) -> np.ndarray:
    """Brings an image near ``max_side``, so that every pixel of a small one can be seen.

    Args:
        image: uint8 (H, W, 3)
        max_side (MAX_SIDE): longest side of the result

    Returns:
        uint8: whole repeats of a small image's pixels, or every k-th pixel of a large one. Neither
        mixes pixels, which would hide changes
    """
    side = max(image.shape[:2])
    if side > max_side:
        step = -(-side // max_side)
        return image[::step, ::step]
    repeats = max_side // side
    return image.repeat(repeats, axis=0).repeat(repeats, axis=1)


def data_url(image: np.ndarray) -> str:
    """An image as the URL of a lossless file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _facts(point: Mapping[str, Any]) -> list[tuple[str, str]]:
    forms = (
        ("L∞", "linf", "{:g}"),
        ("PSNR", "psnr", "{:.1f} dB"),
        ("SSIM", "ssim", "{:.4f}"),
        ("LPIPS", "lpips", "{:.4f}"),
        ("proxy loss", "proxy_loss", "{:.3g} nats"),
    )
    return [
        (label, form.format(point[name]))
        for label, name, form in forms
        if point.get(name) is not None
    ]


def _point_text(point: Mapping[str, Any]) -> str:
    title = "no twin" if point["pair"] is None else f"pair {point['pair']}"
    return "<br>".join([title, *(f"{name} {value}" for name, value in _facts(point))])
