"""Exact one-sided tests on pairs of twins, of which a fair coin released one.

Why they are exact. Under the null hypothesis the suspect does not depend on the coins. Its answers
for the two twins of pair ``i`` are then the same whichever of them was released, and the coin
decides only the sign of ``d_i = loss(withheld_i) - loss(released_i)``. Given all ``|d_i|``, the
signs are independent fair coins, whatever the suspect's architecture, data or quality, and however
the magnitudes are distributed or depend on each other. Every p-value here is a count over the
sign patterns, so that ``P(p <= alpha) <= alpha`` holds for every number of pairs.

- Ties and zeros. A zero difference carries no sign; it is set aside. Whether it is zero does not
  depend on the coin. Equal magnitudes get equal midranks, and the count runs over these ranks.
- Float noise. IEEE subtraction is antisymmetric (``a - b == -(b - a)`` exactly), so that losses are
  compared exactly and need no tolerance: should rounding decide between two losses, it decides
  before the coin is looked at. A tolerance would be one more number to choose after the answers.
- Failed queries. Whoever makes queries fail may know the coins. So a pair with a failed query counts
  against the owner: as the largest difference in favour of the withheld twin. Whichever pairs
  fail, a small p-value is then at least the one that their answers would have given, and
  ``P(p <= alpha) <= alpha`` holds for every choice of failures.
- Clipped losses. Clipping changes both twins by the same rule. Infinite losses are equal to each
  other and larger than finite ones.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..errors import ParameterError
from ..scores import Score

KINDS = ("scores", "labels")

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TwinTest:
    """The outcome of one test.

    Attributes:
        name: "signed_rank" or "sign"
        p_value: one-sided, ``2**-num_pairs <= p_value <= 1``
        statistic: the sum of the ranks (signed-rank) or the number (sign) of the pairs in which the
            released twin has the lower loss
        num_pairs: pairs with a difference other than zero, and failed ones, on which the test rests
        num_zeros: pairs without a difference, set aside
    """

    name: str
    p_value: float
    statistic: float
    num_pairs: int
    num_zeros: int


def loss_differences(released: npt.ArrayLike, withheld: npt.ArrayLike) -> FloatArray:
    """Returns ``d = loss(withheld) - loss(released)``, shape (n,), float64.

    Two infinite losses are equal: their difference is zero.

    Args:
        released: the suspect's losses on the released twins, in nats, shape (n,)
        withheld: the suspect's losses on the withheld twins, in nats, shape (n,)

    Raises:
        ParameterError: if the shapes differ or a loss is NaN
    """
    released = _losses(released, "released")
    withheld = _losses(withheld, "withheld")
    if released.shape != withheld.shape:
        raise ParameterError(
            f"There are {released.size} losses of released and {withheld.size} of withheld twins; "
            "give one of each for every pair"
        )
    equal = released == withheld
    # inf - inf would be NaN; equal losses differ by zero in any case
    return np.subtract(withheld, released, out=np.zeros_like(withheld), where=~equal)


def signed_rank_test(differences: npt.ArrayLike, num_failed: int = 0) -> TwinTest:
    """Wilcoxon's signed-rank test, exact also with ties and zeros.

    The midranks of ``|d|`` are doubled to integers, and the distribution of their sum over the
    ``2**n`` equally likely sign patterns is built by convolution, pair after pair. Up to 53 pairs
    every number is a multiple of ``2**-53`` and the p-value has no rounding at all; beyond, it is
    rounded up. Equals ``scipy.stats.wilcoxon(d, alternative="greater", method="exact")`` where that
    is exact, without ties. Time grows with ``n**3``: a millisecond for 50 pairs, seconds for 2,000.

    Failed pairs get the largest ranks, above those of all differences, and the negative sign. Had
    they been answered, the same ranks would have been given out, those above theirs to other pairs
    in part, so that the sum can only be smaller and the p-value larger. Where magnitudes tie, the
    ranks themselves change a little; the p-value is then larger too wherever it is small (tested
    on every pattern of up to 5 pairs and on random ones, up to 0.05, the weakest level).

    Args:
        differences: ``d``, shape (n,), infinities allowed
        num_failed (0): further pairs, of which a query failed

    Raises:
        ParameterError: if a difference is NaN

    Source: Wilcoxon, Biometrics Bulletin 1(6), 1945; Hollander, Wolfe and Chicken, Nonparametric
    Statistical Methods, 2014, section 3.1, for the conditional null distribution with ties.
    """
    signed, num_zeros = _nonzero(differences)
    doubled_ranks = np.rint(2 * stats.rankdata(np.abs(signed))).astype(np.int64)
    observed = int(doubled_ranks[signed > 0].sum())
    failed_ranks = 2 * (signed.size + 1 + np.arange(num_failed, dtype=np.int64))
    doubled_ranks = np.concatenate([doubled_ranks, failed_ranks])
    return TwinTest(
        name="signed_rank",
        p_value=_upper_tail(doubled_ranks, observed),
        statistic=observed / 2,
        num_pairs=signed.size + num_failed,
        num_zeros=num_zeros,
    )


def sign_test(differences: npt.ArrayLike, num_failed: int = 0) -> TwinTest:
    """The exact sign test; on differences of correct answers it is McNemar's exact test.

    Args:
        differences: ``d``, or for labels ``correct(released) - correct(withheld)``, shape (n,)
        num_failed (0): further pairs, of which a query failed: each is lost

    Raises:
        ParameterError: if a difference is NaN
    """
    signed, num_zeros = _nonzero(differences)
    wins = int((signed > 0).sum())
    num_pairs = signed.size + num_failed
    p_value = 1.0
    if num_pairs:
        p_value = stats.binomtest(wins, num_pairs, 0.5, alternative="greater").pvalue
    return TwinTest(
        name="sign",
        p_value=_never_zero(float(p_value), num_pairs),
        statistic=float(wins),
        num_pairs=num_pairs,
        num_zeros=num_zeros,
    )


def min_attainable_p(num_pairs: int) -> float:
    """Returns the smallest p-value that a test on so many pairs can give: all signs alike."""
    return _never_zero(0.0, num_pairs)


def correctness_differences(
    released_correct: npt.ArrayLike, withheld_correct: npt.ArrayLike
) -> FloatArray:
    """Returns ``correct(released) - correct(withheld)`` in {-1, 0, 1}, shape (n,), float64.

    Raises:
        ParameterError: if the values are not booleans or their numbers differ
    """
    released = np.asarray(released_correct)
    withheld = np.asarray(withheld_correct)
    for values in (released, withheld):
        if values.ndim != 1 or (values.size and values.dtype != np.bool_):
            raise ParameterError(
                "Correct answers must be booleans, one for each pair, but have dtype "
                f"{values.dtype} and shape {values.shape}"
            )
    if released.size != withheld.size:
        raise ParameterError(
            f"There are {released.size} answers on released and {withheld.size} on withheld twins; "
            "give one of each for every pair"
        )
    return released.astype(np.float64) - withheld.astype(np.float64)


@dataclass(frozen=True)
class PairAnswers:
    """What a suspect answered on pairs of twins, before the coins are looked at.

    Attributes:
        kind: "scores" (values are losses in nats, finite, 0 or more) or "labels" (values are whether the
            answer was correct)
        pairs: the pairs' indices in the order in which they were queried
        a: the value for each pair's twin ``a``, None where the query failed
        b: the value for each pair's twin ``b``, None where the query failed
    """

    kind: str
    pairs: tuple[int, ...]
    a: tuple[float | bool | None, ...]
    b: tuple[float | bool | None, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ParameterError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        if not len(self.pairs) == len(self.a) == len(self.b):
            raise ParameterError(
                f"{len(self.pairs)} pairs have {len(self.a)} values for twins a and {len(self.b)} "
                "for twins b; give one of each, None for a failed query"
            )
        if len(set(self.pairs)) != len(self.pairs):
            raise ParameterError("A pair was answered twice; each pair counts once")
        for pair, *values in zip(self.pairs, self.a, self.b, strict=True):
            for value in values:
                self._check(pair, value)

    def _check(self, pair: int, value: float | bool | None) -> None:
        if value is None:
            return
        if self.kind == "labels" and not isinstance(value, bool):
            raise ParameterError(f"Pair {pair}: {value!r} is not a boolean (correct or not)")
        if self.kind == "scores" and (not isinstance(value, float) or not np.isfinite(value)):
            raise ParameterError(
                f"Pair {pair}: the loss {value!r} is not a finite number; clip losses, and give "
                "None where a query failed"
            )
        if self.kind == "scores" and value < 0:
            raise ParameterError(f"Pair {pair}: the loss {value!r} is negative, as none can be")

    @classmethod
    def from_queries(
        cls,
        kind: str,
        queries: Sequence[tuple[int, str]],
        values: npt.ArrayLike,
        failed: npt.ArrayLike | None = None,
    ) -> PairAnswers:
        """Sorts answers by twin.

        Args:
            kind: "scores" or "labels"
            queries: the (pair, "a" or "b") of each answer, in the order of the queries
            values: the losses, or whether the answers were correct, shape (len(queries),)
            failed (None): whether each query failed; such values are not looked at

        Raises:
            ParameterError: if the numbers differ, or a pair lacks one of its twins
        """
        array = np.asarray(values)
        lost = np.zeros(len(queries), bool) if failed is None else np.asarray(failed, bool)
        if not array.shape == lost.shape == (len(queries),):
            raise ParameterError(
                f"{len(queries)} queries have answers of shape {array.shape} and failures of shape "
                f"{lost.shape}; give one of each a query"
            )
        plain = bool if kind == "labels" else float
        twins: dict[str, dict[int, float | bool | None]] = {"a": {}, "b": {}}
        for (pair, twin), value, is_lost in zip(queries, array, lost, strict=True):
            twins[twin][pair] = None if is_lost else plain(value)
        pairs = tuple(dict.fromkeys(pair for pair, _ in queries))
        if not len(pairs) == len(twins["a"]) == len(twins["b"]) == len(queries) / 2:
            raise ParameterError("Query both twins of each pair, each once")
        return cls(
            kind, pairs, tuple(twins["a"][i] for i in pairs), tuple(twins["b"][i] for i in pairs)
        )

    @property
    def failed(self) -> tuple[bool, ...]:
        """Whether a query on either twin failed, for each pair in the order of the queries."""
        return tuple(a is None or b is None for a, b in zip(self.a, self.b, strict=True))

    @property
    def num_failed(self) -> int:
        """How many pairs have a failed query."""
        return sum(self.failed)

    def compare(
        self, released: Mapping[int, str]
    ) -> FloatArray | tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Looks at the coins: what :func:`.verdict.decide` takes, of the pairs that did not fail.

        Args:
            released: for each pair's index, which twin was released, "a" or "b"

        Returns:
            for scores the differences ``d``; for labels whether the answers on the (released,
            withheld) twins were correct; in the order of the queries
        """
        ordered = self._ordered(released)
        dtype = np.float64 if self.kind == "scores" else np.bool_
        values: npt.NDArray[Any] = np.array(ordered, dtype).reshape(-1, 2)
        if self.kind == "scores":
            return loss_differences(values[:, 0], values[:, 1])
        return values[:, 0], values[:, 1]

    def _ordered(self, released: Mapping[int, str]) -> list[tuple[float | bool, float | bool]]:
        """The (released, withheld) values of the pairs that did not fail."""
        return [
            (a, b) if released[pair] == "a" else (b, a)
            for pair, a, b in zip(self.pairs, self.a, self.b, strict=True)
            if a is not None and b is not None
        ]

    def score_differences(self, released: Mapping[int, str], score: Score) -> FloatArray:
        """Looks at the coins: ``d`` of a score of the losses, of the pairs that did not fail, shape (n,)."""
        ordered = self._ordered(released)
        return loss_differences(
            score.of([one for one, _ in ordered]), score.of([other for _, other in ordered])
        )

    def covariate_differences(
        self,
        released: Mapping[int, str],
        covariates: Mapping[int, tuple[Mapping[str, float], Mapping[str, float]]],
        score: Score,
    ) -> FloatArray:
        """``c``, withheld less released on the scale of a score, of the pairs that did not fail, shape (n,).

        The mean over the covariates that both sides have; 0 where they have none in common.
        """
        found = []
        for pair, failed in zip(self.pairs, self.failed, strict=True):
            if failed:
                continue
            a, b = covariates[pair]
            names = sorted(set(a) & set(b))
            gaps = score.of([b[name] for name in names]) - score.of([a[name] for name in names])
            mean = float(gaps.mean()) if names else 0.0
            found.append(mean if released[pair] == "a" else -mean)
        return np.array(found, np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain lists, safe for JSON."""
        return {
            "kind": self.kind,
            "pairs": list(self.pairs),
            "a": list(self.a),
            "b": list(self.b),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PairAnswers:
        """Undoes :meth:`to_dict`.

        Raises:
            ParameterError: if something is missing or of a wrong type
        """
        try:
            pairs, a, b = (tuple(values[name]) for name in ("pairs", "a", "b"))
            kind = values["kind"]
        except (KeyError, TypeError) as error:
            raise ParameterError(f"These are no answers on pairs: {error}") from error
        if len(values) != 4:
            raise ParameterError(f"These are no answers on pairs: {', '.join(values)}")
        if not all(isinstance(pair, int) and not isinstance(pair, bool) for pair in pairs):
            raise ParameterError("The pairs' indices must be integers")
        return cls(kind, pairs, a, b)


def checked_differences(differences: npt.ArrayLike) -> FloatArray:
    values = np.asarray(differences, np.float64)
    if values.ndim != 1:
        raise ParameterError(f"Differences must have shape (n,), not {values.shape}")
    if np.isnan(values).any():
        raise ParameterError(
            f"The difference of pair {int(np.isnan(values).argmax())} is NaN; leave out pairs "
            "with a failed query and count them"
        )
    return values


def _losses(values: npt.ArrayLike, name: str) -> FloatArray:
    losses = np.asarray(values, np.float64)
    if losses.ndim != 1:
        raise ParameterError(f"The {name} losses must have shape (n,), not {losses.shape}")
    if np.isnan(losses).any():
        raise ParameterError(
            f"The {name} loss of pair {int(np.isnan(losses).argmax())} is NaN; leave out pairs "
            "with a failed query and count them"
        )
    return losses


def _nonzero(differences: npt.ArrayLike) -> tuple[FloatArray, int]:
    values = checked_differences(differences)
    signed = values[values != 0]
    return signed, values.size - signed.size


def sign_flip_distribution(ranks: npt.NDArray[np.int64]) -> tuple[FloatArray, int]:
    """The distribution of the sum of a fair random subset of the ranks, in steps of their gcd."""
    step = int(np.gcd.reduce(ranks)) if ranks.size else 1
    distribution = np.zeros(int(ranks.sum()) // step + 1)
    distribution[0] = 1.0
    reached = 0
    for rank in (ranks // step).tolist():
        halved = 0.5 * distribution[: reached + 1]
        distribution[: reached + 1] = halved
        distribution[rank : rank + reached + 1] += halved
        reached += rank
    return distribution, step


def _upper_tail(ranks: npt.NDArray[np.int64], observed: int) -> float:
    """P(sum over the positive signs >= observed) under fair signs."""
    distribution, step = sign_flip_distribution(ranks)
    tail = float(distribution[observed // step :].sum())
    if ranks.size > 53:
        # Each of n additions may have lost half an ulp: give back more than that
        tail *= 1 + 4 * ranks.size * sys.float_info.epsilon
    return _never_zero(min(tail, 1.0), ranks.size)


def _never_zero(p_value: float, num_pairs: int) -> float:
    """No p-value lies below ``2**-n``; beyond the range of floats, below their smallest."""
    return max(p_value, 2.0 ** -min(num_pairs, -sys.float_info.min_exp))
