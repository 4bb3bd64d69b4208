"""The log of the verifications: what each entry says, and by which rules it may be written.

The entries are chained by hashes from the commitment on. Of each entry a public part is always
given; a private one, bound by its own hash, can be left out in an evidence file.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ..errors import LedgerError
from .hashes import hash_entry, hash_private
from .twins import PairAnswers
from .verdict import Plan, Verdict


@dataclass(frozen=True)
class Verification:
    """One verification, as the log tells it.

    Attributes:
        id: its name in the log
        pairs: the pairs it was opened for, in the committed order
        position: which verification it is, counted from 1 at its opening over those that count
        alpha: the level it was opened with
        suspect_name: the suspect's name, None where the log's details are closed
        suspect_digest: the digest of the suspect's file, where there is one
        closed: whether it was brought to its end
        num_queried: how many of its pairs were queried; all of them while it is open
        num_answers: how many images got an answer; None while it is open
        p_value: its p-value; 1 while it is open or without a result
        verdict: its verdict; None without a result
        result: the whole verdict; None without a result or where the log's details are closed
        answers_sha256: the digest of the answers; None without answers
    """

    id: str
    pairs: tuple[int, ...]
    position: int
    alpha: float
    suspect_name: str | None
    suspect_digest: str | None
    closed: bool = False
    num_queried: int = 0
    num_answers: int | None = None
    p_value: float = 1.0
    verdict: str | None = None
    result: dict[str, Any] | None = None
    answers_sha256: str | None = None

    @property
    def counts(self) -> bool:
        """Whether it takes a position: not if it was closed without a single answer."""
        return self.num_answers != 0


def new_entry(
    event: str,
    verification_id: str,
    public: Mapping[str, Any],
    private: Mapping[str, Any],
    *,
    index: int,
    previous: str,
) -> dict[str, Any]:
    """Returns a log entry with its hashes, in JSON's own types.

    Args:
        event: "open" or "close"
        verification_id: the verification it is about
        public: what every evidence file tells
        private: what only this verification's own evidence tells; it gets a salt
        index: its place in the log
        previous: the hash of the entry before it, or for the first one the commitment
    """
    private = {"salt": secrets.token_hex(32), **private}
    entry = {
        "index": index,
        "event": event,
        "id": verification_id,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "public": public,
        "private_sha256": hash_private(private),
        "previous": previous,
    }
    entry = {**entry, "hash": hash_entry(entry), "private": private}
    # Lists, not tuples: as it will be read
    plain: dict[str, Any] = json.loads(json.dumps(entry, allow_nan=False))
    return plain


def read_log(
    log: Sequence[Mapping[str, Any]],
    commitment: str,
    query_order: Sequence[tuple[int, str]],
    plan: Plan,
) -> dict[str, Verification]:
    """Checks a log entry by entry and returns its verifications by id.

    Private parts may be left out; those present must fit their hashes.

    Raises:
        LedgerError: if the chain is broken or an entry cannot have been written by the rules
    """
    verifications: dict[str, Verification] = {}
    previous = commitment
    for index, entry in enumerate(log):
        if (
            entry["index"] != index
            or entry["previous"] != previous
            or entry["hash"] != hash_entry(entry)
        ):
            raise LedgerError(f"The log was altered at entry {index}: its hashes do not fit")
        private = entry.get("private")
        if private is not None and hash_private(private) != entry["private_sha256"]:
            raise LedgerError(f"The log was altered at entry {index}: its details do not fit")
        previous = entry["hash"]
        if entry["event"] == "open":
            _read_open(entry, verifications, query_order, plan)
        elif entry["event"] == "close":
            _read_close(entry, verifications)
        else:
            raise LedgerError(f"The log's entry {index} is of an unknown kind")
    return verifications


def unspent(
    query_order: Sequence[tuple[int, str]], verifications: Iterable[Verification]
) -> list[int]:
    """Returns the pairs that no verification has used, in the committed order."""
    spent = {pair for item in verifications for pair in item.pairs[: item.num_queried]}
    return [index for index, _ in query_order if index not in spent]


def may_open(
    pairs: Sequence[int],
    reuse: bool,
    query_order: Sequence[tuple[int, str]],
    verifications: Iterable[Verification],
) -> bool:
    """Whether a verification may be opened for these pairs: the next ones, or on reuse all."""
    if reuse:
        return list(pairs) == [index for index, _ in query_order]
    return list(pairs) == unspent(query_order, verifications)[: len(pairs)]


def num_left_after(
    query_order: Sequence[tuple[int, str]],
    verifications: Mapping[str, Verification],
    opened: Verification,
    answers: PairAnswers,
) -> int:
    """Returns how many pairs no verification has used, once this one is closed."""
    closed = dataclasses.replace(opened, num_queried=len(answers.pairs))
    return len(unspent(query_order, {**verifications, opened.id: closed}.values()))


def check_answered_pairs(opened: Verification, answers: PairAnswers, plan: Plan) -> None:
    """Checks that the answers are to the pairs that the verification was opened for.

    Raises:
        LedgerError: if a pair is missing, added or out of order. Only a sequential test may leave
            out pairs at the end
    """
    if answers.pairs != opened.pairs[: len(answers.pairs)]:
        raise LedgerError(
            f"Verification {opened.id} was opened for the pairs {list(opened.pairs)} in this "
            f"order, but the answers are to {list(answers.pairs)}"
        )
    if plan.test_for(answers.kind) != "e_process" and len(answers.pairs) != len(opened.pairs):
        raise LedgerError(
            f"Verification {opened.id} was opened for {len(opened.pairs)} pairs, but the answers "
            f"are to {len(answers.pairs)}: only a sequential test may stop early. Give None for "
            "failed queries"
        )


def _read_open(
    entry: Mapping[str, Any],
    verifications: dict[str, Verification],
    query_order: Sequence[tuple[int, str]],
    plan: Plan,
) -> None:
    public, private = entry["public"], entry.get("private") or {}
    pairs = tuple(public["pairs"])
    if entry["id"] in verifications:
        raise LedgerError(f"The log opens verification {entry['id']} twice")
    if not may_open(pairs, public["reuse"], query_order, verifications.values()):
        raise LedgerError(
            f"Verification {entry['id']} was opened for other pairs than the next ones"
        )
    verifications[entry["id"]] = Verification(
        id=entry["id"],
        pairs=pairs,
        position=1 + sum(item.counts for item in verifications.values()),
        alpha=plan.alpha_for(public["alpha"]),
        suspect_name=private.get("suspect_name"),
        suspect_digest=private.get("suspect_digest"),
        num_queried=len(pairs),
    )


def _read_close(entry: Mapping[str, Any], verifications: dict[str, Verification]) -> None:
    public, private = entry["public"], entry.get("private") or {}
    opened = verifications.get(entry["id"])
    if opened is None or opened.closed:
        raise LedgerError(f"The log closes verification {entry['id']}, which is not open")
    if not 0 <= public["num_queried"] <= len(opened.pairs) or not 0 <= public["p_value"] <= 1:
        raise LedgerError(f"The log closes verification {entry['id']} with impossible figures")
    result = private.get("result")
    if result is not None:
        Verdict.from_dict(result)
    verifications[entry["id"]] = dataclasses.replace(
        opened,
        closed=True,
        num_queried=public["num_queried"],
        num_answers=public["num_answers"],
        p_value=public["p_value"],
        verdict=public["verdict"],
        result=result,
        answers_sha256=public["answers_sha256"],
    )
