"""The published method's score: by how much a suspect's loss is below the owner's proxy's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError
from .base import Score
from .references import FloatArray, References


class LossGap(Score):
    """``-ΔL = L(f_suspect, x') - L(f_proxy, x')``, nats. Shown, and never deciding: a HoneyImage is adversarial to the
    proxy, so that almost any other model has a lower loss on it.

    Source: HoneyImage (arXiv 2508.00892), the verification score.
    """

    name = "loss_gap"
    title = "The published method's gap between proxy and model"
    decides = False

    def of(
        self, values: npt.ArrayLike, reference: npt.ArrayLike | References | None = None
    ) -> FloatArray:
        if isinstance(reference, References):
            raise ParameterError(
                "The loss gap takes the losses of one proxy, not of several models"
            )
        suspect, proxy = np.asarray(values, np.float64), np.asarray(reference, np.float64)
        if proxy.shape != suspect.shape:
            raise ParameterError(
                f"The proxy has {proxy.size} losses and the suspect {suspect.size}; give both for the same images"
            )
        return suspect - proxy
