"""From a suspect's answers to a verdict, by the plan that was committed before the release."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError
from ..scores import SCORES, SideReferences
from .adjustment import adjust
from .alpha_spending import adjusted_p
from .effects import accuracy_difference, hodges_lehmann
from .exact_tests import TESTS
from .pair_answers import PairAnswers
from .plan import Plan, SideCovariates, check_alpha, is_count, read_fields
from .statement import DERIVED, INCONCLUSIVE, NOT_SHOWN, VERDICTS, word_reversed, word_verdict
from .twins import KINDS, Strata, correctness_differences, min_attainable_p

#: For each pair's index, the covariates of sides a and b
Covariates = Mapping[int, SideCovariates]

#: For each pair's index, what reference models said of sides a and b
SidesReferences = Mapping[int, "tuple[SideReferences | None, SideReferences | None]"]


@dataclass(frozen=True)
class Verdict:
    """The outcome of one verification. It cannot be built in contradiction to its numbers.

    Attributes:
        verdict: "derived" (trained on the release), "not shown" or "inconclusive"
        p_value: one-sided, exact (or ``1 / max e`` of a sequential test); 1 without pairs
        p_adjusted: corrected for all verifications with the ledger (see :mod:`.alpha_spending`)
        alpha: the level; "derived" means ``p_adjusted <= alpha``
        family_size: the number of verifications opened with the ledger so far, with this one
        test: a name in :data:`.exact_tests.TESTS`
        kind: what the suspect answers, "scores" or "labels"
        num_pairs: pairs that were answered
        num_failed: pairs with a failed query, which count against the owner
        num_left: pairs of the ledger that no verification has used
        effect_size: by how much the released twins of answered pairs do better, None where it is undefined
        effect_interval: its 95% confidence interval, None where so few pairs give none
        effect_name: what the effect size is, its unit and method
        e_values: the capital after each pair, for a sequential test
        statement: the verdict as a sentence
        paper: the published method's figures, which never decide
    """

    verdict: str
    p_value: float
    p_adjusted: float
    alpha: float
    family_size: int
    test: str
    kind: str
    num_pairs: int
    num_failed: int
    num_left: int
    effect_size: float | None
    effect_interval: tuple[float, float] | None
    effect_name: str
    e_values: tuple[float, ...]
    statement: str
    paper: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if self.verdict not in VERDICTS:
            raise ParameterError(f"A verdict is one of {', '.join(VERDICTS)}, not {self.verdict!r}")
        if self.test not in TESTS or self.kind not in KINDS:
            raise ParameterError(f"Unknown test {self.test!r} or kind {self.kind!r}")
        for name in ("num_pairs", "num_failed", "num_left", "family_size"):
            if not is_count(getattr(self, name)):
                raise ParameterError(f"{name} must be a whole number, not {getattr(self, name)!r}")
        # Each written so that NaN fails
        if not min_attainable_p(self.num_pairs) <= self.p_value <= 1:
            raise ParameterError(
                f"{self.num_pairs} pairs cannot give a p-value of {self.p_value!r}"
            )
        expected = adjusted_p(self.p_value, self.family_size)
        if self.p_adjusted != expected:
            raise ParameterError(
                f"p_adjusted={self.p_adjusted!r} contradicts p_value={self.p_value!r} at "
                f"verification {self.family_size}: it must be {expected!r}"
            )
        try:
            json.dumps(self.paper, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ParameterError(
                f"The paper's figures must be plain, finite values that JSON can hold: {error}"
            ) from error
        if self.verdict == DERIVED and not self.p_adjusted <= self.alpha:
            raise ParameterError(
                f"A model cannot be called derived with p_adjusted={self.p_adjusted!r} above "
                f"alpha={self.alpha!r}"
            )
        if self.verdict == DERIVED and self.num_failed > self.num_pairs:
            raise ParameterError("A model cannot be called derived when most of the pairs failed")
        if self.verdict == NOT_SHOWN and self.p_adjusted <= self.alpha:
            raise ParameterError(
                f"p_adjusted={self.p_adjusted!r} is at most alpha={self.alpha!r}; the verdict is "
                "not 'not shown'"
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, safe for JSON."""
        values = dataclasses.asdict(self)
        values["e_values"] = list(self.e_values)
        if self.effect_interval is not None:
            values["effect_interval"] = list(self.effect_interval)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Verdict:
        """Undoes :meth:`to_dict`, with every check.

        Raises:
            ParameterError: if something is missing, unknown or contradicts itself
        """
        values = read_fields(cls, values)
        if values["effect_interval"] is not None:
            low, high = values["effect_interval"]
            values["effect_interval"] = (low, high)
        values["e_values"] = tuple(values["e_values"])
        return cls(**values)


