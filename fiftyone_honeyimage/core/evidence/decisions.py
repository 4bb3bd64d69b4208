"""What a published method would have decided: shown beside the exact verdict, and never deciding."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ParameterError

#: Where a verdict's ``paper`` keeps them
DECISIONS = "decisions"


@dataclass(frozen=True)
class PublishedDecision:
    """The decision of one published rule about one suspect.

    Attributes:
        rule: what it is and where it was published, for a curator
        accuses: whether it calls the suspect trained on the release
        statistic: the figure that it compares
        threshold: with what it compares it; None for a rule that has its p-value alone
        p_value: as the publication computes it, None if it has none; it holds under the publication's own
            assumptions about innocent models, and not for every innocent model
        text: a sentence with the figures
    """

    rule: str
    accuses: bool
    statistic: float
    threshold: float | None
    p_value: float | None
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, safe for JSON."""
        return dataclasses.asdict(self)


def with_decisions(
    paper: Mapping[str, Any], decisions: Sequence[PublishedDecision]
) -> dict[str, Any]:
    """A verdict's published figures with decisions added; nothing is added where there is none."""
    if not decisions:
        return dict(paper)
    kept = list(paper.get(DECISIONS, ()))
    return {**paper, DECISIONS: [*kept, *(one.to_dict() for one in decisions)]}


def read_decisions(paper: Mapping[str, Any]) -> list[PublishedDecision]:
    """Undoes :func:`with_decisions`.

    Raises:
        ParameterError: if one is not what :meth:`PublishedDecision.to_dict` gives
    """
    try:
        return [PublishedDecision(**values) for values in paper.get(DECISIONS, ())]
    except TypeError as error:
        raise ParameterError(f"this is no published decision: {error}") from error
