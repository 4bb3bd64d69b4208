"""Several suspects side by side: rows, words and traces, from stored results.

No FiftyOne and no panel here, so that every figure can be tested alone. What decides is the ledger's
level of each verification; Holm's correction is shown beside it and never changes a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.evidence.alpha_spending import adjusted_p, alpha_effective, holm
from ..core.ledger.protocol import OWN_UNIT
from .plot_style import GREY, ORANGE, TRANSPARENT, Trace
from .verification_figures import probability

#: What stands for the verdict of a verification that has none
UNFINISHED = "no verdict"

_MAX_NAME = 20

#: Of a plot with a row for each suspect
_LAYOUT = {
    "yaxis": {"automargin": True, "type": "category"},
    "showlegend": False,
    **TRANSPARENT,
    "clickmode": "event",
    "hovermode": "closest",
}


@dataclass(frozen=True)
class ComparedSuspect:
    """One verification of a marking.

    Attributes:
        key: its run on the dataset, None if there is none (deleted, or stopped before its end)
        name: what the suspect is called
        verdict: as stored, or :data:`UNFINISHED`
        p_value: uncorrected; 1 if there is no verdict
        alpha: the level that it was given at
        position: which verification with the ledger it is, from 1
        num_pairs: pairs used
        num_failed: pairs with a failed query
        kind: "scores", "labels", or "losses" of the suspect's own; None if there is no verdict
        effect_size: None where it is undefined
        effect_interval: its 95 % interval, None where there is none
    """

    key: str | None
    name: str
    verdict: str
    p_value: float
    alpha: float
    position: int
    num_pairs: int = 0
    num_failed: int = 0
    kind: str | None = None
    effect_size: float | None = None
    effect_interval: tuple[float, float] | None = None

    @property
    def row_id(self) -> str:
        """Its row of the table, and its point."""
        return self.key or f"number-{self.position}"

    @property
    def p_adjusted(self) -> float:
        """Corrected as the ledger does, to be compared with alpha."""
        return adjusted_p(self.p_value, self.position)


def from_verdict(key: str, name: str, verdict: Any, outputs: str = "") -> ComparedSuspect:
    """A verification that is on the dataset; ``outputs`` says what the answers are, as its protocol does."""
    return ComparedSuspect(
        key=key,
        name=name,
        verdict=verdict.verdict,
        p_value=verdict.p_value,
        alpha=verdict.alpha,
        position=verdict.family_size,
        num_pairs=verdict.num_pairs,
        num_failed=verdict.num_failed,
        kind=_shown_kind(verdict.kind, outputs),
        effect_size=verdict.effect_size,
        effect_interval=verdict.effect_interval,
    )


def labels(suspects: Sequence[ComparedSuspect]) -> list[str]:
    """What to call the suspects in a plot: short, and no two alike."""
    short = [
        s.name if len(s.name) <= _MAX_NAME else f"{s.name[: _MAX_NAME - 1]}…" for s in suspects
    ]
    return [
        name if short.count(name) == 1 else f"{name} ({suspect.key or f'no. {suspect.position}'})"
        for name, suspect in zip(short, suspects, strict=True)
    ]


def holm_values(suspects: Sequence[ComparedSuspect]) -> list[float]:
    """Holm's adjusted p-values of all suspects as one family."""
    return holm([suspect.p_value for suspect in suspects])


def table_rows(suspects: Sequence[ComparedSuspect]) -> list[dict[str, Any]]:
    """One row a suspect, with everything in words."""
    rows = []
    for suspect, corrected in zip(suspects, holm_values(suspects), strict=True):
        pairs = f"{suspect.num_pairs:,}"
        if suspect.num_failed:
            pairs += f" (+{suspect.num_failed:,} failed)"
        rows.append(
            {
                "id": suspect.row_id,
                "suspect": suspect.name,
                "run": suspect.key or "not on the dataset",
                "verdict": suspect.verdict,
                "p": probability(suspect.p_value),
                "level": probability(alpha_effective(suspect.alpha, suspect.position)),
                "holm": probability(corrected),
                "pairs": pairs,
                "effect": effect_text(suspect),
            }
        )
    return rows


