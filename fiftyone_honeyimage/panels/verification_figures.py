"""What the verification panel shows, from stored results: plain values in, Markdown and traces out.

No FiftyOne and no panel here, so that every figure can be tested alone. A plot's points carry the
numbers of their pairs as ``ids``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from statistics import median
from typing import Any

from ..app.words import plan_rows, table
from ..core.evidence.controls import read_comparisons
from ..core.evidence.decisions import read_decisions
from ..core.evidence.statement import word_controls
from .plot_style import GREY, LEGEND, ORANGE, TRANSPARENT, Trace

Pair = Mapping[str, Any]

_FAINT = "#7a879480"

#: Stands for a loss of 0 on a logarithmic axis, nats
MIN_LOSS = 1e-9

#: Rows of the table of pairs that are shown at a time
ROWS_A_PAGE = 20

#: By whether a suspect is right on the released twin, and on the withheld one
_CATEGORIES = {
    "both": "right on both twins",
    "released": "right on the released twin only",
    "withheld": "right on the withheld twin only",
    "neither": "wrong on both twins",
}


def usable(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs on which no query failed."""
    return [pair for pair in pairs if not pair["failed"]]


def probability(value: float) -> str:
    """A p-value, as exact as it is of use."""
    return f"{value:.2g}"


def summary_rows(verdict: Any, config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures behind a verdict, and what was committed before the release.

    Args:
        verdict: a ``Verdict``
        config: of the marking's run; empty where it was deleted
    """
    corrected = (
        f"**{probability(verdict.p_adjusted)}**, as verification number {verdict.family_size} with "
        f"this ledger; uncorrected {probability(verdict.p_value)}"
    )
    pairs = (
        f"{verdict.num_pairs:,} used, {verdict.num_failed:,} with a failed query, "
        f"{verdict.num_left:,} not used by any verification"
    )
    return [
        ("p-value", corrected),
        ("significance level α", f"{verdict.alpha:g}"),
        ("effect", effect(verdict)),
        ("pairs of twins", pairs),
        *plan_rows(config, verdict.test, verdict.kind),
    ]


def effect(verdict: Any) -> str:
    """The effect size with its confidence interval."""
    if verdict.effect_size is None:
        return "undefined"
    text = f"**{verdict.effect_size:+.2g}**"
    if verdict.effect_interval is not None:
        low, high = verdict.effect_interval
        text += f" ({low:+.2g} to {high:+.2g})"
    return f"{text}: {verdict.effect_name}"


def provenance_rows(verification: Any) -> list[tuple[str, str]]:
    """What was verified, with what, when."""
    config = verification.config
    rows = [
        ("suspect", verification.suspect_name),
        ("SHA-256 of the suspect", _digest(verification.suspect_digest or "none")),
        ("marking", f"`{verification.honey_key}`"),
    ]
    if verification.timestamp is not None:
        rows.append(("time (UTC)", f"{verification.timestamp:%Y-%m-%d %H:%M}"))
    given = {
        "run by": config.get("user"),
        "commitment, made before the release": _digest(config.get("commitment")),
        "digest of the ledger, this verification included": _digest(config.get("ledger_head")),
        "entry in the ledger": _digest(config.get("verification_id")),
        "seed of the marking": config.get("seed"),
        "version": config.get("version"),
        "with": ", ".join(
            f"{name} {version or 'unknown'}"
            for name, version in (config.get("versions") or {}).items()
        ),
    }
    return rows + [(label, str(value)) for label, value in given.items() if value not in (None, "")]


def _digest(value: str | None) -> str:
    """A digest in lines of 32 digits, which fit into a narrow panel; empty without one."""
    value = value or ""
    lines = [value[start : start + 32] for start in range(0, len(value), 32)]
    return " ".join(f"`{line}`" for line in lines)


def loss_traces(pairs: Sequence[Pair]) -> list[Trace]:
    """Each pair's loss on its released twin against that on its withheld twin.

    Points below the diagonal speak for the release having been used.
    """
    shown = usable(pairs)
    logarithmic = needs_logarithm(pairs)
    # A logarithmic axis has no place for a loss of 0; the text of the point keeps it
    floor = MIN_LOSS if logarithmic else 0.0
    released = [max(pair["released_loss"], floor) for pair in shown]
    withheld = [max(pair["withheld_loss"], floor) for pair in shown]
    ends = [min([*released, *withheld]), max([*released, *withheld])]
    diagonal = {
        "type": "scatter",
        "mode": "lines",
        "name": "equal losses",
        "x": ends,
        "y": ends,
        "line": {"color": GREY, "dash": "dot", "width": 1},
        "hoverinfo": "skip",
    }
    points = {
        "type": "scatter",
        "mode": "markers",
        "name": "pairs",
        "x": withheld,
        "y": released,
        "ids": [str(pair["pair"]) for pair in shown],
        "text": [
            f"pair {pair['pair']}<br>withheld {pair['withheld_loss']:.4g}"
            f"<br>released {pair['released_loss']:.4g}"
            for pair in shown
        ],
        "marker": {"color": ORANGE, "size": 9},
        "hovertemplate": "%{text}<extra></extra>",
    }
    return [diagonal, points]


def needs_logarithm(pairs: Sequence[Pair]) -> bool:
    """Whether a few losses dwarf the others, so that a linear plot would show nothing of them."""
    losses = [
        loss for pair in usable(pairs) for loss in (pair["released_loss"], pair["withheld_loss"])
    ]
    return bool(losses) and max(losses) > 20 * median(losses)


def loss_layout(pairs: Sequence[Pair], unit: str = "nats") -> dict[str, Any]:
    """The layout of :func:`loss_traces`."""
    kind = "log" if needs_logarithm(pairs) else "linear"
    return {
        "xaxis": {"title": {"text": f"loss on the withheld twin, {unit}"}, "type": kind},
        "yaxis": {"title": {"text": f"loss on the released twin, {unit}"}, "type": kind},
        **TRANSPARENT,
        "margin": {"t": 16, "r": 16, "b": 64, "l": 64},
        "hovermode": "closest",
        "clickmode": "event",
    }


def random_text(random_images: Mapping[str, Any]) -> str:
    """What the random images are, or why there are none."""
    gaps = random_images.get("gaps") or []
    if gaps:
        compared = word_controls(read_comparisons(random_images.get("compared") or {}))
        return (
            f"{len(gaps):,} unmarked images, drawn at random. Their proxy loss is their hardness, from a "
            "proxy that has not seen them." + (f"\n\n{compared}" if compared else "")
        )
    note = random_images.get("note")
    if note:
        return f"**No random images:** {note}."
    return (
        "**No random images were asked about.** Verify again with *Random unmarked images* above 0 to "
        "compare with them; it spends no pair of its own, but counts as another verification."
    )


def pair_rows(pairs: Sequence[Pair], page: int) -> list[dict[str, Any]]:
    """One page of the table of pairs, in the order in which they were asked."""
    start = page * ROWS_A_PAGE
    rows = []
    for pair in pairs[start : start + ROWS_A_PAGE]:
        released, withheld = pair["released_loss"], pair["withheld_loss"]
        known = not pair["failed"] and released is not None and withheld is not None
        rows.append(
            {
                "id": str(pair["pair"]),
                "pair": str(pair["pair"]),
                "released": _answer(pair, "released"),
                "withheld": _answer(pair, "withheld"),
                "difference": f"{withheld - released:+.3g}" if known else "",
            }
        )
    return rows


def num_pages(pairs: Sequence[Pair]) -> int:
    """How many pages the table of pairs has."""
    return max(1, math.ceil(len(pairs) / ROWS_A_PAGE))


def pairs_text(verdict: Any) -> str:
    """How many pairs were used, failed, and are left."""
    return (
        f"**{verdict.num_pairs:,}** pairs used, **{verdict.num_failed:,}** with a failed query, "
        f"**{verdict.num_left:,}** left that no verification had used by then."
    )


def _answer(pair: Pair, role: str) -> str:
    """A suspect's answer on one twin."""
    if pair["failed"]:
        return "no answer"
    right = pair[f"{role}_correct"]
    loss = pair[f"{role}_loss"]
    if isinstance(right, float):  # of several images
        word = f"{right:.0%} right"
        return word if loss is None else f"{loss:.3g}, {word}"
    if loss is None:
        return "✓ right" if right else "✗ wrong"
    return f"{loss:.3g} {'✓' if right else '✗'}"


def categories(pairs: Sequence[Pair]) -> dict[str, list[int]]:
    """The pairs by which of their sides were classified correctly, mostly: category → numbers of pairs."""
    found: dict[str, list[int]] = {name: [] for name in _CATEGORIES}
    names = dict(zip(product((True, False), repeat=2), _CATEGORIES, strict=True))
    for pair in usable(pairs):
        if pair["released_correct"] is None:
            continue  # a suspect that tells losses alone
        # Of several images, most
        right = pair["released_correct"] >= 0.5, pair["withheld_correct"] >= 0.5
        found[names[right]].append(int(pair["pair"]))
    return found


def accuracy_traces(pairs: Sequence[Pair]) -> list[Trace]:
    """Accuracy on released and on withheld twins, stacked from the pairs it comes from."""
    found = categories(pairs)
    total = sum(map(len, found.values())) or 1
    bars = ("released twins", "withheld twins")
    both = len(found["both"])
    return [
        _stacked("both", bars, [both / total, both / total], GREY),
        _stacked("released", bars, [len(found["released"]) / total, 0.0], ORANGE),
        _stacked("withheld", bars, [0.0, len(found["withheld"]) / total], _FAINT),
    ]


def accuracy_layout() -> dict[str, Any]:
    """The layout of :func:`accuracy_traces`."""
    return {
        "barmode": "stack",
        "showlegend": True,
        "legend": LEGEND,
        "yaxis": {"title": {"text": "accuracy"}, "range": [0, 1], "tickformat": ".0%"},
        **TRANSPARENT,
        "margin": {"t": 72, "r": 16, "b": 32, "l": 56},
        "clickmode": "event",
    }


def e_value_traces(verdict: Any) -> list[Trace]:
    """The capital of the sequential test after each pair, and the line that accuses."""
    from ..core.evidence.alpha_spending import alpha_effective

    count = len(verdict.e_values)
    level = alpha_effective(verdict.alpha, verdict.family_size)
    return [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "e-value",
            "x": list(range(1, count + 1)),
            "y": list(verdict.e_values),
            "line": {"color": ORANGE},
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": "accuses",
            "x": [1, max(count, 2)],
            "y": [1 / level, 1 / level],
            "line": {"color": GREY, "dash": "dot"},
            "hovertemplate": "%{y:.3g}<extra></extra>",
        },
    ]


