"""A toy score: the root of the loss."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fiftyone_honeyimage.core.scores import Score


class Root(Score):
    """The square root of the loss."""

    name = "toy_root"
    title = "By the root of how surprised the model is"

    def of(
        self, values: npt.ArrayLike, reference: npt.ArrayLike | None = None
    ) -> npt.NDArray[np.float64]:
        return np.sqrt(np.asarray(values, np.float64))
