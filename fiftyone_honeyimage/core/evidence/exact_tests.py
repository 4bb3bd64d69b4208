"""The tests that a verdict can rest on: exact under fair coins, registered here by name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from .e_process import e_process
from .twins import Strata, sign_test, signed_rank_test, stratified_signed_rank_test

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """What a test found.

    Attributes:
        p_value: one-sided
        e_values: the capital after each pair, of a sequential test
    """

    p_value: float
    e_values: tuple[float, ...] = ()


class Test(ABC):
    """A test on differences of pairs, positive where the released side has the lower score.

    Attributes:
        name: in the SDK and the ledger
        title: in the words of a verdict
        meaning: what it does, for a form
        sequential: whether it looks after every pair and may stop. The p-value of the pairs so far then has to hold
            at whatever pair one stops, and must not fall by a pair that failed
        planned: whether a marking can be committed to it
        for_labels: the name of the test that takes its place for a suspect that gives labels alone
        stratified: whether it looks at strata of pairs, which a plan then fixes
    """

    name: ClassVar[str]
    title: ClassVar[str]
    meaning: ClassVar[str]
    sequential: ClassVar[bool] = False
    planned: ClassVar[bool] = True
    for_labels: ClassVar[str]
    stratified: ClassVar[bool] = False

    @abstractmethod
    def run(
        self, differences: FloatArray, failed: BoolArray, strata: Strata | None = None
    ) -> Outcome:
        """Tests.

        Args:
            differences: of the answered pairs in the committed order, shape (n,)
            failed: whether each pair has a failed query, shape (n + number failed,); such pairs count
                against the owner
            strata (None): of all these pairs, for a test that is :attr:`stratified`
        """

    def least_p(self, failed: BoolArray, strata: Strata | None = None) -> float:
        """No answers give less than this: every answered pair is won, the failed ones are lost.

        A bound for all magnitudes, ties and zeros among them: a test whose p-value may be smaller where some tie has
        to say so. By default what differences that all differ give.
        """
        won = np.arange(1, 1 + failed.size - int(failed.sum()), dtype=np.float64)
        return self.run(won, failed, strata).p_value


class SignedRank(Test):
    """See :func:`.twins.signed_rank_test`."""

    name = "signed_rank"
    title = "exact signed-rank test"
    meaning = "Asks about all pairs and tests once"
    for_labels = "sign"

    def run(
        self, differences: FloatArray, failed: BoolArray, strata: Strata | None = None
    ) -> Outcome:
        return Outcome(signed_rank_test(differences, int(failed.sum())).p_value)

    def least_p(self, failed: BoolArray, strata: Strata | None = None) -> float:
        # The sum over lost pairs is least, at most, for that many or fewer: as for signs
        return TESTS["sign"].least_p(failed)


class StratifiedSignedRank(Test):
    """See :func:`.twins.stratified_signed_rank_test`."""

    name = "stratified_signed_rank"
    title = "exact signed-rank test over strata of hardness"
    meaning = "Asks about all pairs and tests once, ranking each among pairs as hard as it, with committed weights"
    for_labels = "sign"
    stratified = True

    def run(
        self, differences: FloatArray, failed: BoolArray, strata: Strata | None = None
    ) -> Outcome:
        assert strata is not None
        return Outcome(stratified_signed_rank_test(differences, failed, strata).p_value)

    def least_p(self, failed: BoolArray, strata: Strata | None = None) -> float:
        # In each stratum the sum over lost pairs is least, at most, for as many as failed or fewer, however
        # magnitudes tie; sign patterns that are so in every stratum lie in the tail
        assert strata is not None
        groups = range(len(strata.weights))
        return math.prod(TESTS["sign"].least_p(failed[strata.of_pairs == k]) for k in groups)


class Sign(Test):
    """See :func:`.twins.sign_test`."""

    name = "sign"
    title = "exact sign test on labels"
    meaning = "Counts the pairs in which the released side is recognised"
    planned = False
    for_labels = "sign"

    def run(
        self, differences: FloatArray, failed: BoolArray, strata: Strata | None = None
    ) -> Outcome:
        return Outcome(sign_test(differences, int(failed.sum())).p_value)


class EProcess(Test):
    """See :mod:`.e_process`."""

    name = "e_process"
    title = "sequential betting test"
    meaning = "Asks pair by pair and stops as soon as the evidence suffices"
    sequential = True
    for_labels = "e_process"

    def run(
        self, differences: FloatArray, failed: BoolArray, strata: Strata | None = None
    ) -> Outcome:
        process = e_process(differences, failed)
        return Outcome(process.p_value, tuple(process.e_values))


#: name → test. Adding a test means adding a class and its name here.
TESTS: dict[str, Test] = {
    test.name: test for test in (SignedRank(), StratifiedSignedRank(), EProcess(), Sign())
}


def planned_tests() -> dict[str, str]:
    """Those that a marking can be committed to: name → what it does."""
    return {name: test.meaning for name, test in TESTS.items() if test.planned}
