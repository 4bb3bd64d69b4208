"""What is fixed before a release: the level, the test, the score, the adjustment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ParameterError
from ..limits import check_choice
from ..scores import deciding_scores
from .adjustment import ADJUSTMENTS
from .exact_tests import TESTS, planned_tests
from .twins import KINDS

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
        min_pairs (10): below this number of usable pairs every verdict is "inconclusive", and a
            sequential test does not stop
    """

    alpha: float = 0.001
    test: str = "signed_rank"
    min_pairs: int = 10
    score: str = "loss"
    adjustment: str = "none"

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        check_choice("test", self.test, planned_tests())
        check_choice("score", self.score, deciding_scores())
        check_choice("adjustment", self.adjustment, ADJUSTMENTS)
        if not is_count(self.min_pairs) or self.min_pairs < 1:
            raise ParameterError(
                f"min_pairs must be a whole number of at least 1, not {self.min_pairs!r}"
            )

    def test_for(self, kind: str) -> str:
        """Returns the test for a suspect that answers with "scores" or "labels".

        Which of them a suspect gives does not depend on the coins, so that this choice costs
        nothing.
        """
        if kind not in KINDS:
            raise ParameterError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        return TESTS[self.test].for_labels if kind == "labels" else self.test

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
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Undoes :meth:`to_dict`.

        Raises:
            ParameterError: if something is missing, unknown or out of range
        """
        # Ledgers of version 2 know neither
        added = {"score": "loss", "adjustment": "none"}
        return cls(
            **read_fields(cls, {**added, **values} if isinstance(values, Mapping) else values)
        )


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
