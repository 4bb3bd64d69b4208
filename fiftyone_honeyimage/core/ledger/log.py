"""The log of releases and verifications: what each entry says, and by which rules it may be written.

The entries are chained by hashes from the commitment on. Of each entry a public part is always
given; a private one, bound by its own hash, can be left out in an evidence file. Public are times,
counts, levels and the pairs asked; whose model it was, how it was asked and what came out is
private.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ..errors import LedgerError
from ..evidence.exact_tests import TESTS
from ..evidence.pair_answers import PairAnswers
from ..evidence.plan import Plan
from ..evidence.statement import DERIVED
from ..evidence.twins import KINDS
from ..evidence.verdict import Verdict
from . import trace_log
from .hashes import VERSION, hash_entry, hash_private, is_digest, read_moment

_ENTRY_KEYS = {"index", "event", "id", "at", "public", "private_sha256", "previous", "hash"}
_PUBLIC_KEYS = {
    "release": {"digest", "num_files"},
    "open": {"pairs", "alpha", "reuse"},
    "close": {"concluded", "num_queried"},
    **trace_log.PUBLIC_KEYS,
}
_PRIVATE_KEYS = {
    "release": {"salt"},
    "open": {"salt", "suspect_name", "suspect_digest", "kind", "protocol"},
    "close": {"salt", "result", "answers_sha256"},
    **trace_log.PRIVATE_KEYS,
}
#: Private, where there is one
_ADDED = {"release": {"recipient"}}
#: Words that follow from a verdict's numbers, and are no part of what is logged
WORDS = ("statement", "effect_name")


@dataclass(frozen=True)
class LoggedVerification:
    """One verification, as the log tells it.

    Attributes:
        id: its name in the log
        pairs: the pairs it was opened for, in the committed order
        position: which verification it is, counted from 1 in the order of the openings
        alpha: the level it was opened with
        opened_at: when it was opened, by the owner's clock, ISO 8601
        suspect_name: the suspect's name, None where the log's details are closed
        suspect_digest: the digest of the suspect's file, where there is one
        kind: what the suspect answers, "scores" or "labels"; None where details are closed
        protocol: how it is asked (see :mod:`.protocol`); empty where details are closed
        closed: whether it was brought to its end
        concluded: whether that was a verdict; a verification without one was abandoned
        num_queried: how many of its pairs were queried; all of them but where a sequential test
            stopped early
        result: the verdict without its words (:data:`WORDS`); None without one or where details
            are closed
        answers_sha256: the digest of the answers; None in the same cases
    """

    id: str
    pairs: tuple[int, ...]
    position: int
    alpha: float
    opened_at: str
    suspect_name: str | None
    suspect_digest: str | None
    kind: str | None
    protocol: dict[str, Any] = field(default_factory=dict)
    closed: bool = False
    concluded: bool = False
    num_queried: int = 0
    result: dict[str, Any] | None = None
    answers_sha256: str | None = None

    @property
    def p_value(self) -> float:
        """Its p-value; 1 without a result."""
        return 1.0 if self.result is None else float(self.result["p_value"])

    @property
    def verdict(self) -> str | None:
        """Its verdict; None without a result."""
        return None if self.result is None else str(self.result["verdict"])


@dataclass(frozen=True)
class LoggedRelease:
    """A release, as the log tells it.

    Attributes:
        digest: see :func:`.release_digest.release_digest`
        num_files: how many files it has
        at: when it was logged, by the owner's clock, ISO 8601
        index: its place in the log
        recipient: whose it is, where each has his own; None where details are closed
    """

    digest: str
    num_files: int
    at: str
    index: int
    recipient: str | None = None


@dataclass(frozen=True)
class Log:
    """What a log tells.

    Attributes:
        verifications: by id, in the order of their openings
        releases: in the order in which they were logged
        traces: attempts to find out whose release something comes from, by id
    """

    verifications: dict[str, LoggedVerification]
    releases: tuple[LoggedRelease, ...]
    traces: dict[str, trace_log.LoggedTrace] = field(default_factory=dict)


def new_entry(
    event: str,
    entry_id: str,
    public: Mapping[str, Any],
    private: Mapping[str, Any],
    *,
    index: int,
    previous: str,
    earliest: str | None = None,
    version: int = VERSION,
) -> dict[str, Any]:
    """Returns a log entry with its hashes, in JSON's own types.

    Args:
        event: "release", "open", "close", or of a tracing "trace" or "traced"
        entry_id: the verification it is about, or a name of the release's own
        public: what every evidence file tells
        private: what only this verification's own evidence tells; it gets a salt
        index: its place in the log
        previous: the hash of the entry before it, or for the first one the commitment
        earliest (None): the time of the entry before it, or of the coins: a clock that was set back does not show
        version (VERSION): of the ledger's hashes
    """
    private = {"salt": secrets.token_hex(32), **private}
    now = datetime.now(timezone.utc)
    if earliest is not None:
        now = max(now, read_moment(earliest))
    entry = {
        "index": index,
        "event": event,
        "id": entry_id,
        "at": now.isoformat(timespec="seconds"),
        "public": public,
        "private_sha256": hash_private(private, version),
        "previous": previous,
    }
    entry = {**entry, "hash": hash_entry(entry, version), "private": private}
    # Lists, not tuples: as it will be read
    plain: dict[str, Any] = json.loads(json.dumps(entry, allow_nan=False))
    return plain


def read_log(
    log: Sequence[Mapping[str, Any]],
    commitment: str,
    query_order: Sequence[tuple[int, str]],
    plan: Plan,
    version: int = VERSION,
    coins_at: datetime | None = None,
) -> Log:
    """Checks a log entry by entry and returns what it tells.

    Private parts may be left out; those present must fit their hashes. Where a public round decides, which came out at
    ``coins_at``, nothing can have been logged before.

    Raises:
        LedgerError: if the chain is broken or an entry cannot have been written by the rules
    """
    verifications: dict[str, LoggedVerification] = {}
    releases: list[LoggedRelease] = []
    traces: dict[str, trace_log.LoggedTrace] = {}
    previous, latest = commitment, coins_at
    for index, entry in enumerate(log):
        previous = _check_entry(entry, index, previous, version)
        at = read_moment(entry["at"])
        if latest is not None and at < latest:
            raise LedgerError(
                f"The log's entry {index} was written at {entry['at']}, before "
                + ("the entry that it follows" if index else "there were coins")
            )
        latest = at
        if entry["event"] == "open":
            _read_open(entry, verifications, query_order, plan)
        elif entry["event"] == "close":
            _read_close(entry, verifications, plan)
        elif entry["event"] in trace_log.PUBLIC_KEYS:
            positions = {own: item.position for own, item in verifications.items()}
            trace_log.read_trace(entry, traces, positions)
        else:
            public = entry["public"]
            if not is_digest(public["digest"]) or not _is_count(public["num_files"]):
                raise LedgerError(f"The log's entry {index} names no release")
            recipient = entry.get("private", {}).get("recipient")
            if recipient is not None and not isinstance(recipient, str):
                raise LedgerError(f"The log's entry {index} names no recipient")
            digest, num_files = public["digest"], public["num_files"]
            releases.append(LoggedRelease(digest, num_files, entry["at"], index, recipient))
    return Log(verifications, tuple(releases), traces)


def unspent(
    query_order: Sequence[tuple[int, str]], verifications: Iterable[LoggedVerification]
) -> list[int]:
    """Returns the pairs that no verification has used, in the committed order."""
    spent = {pair for item in verifications for pair in item.pairs[: item.num_queried]}
    return [index for index, _ in query_order if index not in spent]


def may_open(
    pairs: Sequence[int],
    reuse: bool,
    query_order: Sequence[tuple[int, str]],
    verifications: Iterable[LoggedVerification],
) -> bool:
    """Whether a verification may be opened for these pairs: the next ones, or on reuse all."""
    if reuse:
        return list(pairs) == [index for index, _ in query_order]
    return list(pairs) == unspent(query_order, verifications)[: len(pairs)]


def num_left_after(
    query_order: Sequence[tuple[int, str]],
    verifications: Mapping[str, LoggedVerification],
    opened: LoggedVerification,
    answers: PairAnswers,
) -> int:
    """Returns how many pairs no verification has used, once this one is closed."""
    closed = dataclasses.replace(opened, num_queried=len(answers.pairs))
    return len(unspent(query_order, {**verifications, opened.id: closed}.values()))


def check_answered_pairs(opened: LoggedVerification, answers: PairAnswers, plan: Plan) -> None:
    """Checks that the answers are of the kind and to the pairs that the verification was opened for.

    Raises:
        LedgerError: if they are of another kind, or a pair is missing, added or out of order. Only
            a sequential test may leave out pairs at the end
    """
    if answers.kind != opened.kind:
        # Else one could look at both and take the better
        raise LedgerError(
            f"Verification {opened.id} was opened for {opened.kind}, but the answers are "
            f"{answers.kind}"
        )
    if answers.pairs != opened.pairs[: len(answers.pairs)]:
        raise LedgerError(
            f"Verification {opened.id} was opened for the pairs {list(opened.pairs)} in this "
            f"order, but the answers are to {list(answers.pairs)}"
        )
    if not TESTS[plan.test_for(answers.kind)].sequential and len(answers.pairs) != len(
        opened.pairs
    ):
        raise LedgerError(
            f"Verification {opened.id} was opened for {len(opened.pairs)} pairs, but the answers "
            f"are to {len(answers.pairs)}: only a sequential test may stop early. Give None for "
            "failed queries"
        )


def without_words(verdict: Verdict) -> dict[str, Any]:
    """Returns a verdict's plain values without the words that follow from them."""
    return {name: value for name, value in verdict.to_dict().items() if name not in WORDS}


