"""The e-process is a martingale under fair coins: by enumeration of every pattern of signs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.evidence.e_process import EProcess, e_process
from fiftyone_honeyimage.core.evidence.twins import min_attainable_p

MAGNITUDES = {
    "distinct": [0.4, 2.0, 0.1, 3.0, 0.9, 5.0, 0.2, 0.3, 1.0, 0.8],
    "rising": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    "falling": [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1],
    "ties and zeros": [1.0, 0.0, 1.0, 2.0, 2.0, 0.0, 3.0, 1.0, 1.0, 2.0],
    "equal": [1.0] * 10,
    "extreme": [math.inf, 1e-300, 5e-324, math.inf, 1.0, 1e300, 1.0, 0.0, 1e-17, 1.0],
}


def all_paths(magnitudes: list[float]) -> np.ndarray:
    """The capital after each pair, for every pattern of signs, shape (2**n, n)."""
    patterns = itertools.product([1.0, -1.0], repeat=len(magnitudes))
    return np.array([e_process(np.array(p) * magnitudes).e_values for p in patterns])


@pytest.mark.parametrize("name", MAGNITUDES)
def test_a_martingale_and_never_in_favour(name: str) -> None:
    paths = all_paths(MAGNITUDES[name])
    # At every time the mean is 1, less what is taken off for rounding
    assert (paths.mean(axis=0) <= 1).all()
    assert paths.mean(axis=0) == pytest.approx(1, rel=1e-8)
    # And so from every past: the two continuations of a path average to where it stands
    for step in range(1, paths.shape[1]):
        futures = paths[:, step].reshape(2**step, -1).mean(axis=1)
        now = paths[:, step - 1].reshape(2**step, -1)[:, 0]
        assert futures == pytest.approx(now, rel=1e-8)


@pytest.mark.parametrize("name", MAGNITUDES)
def test_stopping_at_the_best_moment_is_allowed_for(name: str) -> None:
    """P(max e >= 1/alpha) <= alpha, by enumeration, at every level that is attained."""
    p_values = 1 / np.maximum(1, all_paths(MAGNITUDES[name]).max(axis=1))
    for alpha in np.unique(p_values):
        assert (p_values <= alpha).mean() <= alpha
    assert p_values.min() >= min_attainable_p(len(MAGNITUDES[name]))


def test_rarely_ever_crosses() -> None:
    """1,500 innocent suspects, 50 pairs, looked at after each: Ville's inequality."""
    rng = np.random.default_rng(61)
    differences = rng.standard_cauchy((1500, 50)) * (rng.random((1500, 50)) < 0.9)
    p_values = np.array([e_process(d).p_value for d in differences])
    for alpha in (0.05, 0.01):
        assert (p_values <= alpha).sum() <= stats.binom.ppf(0.999, 1500, alpha)


def test_wins_add_up_quickly() -> None:
    def crossing(differences: np.ndarray) -> int:
        return int(np.argmax(np.array(e_process(differences).e_values) >= 1000)) + 1

    assert crossing(np.ones(20)) == 13
    rng = np.random.default_rng(62)
    assert {crossing(rng.lognormal(0, 2, 20)) for _ in range(100)} <= {13, 14}


def test_a_release_with_noise_is_found() -> None:
    """Four in five pairs to the released twin, larger differences there: most within 60 pairs.

    The same signs on equal magnitudes are found less often: betting by rank earns its place.
    """
    rng = np.random.default_rng(63)
    differences = rng.normal(1, 1.2, (200, 60))
    found = sum(e_process(d).p_value <= 0.001 for d in differences)
    by_sign = sum(e_process(np.sign(d)).p_value <= 0.001 for d in differences)
    assert found >= 180
    assert found >= by_sign + 5


def test_zeros_change_nothing() -> None:
    plain = e_process([1.0, -2.0, 3.0])
    padded = e_process([0.0, 1.0, 0.0, -2.0, 3.0, 0.0])
    assert padded.e_values[-1] == plain.e_values[-1]
    assert padded.p_value == plain.p_value
    assert len(padded.e_values) == 6


def test_step_by_step_equals_at_once() -> None:
    differences = np.random.default_rng(64).normal(0.5, 1, 30)
    process = EProcess()
    values = [process.update(float(d)) for d in differences]
    assert values == process.e_values == e_process(differences).e_values
    assert process.p_value == min(1.0, 1 / max(values))


def test_very_long_runs_stay_finite() -> None:
    won = e_process(np.ones(2500))
    assert math.isfinite(won.e_values[-1])
    assert won.p_value > 0
    lost = e_process(-np.ones(2500))
    assert lost.p_value == 1.0
    assert 0 <= lost.e_values[-1] < 1


def test_without_pairs() -> None:
    assert e_process([]).p_value == 1.0
    assert e_process([]).e_values == []


def test_nan_is_refused() -> None:
    with pytest.raises(ParameterError, match="pair 1"):
        e_process([1.0, math.nan])
