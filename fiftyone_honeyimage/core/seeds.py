"""Independent seeds for the parts of one run."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *names: object) -> int:
    """A seed for one named part of a run, stable across processes and platforms.

    Parts that share a seed would share their random numbers; hashing the part's name with the
    run's seed keeps them independent, and lets an interrupted part be redone alone.

    Args:
        seed: the run's seed
        *names: what names the part, such as ``"f_in", 3``

    Returns:
        an int in ``[0, 2**31)``
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