def _check_entry(entry: Mapping[str, Any], index: int, previous: str, version: int) -> str:
    """Checks an entry's form and hashes, and returns its own hash."""
    if (
        not isinstance(entry, Mapping)
        or set(entry) - {"private"} != _ENTRY_KEYS
        or type(entry["index"]) is not int
        or entry["index"] != index
        or entry["previous"] != previous
        or not is_digest(entry["private_sha256"])
        or entry["hash"] != hash_entry(entry, version)
    ):
        raise LedgerError(f"The log was altered at entry {index}: its hashes do not fit")
    event = entry["event"]
    if event not in _PUBLIC_KEYS or set(entry["public"]) != _PUBLIC_KEYS[event]:
        raise LedgerError(f"The log's entry {index} is of an unknown kind")
    if not isinstance(entry["id"], str):
        raise LedgerError(f"The log's entry {index} has no name")
    read_moment(entry["at"])
    if "private" in entry:
        private = entry["private"]
        if (
            not isinstance(private, Mapping)
            or set(private) - _ADDED.get(event, set()) != _PRIVATE_KEYS[event]
        ):
            raise LedgerError(f"The log was altered at entry {index}: its details are incomplete")
        if hash_private(private, version) != entry["private_sha256"]:
            raise LedgerError(f"The log was altered at entry {index}: its details do not fit")
    return str(entry["hash"])


