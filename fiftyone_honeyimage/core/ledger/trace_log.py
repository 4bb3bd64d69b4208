"""What the log says of attempts to find out whose release a model or a folder of images comes from.

Each is written down before anything is asked or compared, with how code words will be redrawn, and counts from then on.
Attempts on models take the place of their verification; those on folders are counted on their own.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LedgerError
from ..evidence.alpha_spending import alpha_effective
from ..evidence.code_words import MOST_DRAWS, Redraw, draws_needed
from ..evidence.pair_answers import PairAnswers
from ..evidence.recipients import RecipientVerdict, judge_recipients
from ..evidence.verdict import tested_differences
from .hashes import check_text
from .sides import check_shares
from .tracing import check_all_answered, words

if TYPE_CHECKING:
    from .ledger import Ledger

#: Of the log's entries: what every evidence file tells, and what only the owner knows
PUBLIC_KEYS = {"trace": {"subject", "draws", "seed"}, "traced": {"num_pairs"}}
PRIVATE_KEYS = {
    "trace": {"salt", "name", "digest"},
    "traced": {"salt", "result", "answers"},
}
MODEL, COPY = "model", "copy"


@dataclass(frozen=True)
class LoggedTrace:
    """One attempt, as the log tells it.

    Attributes:
        id: its name in the log; of a model that of its verification
        subject: "model" or "copy"
        position: of a copy, which attempt on a copy it is, counted from 1; of a model its verification's
        redraw: how code words are drawn again
        opened_at: when, by the owner's clock, ISO 8601
        name: what the model or folder is called, None where the log's details are closed
        digest: of the model's file or the folder's content, if there is one
        result: the verdict, None before it is closed or where details are closed
        closed: whether it was brought to its end
    """

    id: str
    subject: str
    position: int
    redraw: Redraw
    opened_at: str
    name: str | None
    digest: str | None
    result: dict[str, Any] | None = None
    closed: bool = False


def read_trace(
    entry: Mapping[str, Any], traces: dict[str, LoggedTrace], positions: Mapping[str, int]
) -> None:
    """Takes an entry "trace" or "traced" in.

    Args:
        entry: whose form and hashes were checked
        traces: those so far, by id
        positions: of the verifications so far

    Raises:
        LedgerError: if it cannot have been written by the rules
    """
    public, private, own = entry["public"], entry.get("private"), entry["id"]
    if entry["event"] == "traced":
        opened = traces.get(own)
        if opened is None or opened.closed:
            raise LedgerError(f"The log closes the tracing {own}, which is not open")
        if type(public["num_pairs"]) is not int or public["num_pairs"] < 0:
            raise LedgerError(f"The log closes the tracing {own} with impossible figures")
        result = None
        if private is not None:
            result = private["result"]
            RecipientVerdict.from_dict(result)
            PairAnswers.from_dict(private["answers"])
        traces[own] = replace(opened, closed=True, result=result)
        return
    subject, draws, seed = (public[name] for name in ("subject", "draws", "seed"))
    if subject not in (MODEL, COPY) or own in traces:
        raise LedgerError(
            f"The log opens the tracing {own} twice, or of what is neither model nor copy"
        )
    if subject == MODEL and own not in positions:
        raise LedgerError(f"The tracing {own} belongs to no verification")
    if type(draws) is not int or type(seed) is not int or not 1 <= draws <= MOST_DRAWS or seed < 0:
        raise LedgerError(f"The tracing {own} does not say how code words are redrawn")
    copies = sum(trace.subject == COPY for trace in traces.values())
    traces[own] = LoggedTrace(
        own,
        subject,
        positions[own] if subject == MODEL else copies + 1,
        Redraw(draws, seed),
        entry["at"],
        None if private is None else private["name"],
        None if private is None else private["digest"],
    )


def open_trace(
    ledger: Ledger, name: str, digest: str | None, verification_id: str | None = None
) -> LoggedTrace:
    """Writes an attempt down, before anything is asked; the same one once more, if it was written down before.

    Args:
        ledger: with tracing pairs
        name: of the model or folder
        digest: of its content; a folder with the same content is the same attempt
        verification_id (None): of a model that of its verification

    Raises:
        LedgerError: if the marking has no tracing pairs, or the file was altered
    """
    check_text(name, "The name")
    if not ledger.recipients:
        raise LedgerError(
            f"{ledger.path} has no tracing pairs: everybody got the same release, so that none can be told from "
            "another. Mark the dataset anew with recipients=[…]"
        )
    for known in ledger.traces.values():
        same = known.subject == COPY and digest is not None and known.digest == digest
        if known.id == verification_id or (verification_id is None and same):
            return known
    copies = sum(trace.subject == COPY for trace in ledger.traces.values())
    position = copies + 1 if verification_id is None else ledger.position(verification_id)
    level = alpha_effective(ledger.plan.alpha, position)
    own = verification_id or secrets.token_hex(8)
    ledger.record(
        "trace",
        own,
        {
            "subject": COPY if verification_id is None else MODEL,
            "draws": draws_needed(len(ledger.recipients), level),
            "seed": secrets.randbits(53),
        },
        {"name": name, "digest": digest},
    )
    return ledger.traces[own]


def close_trace(ledger: Ledger, trace_id: str, answers: PairAnswers) -> RecipientVerdict:
    """Decides on answers to all tracing pairs and writes the verdict down, once.

    Args:
        ledger: as loaded
        trace_id: of an attempt that was opened
        answers: of a model its losses or whether it was right; of a folder "labels" that say which sides were found

    Raises:
        LedgerError: if it was not opened, answers are missing, or it was decided before and not so
    """
    trace = ledger.traces.get(trace_id)
    if trace is None:
        raise LedgerError(f"{ledger.path} knows no tracing {trace_id!r}")
    verdict = decide_trace(ledger, trace, answers)
    if not trace.closed:
        ledger.record(
            "traced",
            trace_id,
            {"num_pairs": verdict.num_pairs},
            {"result": verdict.to_dict(), "answers": answers.to_dict()},
        )
    elif trace.result is not None and trace.result != json.loads(json.dumps(verdict.to_dict())):
        raise LedgerError(
            f"this attempt on {trace.name!r} was decided before, and now the same files are read or compared otherwise: its "
            "verdict stands as the ledger's log tells it. Ask with the versions and images that it was made with"
        )
    return verdict


def decide_trace(ledger: Ledger, trace: LoggedTrace, answers: PairAnswers) -> RecipientVerdict:
    """The verdict that follows from answers to all tracing pairs."""
    check_all_answered(ledger, answers)
    everything_a = {pair.index: "a" for pair in ledger.tracing_pairs}
    if trace.subject == COPY:
        found_a, found_b = answers.compare(everything_a)
        differences = np.asarray(found_a, np.float64) - np.asarray(found_b, np.float64)
    else:
        check_shares(answers, {pair.index: pair for pair in ledger.tracing_pairs})
        pairs = ledger.tracing_pairs
        differences = tested_differences(
            ledger.plan,
            answers,
            everything_a,
            {pair.index: (pair.a.covariates, pair.b.covariates) for pair in pairs},
            {pair.index: (pair.a.references, pair.b.references) for pair in pairs},
        )
    alpha = ledger.plan.alpha
    if trace.subject == MODEL:
        alpha = ledger.verifications[trace.id].alpha
    return judge_recipients(
        differences,
        np.array(answers.failed, bool),
        [pair.bias for pair in ledger.tracing_pairs],
        words(ledger),
        trace.redraw,
        alpha=alpha,
        position=trace.position,
        ranked=answers.kind == "scores",
    )
