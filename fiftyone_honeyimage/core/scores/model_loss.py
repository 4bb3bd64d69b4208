"""Model-loss: a suspect's loss against a threshold of the image's own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .base import Score
from .references import FloatArray, References, mean_where, references_of


class ModelLoss(Score):
    """``-s``, ``s = τ(x) - ℓ``, with ``τ = (μ_in + μ_out) / 2`` of the reference models' losses, nats.

    Source: Sablayrolles et al., White-box vs Black-box: Bayes Optimal Strategies for Membership Inference, ICML 2019,
    section 4 (MAST: a threshold an image). TDDBench, where the name Model-loss comes from, takes medians instead of means.
    """

    name = "model_loss"
    title = "Model-loss: the loss against each image's own threshold between seen and unseen"
    least_references = 4

    def of(
        self, values: npt.ArrayLike, reference: npt.ArrayLike | References | None = None
    ) -> FloatArray:
        suspect = np.asarray(values, np.float64)
        given = references_of(reference, suspect)
        inside = mean_where(given.losses, given.members)
        outside = mean_where(given.losses, ~given.members)
        return np.asarray(suspect - (inside + outside) / 2, np.float64)
