"""What a method that takes images by hardness can be told of the choice."""

from __future__ import annotations

from dataclasses import dataclass

from ..limits import Choice, Flag
from .options import Options, option
from .selection import RULES


@dataclass(frozen=True)
class SelectionOptions(Options):
    """Attributes:
    selection: which images are taken, a name in :data:`.selection.RULES`
    matched: whether twins are also alike to the proxies, by features of their last layers
    diverse: whether pairs are taken that are unlike each other by these features
    """

    selection: str = option(
        "hardest", Choice(RULES), label="Which images", help="Twins are alike in any case"
    )
    matched: bool = option(
        False,
        Flag(),
        label="Twins that look alike to a model",
        help="Among images of one class that are about as hard",
    )
    diverse: bool = option(
        False,
        Flag(),
        label="Pairs that differ from each other",
        help="Spread over what a model tells apart, and not many of one kind",
    )
