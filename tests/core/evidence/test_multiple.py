"""One verification after another, and Holm's correction: by hand and on innocent models."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.evidence.alpha_spending import adjusted_p, alpha_effective, holm


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


def test_shares_by_hand() -> None:
    assert [adjusted_p(0.001, j) for j in (1, 2, 3)] == pytest.approx([0.002, 0.006, 0.012])
    assert adjusted_p(0.4, 2) == 1.0
    assert alpha_effective(0.001, 3) == pytest.approx(0.001 / 12)
    assert sum(alpha_effective(0.05, j) for j in range(1, 100_000)) == pytest.approx(0.05, rel=1e-4)


def test_adjusted_p_crosses_alpha_at_the_effective_level() -> None:
    for position in (1, 2, 7, 40):
        level = alpha_effective(0.01, position)
        assert adjusted_p(level * (1 - 1e-9), position) <= 0.01
        assert adjusted_p(level * (1 + 1e-9), position) > 0.01


@pytest.mark.parametrize("dependence", ["independent", "the same", "mixed"])
def test_any_number_of_attempts(dependence: str) -> None:
    """20,000 owners verify 40 innocent models each: few of them ever accuse one.

    Dividing by the number of verifications so far would let more than one in eight accuse at 0.05.
    """
    rng = np.random.default_rng(74)
    p_values = rng.random((20_000, 40))
    if dependence == "the same":
        p_values[:] = p_values[:, :1]
    if dependence == "mixed":
        p_values[:, 1::2] = 1 - p_values[:, ::2]
    levels = np.array([alpha_effective(0.05, j) for j in range(1, 41)])
    bound = stats.binom.ppf(0.999, 20_000, 0.05)
    assert (p_values <= levels).any(axis=1).sum() <= bound
    if dependence != "the same":
        so_far = 0.05 / np.arange(1, 41)
        assert (p_values <= so_far).any(axis=1).mean() > 1 / 8


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_no_probability(value: float) -> None:
    with pytest.raises(ParameterError):
        holm([0.5, value])
    with pytest.raises(ParameterError):
        adjusted_p(value, 1)


@pytest.mark.parametrize("position", [0, -1, 1.5, True, None])
def test_no_position(position: object) -> None:
    for function in (adjusted_p, alpha_effective):
        with pytest.raises(ParameterError, match="counted from 1"):
            function(0.01, position)  # type: ignore[arg-type]
