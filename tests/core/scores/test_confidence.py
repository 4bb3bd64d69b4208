"""φ from the loss alone is φ from all probabilities."""

from __future__ import annotations

import numpy as np

from fiftyone_honeyimage.core.scores import SCORES
from fiftyone_honeyimage.core.scores.confidence import LEAST_LOSS


def test_it_is_the_logit_scaled_confidence() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, size=(500, 10))
    labels = rng.integers(0, 10, 500)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    of_class = p[np.arange(500), labels]
    others = np.where(np.arange(10) == labels[:, None], 0, p).sum(1)
    phi = np.log(of_class) - np.log(others)
    told = others > 10 * LEAST_LOSS
    assert told.sum() > 400
    np.testing.assert_allclose(
        SCORES["confidence"].of(-np.log(of_class))[told], -phi[told], rtol=1e-6, atol=1e-9
    )


def test_it_rises_with_the_loss_and_never_overflows() -> None:
    losses = np.r_[0.0, LEAST_LOSS, np.geomspace(1e-5, 700, 200)]
    scores = SCORES["confidence"].of(losses)
    assert np.isfinite(scores).all()
    assert scores[0] == scores[1]
    assert (np.diff(scores[1:]) > 0).all()
    np.testing.assert_allclose(scores[-1], 700)
