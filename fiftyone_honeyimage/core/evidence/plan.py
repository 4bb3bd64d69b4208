"""What is fixed before a release: the level, the test, the score, the adjustment."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ParameterError
from ..limits import check_choice
from ..scores import SCORES, Access, References, SideReferences, deciding_scores
from .adjustment import ADJUSTMENTS
from .exact_tests import TESTS, planned_tests
from .twins import KINDS, UNCHANGED, Strata

#: What was committed of sides a and b of a pair beside their images
SideCovariates = tuple[Mapping[str, float], Mapping[str, float]]

#: Of a stratum. Exact tests take time as the sum of all pairs' weighted ranks does: seconds for 1,000 pairs
MAX_WEIGHT = 20

#: What groups of pairs count where nothing is said
DEFAULT_WEIGHTS = (1, 1, 1)

#: What a plan holds of strata, if its test has any
_STRATA = ("stratum_weights", "stratum_edges", "unchanged_weights", "unchanged_edges")

#: What a score learns is a sum over many numbers, or settles after many steps
_FIT_TOLERANCE = 1e-6
#: How it shows that a model has seen a side
DIRECTIONS = {
    "lower": "A model does better on what it has seen",
    "higher": "A model does worse on what it has seen, as a trigger that confuses it makes it",
}

#: The weakest level that a verdict may be given at
MAX_ALPHA = 0.05


@dataclass(frozen=True)
class Plan:
    """What is fixed before the release and committed with it.

    Attributes:
        alpha (0.001): the probability with which an innocent model may be accused, at most 0.05
        test ("signed_rank"): a name in :func:`.exact_tests.planned_tests`. On a suspect that gives labels
            only, the sign test takes the place of the signed-rank test
        score ("loss"): what losses are compared as, a name in ``SCORES``
        adjustment ("none"): a name in :data:`ADJUSTMENTS`; labels are never adjusted
        stratum_weights: what pairs count in a stratified test, from the easiest group to the hardest: whole numbers of
            1 to 20; (1, 1, 1) unless said otherwise
        stratum_edges: where one group ends and the next begins, by the mean of both sides' covariates; set from all
            pairs when they are known (:meth:`with_strata`), before any coin
        unchanged_weights, unchanged_edges: the same of pairs that were left as they are in a marking of both kinds
            (:data:`.twins.UNCHANGED`); empty where they are not told apart
        score_fit: what the score learned from the reference models' losses on all sides; set from all pairs
            when they are known (:meth:`with_fit`), before any coin
        direction ("lower"): a name in :data:`DIRECTIONS`; fixed by the method, so that no answer can choose it
        min_pairs (10): below this number of usable pairs every verdict is "inconclusive", and a
            sequential test does not stop
    """

    alpha: float = 0.001
    test: str = "signed_rank"
    min_pairs: int = 10
    score: str = "loss"
    adjustment: str = "none"
    stratum_weights: tuple[int, ...] = ()
    stratum_edges: tuple[float, ...] = ()
    unchanged_weights: tuple[int, ...] = ()
    unchanged_edges: tuple[float, ...] = ()
    score_fit: Mapping[str, float] = field(default_factory=dict)
    direction: str = "lower"

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        check_choice("test", self.test, planned_tests())
        check_choice("score", self.score, deciding_scores())
        check_choice("adjustment", self.adjustment, ADJUSTMENTS)
        check_choice("direction", self.direction, DIRECTIONS)
        if not is_count(self.min_pairs) or self.min_pairs < 1:
            raise ParameterError(
                f"min_pairs must be a whole number of at least 1, not {self.min_pairs!r}"
            )
        self._check_strata()
        self._check_fit()

    def _check_fit(self) -> None:
        compares = self.uses_references
        if compares and self.adjustment != "none":
            raise ParameterError(
                f"score={self.score!r} compares with reference models as it is; leave adjustment at 'none', "
                f"not {self.adjustment!r}"
            )
        if self.score_fit and not compares:
            raise ParameterError(f"score={self.score!r} learns nothing from reference models")
        for name, value in self.score_fit.items():
            if type(value) not in (int, float) or not math.isfinite(value):
                raise ParameterError(
                    f"What a score has learned must be finite numbers, but {name!r} is {value!r}"
                )

    @property
    def uses_references(self) -> bool:
        """Whether the score compares a suspect with reference models."""
        return SCORES[self.score].least_references > 0

    def with_fit(self, sides: Sequence[SideReferences | None]) -> Plan:
        """The plan with what its score learns from reference models; the plan itself if it needs none.

        Args:
            sides: of both sides of every pair of the marking

        Raises:
            ParameterError: if there are too few reference models
        """
        if not self.uses_references or not sides:
            return self
        given = [side for side in sides if side is not None]
        score = SCORES[self.score]
        score.check_references(min((len(side.losses) for side in given), default=0))
        if len(given) != len(sides):
            raise ParameterError(
                f"Of {len(sides)} sides {len(sides) - len(given)} lack reference models' losses"
            )
        return dataclasses.replace(self, score_fit=dict(score.fit(References.of_sides(given))))

    def check_fit(self, sides: Sequence[SideReferences | None]) -> None:
        """Checks that what the score has learned follows from all sides.

        Raises:
            ParameterError: if it does not, or there are too few reference models
        """
        follows, held = self.with_fit(sides).score_fit, self.score_fit
        if set(follows) != set(held) or not np.allclose(
            [follows[name] for name in held], list(held.values()), _FIT_TOLERANCE, _FIT_TOLERANCE
        ):
            raise ParameterError(
                f"from the reference models' losses follows {dict(follows)}, the plan says {dict(held)}"
            )

    def _check_strata(self) -> None:
        stratified = TESTS[self.test].stratified
        if stratified and not self.stratum_weights:
            object.__setattr__(self, "stratum_weights", DEFAULT_WEIGHTS)
        # JSON knows no whole numbers of its own: 5.0 may come back as 5
        for kind in ("stratum", "unchanged"):
            given = getattr(self, f"{kind}_edges")
            edges = tuple(float(e) if type(e) is int else e for e in given)
            weights = tuple(getattr(self, f"{kind}_weights"))
            object.__setattr__(self, f"{kind}_weights", weights)
            object.__setattr__(self, f"{kind}_edges", edges)
            self._check_groups(kind, weights, edges)

    def _check_groups(self, kind: str, weights: tuple[int, ...], edges: tuple[float, ...]) -> None:
        if weights and not TESTS[self.test].stratified:
            raise ParameterError(
                f"{kind}_weights go with a stratified test, not with test={self.test!r}"
            )
        if not all(is_count(weight) and 1 <= weight <= MAX_WEIGHT for weight in weights):
            raise ParameterError(
                f"{kind}_weights must be whole numbers of 1 to {MAX_WEIGHT}, not {weights}"
            )
        if edges and (
            len(edges) != len(weights) - 1
            or not all(type(edge) is float and math.isfinite(edge) for edge in edges)
            or sorted(edges) != list(edges)
        ):
            raise ParameterError(
                f"{len(weights)} strata need one rising edge less, finite numbers, not {edges}"
            )

    def with_strata(self, covariates: Mapping[int, SideCovariates]) -> Plan:
        """The plan with groups of about as many pairs each; the plan itself where its test needs none.

        Args:
            covariates: of sides a and b of every pair of the marking
        """
        if not self.stratum_weights or self.stratum_edges or not covariates:
            return self
        kinds: tuple[list[float], list[float]] = ([], [])
        for both in covariates.values():
            kinds[self._is_unchanged(both)].append(_mean_covariate(both))
        return dataclasses.replace(
            self,
            stratum_edges=_edges(kinds[0], len(self.stratum_weights)),
            unchanged_edges=_edges(kinds[1], len(self.unchanged_weights)),
        )

    def _is_unchanged(self, both: SideCovariates) -> bool:
        """Whether a pair is of the kind that has strata of its own; never without such strata."""
        return bool(self.unchanged_weights) and any(side.get(UNCHANGED, 0.0) > 0 for side in both)

    def strata(
        self, pairs: Sequence[int], covariates: Mapping[int, SideCovariates]
    ) -> Strata | None:
        """The strata of pairs, which no coin can sway; None where the test needs none."""
        if not self.stratum_weights:
            return None
        own = [covariates[pair] for pair in pairs]
        hardness = [_mean_covariate(both) for both in own]
        of_pairs = np.searchsorted(np.array(self.stratum_edges, np.float64), hardness)
        if self.unchanged_weights:
            among = np.searchsorted(np.array(self.unchanged_edges, np.float64), hardness)
            kinds = [self._is_unchanged(both) for both in own]
            of_pairs = np.where(kinds, len(self.stratum_weights) + among, of_pairs)
        return Strata(of_pairs.astype(np.int64), self.stratum_weights + self.unchanged_weights)

    def test_for(self, kind: str) -> str:
        """Returns the test for a suspect that answers with "scores" or "labels".

        Which of them a suspect gives does not depend on the coins, so that this choice costs
        nothing.
        """
        if kind not in KINDS:
            raise ParameterError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        return TESTS[self.test].for_labels if kind == "labels" else self.test

    def score_for(self, kind: str) -> str:
        """Returns the score for a suspect that answers with "scores" or "labels", which tell only whether they are right."""
        return "correct" if kind == "labels" else self.score

    def is_adjusted(self, kind: str) -> bool:
        """Whether a suspect's answers of this kind are adjusted."""
        return kind == "scores" and self.adjustment != "none"

    def alpha_for(self, requested: float | None) -> float:
        """Returns the level of one verification: the plan's, or a smaller one on request.

        Raises:
            ParameterError: if more than the plan's alpha is asked for
        """
        if requested is None:
            return self.alpha
        check_alpha(requested)
        if requested > self.alpha:
            raise ParameterError(
                f"alpha={requested} is weaker than alpha={self.alpha}, to which this marking was "
                "committed before its release; ask for the same or a smaller one"
            )
        return requested

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, safe for JSON."""
        values = dataclasses.asdict(self)
        for name in _STRATA:
            if values[name]:
                values[name] = list(values[name])
            else:
                del values[name]  # of no test but a stratified one
        if not self.score_fit:
            del values["score_fit"]  # of no score but one that learns from reference models
        if self.direction == "lower":
            del values["direction"]  # as it is of nearly all methods
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Undoes :meth:`to_dict`.

        Raises:
            ParameterError: if something is missing, unknown or out of range
        """
        # Ledgers of version 2 know neither score nor adjustment
        added = {
            "score": "loss",
            "adjustment": "none",
            "direction": "lower",
            **dict.fromkeys(_STRATA, ()),
            "score_fit": {},
        }
        return cls(
            **read_fields(cls, {**added, **values} if isinstance(values, Mapping) else values)
        )


