"""The published method's figures: the loss gap, its ROC figures and HL. They never decide alone.

The loss gap ``loss_proxy - loss_suspect`` has no known distribution for an innocent suspect: a
HoneyImage is adversarial to the proxy, so that almost any other model has a lower loss on it. A
threshold for it can only be calibrated on models that are known to be innocent, and holds as far as
the suspect resembles them.

Source: HoneyImage (arXiv 2508.00892), the verification score and its measures. The threshold is not
given there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..errors import ParameterError
from ..scores import SCORES


@dataclass(frozen=True)
class GapScores:
    """How well the gap tells a model that used the release from one that did not, image by image.

    Attributes:
        auroc: the probability that an image's gap is larger for the infringing model; ties count
            half
        tpr: the share of images whose gap exceeds the threshold for the infringing model
        tnr: the share of images whose gap does not exceed it for the innocent model
        threshold: in nats
        threshold_source: "given", or "best on these images", the threshold with the largest
            tpr + tnr, which flatters both
        num_infringing: number of gaps of the infringing model
        num_innocent: number of gaps of the innocent model
    """

    auroc: float
    tpr: float
    tnr: float
    threshold: float
    threshold_source: str
    num_infringing: int
    num_innocent: int


@dataclass(frozen=True)
class GapThreshold:
    """A threshold for a suspect's mean gap, from models known to be innocent.

    Attributes:
        threshold: in nats; infinite if the models are too few for the rate
        false_positive_rate: what the threshold guarantees for a suspect that is exchangeable with
            the models, and for no other
        num_models: the number of models
    """

    threshold: float
    false_positive_rate: float
    num_models: int


def loss_gaps(
    proxy_losses: npt.ArrayLike, suspect_losses: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Returns ``loss_proxy - loss_suspect`` of each image in nats, shape (n,), float64.

    Args:
        proxy_losses: the out-model's losses, shape (n,)
        suspect_losses: the suspect's losses, shape (n,)

    Raises:
        ParameterError: if the shapes differ or a loss is not finite
    """
    proxy = _finite(proxy_losses, "proxy's losses")
    suspect = _finite(suspect_losses, "suspect's losses")
    return -SCORES["loss_gap"].of(suspect, proxy)


def score_known_models(
    infringing_gaps: npt.ArrayLike,
    innocent_gaps: npt.ArrayLike,
    threshold: float | None = None,
) -> GapScores:
    """Computes AUROC, TPR and TNR for a pair of models of which it is known who used the release.

    Args:
        infringing_gaps: the gaps of the model that used the release, shape (n,)
        innocent_gaps: the gaps of the one that did not, shape (m,)
        threshold (None): in nats; None takes the one with the largest tpr + tnr on these images

    Raises:
        ParameterError: if a side is empty or not finite, or the threshold is NaN
    """
    infringing = _finite(infringing_gaps, "infringing model's gaps")
    innocent = _finite(innocent_gaps, "innocent model's gaps")
    if not infringing.size or not innocent.size:
        raise ParameterError("Both models need at least one gap")
    if threshold is not None and math.isnan(threshold):
        raise ParameterError("The threshold is NaN")

    source = "given"
    if threshold is None:
        source = "best on these images"
        levels = np.concatenate([[-np.inf], np.unique(np.concatenate([infringing, innocent]))])
        positives = infringing.size - np.searchsorted(np.sort(infringing), levels, side="right")
        negatives = np.searchsorted(np.sort(innocent), levels, side="right")
        youden = positives / infringing.size + negatives / innocent.size
        threshold = float(levels[int(youden.argmax())])
    statistic = stats.mannwhitneyu(infringing, innocent, method="asymptotic").statistic
    return GapScores(
        auroc=float(statistic) / (infringing.size * innocent.size),
        tpr=float((infringing > threshold).mean()),
        tnr=float((innocent <= threshold).mean()),
        threshold=float(threshold),
        threshold_source=source,
        num_infringing=infringing.size,
        num_innocent=innocent.size,
    )


def calibrate_threshold(
    reference_gaps: Sequence[npt.ArrayLike], false_positive_rate: float
) -> GapThreshold:
    """Finds the threshold that a suspect's mean gap must exceed.

    With ``k`` models, an exchangeable suspect's mean gap exceeds all but the ``j`` largest of theirs
    with probability at most ``(j + 1) / (k + 1)``. So a rate of 0.05 needs 19 models; with fewer
    the threshold is infinite and no suspect exceeds it.

    Args:
        reference_gaps: for each model known to be innocent, its gaps on the same images, each of
            shape (n,)
        false_positive_rate: the largest rate allowed, above 0 and below 1

    Raises:
        ParameterError: if there is no model, a model has no or no finite gaps, or the rate is out
            of range
    """
    if not 0 < false_positive_rate < 1:
        raise ParameterError(
            f"The false positive rate must lie between 0 and 1, not {false_positive_rate!r}"
        )
    if not len(reference_gaps):
        raise ParameterError("Give the gaps of at least one model that is known to be innocent")
    means = []
    for index, gaps in enumerate(reference_gaps):
        values = _finite(gaps, f"gaps of reference model {index}")
        if not values.size:
            raise ParameterError(f"Reference model {index} has no gaps")
        means.append(float(values.mean()))
    means.sort(reverse=True)

    # (allowed + 1) / (k + 1) <= rate; the small term keeps 0.05 * 20 from falling below 1
    allowed = math.floor(false_positive_rate * (len(means) + 1) + 1e-9) - 1
    if allowed < 0:
        return GapThreshold(math.inf, 0.0, len(means))
    return GapThreshold(means[allowed], (allowed + 1) / (len(means) + 1), len(means))


def release_accuracy(correct: npt.ArrayLike) -> float:
    """Returns the paper's HL: the accuracy, on the images of a release, of a model trained on it.

    Args:
        correct: whether it was right on each, booleans, shape (n,), n >= 1

    Raises:
        ParameterError: if there is none, or the values are no booleans
    """
    values = np.asarray(correct)
    if values.ndim != 1 or not values.size or values.dtype != np.bool_:
        raise ParameterError(
            f"Give a boolean for each image, not dtype {values.dtype} and shape {values.shape}"
        )
    return float(values.mean())


def _finite(values: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1:
        raise ParameterError(f"The {name} must have shape (n,), not {array.shape}")
    if not np.isfinite(array).all():
        index = int((~np.isfinite(array)).argmax())
        raise ParameterError(
            f"The {name} must be finite; the value at {index} is {array[index]}. Leave out images "
            "with a failed query"
        )
    return array
