"""The loss itself, as the ledger records it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .base import Access, Score
from .references import FloatArray, References


class Loss(Score):
    """``-log p_y``, nats; of a suspect that tells one loss an image, that."""

    name = "loss"
    title = "By how surprised the model is by the class asked about"
    access = Access.LOSSES
    is_recorded = True

    def of(
        self, values: npt.ArrayLike, reference: npt.ArrayLike | References | None = None
    ) -> FloatArray:
        return np.asarray(values, np.float64)
