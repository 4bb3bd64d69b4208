"""A portfolio: some pairs are crafted, the others left as they are, in one marking.

Both sides of a pair are of one kind, and which pairs are of which follows from the seed alone, before anything is crafted.
"""

from __future__ import annotations

import numpy as np

from ..seeds import derive_seed


def unchanged_candidates(sides: np.ndarray, share: float, seed: int) -> frozenset[int]:
    """Which candidates are left as they are: both sides of the share of the pairs, drawn at random.

    Args:
        sides: int64 (M, 2, F), see :attr:`.request.CraftRequest.sides`
        share: of the pairs, 0 to 1
        seed: of the run
    """
    rng = np.random.default_rng(derive_seed(seed, "unchanged"))
    drawn = rng.permutation(len(sides))[: round(share * len(sides))]
    return frozenset(int(row) for row in sides[drawn].ravel())