def check_score(plan: Plan) -> None:
    """Checks that a plan's score is a number whatever a loss is, before a suspect is asked.

    Scores that compare with reference models are checked with what they learn from those.

    Raises:
        ParameterError: naming a loss of which it is none
    """
    score = SCORES[plan.score]
    if score.least_references:
        return
    losses = np.concatenate([[0.0], np.geomspace(1e-12, 1e6, 181)])
    with np.errstate(all="ignore"):
        found = np.asarray(score.of(losses), np.float64)
    if found.shape != losses.shape:
        raise ParameterError(
            f"score {plan.score!r} gives {found.shape} values for {losses.size} losses; give one for each"
        )
    if np.isnan(found).any():
        raise ParameterError(
            f"score {plan.score!r} gives no number for a loss of {losses[int(np.isnan(found).argmax())]:g} nats; "
            "losses are 0 or more, and each needs a score. Nothing was asked or counted"
        )


def check_own_losses(plan: Plan) -> None:
    """Checks that a plan can compare what a suspect calls its loss, before a suspect is asked.

    Such a loss is of another kind and scale than the cross-entropy of classes: nothing that is made of scores of
    classes, or of other models' losses, can be taken off it or compared with it.

    Raises:
        ParameterError: naming what cannot
    """
    if SCORES[plan.score].access > Access.LOSSES:
        committed = f"score={plan.score!r}, which is made of scores of classes"
    elif plan.adjustment != "none":
        committed = (
            f"adjustment={plan.adjustment!r}, which takes off other models' losses on the classes"
        )
    elif plan.direction != "lower":
        committed = "a method of which a model shows by its classes that it has learned, being more often wrong"
    else:
        return
    raise ParameterError(
        f"this suspect tells one loss an image and no class, and the marking was committed to {committed}. It can "
        "be verified with a marking of score='loss', adjustment='none' and a method that changes no class. Nothing "
        "was asked or counted"
    )


