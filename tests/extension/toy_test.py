"""A toy test: how many pairs are won, of scores."""

from __future__ import annotations

from fiftyone_honeyimage.core.evidence.exact_tests import BoolArray, FloatArray, Outcome, Test
from fiftyone_honeyimage.core.evidence.twins import Strata, sign_test


class CountWon(Test):
    """The sign test on scores."""

    __test__ = False  # no test of pytest's

    name = "toy_count"
    title = "toy count of pairs won"
    meaning = "Counts the pairs that are won"
    for_labels = "sign"

    def run(
        self, differences: FloatArray, failed: BoolArray, strata: Strata | None = None
    ) -> Outcome:
        return Outcome(sign_test(differences, int(failed.sum())).p_value)
