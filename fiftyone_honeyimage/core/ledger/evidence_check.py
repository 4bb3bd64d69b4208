"""What a third party finds in an evidence file: what held, what did not, what no file can show, and what it is about."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..evidence.adjustment import ADJUSTMENTS
from ..evidence.exact_tests import TESTS
from ..evidence.verdict import Verdict, judge
from ..printing import quoted
from ..scores import SCORES
from .checker import Checker
from .known_before import balance_fact, balance_p, references_p
from .tries import LOCAL_LIMIT, beacon_limit, coins_facts, marking_facts

#: So much is printed of a list of classes, or of what else has many parts
_MOST = 2000
#: Losses that differ by no more than this, relative to the larger one, could be turned round by rounding
_NUDGE = 1e-5

#: What no file can show, by what may be given beside it
_BEYOND = {
    "commitment": "that the commitment was published before the release: compare it with the "
    "published, dated one (--commitment)",
    "coins": LOCAL_LIMIT,
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
        compared: what was given to compare with: "commitment", "head", "release", "images", "roots"
        facts: (name, value) of what the evidence is about; empty unless the file holds
        verdict: the verdict as recomputed; None unless everything held
        released: for each opened pair's index, which side was released; empty unless the file holds
    """

    held: tuple[str, ...]
    failed: tuple[str, ...]
    not_checked: tuple[str, ...]
    compared: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    verdict: Verdict | None
    released: Mapping[int, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether everything that can be recomputed fits."""
        return self.verdict is not None and not self.failed


def sum_up(checker: Checker, given: tuple[str, ...]) -> EvidenceCheck:
    """Returns what was found, with these things given to compare with."""
    whole = hasattr(checker, "verdict")
    beacon = checker.beacon if whole else None
    beyond = dict(_BEYOND)
    if beacon is not None:
        beyond["coins"] = beacon_limit(beacon)
        if "roots" in given and not checker.failed:
            # The commitment was stamped before the round: nothing is left to be believed of the coins
            del beyond["coins"]
    not_checked = [line for name, line in beyond.items() if name not in given]
    not_checked += _NEVER
    if whole and checker.plan.score_fit and not checker.fit_checked:
        not_checked.insert(
            0,
            "what the score learned from reference models: that takes all pairs, and "
            f"{len(checker.pairs)} of {checker.header['counts']['pairs']} are opened",
        )
    if "commitment" in given:
        not_checked.insert(0, "when the commitment was published")
    if checker.stamps and "roots" not in given:
        not_checked.insert(
            0,
            f"the {len(checker.stamps)} time-stamps in the file: give the root certificates of the authorities that you "
            "trust (--roots)",
        )
    return EvidenceCheck(
        tuple(checker.held),
        tuple(checker.failed),
        tuple(not_checked),
        given,
        _facts(checker) if whole else (),
        checker.verdict if whole and not checker.failed else None,
        checker.released() if whole else {},
    )


def _num_opened_before(checker: Checker) -> int:
    earlier = [item for item in checker.after.values() if item.position < checker.opened.position]
    return len(set(checker.opened.pairs) & {pair for item in earlier for pair in item.pairs})


def _known_before(checker: Checker) -> list[tuple[str, str]]:
    """What the owner knew of the sides: whether it knows the coins, and what the verdict is without it."""
    facts = []
    balance = balance_p(checker.covariates(), checker.released())
    if balance is not None:
        facts.append(("known before", balance_fact(balance)))
    scored = checker.answers.kind == "scores" and checker.plan.uses_references
    if scored:
        alone = references_p(
            checker.plan, checker.answers, checker.released(), checker.references()
        )
        facts.append(("known before", balance_fact(alone, "losses of reference models")))
    if scored or checker.plan.is_adjusted(checker.answers.kind):
        plain = judge(
            dataclasses.replace(
                checker.plan,
                adjustment="none",
                score="loss" if scored else checker.plan.score,
                score_fit={} if scored else checker.plan.score_fit,
            ),
            checker.answers,
            checker.released(),
            checker.covariates(),
            checker.references(),
            num_left=0,
        )
        what = "p by the loss alone" if scored else "p without the adjustment"
        facts.append((what, f"{plain.p_value:.2g}"))
    return facts


def _plan_facts(checker: Checker) -> list[tuple[str, str]]:
    """What was committed of the comparison: test, weights, score and adjustment."""
    plan = checker.plan
    score = SCORES[plan.score_for(checker.answers.kind)]
    adjustment = plan.adjustment if plan.is_adjusted(checker.answers.kind) else "none"
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
    if plan.unchanged_weights:
        weights = ", ".join(map(str, plan.unchanged_weights))
        edges = ", ".join(f"{edge:.3g}" for edge in plan.unchanged_edges) or "none"
        facts.append(("strata of unchanged pairs", f"weights {weights}, likewise; edges {edges}"))
    return facts


def _effect(checker: Checker) -> list[tuple[str, str]]:
    """How large the differences are, and what is left without those that rounding could make."""
    verdict, facts = checker.verdict, []
    if verdict.effect_size is not None:
        interval = "no interval, the pairs are too few"
        if verdict.effect_interval is not None:
            low, high = verdict.effect_interval
            interval = f"{low:.3g} to {high:.3g}"
        facts = [("effect", f"{verdict.effect_size:.3g} ({interval}): {verdict.effect_name}")]
    if checker.answers.kind == "labels":
        return facts
    # A surer model's losses are small against what float32 rounds a probability by
    floor = 0.0 if checker.protocol["outputs"] == "losses" else 1.0
    least = f", or than {_NUDGE:g} nats" if floor else ""
    a, b, small = [], [], 0
    for one, other in zip(checker.answers.a, checker.answers.b, strict=True):
        if (
            one is not None
            and other is not None
            and 0 < abs(one - other) < _NUDGE * max(one, other, floor)
        ):
            small += 1
            one = other
        a.append(one)
        b.append(other)
    aside = judge(
        checker.plan,
        dataclasses.replace(checker.answers, a=tuple(a), b=tuple(b)),
        checker.released(),
        checker.covariates(),
        checker.references(),
        num_left=verdict.num_left,
        position=checker.opened.position,
        alpha=checker.opened.alpha,
    )
    facts.append(
        (
            "small differences",
            f"{small} pairs differ by less than {_NUDGE:g} of their loss{least}, though not by nothing; "
            f"with such differences set aside: p = {aside.p_value:.2g}",
        )
    )
    return facts


def _facts(checker: Checker) -> tuple[tuple[str, str], ...]:
    """What the evidence is about, in words."""
    header, suspect = checker.header, checker.opened
    states = Counter(
        "still open" if not item.closed else "concluded" if item.concluded else "abandoned"
        for item in checker.after.values()
    )
    earlier = header["earlier_commitments"]
    facts = [
        ("commitment", str(checker.content["commitment"])),
        ("head", f"{checker.content['log'][-1]['hash']} (the log up to this verdict)"),
        ("suspect", quoted(suspect.suspect_name)),
        ("its digest", suspect.suspect_digest or "none: it is known by its name alone"),
        (
            "dataset",
            f"{_text(header.get('dataset_name'))}, id {_text(header.get('dataset_id'))}",
        ),
        ("marking", f"number {header['marking_number']} of this dataset, by the owner's count"),
        *(("earlier one", commitment) for commitment in earlier),
        *marking_facts(header, checker.verdict, checker.beacon, checker.num_markings),
        *coins_facts(checker.beacon),
        *(
            (
                "release",
                f"{release.digest}, {release.num_files} files, logged {release.at}, "
                f"{'before' if before else 'AFTER'} this verification was opened",
            )
            for release, before in checker.releases
        ),
        *checker.dates,
        ("opened", f"{suspect.opened_at}, by the owner's clock"),
        (
            "attempts",
            f"{len(checker.after)} verifications opened with this ledger up to this verdict: "
            + ", ".join(
                f"{states[state]} {state}" for state in ("concluded", "abandoned", "still open")
            )
            + f"; this is number {suspect.position}",
        ),
        (
            "pairs",
            f"{len(suspect.pairs)} opened of {len(checker.query_order)}, "
            f"{checker.verdict.num_failed} with a failed query, which count against the owner; "
            f"{_num_opened_before(checker)} of them were opened before, by earlier verifications",
        ),
        *_effect(checker),
        *_known_before(checker),
    ]
    if not checker.releases:
        facts.append(("release", "none was logged before this verdict"))
    facts += _plan_facts(checker)
    facts += [
        # "score" in a protocol is what was recorded of an answer; the plan's score is made of that
        ("recorded" if name == "score" else f"asked: {name}", _text(value))
        for name, value in checker.protocol.items()
        if name != "caution"
    ]
    if checker.protocol["caution"] is not None:
        facts.append(("owner's note", quoted(checker.protocol["caution"], 1000)))
    return tuple(facts)


def _text(value: Any) -> str:
    """The owner's words, quoted, and no more of them than can be read."""
    if isinstance(value, str):
        return quoted(value)
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > _MOST:
        return f"{text[:_MOST]} … (the first {_MOST} of {len(text):,} letters; all are in the file)"
    return text