def _mean_covariate(both: SideCovariates) -> float:
    """How hard a pair is to models that never saw a coin: the mean of both sides' covariates."""
    values = [value for side in both for name, value in sorted(side.items()) if name != UNCHANGED]
    return math.fsum(values) / len(values) if values else 0.0


def _edges(hardness: Sequence[float], number: int) -> tuple[float, ...]:
    """Between groups of about as many pairs each; anywhere where there is no pair."""
    shares = np.arange(1, number) / max(number, 1)
    return tuple(np.quantile(hardness or [0.0], shares).tolist())


def check_alpha(alpha: Any) -> None:
    """Raises :class:`ParameterError` unless a level is one."""
    # Written so that NaN fails
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 < alpha <= MAX_ALPHA:
        raise ParameterError(
            f"alpha must lie above 0 and be at most {MAX_ALPHA}, not {alpha!r}; it is the "
            "probability with which an innocent model may be accused"
        )


def is_count(value: Any) -> bool:
    """Whether something is a whole number of at least 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def read_fields(cls: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass from a mapping that has just these."""
    if not isinstance(values, Mapping):
        raise ParameterError(f"A {cls.__name__.lower()} must be a JSON object, not {values!r}")
    names = {entry.name for entry in dataclasses.fields(cls)}
    if set(values) != names:
        wrong = ", ".join(sorted(names.symmetric_difference(values)))
        raise ParameterError(f"A {cls.__name__.lower()} lacks or does not know: {wrong}")
    return dict(values)
