"""What published membership inference would have decided: image by image, with thresholds from shadow models alone.

The publications decide about an image, at a threshold that a stated share of unseen images passes. Here each reference
model is taken for a suspect in turn and judged by the others, on the sides that it has not seen: their scores give the
threshold for an image, and how many of them pass gives what is usual for a model. None of it is exact for an innocent
model that is unlike the reference models, so that it is shown and never decides.

Source: thresholds from shadow models as in Carlini et al., IEEE S&P 2022, section VI; the rank of a suspect among models
known to be innocent as in :func:`.published.calibrate_threshold`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..scores import SCORES, References, Score
from .decisions import PublishedDecision

#: The share of unseen images that pass an image's threshold, at most
FALSE_POSITIVE_RATE = 0.05


def membership_decisions(
    losses: Sequence[float],
    places: Sequence[int],
    references: References,
    direction: str = "lower",
) -> list[PublishedDecision]:
    """One decision for every score that compares with so many reference models.

    Args:
        losses: the suspect's on released sides, nats
        places: where in the references each of these sides stands
        references: of all sides of the marking, withheld ones too
        direction ("lower"): the plan's
    """
    return [
        _decision(score, np.asarray(losses, np.float64), np.asarray(places), references, direction)
        for score in SCORES.values()
        if 0 < score.least_references <= references.num_models
    ]


def shadow_scores(score: Score, references: References) -> npt.NDArray[np.float64]:
    """Each reference model's scores as a suspect's, by what the others say: (n_models, n_images), lower is seen."""
    found = []
    for model in range(references.num_models):
        others = references.without(model)
        found.append(score.of(references.losses[model], others.with_fitted(score.fit(others))))
    return np.array(found)


def _decision(
    score: Score,
    losses: npt.NDArray[np.float64],
    places: npt.NDArray[np.int64],
    references: References,
    direction: str,
) -> PublishedDecision:
    sign = score.sign(direction)
    shadows, unseen = sign * shadow_scores(score, references), ~references.members
    ordered = np.sort(shadows[unseen])
    threshold = float(ordered[int(FALSE_POSITIVE_RATE * ordered.size)])
    usual = max(
        float((mine[own] < threshold).mean()) for mine, own in zip(shadows, unseen, strict=True)
    )
    own = References(references.losses[:, places], references.members[:, places])
    called = sign * score.of(losses, own.with_fitted(score.fit(references))) < threshold
    share = float(called.mean())
    number = references.num_models
    return PublishedDecision(
        rule=score.title,
        accuses=share > usual,
        statistic=round(share, 2),
        threshold=round(usual, 2),
        p_value=None,
        text=(
            f"{int(called.sum())} of {called.size} released images ({share:.0%}) are called seen, at a threshold that "
            f"{FALSE_POSITIVE_RATE:.0%} of images pass that a reference model has not seen. The most that one of "
            f"{number} reference models had among those was {usual:.0%}; a model like them has more about once in "
            f"{number + 1} times"
        ),
    )
