"""The owner's secret record of a marking: images, coins, releases and every verification ever made.

What is fixed at the marking is bound by a commitment, see :mod:`.committed`. What grows is a log, chained
by hashes from the commitment on: of releases, and of verifications, each written down before its first query
with how the suspect will be asked, and never removed.

A damaged or edited file is found out. Whoever holds the ledger can write a consistent other one: only
a commitment published before the release, and a published head of the log, bind the owner. That the coins
were fair is shown only where a public round decided (:mod:`.lots`); nothing shows that no query was made outside the log.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import LedgerError, ParameterError
from ..evidence.pair_answers import PairAnswers
from ..evidence.statement import DERIVED
from ..evidence.twins import KINDS
from ..evidence.verdict import Verdict
from ..files import locked
from .committed import CommittedMarking
from .file import keep_private, read_ledger_file, refuse_links, write_ledger_file
from .hashes import check_text, hash_answers
from .log import (
    Log,
    LoggedRelease,
    LoggedVerification,
    check_answered_pairs,
    may_open,
    new_entry,
    num_left_after,
    read_log,
    unspent,
    without_words,
)
from .protocol import check_protocol
from .sides import check_shares
from .trace_log import LoggedTrace


class Ledger(CommittedMarking):
    """A ledger as it is on disk. Made by :func:`.creation.create_ledger` and
    :func:`load_ledger`.

    Attributes:
        log: the entries so far, none before the coins
    """

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        super().__init__(path, content)
        self.log: list[dict[str, Any]] = content["log"]
        self._known = self._read_log(self.log)
        if not all("private" in entry for entry in self.log):
            raise LedgerError(f"{path} was altered: details of its log are missing")
        if self.pending and self.log:
            raise LedgerError(f"{path} was altered: its log begins before its coins were drawn")
        if content["head"] != self.head:
            raise LedgerError(f"{path} was altered: the end of its log is missing")

    @property
    def verifications(self) -> dict[str, LoggedVerification]:
        """Every verification ever opened, by id, in the order of the openings."""
        return self._known.verifications

    @property
    def releases(self) -> tuple[LoggedRelease, ...]:
        """The releases that were logged, oldest first."""
        return self._known.releases

    @property
    def head(self) -> str:
        """The hash of the last log entry; publishing it binds the log so far."""
        return self.log[-1]["hash"] if self.log else self.commitment

    @property
    def pairs_left(self) -> list[int]:
        """The pairs that no verification has used, in the committed order."""
        return unspent(self.query_order, self.verifications.values())

    def position(self, verification_id: str) -> int:
        """Returns which verification it is: all that were opened before count.

        Raises:
            LedgerError: if there is no such verification
        """
        if verification_id not in self.verifications:
            raise LedgerError(f"{self.path} knows no verification {verification_id!r}")
        return self.verifications[verification_id].position

    def open_verifications(self) -> list[LoggedVerification]:
        """Returns those not closed, oldest first: they go on under their id and position."""
        return [item for item in self.verifications.values() if not item.closed]

    def draw_coins(self, signature: bytes) -> None:
        """Draws the coins from the public round that was committed to; once, and again with the same outcome.

        Args:
            signature: the round's, 48 bytes; see :mod:`.relays`

        Raises:
            LedgerError: if the coins were drawn at the marking, or the file was altered meanwhile
            BeaconError: if the round is not out yet, or the signature is not its signature
        """
        with locked(self.path):
            self._reload()
            if self.beacon is None:
                raise LedgerError(f"The coins of {self.path} were drawn at the marking, for good")
            beacon = self.beacon.drawn(signature)
            if not self.pending:
                return
            refuse_links(self.path)
            content = {**self.content(), "beacon": beacon.draw(), "log": [], "head": self.head}
            write_ledger_file(self.path, content)
            self._reload()

    @property
    def traces(self) -> dict[str, LoggedTrace]:
        """Every attempt to find out whose release something comes from, by id; see :mod:`.trace_log`."""
        return self._known.traces

    def record(
        self, event: str, entry_id: str, public: dict[str, Any], private: dict[str, Any]
    ) -> None:
        """Adds an entry to the log, after what other processes have added.

        Raises:
            LedgerError: if the log's rules do not allow it, or the file was altered meanwhile
        """
        with locked(self.path):
            self._reload()
            self.check_drawn()
            self._append(event, entry_id, public, private)

    def record_release(self, digest: str, num_files: int, recipient: str | None = None) -> None:
        """Writes a release down, once, by :func:`.release_digest.release_digest`; it takes no position.

        Args:
            digest: of its files
            num_files: how many there are
            recipient (None): whose it is, where each has his own

        Raises:
            LedgerError: if it is no digest, or the file was altered meanwhile
        """
        with locked(self.path):
            self._reload()
            self.check_drawn()
            if any(digest == release.digest for release in self.releases):
                return
            public = {"digest": digest, "num_files": int(num_files)}
            private = {} if recipient is None else {"recipient": recipient}
            self._append("release", secrets.token_hex(8), public, private)

    def open_verification(
        self,
        suspect_name: str,
        suspect_digest: str | None,
        kind: str,
        pairs: Sequence[int],
        *,
        protocol: Mapping[str, Any],
        alpha: float | None = None,
        reuse: bool = False,
    ) -> str:
        """Writes a verification down, before its first query. From here on it counts.

        Args:
            suspect_name: what the owner calls the suspect
            suspect_digest: the SHA-256 of its file, None where there is none
            kind: what it answers, "scores" or "labels": a choice afterwards would be one of p-values
            pairs: the pairs to be queried: the first so many of :attr:`pairs_left`, or with
                ``reuse`` all pairs in the committed order. No other choice is possible
            protocol: how it will be asked, see :func:`.protocol.check_protocol`
            alpha (None): a smaller level than the plan's
            reuse (False): whether pairs may be queried that earlier verifications have used. Only
                all of them: a number chosen after earlier results would be a choice of p-values

        Returns:
            the verification's id

        Raises:
            LedgerError: if the pairs are not the next ones, the protocol is incomplete, a text is
                outside UTF-8, each recipient has a release of his own, or the file was altered
            ParameterError: if alpha exceeds the plan's
        """
        if kind not in KINDS:
            raise ParameterError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        check_text(suspect_name, "The suspect's name")
        check_text(suspect_digest, "The suspect's digest")
        self.check_recipient()
        verification_id = secrets.token_hex(8)
        wanted = [int(pair) for pair in pairs]
        protocol = check_protocol(protocol, kind, self.labels)
        with locked(self.path):
            self._reload()
            if not may_open(wanted, reuse, self.query_order, self.verifications.values()):
                raise LedgerError(
                    "A verification takes the next unused pairs in the committed order, "
                    f"{self.pairs_left[: len(wanted)]}, not {wanted}; pass the first so many of "
                    "pairs_left, or with reuse=True all pairs in the committed order"
                )
            self._append(
                "open",
                verification_id,
                {"pairs": wanted, "alpha": self.plan.alpha_for(alpha), "reuse": bool(reuse)},
                {
                    "suspect_name": suspect_name,
                    "suspect_digest": suspect_digest,
                    "kind": kind,
                    "protocol": protocol,
                },
            )
        return verification_id

    def conclude(
        self,
        verification_id: str,
        answers: PairAnswers,
        *,
        paper: Mapping[str, Any] | None = None,
    ) -> Verdict:
        """Decides on a suspect's answers and closes the verification with the verdict.

        Args:
            verification_id: an open verification
            answers: to its pairs in its order; to the first of them, if the test is sequential
            paper (None): the published method's figures, passed through

        Raises:
            LedgerError: if it is not open, or the answers are to other pairs or of another kind
        """
        with locked(self.path):
            self._reload()
            verdict = self._decide(verification_id, answers, paper)
            self._close(verification_id, verdict, answers)
        return verdict

    def verdict_of(self, verification_id: str, answers: PairAnswers) -> Verdict:
        """Returns the verdict that a verification was concluded with, for who has the answers at hand.

        Raises:
            LedgerError: if it has no verdict, or the answers are others
        """
        closed = self.verifications.get(verification_id)
        if closed is None or closed.result is None:
            raise LedgerError(f"{self.path} holds no verdict of verification {verification_id!r}")
        if hash_answers(answers, self.version) != closed.answers_sha256:
            raise LedgerError(
                f"These are not the answers that verification {verification_id} was closed with"
            )
        return self.judge(closed, answers, closed.result["num_left"], closed.result["paper"])

    def close_verification(
        self, verification_id: str, result: Verdict | None, answers: PairAnswers | None = None
    ) -> None:
        """Closes a verification, with a verdict or without.

        Args:
            verification_id: an open verification
            result: the verdict that follows from the answers, or None to give up: it counts all the
                same, and its pairs are used
            answers (None): needed with a verdict

        Raises:
            LedgerError: if it is not open, or the verdict does not follow from the answers
        """
        with locked(self.path):
            self._reload()
            if result is None:
                self._opened(verification_id)
                self._close(verification_id, None, None)
                return
            if answers is None:
                raise LedgerError("A verdict is closed with the answers that it rests on")
            if result != self._decide(verification_id, answers, result.paper):
                raise LedgerError(
                    "This verdict does not follow from these answers and the ledger as it is now; "
                    "decide again"
                )
            self._close(verification_id, result, answers)

    def _decide(
        self, verification_id: str, answers: PairAnswers, paper: Mapping[str, Any] | None
    ) -> Verdict:
        opened = self._opened(verification_id)
        check_answered_pairs(opened, answers, self.plan)
        check_shares(answers, dict(enumerate(self.pairs)))
        num_left = num_left_after(self.query_order, self.verifications, opened, answers)
        verdict = self.judge(opened, answers, num_left, paper)
        if len(answers.pairs) < len(opened.pairs) and verdict.verdict != DERIVED:
            raise LedgerError(
                f"Verification {verification_id} has answers to {len(answers.pairs)} of {len(opened.pairs)} pairs and is "
                f"{verdict.verdict}: a sequential test stops early only where it has decided. Ask about the other "
                "pairs, or give up, which uses all of them"
            )
        return verdict

    def _opened(self, verification_id: str) -> LoggedVerification:
        verification = self.verifications.get(verification_id)
        if verification is None:
            raise LedgerError(f"{self.path} knows no verification {verification_id!r}")
        if verification.closed:
            raise LedgerError(f"Verification {verification_id} is closed; open a new one")
        return verification

    def _close(
        self, verification_id: str, result: Verdict | None, answers: PairAnswers | None
    ) -> None:
        given_up = result is None or answers is None
        opened = self.verifications[verification_id]
        self._append(
            "close",
            verification_id,
            {
                "concluded": not given_up,
                "num_queried": len(opened.pairs if answers is None else answers.pairs),
            },
            {
                "result": None if result is None else without_words(result),
                "answers_sha256": None if answers is None else hash_answers(answers, self.version),
            },
        )

    def _append(
        self, event: str, entry_id: str, public: dict[str, Any], private: dict[str, Any]
    ) -> None:
        refuse_links(self.path)
        first = None if self.coins_at is None else self.coins_at.isoformat()
        earliest = self.log[-1]["at"] if self.log else first
        entry = new_entry(
            event,
            entry_id,
            public,
            private,
            index=len(self.log),
            previous=self.head,
            earliest=earliest,
            version=self.version,
        )
        log = [*self.log, entry]
        known = self._read_log(log)
        write_ledger_file(self.path, {**self.content(), "log": log, "head": entry["hash"]})
        self.log, self._known = log, known

    def _read_log(self, log: Sequence[Mapping[str, Any]]) -> Log:
        return read_log(
            log, self.commitment, self.query_order, self.plan, self.version, self.coins_at
        )

    def _reload(self) -> None:
        """Takes over what other processes have logged, so that no verification is lost."""
        current = load_ledger(self.path, self.commitment)
        if current.log[: len(self.log)] != self.log:
            raise LedgerError(
                f"{self.path} was altered: verifications were removed from its log. Restore the "
                "newest copy"
            )
        self.log, self._known = current.log, current._known
        if current.beacon != self.beacon:
            self.beacon, self.pairs = current.beacon, current.pairs


def load_ledger(path: str | os.PathLike[str], commitment: str | None = None) -> Ledger:
    """Reads a ledger and checks all of it.

    If others may read the file, its permissions are set to 0600 and a warning is logged.

    Args:
        path: the file
        commitment (None): the published commitment, if it is at hand

    Raises:
        LedgerError: if it is missing, unreadable, altered, or not the one committed to
    """
    path = Path(path)
    if path.is_symlink():
        # Writing replaces a file: the link would become a second ledger, and have its own lock
        path = path.resolve()
    content = read_ledger_file(path)
    try:
        ledger = Ledger(path, content)
    except LedgerError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise LedgerError(f"{path} was altered or is no ledger: {error!r}") from error
    if commitment is not None and ledger.commitment != commitment:
        raise LedgerError(
            f"{path} is another ledger: its commitment is {ledger.commitment}, the one expected "
            f"{commitment}"
        )
    keep_private(path)
    return ledger
