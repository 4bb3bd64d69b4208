"""The evidence file: all that a third party needs to recompute a verdict, and nothing more.

It opens the header, the query order and the queried pairs of the ledger, each with its salt; of the
other leaves it holds hashes alone. The log goes up to the end of the verification, the details of
other verifications (names of suspects, verdicts in full) closed.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import HoneyImageError, LedgerError
from ..files import write_json_atomic
from .hashes import hash_answers, hash_leaf, hash_leaves, parse_json
from .ledger import Ledger
from .ledger_file import FORMAT as LEDGER_FORMAT
from .marked_images import Pair, read_pair, read_query_order
from .twins import PairAnswers
from .verdict import Plan, Verdict, decide
from .verification_log import Verification, check_answered_pairs, num_left_after, read_log

FORMAT = "honeyimage-evidence/1"

_KEYS = {
    "format",
    "commitment",
    "leaf_hashes",
    "header",
    "query_order",
    "pairs",
    "log",
    "verification_id",
    "suspect",
    "answers",
    "verdict",
}
#: Numbers may differ by this much between versions of NumPy and processors
_RELATIVE_TOLERANCE = 1e-9

#: What no file can show
BEYOND_THE_FILE = (
    "that the commitment was published before the release: compare it with the published, dated one",
    "that the coins were fair: it rests on the owner's word that the program drew them",
    "that the suspect gave these answers: query it with the opened images again",
    "that the images are those of the digests: compare the files",
    "that the log is complete: compare its head with a published one, if there is one",
    "the published method's figures, which do not enter the verdict",
)


@dataclass(frozen=True)
class EvidenceCheck:
    """What a third party finds in an evidence file.

    Attributes:
        held: what was recomputed and fits
        failed: what does not fit, and why
        not_checked: what the file cannot show
        verdict: the verdict as recomputed; None unless everything held
    """

    held: tuple[str, ...]
    failed: tuple[str, ...]
    not_checked: tuple[str, ...]
    verdict: Verdict | None

    @property
    def ok(self) -> bool:
        """Whether everything that can be recomputed fits."""
        return self.verdict is not None and not self.failed


def export_evidence(
    ledger: Ledger, verification_id: str, answers: PairAnswers, path: str | os.PathLike[str]
) -> None:
    """Writes the evidence for one verification that was closed with a verdict.

    The file opens the coins of the queried pairs, so that it is to be given out only when the
    verdict is; until then its permissions are 0600.

    Args:
        ledger: the ledger, as loaded
        verification_id: the verification
        answers: the answers that it was closed with
        path: the JSON file to write; its folder must exist

    Raises:
        LedgerError: if the verification has no verdict, or the answers are others
        OSError: if the file cannot be written
    """
    if Path(path).exists() and os.path.samefile(path, ledger.path):
        raise LedgerError(f"{path} is the ledger, which the evidence would replace; choose another")
    verification = ledger.verifications.get(verification_id)
    if verification is None:
        raise LedgerError(f"{ledger.path} knows no verification {verification_id!r}")
    if verification.result is None:
        raise LedgerError(f"Verification {verification_id} has no verdict to give evidence for")
    if hash_answers(answers) != verification.answers_sha256:
        raise LedgerError(
            f"These are not the answers that verification {verification_id} was closed with"
        )

    leaves = ledger.leaves()
    first_pair = 1 + len(ledger.singles)

    def opened(position: int) -> dict[str, Any]:
        return {"salt": ledger.salts[position], "leaf": leaves[position]}

    last = next(
        index
        for index, entry in enumerate(ledger.log)
        if entry["event"] == "close" and entry["id"] == verification_id
    )
    log = [
        {
            key: value
            for key, value in entry.items()
            if key != "private" or entry["id"] == verification_id
        }
        for entry in ledger.log[: last + 1]
    ]
    write_json_atomic(
        path,
        {
            "format": FORMAT,
            "commitment": ledger.commitment,
            "leaf_hashes": ledger.leaf_hashes,
            "header": opened(0),
            "query_order": opened(len(leaves) - 1),
            "pairs": [opened(first_pair + index) for index in answers.pairs],
            "log": log,
            "verification_id": verification_id,
            "suspect": {
                "name": verification.suspect_name,
                "digest": verification.suspect_digest,
            },
            "answers": answers.to_dict(),
            "verdict": verification.result,
        },
        mode=0o600,
    )


def check_evidence(path: str | os.PathLike[str], commitment: str | None = None) -> EvidenceCheck:
    """Recomputes everything in an evidence file, from the file alone.

    Args:
        path: the evidence file
        commitment (None): the commitment that was published before the release

    Raises:
        LedgerError: if the file is missing or no evidence file. All else that is wrong with it is
            listed in the result
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"The evidence {path} cannot be read: {error}") from error
    content = parse_json(text, str(path))
    if content.get("format") != FORMAT:
        raise LedgerError(
            f"{path} has format {content.get('format')!r}; this version checks {FORMAT!r}"
        )
    return _Checker(content, commitment).run()