def e_value_layout() -> dict[str, Any]:
    """The layout of :func:`e_value_traces`."""
    return {
        "xaxis": {"title": {"text": "pairs asked, in the committed order"}},
        "yaxis": {"title": {"text": "e-value"}, "type": "log"},
        **TRANSPARENT,
        "margin": {"t": 16, "r": 16, "b": 64, "l": 64},
    }


def paper_markdown(paper: Mapping[str, Any]) -> str | None:
    """The published method's loss gap with its warning; None if there is none."""
    if "mean_loss_gap" not in paper:
        return None
    lines = [
        f"Mean loss gap (loss of the proxy less loss of the suspect) on {paper['num_images']:,} "
        f"released twins: **{paper['mean_loss_gap']:.2f} nats**."
    ]
    references = paper.get("reference_mean_loss_gaps") or []
    if references:
        listed = ", ".join(f"{gap:.2f}" for gap in references)
        lines.append(f"Models known to be innocent: {listed} nats.")
    if "threshold" in paper:
        word = "exceeds" if paper.get("exceeds_threshold") else "does not exceed"
        lines.append(
            f"It {word} the threshold τ = {paper['threshold']:.2f} nats, calibrated on "
            f"{paper['num_references']} innocent models (false-positive rate "
            f"{paper['threshold_false_positive_rate']:.2g} for a model like them)."
        )
    lines.append(
        "The images were chosen or made to be hard for the proxy, so an innocent "
        "model has a positive gap too, and how large it is depends on the model."
    )
    return "\n\n".join(lines)


