"""The published test of radioactive data on a suspect's weights: shown, and never deciding.

Source: Sablayrolles et al., Radioactive data (arXiv 2002.00937), section 3.3: a carrier of uniform direction has with any
fixed vector of dimension d a cosine of at least c > 0 with probability ``½ I_{1-c²}((d-1)/2, ½)``; those of several
carriers are combined by Fisher's method.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from ..errors import ParameterError
from .decisions import PublishedDecision

#: The published level
LEVEL = 0.05


def cosine_p_values(cosines: npt.ArrayLike, dimension: int) -> npt.NDArray[np.float64]:
    """How often a carrier that a model has not seen has a cosine at least as large, shape (n,).

    Args:
        cosines: with the model's weights, shape (n,), -1 to 1
        dimension: d, 2 or more

    Raises:
        ParameterError: if one is out of range
    """
    values = np.asarray(cosines, np.float64)
    if values.ndim != 1 or not values.size or not (np.abs(values) <= 1).all() or dimension < 2:
        raise ParameterError(
            f"cosines lie between -1 and 1, in 2 or more dimensions; found {values!r:.200} in {dimension}"
        )
    tail = special.betainc((dimension - 1) / 2, 0.5, 1 - values**2) / 2
    return np.where(values >= 0, tail, 1 - tail)


def fisher_decision(cosines: npt.ArrayLike, dimension: int) -> PublishedDecision:
    """The published decision over the released carriers.

    Raises:
        ParameterError: see :func:`cosine_p_values`
    """
    p_values = cosine_p_values(cosines, dimension)
    found = stats.combine_pvalues(np.clip(p_values, 1e-300, 1.0), method="fisher")
    # Rounded: an exact figure over the released carriers would tell which they are
    p_shown, mean = (
        float(f"{found.pvalue:.1g}"),
        round(float(np.asarray(cosines, np.float64).mean()), 2),
    )
    return PublishedDecision(
        "Radioactive data: cosine with the classifier's weights, Fisher's combination",
        bool(found.pvalue < LEVEL),
        mean,
        None,
        p_shown,
        f"the weights of {p_values.size} released secrets' classes have a cosine of {mean:+.2f} with their directions on "
        f"average; p = {p_shown:g} by the published test, whose level is {LEVEL:g}",
    )
