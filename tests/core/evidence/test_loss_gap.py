"""The published method's figures: by hand, against their definitions, and calibrated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.evidence.published import (
    calibrate_threshold,
    loss_gaps,
    release_accuracy,
    score_known_models,
)


def test_gaps() -> None:
    assert loss_gaps([5.0, 1.0], [0.5, 2.0]).tolist() == [4.5, -1.0]


def test_scores_by_hand() -> None:
    scores = score_known_models([3.0, 2.0, 1.0], [0.0, 1.0, 2.0], threshold=1.0)
    # Pairs won by the infringing model: 3 + 2.5 + 1.5 of 9
    assert scores.auroc == pytest.approx(7 / 9)
    assert (scores.tpr, scores.tnr) == pytest.approx((2 / 3, 2 / 3))
    assert scores.threshold_source == "given"
    assert (scores.num_infringing, scores.num_innocent) == (3, 3)


def test_auroc_and_best_threshold_equal_their_definitions() -> None:
    rng = np.random.default_rng(81)
    for _ in range(20):
        infringing = rng.poisson(4, 30) * 1.0
        innocent = rng.poisson(3, 25) * 1.0
        scores = score_known_models(infringing, innocent)
        wins = infringing[:, None] - innocent[None, :]
        assert scores.auroc == pytest.approx(((wins > 0) + 0.5 * (wins == 0)).mean())
        best = max(
            (infringing > t).mean() + (innocent <= t).mean()
            for t in [-np.inf, *infringing, *innocent]
        )
        assert scores.tpr + scores.tnr == pytest.approx(best)
        assert scores.tpr == (infringing > scores.threshold).mean()
        assert scores.tnr == (innocent <= scores.threshold).mean()
        assert scores.threshold_source == "best on these images"


def test_a_calibrated_threshold_keeps_its_rate_for_exchangeable_models() -> None:
    rng = np.random.default_rng(82)
    accused = 0
    for _ in range(1500):
        # Models of one kind, of widely varying quality
        gaps = rng.normal(rng.lognormal(0, 1, (40, 1)), 1, (40, 10))
        limit = calibrate_threshold(list(gaps[1:]), 0.05)
        assert (limit.num_models, limit.false_positive_rate) == (39, 0.05)
        accused += gaps[0].mean() > limit.threshold
    assert stats.binom.ppf(0.001, 1500, 0.05) <= accused <= stats.binom.ppf(0.999, 1500, 0.05)


def test_too_few_models_accuse_no_one() -> None:
    assert calibrate_threshold([[1.0]] * 18, 0.05).threshold == math.inf
    assert calibrate_threshold([[1.0]] * 18, 0.05).false_positive_rate == 0
    assert calibrate_threshold([[float(i)] for i in range(19)], 0.05).threshold == 18.0


def test_release_accuracy() -> None:
    assert release_accuracy(np.array([True, False, True, True])) == 0.75


@pytest.mark.parametrize("bad", [[math.nan, 1.0], [math.inf, 1.0], [[1.0]]])
def test_what_is_not_finite_is_refused(bad: list) -> None:
    with pytest.raises(ParameterError):
        loss_gaps(bad, bad)
    with pytest.raises(ParameterError):
        score_known_models(bad, [1.0])
    with pytest.raises(ParameterError):
        calibrate_threshold([bad], 0.05)


def test_other_errors() -> None:
    with pytest.raises(ParameterError):
        loss_gaps([1.0], [1.0, 2.0])
    with pytest.raises(ParameterError):
        score_known_models([], [1.0])
    with pytest.raises(ParameterError):
        score_known_models([1.0], [1.0], threshold=math.nan)
    with pytest.raises(ParameterError):
        calibrate_threshold([], 0.05)
    with pytest.raises(ParameterError):
        calibrate_threshold([[]], 0.05)
    for rate in (0.0, 1.0, math.nan):
        with pytest.raises(ParameterError):
            calibrate_threshold([[1.0]], rate)
    with pytest.raises(ParameterError):
        release_accuracy(np.array([1.0]))
