"""The checks of an evidence file, step by step, from the file alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..errors import HoneyImageError, LedgerError
from ..evidence.pair_answers import PairAnswers
from ..evidence.plan import Plan
from ..evidence.verdict import Verdict, judge
from ..scores import SideReferences
from . import trace_log
from .comparisons import Compared
from .hashes import format_name, hash_answers, hash_leaf, hash_leaves
from .header import check_header, num_tracing_pairs
from .log import (
    WORDS,
    Log,
    LoggedRelease,
    LoggedVerification,
    check_answered_pairs,
    num_left_after,
    read_log,
)
from .lots import Beacon, read_beacon
from .protocol import check_bound, check_protocol, loss_unit
from .sides import EVERYBODY, Pair, check_images, check_shares, read_pair, read_query_order
from .stamps import Stamp, read_entries, stamped_things

_KEYS = {
    "format",
    "commitment",
    "leaf_hashes",
    "header",
    "query_order",
    "pairs",
    "log",
    "verification_id",
    "answers",
}
#: What stands there only where there is any: the public round that coins were drawn from, and stamps
_OPTIONAL = {"beacon", "stamps"}
#: Numbers may differ by this much between versions of NumPy and processors
_RELATIVE_TOLERANCE = 1e-9


class Checker:
    """Checks step by step. Each step needs the ones before it, so that the first failure ends it."""

    def __init__(
        self,
        content: Mapping[str, Any],
        commitment: str | None,
        version: int,
        num_markings: int | None = None,
    ) -> None:
        self.content = content
        self.version = version
        self.published = commitment
        self.num_markings = num_markings
        self.held: list[str] = []
        self.failed: list[str] = []
        self.header: Mapping[str, Any]
        self.beacon: Beacon | None = None
        self.plan: Plan
        self.query_order: list[tuple[int, str]]
        self.pairs: dict[int, Pair]
        self.answers: PairAnswers
        self.opened: LoggedVerification
        self.closed: LoggedVerification
        self.opening: int
        self.before: dict[str, LoggedVerification]
        self.after: dict[str, LoggedVerification]
        self.releases: list[tuple[LoggedRelease, bool]]
        self.protocol: dict[str, Any]
        self.verdict: Verdict
        self.stamps: tuple[Stamp, ...] = ()
        self.dates: tuple[tuple[str, str], ...] = ()

    def run(self) -> bool:
        """Takes every step, up to the first that fails; whether none did."""
        drawn = isinstance(self.content, Mapping) and "beacon" in self.content
        pairs = "the pairs and their coins were committed to"
        if drawn:
            pairs = "the pairs and their secrets were committed to, and the coins follow from the public round"
        steps: list[tuple[str, Callable[[], None]]] = [
            ("the file is complete", self._complete),
            ("the commitment fits the leaf hashes", self._commitment),
            ("the header was committed to", self._header),
            ("the order of the queries was committed to", self._order),
            (pairs, self._pairs),
            ("the log is unbroken, and each verification took the next pairs", self._log),
            ("how the suspect is asked stands in the log's opening entry", self._asking),
            ("the answers are those of the log, to the opened pairs, in order", self._answers),
            ("p-value, its correction and the verdict follow from the answers", self._verdict),
        ]
        if self.published is not None:
            steps.insert(2, ("the commitment is the published one", self._published))
        if drawn:
            place = [name for name, _ in steps].index("the order of the queries was committed to")
            steps.insert(place, ("the public round was committed to and is genuine", self._round))
        for name, step in steps:
            try:
                step()
            except HoneyImageError as error:
                self.failed.append(f"{name}: {error}")
                return False
            except (
                KeyError,
                TypeError,
                ValueError,
                AttributeError,
                IndexError,
                OverflowError,
                RecursionError,
            ) as error:
                self.failed.append(f"{name}: the file is malformed ({error!r})")
                return False
            self.held.append(name)
        return True

    @property
    def coins_at(self) -> datetime | None:
        """When the public round came out, before which a stamp has to lie; None where the owner drew the coins."""
        return None if self.beacon is None else self.beacon.coins_at

    def add(self, compared: Compared) -> None:
        """Adds what a comparison with something beside the file found."""
        self.held += compared.held
        self.failed += compared.failed

    def _complete(self) -> None:
        wrong = _KEYS.symmetric_difference(set(self.content) - _OPTIONAL)
        if wrong:
            raise LedgerError(f"missing or unknown: {', '.join(sorted(wrong))}")
        if "stamps" in self.content:
            self.stamps = read_entries(self.content["stamps"])

    def _commitment(self) -> None:
        if hash_leaves(self.content["leaf_hashes"], self.version) != self.content["commitment"]:
            raise LedgerError("the leaf hashes give another commitment")

    def _published(self) -> None:
        if self.content["commitment"] != self.published:
            raise LedgerError(
                f"the file has {self.content['commitment']}, published was {self.published}"
            )

    def _header(self) -> None:
        self.header = self._leaf(self.content["header"], 0, "header")["header"]
        num_leaves, num_pairs = len(self.content["leaf_hashes"]), self.header["counts"]["pairs"]
        tracing = num_tracing_pairs(self.header)
        if self.header.get("format") != format_name("ledger", self.version):
            raise LedgerError(f"it is of a ledger of format {self.header.get('format')!r}")
        check_header(self.header, num_leaves - 2 - num_pairs - tracing, num_pairs, tracing)
        self.plan = Plan.from_dict(self.header["plan"])
        if "beacon" in self.header and "beacon" not in self.content:
            raise LedgerError("the coins come from a public round, and the file does not hold it")

    def _round(self) -> None:
        self.beacon = read_beacon(self.header, self.content["beacon"])
        if self.beacon is None or self.beacon.signature is None:
            raise LedgerError("no public round was committed to, or its signature is missing")

    def _order(self) -> None:
        position = len(self.content["leaf_hashes"]) - 1
        order = self._leaf(self.content["query_order"], position, "query_order")["order"]
        self.query_order = read_query_order(order, self.header["counts"]["pairs"])

    def _pairs(self) -> None:
        first_pair = 1 + self.header["counts"]["singles"]
        self.pairs = {}
        for opened in self.content["pairs"]:
            index = opened["leaf"]["index"]
            if index in self.pairs or not 0 <= index < self.header["counts"]["pairs"]:
                raise LedgerError(f"pair {index} is opened twice, or there is none")
            leaf = dict(self._leaf(opened, first_pair + index, "pair"))
            del leaf["leaf"]
            self.pairs[index] = read_pair(leaf, self.version, self.beacon)
        check_images([], [(pair.a, pair.b) for pair in self.pairs.values()])
        self.fit_checked = len(self.pairs) == self.header["counts"]["pairs"]
        if self.fit_checked:
            sides = [side.references for pair in self.pairs.values() for side in (pair.a, pair.b)]
            self.plan.check_fit(sides)

    def _log(self) -> None:
        entries = self.content["log"]
        verification_id = self.content["verification_id"]
        for entry in entries:
            if "private" in entry and entry["event"] in trace_log.PUBLIC_KEYS:
                raise LedgerError(
                    f"entry {entry['index']} has details of a tracing, which name recipients and are no part of evidence"
                )
        self.before = self._read_log(entries[:-1]).verifications
        log = self._read_log(entries)
        if entries[-1]["event"] != "close" or entries[-1]["id"] != verification_id:
            raise LedgerError("the log does not end with this verification")
        self.after = log.verifications
        self.opened, self.closed = self.before[verification_id], self.after[verification_id]
        self.opening = next(
            entry["index"]
            for entry in entries
            if entry["event"] == "open" and entry["id"] == verification_id
        )
        self.releases = [(release, release.index < self.opening) for release in log.releases]
        if self.opened.suspect_name is None or self.closed.result is None:
            raise LedgerError("the log's details of this verification are missing")
        things = stamped_things(self.content["commitment"], entries)
        for stamp in self.stamps:
            if stamp.digest not in things:
                raise LedgerError(
                    f"a time-stamp is of {stamp.digest}, which is neither commitment, release nor entry of this log"
                )

    def _asking(self) -> None:
        labels = {image.label for pair in self.pairs.values() for image in pair.asked}
        # The same as the label's name for every image that could be asked about
        labels.update(self.header.get("classes", ()))
        self.protocol = check_protocol(self.opened.protocol, str(self.opened.kind), labels)
        check_bound(self.protocol)

    def _answers(self) -> None:
        self.answers = PairAnswers.from_dict(self.content["answers"])
        if hash_answers(self.answers, self.version) != self.closed.answers_sha256:
            raise LedgerError("the log has other answers")
        check_answered_pairs(self.opened, self.answers, self.plan)
        if list(self.pairs) != list(self.answers.pairs):
            raise LedgerError("the opened pairs are not those that were answered")
        check_shares(self.answers, self.pairs)
        if self.closed.num_queried != len(self.answers.pairs):
            raise LedgerError("the log has another number of queries")

    def _verdict(self) -> None:
        assert self.closed.result is not None
        recorded = Verdict.from_dict({**self.closed.result, **dict.fromkeys(WORDS, "")})
        verdict = judge(
            self.plan,
            self.answers,
            self.released(),
            self.covariates(),
            self.references(),
            num_left=num_left_after(self.query_order, self.before, self.opened, self.answers),
            position=self.opened.position,
            alpha=self.opened.alpha,
            paper=recorded.paper,
            unit=loss_unit(self.protocol),
            # No caution: the owner's words are no part of what follows from the numbers
        )
        for field in dataclasses.fields(Verdict):
            if field.name in WORDS:
                continue
            ours, theirs = getattr(verdict, field.name), getattr(recorded, field.name)
            # An effect may be zero but for rounding; a p-value never is
            zero = 1e-12 if field.name.startswith("effect_") else 0.0
            if not _alike(ours, theirs, zero):
                raise LedgerError(f"{field.name} is {ours!r}, the file says {theirs!r}")
        self.verdict = verdict

    def released(self) -> dict[int, str]:
        return {index: pair.released[EVERYBODY] for index, pair in self.pairs.items()}

    def covariates(self) -> dict[int, tuple[Mapping[str, float], Mapping[str, float]]]:
        return {index: (pair.a.covariates, pair.b.covariates) for index, pair in self.pairs.items()}

    def references(self) -> dict[int, tuple[SideReferences | None, SideReferences | None]]:
        return {index: (pair.a.references, pair.b.references) for index, pair in self.pairs.items()}

    def _read_log(self, entries: Sequence[Mapping[str, Any]]) -> Log:
        commitment = self.content["commitment"]
        return read_log(
            entries, commitment, self.query_order, self.plan, self.version, self.coins_at
        )

    def _leaf(self, opened: Mapping[str, Any], position: int, kind: str) -> Mapping[str, Any]:
        leaf = opened["leaf"]
        if set(opened) != {"salt", "leaf"} or leaf["leaf"] != kind:
            raise LedgerError(f"a leaf of the kind {kind} is expected")
        if hash_leaf(leaf, opened["salt"], self.version) != self.content["leaf_hashes"][position]:
            raise LedgerError(f"the opened {kind} does not fit its hash")
        return leaf


def _alike(ours: Any, theirs: Any, zero: float) -> bool:
    if isinstance(ours, float) and isinstance(theirs, (int, float)):
        return math.isclose(ours, theirs, rel_tol=_RELATIVE_TOLERANCE, abs_tol=zero)
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        pairs = zip(ours, theirs, strict=False)
        return len(ours) == len(theirs) and all(_alike(*pair, zero) for pair in pairs)
    return bool(ours == theirs)
