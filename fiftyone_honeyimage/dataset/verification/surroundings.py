"""What a verification of a FiftyOne dataset knows beside ledger and suspect: its unmarked images and its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fiftyone as fo
import numpy as np

from ...core.errors import HoneyImageError
from ...core.images import read_image
from ...core.ledger.ledger import Ledger
from ...core.pipeline.surroundings import Surroundings
from ..identity import unmarked
from ..ledger_heads import note_head
from ..marking.marking import Marking
from ..runs import (
    HARDNESS,
    VERIFICATION,
    is_complete,
    list_keys,
    run_config,
    run_results,
)


class DatasetSurroundings(Surroundings):
    """See :class:`.Surroundings`.

    Args:
        dataset: the dataset
        marking: of it
    """

    def __init__(self, dataset: fo.Dataset, marking: Marking) -> None:
        self._dataset = dataset
        self._label = f"{marking.config['label_field']}.label"
        self._hardness_key = marking.config["hardness_field"]

    def some_unmarked(
        self, classes: Sequence[str], number: int, shape: tuple[int, ...] | None
    ) -> tuple[list[str], list[int], list[np.ndarray]]:
        view = unmarked(self._dataset).exists(self._label).shuffle(seed=51)
        ids: list[str] = []
        labels: list[int] = []
        images: list[np.ndarray] = []
        names = ["id", "filepath", self._label]
        for sample_id, path, label in zip(*view.limit(4 * number).values(names), strict=True):
            if len(ids) == number:
                break
            if label not in classes:
                continue
            try:
                image = read_image(path)
            except HoneyImageError:
                continue  # any image serves
            if shape is not None and image.shape != shape:
                continue
            ids.append(sample_id)
            labels.append(classes.index(label))
            images.append(image)
        return ids, labels, images

    def true_classes(self) -> dict[str, str]:
        view = unmarked(self._dataset).exists(self._label)
        return dict(zip(*view.values(["id", self._label]), strict=True))

    def chance(self) -> float:
        counts = unmarked(self._dataset).count_values(self._label)
        known = [number for label, number in counts.items() if label is not None]
        return max(known) / sum(known) if known else 1.0

    def proxies(self) -> float | None:
        """Their out-of-fold accuracy, as the hardness run noted it."""
        key = self._hardness_key
        if key not in list_keys(self._dataset, HARDNESS) or not is_complete(self._dataset, key):
            return None
        accuracy: Any = run_results(self._dataset, key).get("accuracy")
        return None if accuracy is None else float(accuracy)

    def is_saved(self, verification_id: str) -> bool:
        return any(
            run_config(self._dataset, key, VERIFICATION)["verification_id"] == verification_id
            for key in list_keys(self._dataset, VERIFICATION)
        )

    def note(self, ledger: Ledger) -> None:
        note_head(ledger)
