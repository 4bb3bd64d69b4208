"""The report's plots as SVG, which a browser and a printer show alike: plain values in, text out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT = 640, 300
_LEFT, _BOTTOM, _TOP, _RIGHT = 64, 44, 14, 14
ORANGE, GREY, DARK = "#d98200", "#7a8794", "#22303c"


def scatter(
    points: Sequence[tuple[float, float]], x_title: str, y_title: str, description: str
) -> str:
    """Each pair as a point, and the diagonal of equal values. A logarithm is taken where values spread over decades.

    Args:
        points: (x, y), finite, 0 or more
        x_title, y_title, description: in words
    """
    values = [value for point in points for value in point if value > 0]
    logarithmic = bool(values) and max(values) > 100 * min(values)
    floor = min(values) / 2 if logarithmic else 0.0

    def scaled(value: float) -> float:
        return math.log10(max(value, floor)) if logarithmic else value

    every = [scaled(value) for point in points for value in point] or [0.0, 1.0]
    low, high = _widened(min(every), max(every))
    place = _places(low, high, low, high)
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'
        for x, y in (place(scaled(one), scaled(other)) for one, other in points)
    )
    (x1, y1), (x2, y2) = place(low, low), place(high, high)
    line = f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{GREY}" stroke-dasharray="4 3"/>'
    ticks = _ticks(low, high, logarithmic)
    axes = _axes(place, ticks, ticks, (low, low), x_title, y_title)
    return _svg(f'{axes}{line}<g fill="{ORANGE}" fill-opacity="0.65">{marks}</g>', description)


def curve(
    values: Sequence[float], threshold: float, x_title: str, y_title: str, description: str
) -> str:
    """Values in their order on a logarithmic axis, and the height that has to be reached.

    Args:
        values: above 0
        threshold: above 0
        x_title, y_title, description: in words
    """
    heights = [math.log10(value) for value in values]
    low, high = _widened(min([0.0, *heights]), max([math.log10(threshold), *heights]))
    place = _places(0, max(1, len(values)), low, high)
    path = " ".join(
        f"{x:.1f},{y:.1f}" for x, y in (place(i + 1, height) for i, height in enumerate(heights))
    )
    left, level = place(0, math.log10(threshold))
    right, _ = place(max(1, len(values)), 0)
    body = (
        f'<line x1="{left:.1f}" y1="{level:.1f}" x2="{right:.1f}" y2="{level:.1f}" stroke="{GREY}" stroke-dasharray="4 3"/>'
        f'<polyline points="{path}" fill="none" stroke="{ORANGE}" stroke-width="2"/>'
    )
    counts = _ticks(0, max(1, len(values)), False)
    axes = _axes(place, counts, _ticks(low, high, True), (0, low), x_title, y_title)
    return _svg(axes + body, description)


def bars(counts: Sequence[tuple[str, int]], description: str) -> str:
    """A bar for each count, with its name and number."""
    most = max([1, *(count for _, count in counts)])
    lines = []
    for row, (name, count) in enumerate(counts):
        y = 20 + 34 * row
        width = 330 * count / most
        lines.append(
            f'<text x="230" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="240" y="{y}" width="{width:.1f}" height="22" fill="{ORANGE}"/>'
            f'<text x="{248 + width:.1f}" y="{y + 15}">{count:,}</text>'
        )
    return _svg("".join(lines), description, 30 + 34 * len(counts))


def _svg(body: str, description: str, height: int = _HEIGHT) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" font-family="sans-serif" font-size="12" fill="{DARK}"><title>{escape(description)}</title>{body}</svg>'
    )


def _widened(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * 0.04 or 0.5
    return low - room, high + room


def _places(x_low: float, x_high: float, y_low: float, y_high: float):  # type: ignore[no-untyped-def]
    def place(x: float, y: float) -> tuple[float, float]:
        right = _LEFT + (x - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT)
        down = _TOP + (y_high - y) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM)
        return right, down

    return place


def _ticks(low: float, high: float, logarithmic: bool) -> list[tuple[float, str]]:
    if logarithmic:
        step = max(1, math.ceil((high - low) / 6))
        return [(e, f"1e{e}") for e in range(math.ceil(low), math.floor(high) + 1, step)]
    step = 10 ** math.floor(math.log10((high - low) / 4))
    for factor in (5, 2):
        if (high - low) / (step * factor) >= 4:
            step *= factor
            break
    first = math.ceil(low / step)
    return [(i * step, f"{i * step:g}") for i in range(first, math.floor(high / step) + 1)]


def _axes(place, x_ticks, y_ticks, origin, x_title: str, y_title: str) -> str:  # type: ignore[no-untyped-def]
    bottom, left = _HEIGHT - _BOTTOM, _LEFT
    parts = [
        f'<path d="M{left} {_TOP}V{bottom}H{_WIDTH - _RIGHT}" fill="none" stroke="{GREY}"/>',
        f'<text x="{(left + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x_title)}</text>',
        f'<text transform="translate(14 {(_TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">{escape(y_title)}</text>',
    ]
    for value, text in x_ticks:
        x, _ = place(value, origin[1])
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{text}</text>')
    for value, text in y_ticks:
        _, y = place(origin[0], value)
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    return "".join(parts)