class _Checker:
    """Checks step by step. Each step needs the ones before it, so that the first failure ends it."""

    def __init__(self, content: Mapping[str, Any], commitment: str | None) -> None:
        self.content = content
        self.published = commitment
        self.plan: Plan
        self.query_order: list[tuple[int, str]]
        self.pairs: dict[int, Pair]
        self.answers: PairAnswers
        self.opened: Verification
        self.closed: Verification
        self.before: dict[str, Verification]
        self.verdict: Verdict

    def run(self) -> EvidenceCheck:
        steps: list[tuple[str, Callable[[], None]]] = [
            ("the file is complete", self._complete),
            ("the commitment fits the leaf hashes", self._commitment),
            ("the header was committed to", self._header),
            ("the order of the queries was committed to", self._order),
            ("the pairs and their coins were committed to", self._pairs),
            ("the log is unbroken, and each verification took the next pairs", self._log),
            ("the verification and the suspect are those of the log", self._verification),
            ("the answers are those of the log, to the opened pairs, in order", self._answers),
            ("p-value, its correction and the verdict follow from the answers", self._verdict),
        ]
        if self.published is not None:
            steps.insert(2, ("the commitment is the published one", self._published))
        held: list[str] = []
        for name, step in steps:
            try:
                step()
            except HoneyImageError as error:
                return self._result(held, f"{name}: {error}")
            except (
                KeyError,
                TypeError,
                ValueError,
                AttributeError,
                IndexError,
                OverflowError,
            ) as error:
                return self._result(held, f"{name}: the file is malformed ({error!r})")
            held.append(name)
        return self._result(held, None)

    def _result(self, held: list[str], failure: str | None) -> EvidenceCheck:
        beyond = BEYOND_THE_FILE
        if self.published is not None:
            beyond = ("when the commitment was published", *BEYOND_THE_FILE[1:])
        if failure is not None:
            return EvidenceCheck(tuple(held), (failure,), beyond, None)
        return EvidenceCheck(tuple(held), (), beyond, self.verdict)

    def _complete(self) -> None:
        if set(self.content) != _KEYS:
            wrong = ", ".join(sorted(_KEYS.symmetric_difference(self.content)))
            raise LedgerError(f"missing or unknown: {wrong}")

    def _commitment(self) -> None:
        if hash_leaves(self.content["leaf_hashes"]) != self.content["commitment"]:
            raise LedgerError("the leaf hashes give another commitment")

    def _published(self) -> None:
        if self.content["commitment"] != self.published:
            raise LedgerError(
                f"the file has {self.content['commitment']}, published was {self.published}"
            )

    def _header(self) -> None:
        header = self._leaf(self.content["header"], 0, "header")["header"]
        if header["format"] != LEDGER_FORMAT:
            raise LedgerError(f"the ledger has the unknown format {header['format']!r}")
        self.plan = Plan.from_dict(header["plan"])

    def _order(self) -> None:
        position = len(self.content["leaf_hashes"]) - 1
        order = self._leaf(self.content["query_order"], position, "query_order")["order"]
        self.query_order = read_query_order(order, len(order))

    def _pairs(self) -> None:
        first_pair = len(self.content["leaf_hashes"]) - 1 - len(self.query_order)
        self.pairs = {}
        for opened in self.content["pairs"]:
            index = opened["leaf"]["index"]
            if index in self.pairs:
                raise LedgerError(f"pair {index} is opened twice")
            leaf = dict(self._leaf(opened, first_pair + index, "pair"))
            del leaf["leaf"]
            self.pairs[index] = read_pair(leaf)

    def _log(self) -> None:
        log, commitment = self.content["log"], self.content["commitment"]
        self.before = read_log(log[:-1], commitment, self.query_order, self.plan)
        after = read_log(log, commitment, self.query_order, self.plan)
        if log[-1]["event"] != "close" or log[-1]["id"] != self.content["verification_id"]:
            raise LedgerError("the log does not end with this verification")
        self.opened = self.before[self.content["verification_id"]]
        self.closed = after[self.content["verification_id"]]

    def _verification(self) -> None:
        suspect = {"name": self.opened.suspect_name, "digest": self.opened.suspect_digest}
        if self.content["suspect"] != suspect:
            raise LedgerError("the log has another suspect")
        if self.closed.result is None or self.content["verdict"] != self.closed.result:
            raise LedgerError("the log has another verdict")

    def _answers(self) -> None:
        self.answers = PairAnswers.from_dict(self.content["answers"])
        if hash_answers(self.answers) != self.closed.answers_sha256:
            raise LedgerError("the log has other answers")
        check_answered_pairs(self.opened, self.answers, self.plan)
        if list(self.pairs) != list(self.answers.pairs):
            raise LedgerError("the opened pairs are not those that were answered")
        if (self.closed.num_queried, self.closed.num_answers) != (
            len(self.answers.pairs),
            self.answers.num_answers,
        ):
            raise LedgerError("the log has other numbers of queries or answers")

    def _verdict(self) -> None:
        recorded = Verdict.from_dict(self.content["verdict"])
        self.verdict = decide(
            self.plan,
            self.answers.compare({index: pair.released for index, pair in self.pairs.items()}),
            kind=self.answers.kind,
            num_failed=self.answers.num_failed,
            num_left=num_left_after(self.query_order, self.before, self.opened, self.answers),
            position=self.opened.position,
            alpha=self.opened.alpha,
            paper=recorded.paper,
        )
        for field in dataclasses.fields(Verdict):
            ours, theirs = getattr(self.verdict, field.name), getattr(recorded, field.name)
            # An effect may be zero but for rounding; a p-value never is
            zero = 1e-12 if field.name.startswith("effect_") else 0.0
            if not _alike(ours, theirs, zero):
                raise LedgerError(f"{field.name} is {ours!r}, the file says {theirs!r}")
        logged = (self.closed.p_value, self.closed.verdict)
        if logged != (recorded.p_value, recorded.verdict):
            raise LedgerError(f"the log says {logged}")

    def _leaf(self, opened: Mapping[str, Any], position: int, kind: str) -> Mapping[str, Any]:
        leaf = opened["leaf"]
        if set(opened) != {"salt", "leaf"} or leaf["leaf"] != kind or position < 0:
            raise LedgerError(f"a leaf of the kind {kind} is expected")
        if hash_leaf(leaf, opened["salt"]) != self.content["leaf_hashes"][position]:
            raise LedgerError(f"the opened {kind} does not fit its hash")
        return leaf


def _alike(ours: Any, theirs: Any, zero: float) -> bool:
    if isinstance(ours, float) and isinstance(theirs, (int, float)):
        return math.isclose(ours, theirs, rel_tol=_RELATIVE_TOLERANCE, abs_tol=zero)
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        pairs = zip(ours, theirs, strict=False)
        return len(ours) == len(theirs) and all(_alike(*pair, zero) for pair in pairs)
    return bool(ours == theirs)
