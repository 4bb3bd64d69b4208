"""Holm's correction: by hand, and as a family of innocent models meets it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.evidence.multiple import adjusted_p, alpha_effective, holm


def test_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
    assert holm([0.01, 0.01, 0.01]) == pytest.approx([0.03, 0.03, 0.03])


def test_between_the_plain_p_and_bonferroni() -> None:
    rng = np.random.default_rng(71)
    for _ in range(200):
        p_values = (rng.random(rng.integers(1, 9)) ** 4).tolist()
        adjusted = holm(p_values)
        for plain, value in zip(p_values, adjusted, strict=True):
            assert plain <= value <= min(1, len(p_values) * plain * (1 + 1e-12))
        assert np.argsort(adjusted, kind="stable").tolist() == sorted(
            range(len(p_values)), key=lambda i: (adjusted[i], i)
        )


@pytest.mark.parametrize("dependence", ["independent", "the same", "mixed"])
def test_a_family_of_innocent_models(dependence: str) -> None:
    """In 20,000 families with 3 innocent and 2 guilty members, how often is an innocent accused?"""
    rng = np.random.default_rng(72)
    innocent = rng.random((20_000, 3))
    if dependence == "the same":
        innocent[:] = innocent[:, :1]
    if dependence == "mixed":
        innocent[:, 1] = 1 - innocent[:, 0]
    guilty = rng.random((20_000, 2)) ** 8
    accused = sum(min(holm([*p, *q])[:3]) <= 0.05 for p, q in zip(innocent, guilty, strict=True))
    assert accused <= stats.binom.ppf(0.999, 20_000, 0.05)


def test_effective_alpha_is_where_the_adjusted_p_crosses() -> None:
    rng = np.random.default_rng(73)
    for _ in range(300):
        others = (rng.random(rng.integers(0, 8)) ** 6).tolist()
        alpha = float(rng.choice([0.05, 0.01, 0.001]))
        level = alpha_effective(alpha, others)
        assert adjusted_p(level * (1 - 1e-9), others) <= alpha
        assert adjusted_p(level * (1 + 1e-9), others) > alpha


def test_effective_alpha_by_hand() -> None:
    assert alpha_effective(0.03, []) == 0.03
    assert alpha_effective(0.03, [1.0, 1.0]) == pytest.approx(0.01)
    assert alpha_effective(0.03, [0.009, 1.0]) == pytest.approx(0.015)
    assert alpha_effective(0.03, [0.011, 0.011]) == pytest.approx(0.01)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_no_probability(value: float) -> None:
    with pytest.raises(ParameterError):
        holm([0.5, value])
    with pytest.raises(ParameterError):
        alpha_effective(0.01, [value])
