"""The published test of radioactive data: its p-values, and Fisher's combination of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.evidence.carrier_test import cosine_p_values, fisher_decision
from fiftyone_honeyimage.core.methods.carriers import carrier_of, draw_carrier


def test_p_values_are_the_shares_of_random_directions() -> None:
    """Against 200,000 directions drawn; a share's standard error is at most 0.0012."""
    rng = np.random.default_rng(0)
    for dimension in (3, 20, 128):
        drawn = rng.standard_normal((200_000, dimension))
        cosines = drawn[:, 0] / np.linalg.norm(drawn, axis=1)
        for value in (-0.2, 0.0, 0.05, 0.3):
            found = cosine_p_values([value], dimension)[0]
            assert found == pytest.approx((cosines >= value).mean(), abs=0.005)


def test_p_values_of_a_model_that_saw_no_carrier_are_uniform() -> None:
    """Fixed weights, 2,000 carriers as markings draw them; the bound is the 0.1 % point of Kolmogorov's test."""
    rng = np.random.default_rng(1)
    weights = np.linspace(-1, 3, 64)
    weights /= np.linalg.norm(weights)
    cosines = [carrier_of(draw_carrier(rng), 64) @ weights for _ in range(2000)]
    assert stats.kstest(cosine_p_values(cosines, 64), "uniform").pvalue > 0.001
    combined = [fisher_decision(cosines[i : i + 10], 64).p_value for i in range(0, 2000, 10)]
    accused = sum(p is not None and p < 0.05 for p in combined)
    assert accused <= 20  # of 200 at a level of 5 %: 21 or more have a probability of 0.2 %


def test_fisher_s_combination() -> None:
    cosines = [0.3, -0.1, 0.2]
    p_values = [
        stats.t.sf(c * np.sqrt(31 / (1 - c * c)), 31) for c in cosines
    ]  # a cosine as Student's t
    assert cosine_p_values(cosines, 32) == pytest.approx(p_values)
    expected = stats.chi2.sf(-2 * np.log(p_values).sum(), 6)
    found = fisher_decision(cosines, 32)
    assert found.p_value == pytest.approx(expected, rel=0.1)  # told to one digit
    assert found.accuses == (expected < 0.05)
    with pytest.raises(ParameterError, match="between -1 and 1"):
        cosine_p_values([1.2], 32)
