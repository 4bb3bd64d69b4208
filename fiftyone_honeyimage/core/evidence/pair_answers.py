"""What a suspect answered on pairs, in one shape from whoever asked to the ledger, evidence and verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError
from ..scores import References, Score, SideReferences
from .rounding import rounded
from .twins import KINDS, UNCHANGED, FloatArray, loss_differences


@dataclass(frozen=True)
class PairAnswers:
    """What a suspect answered on pairs of twins, before the coins are looked at.

    Attributes:
        kind: "scores" (values are losses in nats, finite, 0 or more) or "labels" (values are whether the
            answer was correct; of sides of several images the share that was, 0 to 1)
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
        shares = {isinstance(value, float) for value in (*self.a, *self.b) if value is not None}
        if self.kind == "labels" and len(shares) > 1:
            raise ParameterError(
                "Labels are booleans, or shares of several answers, throughout; some are of one image and some of "
                "several"
            )

    def _check(self, pair: int, value: float | bool | None) -> None:
        if value is None:
            return
        if self.kind == "labels" and not (
            isinstance(value, bool) or (isinstance(value, float) and 0 <= value <= 1)
        ):
            raise ParameterError(
                f"Pair {pair}: {value!r} is neither a boolean (correct or not) nor a share of answers"
            )
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
            values: the losses, or whether the answers were correct (the share, as a float, of several), shape
                (len(queries),)
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
        plain = bool if array.dtype == np.bool_ else float
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
    ) -> FloatArray | tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Looks at the coins: what :func:`.verdict.decide` takes, of the pairs that did not fail.

        Args:
            released: for each pair's index, which twin was released, "a" or "b"

        Returns:
            for scores the differences ``d``; for labels whether the answers on the (released,
            withheld) twins were correct, bool, or float shares; in the order of the queries
        """
        ordered = self._ordered(released)
        shares = any(isinstance(value, float) for both in ordered for value in both)
        dtype = np.float64 if self.kind == "scores" or shares else np.bool_
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

    def score_differences(
        self,
        released: Mapping[int, str],
        score: Score,
        references: Mapping[int, tuple[SideReferences | None, SideReferences | None]] | None = None,
        fitted: Mapping[str, float] | None = None,
    ) -> FloatArray:
        """Looks at the coins: ``d`` of a score of the losses, of the pairs that did not fail, shape (n,).

        The score gets all values at once, in an order that knows no coin: one that looks at its whole array would
        else see which side was released.

        Args:
            released: for each pair's index, which side was released
            score: is computed before the coins are looked at
            references (None): for each pair's index, what reference models said of sides a and b, for a score that
                needs them
            fitted (None): what the score learned from them, as committed

        Raises:
            ParameterError: if the score needs reference models and a side has none
        """
        answered = [
            (pair, a, b)
            for pair, a, b in zip(self.pairs, self.a, self.b, strict=True)
            if a is not None and b is not None
        ]
        given = None
        if score.least_references and answered:
            known = [(references or {}).get(pair, (None, None)) for pair, _, _ in answered]
            given = _references([a for a, _ in known] + [b for _, b in known], fitted or {})
        values = [a for _, a, _ in answered] + [b for _, _, b in answered]
        scored = score.of(values, given) if answered else np.empty(0)
        if np.isnan(scored).any():
            pair = answered[int(np.isnan(scored).argmax()) % len(answered)][0]
            raise ParameterError(f"score {score.name!r} gives no number for a side of pair {pair}")
        of_a, of_b = scored[: len(answered)], scored[len(answered) :]
        gaps = loss_differences(of_a, of_b)
        if not score.is_recorded:
            sizes = np.maximum(np.abs(scored), np.asarray(values, np.float64)).reshape(2, -1)
            gaps = rounded(gaps, sizes.max(axis=0))
        return np.where([released[pair] == "a" for pair, _, _ in answered], gaps, -gaps)

    def covariate_differences(
        self,
        released: Mapping[int, str],
        covariates: Mapping[int, tuple[Mapping[str, float], Mapping[str, float]]],
        score: Score,
    ) -> FloatArray:
        """``c``, withheld less released on the scale of a score, of the pairs that did not fail, shape (n,).

        The mean over the covariates that both sides have; 0 where they have none in common. The score gets those of
        all pairs at once, as in :meth:`score_differences`, failed ones too.
        """
        common = [
            sorted((set(covariates[pair][0]) & set(covariates[pair][1])) - {UNCHANGED})
            for pair in self.pairs
        ]
        a, b = (
            [
                covariates[pair][side][name]
                for pair, names in zip(self.pairs, common, strict=True)
                for name in names
            ]
            for side in (0, 1)
        )
        scored = score.of(a + b)
        with np.errstate(
            invalid="ignore"
        ):  # of two infinite ones: no number, which is not allowed for
            gaps = scored[len(a) :] - scored[: len(a)]
        found, start = [], 0
        for pair, names, failed in zip(self.pairs, common, self.failed, strict=True):
            own = gaps[start : start + len(names)]
            start += len(names)
            mean = float(own.mean()) if names else 0.0
            if not failed:
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
        # JSON knows no whole numbers of its own: 0.0 may come back as 0
        a, b = (
            tuple(float(value) if type(value) is int else value for value in own) for own in (a, b)
        )
        return cls(kind, pairs, a, b)


def _references(sides: Sequence[SideReferences | None], fitted: Mapping[str, float]) -> References:
    given = [side for side in sides if side is not None]
    if len(given) != len(sides):
        raise ParameterError(
            f"{len(sides) - len(given)} of {len(sides)} sides lack the reference models' losses that the score needs"
        )
    return References.of_sides(given, fitted)
