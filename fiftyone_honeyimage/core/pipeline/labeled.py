"""Labelled images as files, before they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import ParameterError


@dataclass(frozen=True)
class LabeledSamples:
    """The usable samples of a collection, before their media are read.

    Attributes:
        ids, filepaths: one str a sample, in the collection's order
        labels: int64 (N,), positions in ``classes``
        classes: the distinct labels, sorted: the order that image-folder loaders give them
        honey: HoneyImages that were left out: sample id → its marking
        chosen: samples that markings chose, or that hold the same bytes as one: sample id → the markings
    """

    ids: list[str]
    filepaths: list[str]
    labels: np.ndarray
    classes: list[str]
    honey: Mapping[str, str] = field(default_factory=dict)
    chosen: Mapping[str, set[str]] = field(default_factory=dict)

    def check(self) -> None:
        """Checks what a ledger could not hold, before anything is trained.

        Raises:
            ParameterError: if two samples have one id, or a class has no name
        """
        twice = [name for name, count in Counter(self.ids).items() if count > 1]
        if twice:
            raise ParameterError(f"two images have the id {twice[0]!r}; give each its own")
        if not all(isinstance(name, str) and name for name in self.classes):
            raise ParameterError(
                f"every class needs a name; found {next(n for n in self.classes if not n)!r}. Leave images without a "
                "label out"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def keep(self, rows: Sequence[int] | np.ndarray) -> LabeledSamples:
        """The same with some rows only; classes stay as they are."""
        return LabeledSamples(
            [self.ids[row] for row in rows],
            [self.filepaths[row] for row in rows],
            self.labels[np.asarray(rows, dtype=np.int64)],
            self.classes,
            self.honey,
            self.chosen,
        )
