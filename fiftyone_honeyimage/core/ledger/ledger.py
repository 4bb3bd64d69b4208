"""The owner's secret record of a marking: images, coins, releases and every verification ever made.

What is fixed at the marking is bound by a *commitment*: a SHA-256 over the list of leaf hashes, one
for the header, each single HoneyImage, each pair and the query order. Every leaf is hashed with 32
random bytes of its own, so that the hashes tell nothing about the coins, and single leaves can be
opened as evidence while the others stay secret.

What grows is a log, chained by hashes from the commitment on: of releases, and of verifications,
each written down before its first query with how the suspect will be asked, and never removed.

A damaged or edited file is found out. Whoever holds the ledger can write a consistent other one: only
a commitment published before the release, and a published head of the log, bind the owner. Nothing
here proves that the coins were fair or that no query was made outside the log.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import LedgerError, ParameterError
from ..evidence.pair_answers import PairAnswers
from ..evidence.plan import Plan
from ..evidence.statement import DERIVED
from ..evidence.twins import KINDS
from ..evidence.verdict import Verdict, judge, tested_differences
from ..files import locked
from ..scores import SideReferences
from .file import keep_private, read_ledger_file, refuse_links, write_ledger_file
from .hashes import (
    check_text,
    hash_answers,
    hash_leaf,
    hash_leaves,
    is_digest,
    list_leaves,
    read_version,
)
from .header import check_header
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
from .protocol import check_protocol, loss_unit
from .sides import (
    EVERYBODY,
    MarkedImage,
    check_images,
    image_entry,
    pair_entry,
    read_pair,
    read_query_order,
)


class Ledger:
    """A ledger as it is on disk. Made by :func:`.creation.create_ledger` and
    :func:`load_ledger`.

    Attributes:
        path: its file
        header: what the marking was made from and with, and the plan
        version: of its format
        plan: the plan of the verifications
        singles: HoneyImages without a twin, all released
        pairs: the pairs of twins; ``pairs[i].index == i``
        query_order: (pair, twin to be queried first), in the order of the queries
        salts: one for each leaf: header, singles, pairs, query order
        leaf_hashes: the hash of each leaf
        commitment: the hash over the leaf hashes, to be published before the release
        log: the entries so far
    """

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        self.path = path
        self.header: dict[str, Any] = content["header"]
        self.plan = Plan.from_dict(self.header["plan"])
        self.singles = [MarkedImage(**entry) for entry in content["singles"]]
        self.version = read_version(self.header.get("format"), "ledger")
        self.pairs = [read_pair(entry, self.version) for entry in content["pairs"]]
        self.query_order = read_query_order(content["query_order"], len(self.pairs))
        self.salts: list[str] = content["salts"]
        self.commitment: str = content["commitment"]
        self.log: list[dict[str, Any]] = content["log"]

        check_header(self.header, len(self.singles), len(self.pairs))
        check_images(self.singles, [(pair.a, pair.b) for pair in self.pairs])

        leaves = self.leaves()
        if len(self.salts) != len(leaves) or not all(map(is_digest, self.salts)):
            raise LedgerError(f"{path} was altered: it has {len(leaves)} leaves but other salts")
        self.leaf_hashes = [
            hash_leaf(leaf, salt, self.version)
            for leaf, salt in zip(leaves, self.salts, strict=True)
        ]
        if hash_leaves(self.leaf_hashes, self.version) != self.commitment:
            raise LedgerError(
                f"{path} was altered: its content does not fit its commitment. Restore the file "
                "that was written at the marking"
            )
        self._known = self._read_log(self.log)
        if not all("private" in entry for entry in self.log):
            raise LedgerError(f"{path} was altered: details of its log are missing")
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

    def leaves(self) -> list[dict[str, Any]]:
        """Returns what is committed to, in the order of the leaf hashes."""
        return list_leaves(
            self.header,
            [image_entry(image) for image in self.singles],
            [pair_entry(pair, self.version) for pair in self.pairs],
            [list(step) for step in self.query_order],
        )

    def queries(self, pairs: Iterable[int]) -> list[tuple[int, str, MarkedImage]]:
        """Returns (pair, "a" or "b", image) of every query to make, in the committed order.

        Which twin comes first was drawn apart from the coins: a suspect whose answers depend on
        the order cannot favour the released twins by chance or by intent.
        """
        wanted = set(pairs)
        return [
            (index, twin, image)
            for index, first in self.query_order
            if index in wanted
            for twin in (first, "b" if first == "a" else "a")
            for image in self.pairs[index].side(twin).asked
        ]

    @property
    def marked_images(self) -> list[MarkedImage]:
        """Every HoneyImage, withheld ones too, in an order that knows no coin.

        Errors are kept with a delegated operation. One that only a released twin can cause, or that names
        the released one of two first, would tell which it is.
        """
        return [*self.singles, *(image for pair in self.pairs for image in pair.images)]

    def released_images(self, recipient: str = EVERYBODY) -> list[MarkedImage]:
        """Returns every HoneyImage in a recipient's release: singles, then released sides.

        Raises:
            LedgerError: if nobody of that name has one; so do the other methods that take a recipient
        """
        self.check_recipient(recipient)
        sides = [pair.released_side(recipient) for pair in self.pairs]
        return [*self.singles, *(image for side in sides for image in side.files)]

    def withheld_images(self, recipient: str = EVERYBODY) -> list[MarkedImage]:
        """Returns the images that this recipient must not have."""
        self.check_recipient(recipient)
        sides = [pair.withheld_side(recipient) for pair in self.pairs]
        return [image for side in sides for image in side.files]

    def released(self, recipient: str = EVERYBODY) -> dict[int, str]:
        """Returns a recipient's coins: for each pair's index, which side was released."""
        self.check_recipient(recipient)
        return {pair.index: pair.released[recipient] for pair in self.pairs}

    def check_recipient(self, recipient: str = EVERYBODY) -> None:
        """Raises LedgerError unless this recipient has a release; by default that which everybody gets."""
        if all(recipient in pair.released for pair in self.pairs):
            return
        known = sorted({who for pair in self.pairs for who in pair.released})
        if recipient == EVERYBODY:
            raise LedgerError(
                f"{self.path} has no release for everybody, but one each for {', '.join(known)[:200]}: releases and "
                "verifications by recipient are not supported by this version. Mark the dataset anew without "
                "recipients"
            )
        raise LedgerError(
            f"{self.path} has no release for {recipient!r}; it has those of: "
            f"{', '.join(who or 'everybody' for who in known)[:200]}"
        )

    def differences(self, answers: PairAnswers) -> npt.NDArray[np.float64]:
        """What the planned test is made with, of the pairs that did not fail, shape (n,)."""
        return tested_differences(
            self.plan, answers, self.released(), self.covariates(), self.references()
        )

    def covariates(self) -> dict[int, tuple[Mapping[str, float], Mapping[str, float]]]:
        """Returns what was committed of both sides of each pair beside their images."""
        return {pair.index: (pair.a.covariates, pair.b.covariates) for pair in self.pairs}

    def references(self) -> dict[int, tuple[SideReferences | None, SideReferences | None]]:
        """Returns what reference models said of both sides of each pair, as committed; None without them."""
        return {pair.index: (pair.a.references, pair.b.references) for pair in self.pairs}

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

    def record_release(self, digest: str, num_files: int) -> None:
        """Writes a release down, once, by :func:`.release_digest.release_digest`; it takes no position.

        Raises:
            LedgerError: if it is no digest, or the file was altered meanwhile
        """
        with locked(self.path):
            self._reload()
            if any(digest == release.digest for release in self.releases):
                return
            public = {"digest": digest, "num_files": int(num_files)}
            self._append("release", secrets.token_hex(8), public, {})

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
        protocol = check_protocol(protocol, kind, self._labels())
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
        return self._follow(closed, answers, closed.result["num_left"], closed.result["paper"])

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
        num_left = num_left_after(self.query_order, self.verifications, opened, answers)
        verdict = self._follow(opened, answers, num_left, paper)
        if len(answers.pairs) < len(opened.pairs) and verdict.verdict != DERIVED:
            raise LedgerError(
                f"Verification {verification_id} has answers to {len(answers.pairs)} of {len(opened.pairs)} pairs and is "
                f"{verdict.verdict}: a sequential test stops early only where it has decided. Ask about the other "
                "pairs, or give up, which uses all of them"
            )
        return verdict

    def _follow(
        self,
        opened: LoggedVerification,
        answers: PairAnswers,
        num_left: int,
        paper: Mapping[str, Any] | None,
    ) -> Verdict:
        return judge(
            self.plan,
            answers,
            self.released(),
            self.covariates(),
            self.references(),
            num_left=num_left,
            position=opened.position,
            alpha=opened.alpha,
            paper=paper,
            caution=opened.protocol.get("caution"),
            unit=loss_unit(opened.protocol),
        )

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
        entry = new_entry(
            event,
            entry_id,
            public,
            private,
            index=len(self.log),
            previous=self.head,
            earliest=self.log[-1]["at"] if self.log else None,
            version=self.version,
        )
        log = [*self.log, entry]
        known = self._read_log(log)
        write_ledger_file(self.path, {**self._content(), "log": log, "head": entry["hash"]})
        self.log, self._known = log, known

    def _labels(self) -> set[str]:
        labels = {image.label for pair in self.pairs for image in pair.asked}
        return labels.union(self.header.get("classes", ()))

    def _read_log(self, log: Sequence[Mapping[str, Any]]) -> Log:
        return read_log(log, self.commitment, self.query_order, self.plan, self.version)

    def _content(self) -> dict[str, Any]:
        return {
            "header": self.header,
            "singles": [image_entry(image) for image in self.singles],
            "pairs": [pair_entry(pair, self.version) for pair in self.pairs],
            "query_order": [list(step) for step in self.query_order],
            "salts": self.salts,
            "commitment": self.commitment,
            "log": self.log,
            "head": self.head,
        }

    def _reload(self) -> None:
        """Takes over what other processes have logged, so that no verification is lost."""
        current = load_ledger(self.path, self.commitment)
        if current.log[: len(self.log)] != self.log:
            raise LedgerError(
                f"{self.path} was altered: verifications were removed from its log. Restore the "
                "newest copy"
            )
        self.log, self._known = current.log, current._known


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
