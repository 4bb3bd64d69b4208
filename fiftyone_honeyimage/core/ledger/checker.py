"""The checks of an evidence file, step by step, from the file alone."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import HoneyImageError, LedgerError
from ..evidence.adjustment import ADJUSTMENTS
from ..evidence.exact_tests import TESTS
from ..evidence.pair_answers import PairAnswers
from ..evidence.plan import Plan
from ..evidence.verdict import Verdict, judge
from ..printing import quoted
from ..scores import SCORES, SideReferences
from .comparisons import Compared
from .hashes import format_name, hash_answers, hash_leaf, hash_leaves
from .header import check_header
from .known_before import balance_fact, balance_p
from .log import (
    WORDS,
    Log,
    LoggedRelease,
    LoggedVerification,
    check_answered_pairs,
    num_left_after,
    read_log,
)
from .protocol import check_protocol, loss_unit
from .sides import EVERYBODY, Pair, check_images, read_pair, read_query_order

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
#: Numbers may differ by this much between versions of NumPy and processors
_RELATIVE_TOLERANCE = 1e-9
#: So much is printed of a list of classes, or of what else has many parts
_MOST = 2000
#: Losses that differ by no more than this, relative to the larger one, could be turned round by rounding
_NUDGE = 1e-5

#: What no file can show, by what may be given beside it
_BEYOND = {
    "commitment": "that the commitment was published before the release: compare it with the "
    "published, dated one (--commitment)",
    "coins": "that the coins were fair, and fell after the pairs, their order and groups, the plan and what was "
    "known of each side: it rests on the owner's word that the program drew them, and on the marking's number",
    "answers": "that the suspect gave these answers: query it with the opened images again, in the way "
    "that is written above",
    "images": "that the images are those of the digests: compare the files (--images)",
    "release": "that the released images lie in the release and the withheld ones do not: compare it "
    "(--release)",
    "head": "that the log is the one that was published: compare its head with a published one, if "
    "there is one (--head)",
    "paper": "the published method's figures, which do not enter the verdict",
}

#: What no file can show, and nothing that is given beside it either: always said
_NEVER = (
    "that this suspect, or others, were not asked before outside the log, in other ways: whoever "
    "holds the pairs can try as often as he likes",
    "that the log is complete and that no other log branches off: a head binds only what came before it",
    "that this is the only commitment that was dated for this release: a private time-stamp allows many",
    "that released images were to be had from the release alone, and not published elsewhere",
)


@dataclass(frozen=True)
class EvidenceCheck:
    """What a third party finds in an evidence file.

    Attributes:
        held: what was recomputed and fits
        failed: what does not fit, and why
        not_checked: what the file cannot show
        compared: what was given to compare with: "commitment", "head", "release", "images"
        facts: (name, value) of what the evidence is about; empty unless the file holds
        verdict: the verdict as recomputed; None unless everything held
    """

    held: tuple[str, ...]
    failed: tuple[str, ...]
    not_checked: tuple[str, ...]
    compared: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    verdict: Verdict | None

    @property
    def ok(self) -> bool:
        """Whether everything that can be recomputed fits."""
        return self.verdict is not None and not self.failed


class Checker:
    """Checks step by step. Each step needs the ones before it, so that the first failure ends it."""

    def __init__(self, content: Mapping[str, Any], commitment: str | None, version: int) -> None:
        self.content = content
        self.version = version
        self.published = commitment
        self.held: list[str] = []
        self.failed: list[str] = []
        self.header: Mapping[str, Any]
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

    def run(self) -> bool:
        """Takes every step, up to the first that fails; whether none did."""
        steps: list[tuple[str, Callable[[], None]]] = [
            ("the file is complete", self._complete),
            ("the commitment fits the leaf hashes", self._commitment),
            ("the header was committed to", self._header),
            ("the order of the queries was committed to", self._order),
            ("the pairs and their coins were committed to", self._pairs),
            ("the log is unbroken, and each verification took the next pairs", self._log),
            ("how the suspect is asked stands in the log's opening entry", self._asking),
            ("the answers are those of the log, to the opened pairs, in order", self._answers),
            ("p-value, its correction and the verdict follow from the answers", self._verdict),
        ]
        if self.published is not None:
            steps.insert(2, ("the commitment is the published one", self._published))
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

    def add(self, compared: Compared) -> None:
        """Adds what a comparison with something beside the file found."""
        self.held += compared.held
        self.failed += compared.failed

    def result(self, given: tuple[str, ...]) -> EvidenceCheck:
        """Returns what was found, with these things given to compare with."""
        whole = hasattr(self, "verdict")
        not_checked = [line for name, line in _BEYOND.items() if name not in given]
        not_checked += _NEVER
        if "commitment" in given:
            not_checked.insert(0, "when the commitment was published")
        return EvidenceCheck(
            tuple(self.held),
            tuple(self.failed),
            tuple(not_checked),
            given,
            self._facts() if whole else (),
            self.verdict if whole and not self.failed else None,
        )

    def _complete(self) -> None:
        if set(self.content) != _KEYS:
            wrong = ", ".join(sorted(_KEYS.symmetric_difference(self.content)))
            raise LedgerError(f"missing or unknown: {wrong}")

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
        if self.header.get("format") != format_name("ledger", self.version):
            raise LedgerError(f"it is of a ledger of format {self.header.get('format')!r}")
        check_header(self.header, num_leaves - 2 - num_pairs, num_pairs)
        self.plan = Plan.from_dict(self.header["plan"])

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
            self.pairs[index] = read_pair(leaf, self.version)
        check_images([], [(pair.a, pair.b) for pair in self.pairs.values()])
        if len(self.pairs) == self.header["counts"]["pairs"]:
            sides = [side.references for pair in self.pairs.values() for side in (pair.a, pair.b)]
            self.plan.check_fit(sides)

    def _log(self) -> None:
        entries = self.content["log"]
        verification_id = self.content["verification_id"]
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

    def _asking(self) -> None:
        labels = {image.label for pair in self.pairs.values() for image in pair.asked}
        # The same as the label's name for every image that could be asked about
        labels.update(self.header.get("classes", ()))
        self.protocol = check_protocol(self.opened.protocol, str(self.opened.kind), labels)

    def _answers(self) -> None:
        self.answers = PairAnswers.from_dict(self.content["answers"])
        if hash_answers(self.answers, self.version) != self.closed.answers_sha256:
            raise LedgerError("the log has other answers")
        check_answered_pairs(self.opened, self.answers, self.plan)
        if list(self.pairs) != list(self.answers.pairs):
            raise LedgerError("the opened pairs are not those that were answered")
        if self.closed.num_queried != len(self.answers.pairs):
            raise LedgerError("the log has another number of queries")

    def _verdict(self) -> None:
        assert self.closed.result is not None
        recorded = Verdict.from_dict({**self.closed.result, **dict.fromkeys(WORDS, "")})
        verdict = judge(
            self.plan,
            self.answers,
            self._released(),
            self._covariates(),
            self._references(),
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

    def _released(self) -> dict[int, str]:
        return {index: pair.released[EVERYBODY] for index, pair in self.pairs.items()}

    def _covariates(self) -> dict[int, tuple[Mapping[str, float], Mapping[str, float]]]:
        return {index: (pair.a.covariates, pair.b.covariates) for index, pair in self.pairs.items()}

    def _references(self) -> dict[int, tuple[SideReferences | None, SideReferences | None]]:
        return {index: (pair.a.references, pair.b.references) for index, pair in self.pairs.items()}

    def _read_log(self, entries: Sequence[Mapping[str, Any]]) -> Log:
        commitment = self.content["commitment"]
        return read_log(entries, commitment, self.query_order, self.plan, self.version)

    def _leaf(self, opened: Mapping[str, Any], position: int, kind: str) -> Mapping[str, Any]:
        leaf = opened["leaf"]
        if set(opened) != {"salt", "leaf"} or leaf["leaf"] != kind:
            raise LedgerError(f"a leaf of the kind {kind} is expected")
        if hash_leaf(leaf, opened["salt"], self.version) != self.content["leaf_hashes"][position]:
            raise LedgerError(f"the opened {kind} does not fit its hash")
        return leaf

    def _num_opened_before(self) -> int:
        earlier = [item for item in self.after.values() if item.position < self.opened.position]
        return len(set(self.opened.pairs) & {pair for item in earlier for pair in item.pairs})

    def _known_before(self) -> list[tuple[str, str]]:
        """What the owner knew of the sides: whether it knows the coins, and what the verdict is without it."""
        facts = []
        balance = balance_p(self._covariates(), self._released())
        if balance is not None:
            facts.append(("known before", balance_fact(balance)))
        if self.plan.is_adjusted(self.answers.kind):
            plain = judge(
                dataclasses.replace(self.plan, adjustment="none"),
                self.answers,
                self._released(),
                self._covariates(),
                self._references(),
                num_left=0,
            )
            facts.append(("p without the adjustment", f"{plain.p_value:.2g}"))
        return facts

    def _plan_facts(self) -> list[tuple[str, str]]:
        """What was committed of the comparison: test, weights, score and adjustment."""
        plan = self.plan
        score = SCORES[plan.score_for(self.answers.kind)]
        adjustment = plan.adjustment if plan.is_adjusted(self.answers.kind) else "none"
        facts = [
            ("committed: level and test", f"{plan.alpha:g}, {TESTS[plan.test].title}"),
            ("compared by", f"{score.name}: {score.title}"),
            ("adjustment", f"{adjustment}: {ADJUSTMENTS[adjustment]}"),
        ]
        if plan.stratum_weights:
            weights = ", ".join(map(str, plan.stratum_weights))
            edges = ", ".join(f"{edge:.3g}" for edge in plan.stratum_edges)
            facts.append(
                (
                    "strata",
                    f"weights {weights} from the easiest pairs to the hardest; edges {edges}",
                )
            )
        return facts

    def _effect(self) -> list[tuple[str, str]]:
        """How large the differences are, and what is left without those that rounding could make."""
        verdict, facts = self.verdict, []
        if verdict.effect_size is not None:
            interval = "no interval, the pairs are too few"
            if verdict.effect_interval is not None:
                low, high = verdict.effect_interval
                interval = f"{low:.3g} to {high:.3g}"
            facts = [("effect", f"{verdict.effect_size:.3g} ({interval}): {verdict.effect_name}")]
        if self.answers.kind == "labels":
            return facts
        a, b, small = [], [], 0
        for one, other in zip(self.answers.a, self.answers.b, strict=True):
            if (
                one is not None
                and other is not None
                and 0 < abs(one - other) < _NUDGE * max(one, other)
            ):
                small += 1
                one = other
            a.append(one)
            b.append(other)
        aside = judge(
            self.plan,
            dataclasses.replace(self.answers, a=tuple(a), b=tuple(b)),
            self._released(),
            self._covariates(),
            self._references(),
            num_left=verdict.num_left,
            position=self.opened.position,
            alpha=self.opened.alpha,
        )
        facts.append(
            (
                "small differences",
                f"{small} pairs differ by less than {_NUDGE:g} of their loss, though not by nothing; "
                f"with differences below {_NUDGE:g} set aside: p = {aside.p_value:.2g}",
            )
        )
        return facts

    def _facts(self) -> tuple[tuple[str, str], ...]:
        """What the evidence is about, in words."""
        header, suspect = self.header, self.opened
        states = Counter(
            "still open" if not item.closed else "concluded" if item.concluded else "abandoned"
            for item in self.after.values()
        )
        earlier = header["earlier_commitments"]
        facts = [
            ("commitment", str(self.content["commitment"])),
            ("head", f"{self.content['log'][-1]['hash']} (the log up to this verdict)"),
            ("suspect", quoted(suspect.suspect_name)),
            ("its digest", suspect.suspect_digest or "none: it is known by its name alone"),
            (
                "dataset",
                f"{_text(header.get('dataset_name'))}, id {_text(header.get('dataset_id'))}",
            ),
            ("marking", f"number {header['marking_number']} of this dataset, by the owner's count"),
            *(("earlier one", commitment) for commitment in earlier),
            *(
                (
                    "release",
                    f"{release.digest}, {release.num_files} files, logged {release.at}, "
                    f"{'before' if before else 'AFTER'} this verification was opened",
                )
                for release, before in self.releases
            ),
            ("opened", f"{suspect.opened_at}, by the owner's clock"),
            (
                "attempts",
                f"{len(self.after)} verifications opened with this ledger up to this verdict: "
                + ", ".join(
                    f"{states[state]} {state}" for state in ("concluded", "abandoned", "still open")
                )
                + f"; this is number {suspect.position}",
            ),
            (
                "pairs",
                f"{len(suspect.pairs)} opened of {len(self.query_order)}, "
                f"{self.verdict.num_failed} with a failed query, which count against the owner; "
                f"{self._num_opened_before()} of them were opened before, by earlier verifications",
            ),
            *self._effect(),
            *self._known_before(),
        ]
        if not self.releases:
            facts.append(("release", "none was logged before this verdict"))
        facts += self._plan_facts()
        facts += [
            # "score" in a protocol is what was recorded of an answer; the plan's score is made of that
            ("recorded" if name == "score" else f"asked: {name}", _text(value))
            for name, value in self.protocol.items()
            if name != "caution"
        ]
        if self.protocol["caution"] is not None:
            facts.append(("owner's note", quoted(self.protocol["caution"], 1000)))
        return tuple(facts)


def _text(value: Any) -> str:
    """The owner's words, quoted, and no more of them than can be read."""
    if isinstance(value, str):
        return quoted(value)
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > _MOST:
        return f"{text[:_MOST]} … (the first {_MOST} of {len(text):,} letters; all are in the file)"
    return text


def _alike(ours: Any, theirs: Any, zero: float) -> bool:
    if isinstance(ours, float) and isinstance(theirs, (int, float)):
        return math.isclose(ours, theirs, rel_tol=_RELATIVE_TOLERANCE, abs_tol=zero)
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        pairs = zip(ours, theirs, strict=False)
        return len(ours) == len(theirs) and all(_alike(*pair, zero) for pair in pairs)
    return bool(ours == theirs)