def effect_text(suspect: ComparedSuspect) -> str:
    """The effect size with its interval, short: nats, points of accuracy, or losses in a unit of their own."""
    if suspect.effect_size is None:
        return "undefined"
    if suspect.kind == "labels":
        unit, scale, digits = "points", 100.0, ".0f"
    else:
        unit, scale, digits = "" if suspect.kind == "losses" else "nats", 1.0, ".2g"
    text = f"{scale * suspect.effect_size:+{digits}}"
    if suspect.effect_interval is not None:
        low, high = suspect.effect_interval
        text += f" ({scale * low:+{digits}} to {scale * high:+{digits}})"
    return f"{text} {unit}".rstrip()


def explanation(suspects: Sequence[ComparedSuspect], whole_family: bool) -> str:
    """How the p-values are corrected, which correction decides, and where the two differ.

    ``whole_family`` says whether these are all verifications that the ledger counts.
    """
    alpha = max(suspect.alpha for suspect in suspects)
    count = len(suspects)
    lines = [
        "**What decides** is the level of each verification, fixed before the first one: α/2 for the "
        "first with this ledger, α/6 for the second, α/(j(j+1)) for the j-th. A model is *derived* if "
        f"its p-value is at most its level. The levels add up to α = {alpha:g}: however many "
        "suspects are named beforehand or asked about new pairs, the probability that any of them is "
        "innocent and accused stays at most α, and no verdict is ever taken back. For one that is chosen "
        "because of what others answered on the same pairs, the level holds by itself.",
        f"**Holm's correction** treats all p-values listed here ({count:,}) as one family that is "
        "complete: reading every suspect with a Holm-adjusted p-value of at most α as derived would "
        "be wrong about one innocent model or more with probability at most α, if all of them had "
        "been chosen before the first result. It changes whenever a suspect is added, so it is shown "
        "for comparison and decides nothing.",
    ]
    if not whole_family:
        lines.append(
            "The ledger cannot be read, so verifications that were deleted from the dataset are "
            "missing here, and Holm's values may be too small."
        )
    lines += _differences(suspects)
    return "\n\n".join(lines)


def _differences(suspects: Sequence[ComparedSuspect]) -> list[str]:
    """Where the stored verdict and Holm's correction would part, said plainly."""
    lines = []
    for suspect, corrected in zip(suspects, holm_values(suspects), strict=True):
        if suspect.verdict == "derived" and corrected > suspect.alpha:
            lines.append(
                f"*{suspect.name}*: the verdict is *derived*, though Holm's value "
                f"{probability(corrected)} exceeds α. The verdict stands: its level was fixed before "
                "the verifications that came later."
            )
        elif suspect.verdict == "not shown" and corrected <= suspect.alpha:
            lines.append(
                f"*{suspect.name}*: the verdict is *not shown*, though Holm's value "
                f"{probability(corrected)} is at most α. The verdict stands: its p-value exceeds its "
                "level, because verifications had been made before."
            )
    return lines


def evidence_traces(suspects: Sequence[ComparedSuspect]) -> list[Trace]:
    """The strength of the evidence, -log10 of the p-value as the ledger corrects it.

    The points carry the keys of their runs as ``ids``.
    """
    shown = list(reversed(suspects))  # Plotly's first row is at the bottom
    strengths = [_strength(suspect.p_adjusted) for suspect in shown]
    texts = [f"{s.verdict}<br>corrected p {probability(s.p_adjusted)}" for s in shown]
    return [_points("suspects", shown, strengths, texts, 11)]