def decide(
    plan: Plan,
    answers: npt.ArrayLike | tuple[npt.ArrayLike, npt.ArrayLike],
    *,
    kind: str,
    num_left: int,
    failed: npt.ArrayLike | None = None,
    tested: npt.ArrayLike | None = None,
    strata: Strata | None = None,
    position: int = 1,
    alpha: float | None = None,
    paper: Mapping[str, Any] | None = None,
    caution: str | None = None,
    unit: str = "nats",
) -> Verdict:
    """Gives the verdict on one suspect.

    Args:
        plan: what was committed
        answers: for scores, ``loss(withheld) - loss(released)`` of each answered pair, shape (n,); for
            labels, whether the (released, withheld) twins were classified correctly, two boolean
            arrays of shape (n,), or float shares. In the committed order. :meth:`.pair_answers.PairAnswers.compare` gives
            both
        kind: "scores" or "labels"
        num_left: pairs of the ledger that no verification has used
        failed (None): whether each pair has a failed query, bool of shape (n + number failed,), in
            the committed order; None if none has. Such pairs count against the owner
        tested (None): what the test is made with, in the plan's direction, by :func:`tested_differences`, shape (n,); None if that is
            the differences themselves
        strata (None): of all pairs, by :meth:`.plan.Plan.strata`
        position (1): which verification with this ledger it is (:meth:`.ledger.Ledger.position`)
        alpha (None): a smaller level than the plan's
        paper (None): the published method's figures, passed through
        caution (None): what the protocol says against how the suspect was asked; ends the statement
        unit ("nats"): of losses, in words

    Raises:
        ParameterError: if the answers do not fit their kind, hold NaN, or alpha exceeds the plan's
    """
    level = plan.alpha_for(alpha)
    test = plan.test_for(kind)
    if not is_count(num_left):
        raise ParameterError(f"num_left must be a whole number, not {num_left!r}")

    roles = ("released", "withheld") if plan.direction == "lower" else ("withheld", "released")
    if kind == "labels":
        released_correct, withheld_correct = _both(answers)
        if plan.direction == "higher":
            released_correct, withheld_correct = withheld_correct, released_correct
        differences = correctness_differences(released_correct, withheld_correct)
        if np.asarray(released_correct).dtype == np.bool_:
            effect_size, interval = accuracy_difference(released_correct, withheld_correct)
            how = "95% interval: Agresti-Min"
        else:
            effect_size, interval = hodges_lehmann(differences)
            how = "Hodges-Lehmann; 95% interval: exact signed-rank"
        effect_name = f"accuracy on {roles[0]} less accuracy on {roles[1]} twins ({how})"
    else:
        differences = np.asarray(answers, np.float64) * (1 if plan.direction == "lower" else -1)
        effect_size, interval = hodges_lehmann(differences)
        effect_name = (
            f"loss on {roles[1]} less loss on {roles[0]} twins, {unit} "
            "(Hodges-Lehmann; 95% interval: exact signed-rank)"
        )

    lost = np.zeros(differences.size, bool) if failed is None else np.asarray(failed, bool)
    num_failed = int(lost.sum())
    if lost.shape != (differences.size + num_failed,):
        raise ParameterError(
            f"There are answers on {differences.size} pairs; failed must hold False so many times, "
            f"not {lost.size - num_failed}"
        )
    compared = differences if tested is None else np.asarray(tested, np.float64)
    outcome = TESTS[test].run(compared, lost, strata)
    p_value = outcome.p_value

    p_adjusted = adjusted_p(p_value, position)
    reason = _why_inconclusive(plan, test, lost, strata, level, position)
    decided = DERIVED if p_adjusted <= level else NOT_SHOWN
    verdict = INCONCLUSIVE if reason else decided
    counts, adjusted = (differences.size, num_failed), plan.is_adjusted(kind)
    score = plan.score_for(kind)
    statement = word_verdict(
        verdict, reason, test, counts, p_value, p_adjusted, level, score=score, adjusted=adjusted
    )
    if verdict == NOT_SHOWN:
        reversed_p = TESTS[test].run(-compared, lost, strata).p_value
        if adjusted_p(reversed_p, position) <= level:
            statement = f"{statement} {word_reversed(reversed_p)}"
    return Verdict(
        verdict=verdict,
        p_value=p_value,
        p_adjusted=p_adjusted,
        alpha=level,
        family_size=position,
        test=test,
        kind=kind,
        num_pairs=int(differences.size),
        num_failed=num_failed,
        num_left=int(num_left),
        effect_size=effect_size,
        effect_interval=interval,
        effect_name=effect_name,
        e_values=outcome.e_values,
        statement=f"{statement} {caution}" if caution else statement,
        paper=dict(paper or {}),
    )