def _read_open(
    entry: Mapping[str, Any],
    verifications: dict[str, LoggedVerification],
    query_order: Sequence[tuple[int, str]],
    plan: Plan,
) -> None:
    public, private = entry["public"], entry.get("private")
    pairs = tuple(public["pairs"])
    if entry["id"] in verifications:
        raise LedgerError(f"The log opens verification {entry['id']} twice")
    if not isinstance(public["reuse"], bool) or not all(type(pair) is int for pair in pairs):
        raise LedgerError(f"The log opens verification {entry['id']} with impossible pairs")
    if not may_open(pairs, public["reuse"], query_order, verifications.values()):
        raise LedgerError(
            f"Verification {entry['id']} was opened for other pairs than the next ones"
        )
    if private is not None:
        name, digest = private["suspect_name"], private["suspect_digest"]
        if not isinstance(name, str) or not (digest is None or is_digest(digest)):
            raise LedgerError(
                f"Verification {entry['id']} names no suspect: a name, and a digest of 64 hexadecimal "
                "digits or none, are needed"
            )
        if private["kind"] not in KINDS or not isinstance(private["protocol"], Mapping):
            raise LedgerError(f"Verification {entry['id']} does not say how the suspect is asked")
    known = private or {}
    verifications[entry["id"]] = LoggedVerification(
        id=entry["id"],
        pairs=pairs,
        # Whatever becomes of it, it keeps its place: nothing is taken back that was tried
        position=len(verifications) + 1,
        alpha=plan.alpha_for(public["alpha"]),
        opened_at=entry["at"],
        suspect_name=known.get("suspect_name"),
        suspect_digest=known.get("suspect_digest"),
        kind=known.get("kind"),
        protocol=dict(known.get("protocol", {})),
        num_queried=len(pairs),
    )


def _read_close(
    entry: Mapping[str, Any], verifications: dict[str, LoggedVerification], plan: Plan
) -> None:
    public, private = entry["public"], entry.get("private")
    opened = verifications.get(entry["id"])
    if opened is None or opened.closed:
        raise LedgerError(f"The log closes verification {entry['id']}, which is not open")
    concluded, num_queried = public["concluded"], public["num_queried"]
    # A verification that is given up has used its pairs: nobody can show that they were not asked
    # Of another's verification evidence does not say which kind it was
    kinds = KINDS if opened.kind is None else (opened.kind,)
    may_stop = concluded and any(TESTS[plan.test_for(kind)].sequential for kind in kinds)
    least = min(plan.min_pairs, len(opened.pairs)) if may_stop else len(opened.pairs)
    if (
        not isinstance(concluded, bool)
        or not _is_count(num_queried)
        or not least <= num_queried <= len(opened.pairs)
    ):
        raise LedgerError(f"The log closes verification {entry['id']} with impossible figures")
    result = answers = None
    if private is not None:
        result, answers = private["result"], private["answers_sha256"]
        if (result is not None) != concluded or is_digest(answers) != concluded:
            raise LedgerError(f"Verification {entry['id']} has a verdict without answers")
    if result is not None:
        verdict = Verdict.from_dict({**result, **dict.fromkeys(WORDS, "")})
        if verdict.num_pairs + verdict.num_failed != num_queried:
            raise LedgerError(f"The log closes verification {entry['id']} with impossible figures")
        if num_queried < len(opened.pairs) and verdict.verdict != DERIVED:
            raise LedgerError(
                f"The log closes verification {entry['id']} after {num_queried} of {len(opened.pairs)} pairs, and it "
                "had not decided"
            )
    verifications[entry["id"]] = dataclasses.replace(
        opened,
        closed=True,
        concluded=concluded,
        num_queried=num_queried,
        result=result,
        answers_sha256=answers,
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