def _points(
    name: str,
    suspects: Sequence[ComparedSuspect],
    values: Sequence[float],
    texts: Sequence[str],
    size: int,
) -> Trace:
    """A row for each suspect, with a point in it."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": list(values),
        "y": labels(suspects),
        "ids": [suspect.row_id for suspect in suspects],
        "text": [f"{s.name}<br>{text}" for s, text in zip(suspects, texts, strict=True)],
        "marker": {
            "color": [ORANGE if suspect.verdict == "derived" else GREY for suspect in suspects],
            "size": size,
        },
        "hovertemplate": "%{text}<extra></extra>",
    }


def evidence_layout(suspects: Sequence[ComparedSuspect]) -> dict[str, Any]:
    """The layout of :func:`evidence_traces`, with the line of α."""
    alpha = max(suspect.alpha for suspect in suspects)
    line = _strength(alpha)
    largest = max([line, *(_strength(suspect.p_adjusted) for suspect in suspects)])
    return {
        **_LAYOUT,
        "xaxis": {
            "title": {"text": "−log₁₀ p, corrected"},
            "range": [-0.05 * largest, 1.1 * largest],
            "zeroline": False,
        },
        "annotations": [
            {
                "x": line,
                "y": 1,
                "yref": "paper",
                "yanchor": "bottom",
                "text": f"α = {alpha:g}",
                "showarrow": False,
            }
        ],
        "shapes": [
            {
                "type": "line",
                "x0": line,
                "x1": line,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": {"color": GREY, "dash": "dot", "width": 1},
            }
        ],
        "margin": {"t": 28, "r": 16, "b": 64, "l": 16},
    }


def effect_traces(suspects: Sequence[ComparedSuspect], kind: str) -> list[Trace]:
    """Effect sizes with their 95 % intervals, of the suspects that answer with one kind."""
    shown = with_effect(suspects, kind)[::-1]
    sizes = [float(suspect.effect_size or 0.0) for suspect in shown]
    intervals = [
        suspect.effect_interval or (size, size) for suspect, size in zip(shown, sizes, strict=True)
    ]
    errors = {
        "type": "data",
        "symmetric": False,
        "array": [high - size for size, (_, high) in zip(sizes, intervals, strict=True)],
        "arrayminus": [size - low for size, (low, _) in zip(sizes, intervals, strict=True)],
        "color": GREY,
    }
    return [
        {**_points("effect", shown, sizes, list(map(effect_text, shown)), 9), "error_x": errors}
    ]


def effect_layout(kind: str) -> dict[str, Any]:
    """The layout of :func:`effect_traces`."""
    title = {
        "scores": "loss, withheld − released, nats",
        "labels": "accuracy, released − withheld",
        "losses": f"loss, withheld − released, each {OWN_UNIT}",
    }[kind]
    return {
        **_LAYOUT,
        "xaxis": {"title": {"text": title}, "zeroline": True},
        "margin": {"t": 16, "r": 16, "b": 64, "l": 16},
    }


def height(suspects: Sequence[ComparedSuspect]) -> str:
    """The height of a plot with one line a suspect."""
    return f"{132 + 34 * min(len(suspects), 20)}px"


def with_effect(suspects: Sequence[ComparedSuspect], kind: str) -> list[ComparedSuspect]:
    """The suspects that answer with one kind and whose effect is defined."""
    return [s for s in suspects if s.kind == kind and s.effect_size is not None]


def effect_kinds(suspects: Sequence[ComparedSuspect]) -> list[str]:
    """The kinds of answers of which there are effects to plot."""
    return [kind for kind in ("scores", "labels", "losses") if with_effect(suspects, kind)]


def from_ledger(entries: Mapping[str, Any], known: Collection[Any]) -> list[ComparedSuspect]:
    """The verifications of the ledger that the dataset does not hold."""
    found = []
    for verification_id, entry in entries.items():
        if verification_id in known:
            continue
        result = entry.result or {}
        found.append(
            ComparedSuspect(
                key=None,
                name=entry.suspect_name or "unknown",
                verdict=entry.verdict or UNFINISHED,
                p_value=entry.p_value,
                alpha=entry.alpha,
                position=entry.position,
                num_pairs=result.get("num_pairs", 0),
                num_failed=result.get("num_failed", 0),
                kind=_shown_kind(result.get("kind"), entry.protocol.get("outputs", "")),
                effect_size=result.get("effect_size"),
                effect_interval=_interval(result.get("effect_interval")),
            )
        )
    return found


def _shown_kind(kind: str | None, outputs: str) -> str | None:
    """Losses of a suspect's own are scores to a verdict, and on no common axis with others."""
    return "losses" if kind == "scores" and outputs == "losses" else kind


def _interval(values: Any) -> tuple[float, float] | None:
    return None if values is None else (float(values[0]), float(values[1]))


def _strength(p_value: float) -> float:
    return max(0.0, -math.log10(p_value))