def decisions_markdown(paper: Mapping[str, Any]) -> str | None:
    """What published rules would have decided, with their warning; None if there is none."""
    decisions = read_decisions(paper)
    if not decisions:
        return None
    rows = [
        (one.rule, f"{'**would accuse**' if one.accuses else 'would not accuse'}: {one.text}")
        for one in decisions
    ]
    return "\n\n".join(
        [
            table(("Published rule", "What it says of this model"), rows),
            "*A published rule never decides.* It rests on assumptions about innocent models; the verdict above holds "
            "for every innocent model.",
        ]
    )


def pairs_of(point: str, pairs: Sequence[Pair]) -> list[int]:
    """The pairs that a clicked point stands for: a pair's number, or a category of pairs."""
    category = point.partition("/")[0]
    if category in _CATEGORIES:
        return categories(pairs)[category]
    known = {str(pair["pair"]) for pair in pairs}
    return [int(point)] if point in known else []


def _stacked(category: str, bars: Sequence[str], shares: Sequence[float], color: str) -> Trace:
    return {
        "type": "bar",
        "name": _CATEGORIES[category],
        "x": list(bars),
        "y": list(shares),
        # Plotly draws one bar for each different id
        "ids": [f"{category}/{bar}" for bar in bars],
        "marker": {"color": color},
        "hovertemplate": "%{y:.0%} " + _CATEGORIES[category] + "<extra></extra>",
    }
