"""What a verification takes from its surroundings, beside the ledger, the marking's files and the suspect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..ledger.ledger import Ledger


class Surroundings:
    """Unmarked images that a suspect is asked about first, on a bare machine: arrays, or none at all.

    Args:
        images (()): uint8 arrays (H, W, 3)
        labels (()): their classes' names
        keys (None): their names; numbers by default
    """

    def __init__(
        self,
        images: Sequence[np.ndarray] = (),
        labels: Sequence[str] = (),
        keys: Sequence[str] | None = None,
    ) -> None:
        names = [f"unmarked {row}" for row in range(len(images))] if keys is None else keys
        self._rows = list(zip(names, labels, images, strict=True))

    def some_unmarked(
        self, classes: Sequence[str], number: int, shape: tuple[int, ...] | None
    ) -> tuple[list[str], list[int], list[np.ndarray]]:
        """Keys, classes and images of unmarked images, always the same ones; of one shape if it is given."""
        rows = [
            (key, classes.index(label), image)
            for key, label, image in self._rows
            if label in classes and shape in (None, image.shape)
        ][:number]
        return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]

    def true_classes(self) -> dict[str, str]:
        """Key → class of every unmarked image, for suspects whose answers are held by key."""
        return {key: label for key, label, _ in self._rows}

    def chance(self) -> float:
        """The share of the largest class among unmarked images."""
        counts = Counter(label for _, label, _ in self._rows)
        return max(counts.values()) / len(self._rows) if self._rows else 1.0

    def proxies(self) -> float | None:
        """The proxies' accuracy on images that they did not see; None where it is not known."""
        return None

    def is_saved(self, verification_id: str) -> bool:
        """Whether a verification's results are where they belong."""
        return False

    def note(self, ledger: Ledger) -> None:
        """Is called after something was written to the ledger."""
