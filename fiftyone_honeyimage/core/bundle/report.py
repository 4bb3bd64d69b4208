"""The report on an evidence file, for readers who are no statisticians: one HTML page that loads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ..evidence.pair_answers import PairAnswers
from ..evidence.statement import DERIVED, INCONCLUSIVE, NOT_SHOWN
from ..evidence.verdict import Verdict
from ..ledger.evidence_check import EvidenceCheck
from ..printing import printable
from .plots import bars, curve, scatter

_MEANS = {
    DERIVED: (
        "The model's answers single out the images that were released, among pairs of like images of which a secret coin chose "
        "the released one. A model that had not used the release could not know the coins.",
        "The probability with which this method accuses a model that did not use the release is at most the level below, "
        "whatever the model is, was trained on, or how good it is.",
    ),
    NOT_SHOWN: (
        "The answers do not single out the released images clearly enough.",
        "A model that used the release may have been asked too little, or have remembered too little of it.",
    ),
    INCONCLUSIVE: (
        "So few pairs could not have decided, whatever the answers were.",
        "Nothing follows from this about the model.",
    ),
}
_MEANS_NOT = (
    "It does not say who trained the model, where it got the images, or whether it was allowed to.",
    "It does not say how much of the release was used, nor that anything else was.",
    "It is no judgement of the law: what follows from the use of a dataset is for others to say.",
    "It holds for the model that gave these answers, under the name and digest below, and for no other.",
)
_FOUND = {
    "local": "Before the release the owner prepared pairs of like images and drew a secret coin for each pair, which decided the image to be "
    "released; the other was withheld. A sealed record (the commitment) fixed images, pairs, coins and the test.",
    "beacon": "Before the release the owner prepared pairs of like images and a secret for each pair. A sealed record (the commitment) fixed images, "
    "pairs, secrets, the test and a future round of public randomness, which nobody could foresee. When the round was out, secret and round "
    "together decided which image of each pair was released; the other was withheld. Nobody chose these coins, if the record was there before the round.",
}
#: Facts that are dates
_DATES = ("stamped", "coins", "commitment written", "opened", "release", "attempts")
_STYLE = """
@page { size: A4; margin: 18mm 16mm; @bottom-right { content: counter(page) " / " counter(pages); font: 9pt sans-serif; } }
body { font: 11pt/1.45 sans-serif; color: #22303c; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7em; } h2 { font-size: 1.2em; margin-top: 1.8em; border-bottom: 1px solid #c8d0d8; }
.verdict { border-left: 6px solid #d98200; padding: .6em 1em; background: #f6f4ef; font-size: 1.1em; }
dt { font-weight: bold; margin-top: .5em; } dd { margin-left: 1.2em; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: .8em; } td, th { padding: .15em .5em; text-align: left; border-bottom: 1px solid #e3e7eb; }
pre { font-size: 7pt; white-space: pre-wrap; overflow-wrap: anywhere; } code { overflow-wrap: anywhere; } svg { max-width: 100%; height: auto; }
li { margin: .25em 0; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class PairRow:
    """One pair, as the report lists it.

    Attributes:
        pair: its index
        label: the class asked about
        released, withheld: the files of both sides, by their names in the marking
        of_released, of_withheld: what was recorded of the answers; None where a query failed
    """

    pair: int
    label: str
    released: tuple[str, ...]
    withheld: tuple[str, ...]
    of_released: float | bool | None
    of_withheld: float | bool | None


def pair_rows(content: Mapping[str, Any], released: Mapping[int, str]) -> list[PairRow]:
    """The pairs of an evidence file that was checked, with their coins, in the order of the queries."""
    answers = PairAnswers.from_dict(content["answers"])
    rows = []
    for opened, a, b in zip(content["pairs"], answers.a, answers.b, strict=True):
        leaf = opened["leaf"]
        coin = released[leaf["index"]]
        files = {name: side_images(leaf[name]) for name in "ab"}
        values = {"a": a, "b": b}
        other = "b" if coin == "a" else "a"
        rows.append(
            PairRow(
                pair=leaf["index"],
                label=", ".join(dict.fromkeys(image["label"] for image in files[coin])),
                released=tuple(image["file"] for image in files[coin]),
                withheld=tuple(image["file"] for image in files[other]),
                of_released=values[coin],
                of_withheld=values[other],
            )
        )
    return rows


def side_images(side: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The images of a side as it stands in a leaf, of format 2 (one image) or later."""
    return list(side["files"]) if "files" in side else [side]


def report_html(
    check: EvidenceCheck,
    content: Mapping[str, Any],
    steps: Sequence[tuple[str, str]],
    *,
    for_print: bool = False,
) -> str:
    """The report.

    Args:
        check: of the evidence, which holds
        content: of the evidence file
        steps: (what to do, the command to type) by which a stranger checks it
        for_print (False): lists the pairs as lines instead of a table, which takes a printer's program a tenth of the time
    """
    assert check.verdict is not None
    verdict = check.verdict
    rows = pair_rows(content, check.released)
    facts = list(check.facts)
    suspect = dict(facts).get("suspect", "")
    dates = [fact for fact in facts if fact[0] in _DATES]
    others = [fact for fact in facts if fact not in dates]
    stamps = len(content.get("stamps", ()))
    undated = "" if "roots" in check.compared else _undated(stamps)
    parts = [
        "<h1>Was this model trained on the released dataset?</h1>",
        f"<p>The model: {_text(suspect)}</p>",
        f'<p class="verdict"><strong>{_text(verdict.verdict.capitalize())}.</strong> {_text(verdict.statement)}</p>',
        "<h2>What it means</h2>",
        _list(_MEANS[verdict.verdict]),
        "<h2>What it does not mean</h2>",
        _list(_MEANS_NOT),
        "<h2>How it was found</h2>",
        f"<p>{_FOUND['beacon' if 'beacon' in content else 'local']} Later the model was asked about both images of each pair, without regard to "
        "the coins, and the exact test compared its answers.</p>",
        _figures(verdict),
        _plots(verdict, rows),
        "<h2>Dates</h2>",
        undated,
        _facts(dates),
        "<h2>What it is about</h2>",
        _facts(others),
        "<h2>What was recomputed, and what no file can show</h2>",
        "<h3>Recomputed from the evidence</h3>",
        _list(check.held),
        "<h3>Not shown by it</h3>",
        _list(check.not_checked),
        "<h2>How to check it yourself</h2>",
        "<ol>" + "".join(f"<li>{_text(what)}{_command(how)}</li>" for what, how in steps) + "</ol>",
        f"<h2>The {len(rows):,} pairs</h2>",
        _pairs(rows, verdict.kind, for_print),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>HoneyImage report</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def _undated(stamps: int) -> str:
    if stamps:
        return (
            f"<p>{stamps} time-stamps of authorities lie in the folder <code>stamps</code>. They were not checked for this report, as no root "
            "certificates were given; the steps below tell how. All other times are by the owner's clock.</p>"
        )
    return "<p>No authority has dated anything here: all times are by the owner's clock.</p>"


def _figures(verdict: Verdict) -> str:
    effect = "undefined"
    if verdict.effect_size is not None:
        effect = f"{verdict.effect_size:.3g}"
        if verdict.effect_interval is not None:
            effect += f" ({verdict.effect_interval[0]:.3g} to {verdict.effect_interval[1]:.3g})"
        effect += f": {verdict.effect_name}"
    return _facts(
        [
            (
                "Chance of a result this strong without the release (p)",
                f"{verdict.p_adjusted:.2g}, corrected for all verifications with this ledger, of which this is number {verdict.family_size}; {verdict.p_value:.2g} uncorrected",
            ),
            ("Level, fixed before the release", f"{verdict.alpha:g}"),
            (
                "Pairs",
                f"{verdict.num_pairs:,} answered, {verdict.num_failed:,} with a failed query, which count against the owner",
            ),
            ("Size of the effect, which decides nothing", effect),
        ]
    )


def _plots(verdict: Verdict, rows: Sequence[PairRow]) -> str:
    told = [
        (float(row.of_withheld), float(row.of_released))
        for row in rows
        if row.of_withheld is not None and row.of_released is not None
    ]
    plots = []
    if verdict.kind == "scores" and told:
        words = "Each point is a pair. Below the dotted line the model did better on the released image than on its withheld twin; without the release about half would lie on either side."
        plots.append(
            (
                scatter(told, "loss on the withheld image", "loss on the released image", words),
                words,
            )
        )
    elif told:
        counts = [
            ("better on the released", sum(out > kept for kept, out in told)),
            ("alike on both", sum(out == kept for kept, out in told)),
            ("better on the withheld", sum(out < kept for kept, out in told)),
        ]
        words = "On how many pairs the model was right more often on the released or on the withheld image; without the release both would be about as many."
        plots.append((bars(counts, words), words))
    if verdict.e_values:
        words = "What a gambler who bets on the released images would have made of 1, pair after pair. The dotted line is what he has to reach."
        need = verdict.family_size * (verdict.family_size + 1) / verdict.alpha
        plots.append((curve(verdict.e_values, need, "pairs", "capital", words), words))
    return "".join(
        f"<figure>{plot}<figcaption>{_text(words)}</figcaption></figure>" for plot, words in plots
    )


def _pairs(rows: Sequence[PairRow], kind: str, for_print: bool) -> str:
    what = "loss" if kind == "scores" else "right"
    heads = ("pair", "class", "released", f"{what}, released", "withheld", f"{what}, withheld")
    lines = [
        (
            str(row.pair),
            row.label,
            ", ".join(row.released),
            _value(row.of_released),
            ", ".join(row.withheld),
            _value(row.of_withheld),
        )
        for row in rows
    ]
    if for_print:
        return "<pre>" + "\n".join(_text("  |  ".join(line)) for line in (heads, *lines)) + "</pre>"
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in line) + "</tr>" for line in lines
    )
    return (
        "<table><tr>"
        + "".join(f"<th>{_text(head)}</th>" for head in heads)
        + f"</tr>{body}</table>"
    )


def _value(value: float | bool | None) -> str:
    if value is None:
        return "failed"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}"


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return (
        "<dl>"
        + "".join(f"<dt>{_text(name)}</dt><dd>{_text(text)}</dd>" for name, text in facts)
        + "</dl>"
    )


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>"


def _command(command: str) -> str:
    return f"<pre>{escape(command)}</pre>" if command else ""


def _text(text: object) -> str:
    """Another's words, which can neither end the page nor hide in it."""
    return escape(printable(text))
