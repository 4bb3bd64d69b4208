"""LiRA online: models that have seen an image against models that have not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from .confidence import phi
from .gaussian import Gaussian, mean_and_std
from .references import FloatArray, References, references_of


class LiraOnline(Gaussian):
    """``-Λ``, ``Λ = log N(φ; μ_in, σ_in²) - log N(φ; μ_out, σ_out²)``, with means of each image.

    Spreads are each image's own from :data:`.gaussian.PER_IMAGE` reference models on, else pooled residual ones. Source:
    Carlini et al., IEEE S&P 2022, algorithm 1, one query an image.
    """

    name = "lira_online"
    title = "LiRA online: models that have seen an image against models that have not"
    follows_loss = False

    def of(
        self, values: npt.ArrayLike, reference: npt.ArrayLike | References | None = None
    ) -> FloatArray:
        suspect = phi(values)
        given = references_of(reference, suspect)
        inside = _log_density(suspect, given, given.members, "std_in")
        outside = _log_density(suspect, given, ~given.members, "std_out")
        return np.asarray(outside - inside, np.float64)


def _log_density(
    suspect: FloatArray, given: References, chosen: npt.NDArray[np.bool_], name: str
) -> FloatArray:
    mean, std = mean_and_std(given, chosen, name)
    return np.asarray(stats.norm.logpdf(suspect, mean, std), np.float64)
