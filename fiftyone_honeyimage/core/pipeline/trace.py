"""Whose release a suspect comes from: asks about the tracing pairs, once the verification has its verdict."""

from __future__ import annotations

from ..evidence.recipients import RecipientVerdict
from ..ledger.trace_log import close_trace, open_trace
from ..ledger.tracing import tracing_queries
from ..progress import Report, silent
from ..suspects.journal import Journal
from .questions import Questions
from .verify import Begun, Call, read_asked

STAGE = "Querying tracing pairs"


def trace(
    call: Call,
    begun: Begun,
    journal: Journal,
    *,
    skip_failures: bool = False,
    report: Report = silent,
) -> RecipientVerdict | None:
    """Asks about all tracing pairs, as the verification was asked, and says whose release the suspect has something of.

    None for a marking whose releases are all the same. Nothing of it enters the verification's verdict, which stands.

    Raises:
        SuspectError: if the suspect is out of order; the same call goes on where this one stopped
        LedgerError: if a HoneyImage or the ledger is not what it was
    """
    ledger = call.ledger
    if not ledger.recipients:
        return None
    queries = tracing_queries(ledger.tracing_pairs)
    asked = Questions(queries, read_asked(queries, call.folder), begun.asked.protocol)
    # Before the first of these queries: how code words are redrawn is then fixed
    opened = open_trace(ledger, call.model.name, call.model.digest, begun.logged.id)
    call.around.note(ledger)
    if opened.closed:
        answers = asked.replay(journal)
    else:
        answers = asked.ask(
            call.model,
            journal,
            skip_failures=skip_failures,
            report=lambda _, done, total: report(STAGE, done, total),
        )
    verdict = close_trace(ledger, opened.id, answers)
    call.around.note(ledger)
    return verdict