def tested_differences(
    plan: Plan,
    answers: PairAnswers,
    released: Mapping[int, str],
    covariates: Covariates,
    references: SidesReferences | None,
) -> npt.NDArray[np.float64]:
    """Looks at the coins: what the test is made with, of the pairs that did not fail, shape (n,).

    Positive where the released side shows memory: turned round where the plan's direction is "higher" and the score
    follows the loss. Signs that are fair coins stay fair coins when all of them are turned round.

    Args:
        plan, answers, released, covariates, references: see :func:`judge`
    """
    score = SCORES[plan.score_for(answers.kind)]
    differences = answers.score_differences(released, score, references, plan.score_fit)
    if plan.is_adjusted(answers.kind):
        differences = adjust(
            differences, answers.covariate_differences(released, covariates, score)
        )
    return differences * score.sign(plan.direction)


def judge(
    plan: Plan,
    answers: PairAnswers,
    released: Mapping[int, str],
    covariates: Covariates,
    references: SidesReferences | None = None,
    **given: Any,
) -> Verdict:
    """Looks at the coins and gives the verdict: the one way from answers to a verdict.

    Args:
        plan: what was committed
        answers: to the pairs in the committed order
        released: for each pair's index, which side was released
        covariates: for each pair's index, those of sides a and b
        references (None): for each pair's index, what reference models said of sides a and b, for a score that
            compares with them
        **given: ``num_left``, ``position``, ``alpha``, ``paper``, ``caution`` and ``unit``, see :func:`decide`
    """
    return decide(
        plan,
        answers.compare(released),
        kind=answers.kind,
        failed=answers.failed,
        tested=tested_differences(plan, answers, released, covariates, references),
        strata=plan.strata(answers.pairs, covariates),
        **given,
    )


def may_stop(
    plan: Plan,
    differences: npt.NDArray[np.float64],
    failed: Sequence[bool],
    *,
    kind: str,
    position: int,
    strata: Strata | None = None,
    alpha: float | None = None,
) -> bool:
    """Whether a sequential verification has seen enough by its own test: the rest of the pairs can be kept.

    Args:
        plan: what was committed
        differences: what the test is made with so far, by :func:`tested_differences`, shape (n,)
        failed: whether each pair so far has a failed query, (n + number failed,)
        kind: "scores" or "labels"
        position: which verification with this ledger it is
        strata (None): of all these pairs, by :meth:`.plan.Plan.strata`
        alpha (None): a smaller level than the plan's
    """
    lost = np.asarray(failed, bool)
    num_failed = int(lost.sum())
    if lost.size - num_failed < max(plan.min_pairs, num_failed):
        return False
    p_value = TESTS[plan.test_for(kind)].run(differences, lost, strata).p_value
    return adjusted_p(p_value, position) <= plan.alpha_for(alpha)


def _why_inconclusive(
    plan: Plan,
    test: str,
    failed: npt.NDArray[np.bool_],
    strata: Strata | None,
    alpha: float,
    position: int,
) -> str:
    """Why these pairs could not have decided, whatever the answers; empty if they could.

    Depends on the answers only through the failed queries.
    """
    num_failed = int(failed.sum())
    num_pairs = failed.size - num_failed
    if num_pairs + num_failed == 0:
        return "no pair of twins was queried"
    if num_failed > num_pairs:
        return f"queries failed on {num_failed} of {num_pairs + num_failed} pairs of twins"
    if num_pairs < plan.min_pairs:
        return f"{num_pairs} usable pairs of twins are fewer than the {plan.min_pairs} planned"
    if adjusted_p(TESTS[test].least_p(failed, strata), position) > alpha:
        lost = f" and {num_failed} failed" if num_failed else ""
        return (
            f"{num_pairs} usable{lost} pairs of twins cannot reach the significance level {alpha:g} "
            f"at verification number {position} with this ledger"
        )
    return ""


def _both(answers: Any) -> tuple[Any, Any]:
    if not isinstance(answers, tuple) or len(answers) != 2:
        raise ParameterError(
            "Labels need a tuple of two boolean arrays: whether the released and whether the "
            "withheld twins were classified correctly"
        )
    return answers
