"""Are marked images that were released treated as random unmarked ones of the release? It never decides a verdict.

A model that was trained on a whole release knows both; one that was trained without what looked marked, or that answers
for it otherwise, knows the unmarked ones alone. What a model knows of an image is how much better it does on it than a
model that has not seen it, on the scale of :func:`..scores.confidence.phi`, on which sure and unsure answers differ by
about as much.

Marked images are no random choice, so that no test is exact here. The comparison is by ranks and takes no two groups to be
spread alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..scores.confidence import phi

#: Images of a group below which nothing is compared
LEAST = 10


@dataclass(frozen=True)
class ControlComparison:
    """How a group of marked images compares with random unmarked ones.

    Attributes:
        p_value: two-sided, of that a marked image is known better as often as worse than an unmarked one
        share: how often it is known better, ties half, 0 to 1
        num_marked, num_unmarked: images, or sides, of the two groups
    """

    p_value: float
    share: float
    num_marked: int
    num_unmarked: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, safe for JSON."""
        return asdict(self)


def advances(proxy_losses: npt.ArrayLike, suspect_losses: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """How much better a suspect does on each image than a proxy that has not seen it, shape (n,), on φ's scale.

    Args:
        proxy_losses, suspect_losses: nats, shape (n,)
    """
    return phi(suspect_losses) - phi(proxy_losses)


def compare_with_controls(
    marked: npt.ArrayLike, unmarked: npt.ArrayLike
) -> ControlComparison | None:
    """Compares by ranks; None if a group has fewer than :data:`LEAST`.

    Args:
        marked: :func:`advances` of marked images, shape (m,)
        unmarked: of random unmarked ones, shape (n,)

    Source: Brunner and Munzel, Biometrical Journal 42(1), 2000.
    """
    ours, theirs = np.asarray(marked, np.float64), np.asarray(unmarked, np.float64)
    if min(ours.size, theirs.size) < LEAST:
        return None
    larger = (ours[:, None] > theirs[None, :]).mean()
    share = float(larger + (ours[:, None] == theirs[None, :]).mean() / 2)
    if share in (0.0, 1.0):  # apart: there is no spread that the test could go by
        p_value = min(1.0, 2 / math.comb(ours.size + theirs.size, ours.size))
    elif len(np.unique(np.concatenate([ours, theirs]))) == 1:
        p_value = 1.0
    else:
        p_value = float(stats.brunnermunzel(ours, theirs).pvalue)
    return ControlComparison(p_value, share, int(ours.size), int(theirs.size))


def read_comparisons(compared: Mapping[str, Mapping[str, Any]]) -> dict[str, ControlComparison]:
    """Undoes :meth:`ControlComparison.to_dict` of the groups "released" and "withheld"."""
    return {name: ControlComparison(**values) for name, values in compared.items()}
