"""What a method that takes images by hardness can be told of the choice."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..limits import Choice, Flag
from .options import Options, option
from .selection import MEASURES, RULES, rule_of

_logger = logging.getLogger(__name__)


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


def settled(kind: type[Options], given: Mapping[str, Any], known: Collection[str]) -> Options:
    """A method's options. Where nothing is said of the choice, and what it would take is not known, it takes the hardest.

    Args:
        kind: the method's ``Options``
        given: its own, as they were asked for
        known: names in :data:`.selection.MEASURES` that the scores come with

    Raises:
        ParameterError: if a value is out of range
    """
    settings = kind(**given)
    rule = rule_of(settings)
    if "selection" in given or rule not in MEASURES or rule in known:
        return settings
    _logger.warning(
        "These scores do not tell %s: the hardest images are taken. Run compute_hardness for a better choice",
        MEASURES[rule],
    )
    return kind(**{**given, "selection": "hardest"})
