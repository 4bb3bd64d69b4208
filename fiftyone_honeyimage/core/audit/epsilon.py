"""At which budget do the pixels stop telling?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ParameterError
from ..progress import Report, silent
from .matching import match
from .metadata import ALPHA
from .pixels import classify, residual_features
from .separation import matched_auroc


@dataclass(frozen=True)
class EpsilonRow:
    """How well the noise classifier does against marks of one budget.

    Attributes:
        epsilon: the budget, in 0–255 units; 0 for the images as they are
        auroc, low, high: its AUROC and interval (see :class:`.separation.Auroc`)
        p_value: of the permutation test
        num_marked: marked images that were compared
        separates: whether the p-value is at most alpha
    """

    epsilon: float
    auroc: float
    low: float
    high: float
    p_value: float
    num_marked: int
    separates: bool


def separation_by_epsilon(
    images: Sequence[np.ndarray],
    labels: Sequence[str],
    marked_rows: Sequence[int],
    crafted: Mapping[float, Sequence[np.ndarray]],
    *,
    hardness: np.ndarray | None = None,
    alpha: float = ALPHA,
    seed: int = 51,
    report: Report | None = None,
) -> list[EpsilonRow]:
    """Runs the noise classifier of the audit on the same marks at several budgets.

    Args:
        images: N originals, uint8 (H, W, 3), as decoded from their files
        labels: N classes
        marked_rows: M rows of the images that were marked
        crafted: budget → the M marked images, decoded from the files that would be released
        hardness (None): float (N,), to compare images that are about as hard
        alpha (0.01): of each budget's test
        seed (51): of controls and folds
        report (None): progress

    Returns:
        a row for each budget, ascending, with the originals first, as budget 0: what hardness alone gives
        away

    Raises:
        ParameterError: if the numbers do not fit, or fewer than 10 images are marked
    """
    report = report or silent
    rows = np.asarray(marked_rows, dtype=np.int64)
    for epsilon, marked_images in crafted.items():
        if len(marked_images) != len(rows):
            raise ParameterError(
                f"epsilon {epsilon} has {len(marked_images)} images for {len(rows)} marked rows"
            )
    marked = np.zeros(len(images), dtype=bool)
    marked[rows] = True
    sets = match(marked, list(labels), hardness, seed=seed)

    features = np.zeros((len(images), len(residual_features(images[0]))))
    for row in np.unique(sets[sets >= 0]):
        features[row] = residual_features(images[row])
    budgets = [(0.0, [images[row] for row in rows]), *sorted(crafted.items())]
    result = []
    for number, (epsilon, marked_images) in enumerate(budgets, start=1):
        for row, image in zip(rows, marked_images, strict=True):
            features[row] = residual_features(image)
        classified = classify(features, sets, seed=seed)
        auroc = None
        if classified is not None:
            auroc = matched_auroc(classified.scores, sets, classified.inflation)
        if classified is None or auroc is None:
            raise ParameterError(
                f"{len(sets)} marked images have unmarked ones of their class beside them; the "
                "classifier takes 10 or more"
            )
        result.append(
            EpsilonRow(
                epsilon=float(epsilon),
                auroc=auroc.value,
                low=auroc.low,
                high=auroc.high,
                p_value=classified.p_value,
                num_marked=len(sets),
                separates=classified.p_value <= alpha,
            )
        )
        report("Looking at pixels", number, len(budgets))
    return result


def epsilon_at_chance(rows: Sequence[EpsilonRow]) -> float | None:
    """The largest budget up to which no row separates; None if already the smallest one does.

    It is as much a statement about the number of marked images as about the marks: more images would
    show smaller budgets.
    """
    largest = None
    for row in sorted(rows, key=lambda row: row.epsilon):
        if row.separates:
            break
        largest = row.epsilon
    return largest
