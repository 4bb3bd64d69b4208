"""What the cheapest cleanings of a release would take of its HoneyImages: the owner knows before publishing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .model_loss import FILTERS, ReleaseLosses, filtered_shares


@dataclass(frozen=True)
class Cleaning:
    """One way of leaving out images before training.

    Attributes:
        name: what is left out, in words
        dropped: share of the release that it leaves out, 0 to 1
        lost: share of the HoneyImages, 0 to 1
        num_left: HoneyImages that stay
    """

    name: str
    dropped: float
    lost: float
    num_left: int

    @property
    def least_p(self) -> float:
        """The smallest p-value that pairs of what is left can give, if each has a withheld twin."""
        return 2.0 ** -min(self.num_left, 1000)


def cleanings(marked: np.ndarray, losses: ReleaseLosses) -> tuple[Cleaning, ...]:
    """What each takes.

    Args:
        marked: bool (N,)
        losses: of models that were trained on the release
    """
    seen = ~np.isnan(losses.held_out)
    number = int(marked.sum())
    of_seen = marked[seen].sum() / number

    def cleaning(name: str, dropped: float, lost: float) -> Cleaning:
        return Cleaning(name, dropped, lost, round((1 - lost) * number))

    found = [
        cleaning("the hardest, by models of its other half", share, lost * of_seen)
        for share, lost in zip(
            FILTERS, filtered_shares(losses.held_out[seen], marked[seen]), strict=True
        )
    ]
    wrong = losses.mislabelled
    taken = float((marked & wrong).sum() / number)
    return (
        *found,
        cleaning("what confident learning calls mislabelled", float(wrong.mean()), taken),
    )


def cleaning_table(found: Sequence[Cleaning]) -> str:
    """Markdown."""
    head = "| A thief who leaves out | of the release | takes of your HoneyImages | left | their pairs can reach at best |"
    rows = [
        f"| {one.name} | {one.dropped:.1%} | {one.lost:.0%} | {one.num_left:,} | p = {one.least_p:.1g} |"
        for one in found
    ]
    return "\n".join([head, "| --- | --- | --- | --- | --- |", *rows])
