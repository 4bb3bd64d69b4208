"""Whether the predicted class is right: all that a suspect which gives labels tells."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .base import Access, Score
from .references import FloatArray, References


class Correct(Score):
    """0 where the class is right, 1 where it is wrong; of several images the share that is wrong."""

    name = "correct"
    title = "By whether the class is right"
    access = Access.LABELS
    is_recorded = True

    def of(
        self, values: npt.ArrayLike, reference: npt.ArrayLike | References | None = None
    ) -> FloatArray:
        return 1.0 - np.asarray(values).astype(np.float64)
