"""LiRA offline as its published code has it, by name: for comparison with figures that were made by it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import stats

from .base import Score
from .confidence import phi
from .gaussian import LEAST_STD, PER_IMAGE
from .references import FloatArray, References, references_of


class CarliniCompat(Score):
    """``log N(φ; μ_out, σ_out²)``, the widely copied offline variant: two-sided, so that an unusually *unsure* answer
    counts as seen too.

    μ is the median, and σ of few reference models is that of all raw values of models that have not seen an image,
    what lies between images included. Source: the code published with the paper (``mi_lira_2021`` of TensorFlow
    Privacy), whose offline attack differs from the paper's; for comparison with figures that were made by it.
    """

    name = "carlini_compat"
    title = "LiRA offline as in its published code, which also takes unsure answers for memory"
    least_references = 4
    follows_loss = False

    def fit(self, references: References) -> Mapping[str, float]:
        """The spread of all raw φ of models that have not seen an image."""
        return {"std_out": float(phi(references.losses)[~references.members].std())}

    def of(
        self, values: npt.ArrayLike, reference: npt.ArrayLike | References | None = None
    ) -> FloatArray:
        suspect = phi(values)
        given = references_of(reference, suspect)
        outside = np.where(~given.members, phi(given.losses), np.nan)
        std: FloatArray | float = given.value("std_out")
        if given.num_models >= PER_IMAGE:
            std = np.nanstd(outside, axis=0)
        spread = np.maximum(std, LEAST_STD)
        return np.asarray(
            stats.norm.logpdf(suspect, np.nanmedian(outside, axis=0), spread), np.float64
        )
