"""LiRA offline: how sure a suspect is, beside models that have not seen an image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from .confidence import phi
from .gaussian import Gaussian, mean_and_std
from .references import FloatArray, References, references_of


class LiraOffline(Gaussian):
    """``log(1 - Λ)``, ``Λ = Pr[Z ≤ φ]``, ``Z ~ N(μ_out, σ_out²)``: the paper's one-sided test, from models that have
    not seen an image alone.

    The logarithm keeps the order and tells images apart where Λ is 1 but for rounding. Spreads as for
    :class:`.lira_online.LiraOnline`. Source: Carlini et al., IEEE S&P 2022, section VI.
    """

    name = "lira_offline"
    title = "LiRA offline: how sure the model is, beside models that have not seen an image"

    def of(
        self, values: npt.ArrayLike, reference: npt.ArrayLike | References | None = None
    ) -> FloatArray:
        suspect = phi(values)
        given = references_of(reference, suspect)
        mean, std = mean_and_std(given, ~given.members, "std_out")
        return np.asarray(stats.norm.logsf(suspect, mean, std), np.float64)
