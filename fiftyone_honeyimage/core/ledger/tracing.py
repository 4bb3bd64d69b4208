"""Tracing pairs: of each every recipient of a release gets one side, by a code word of his own.

They stand apart from the pairs that ownership is shown with, whose withheld sides go to nobody. Names of recipients stand
in the leaves of these pairs alone, which evidence of ownership keeps closed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import LedgerError, ParameterError, ReleaseError
from ..evidence.code_words import Code, Uniform, draw_word, system_uniform
from ..evidence.pair_answers import PairAnswers
from .hashes import check_text
from .sides import EVERYBODY, MarkedImage, Pair, Side, pair_entry, read_pair

if TYPE_CHECKING:
    from .committed import CommittedMarking


@dataclass(frozen=True)
class TracingPair(Pair):
    """A pair of which each recipient gets one side.

    Attributes:
        bias: with what probability a recipient's is side "a"
    """

    bias: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.bias) is not float or not 0 < self.bias < 1:
            raise LedgerError(
                f"Tracing pair {self.index}: its bias must lie between 0 and 1, not {self.bias!r}"
            )
        if EVERYBODY in self.released:
            raise LedgerError(f"Tracing pair {self.index} was released to everybody")


def draw_tracing_pairs(
    code: Code,
    sides: Sequence[tuple[Side, Side]],
    first: int,
    uniform: Uniform = system_uniform,
) -> list[TracingPair]:
    """Draws p_i of every pair and then every recipient's word.

    Args:
        code: for whom
        sides: a and b of each pair
        first: index of the first of them: they come after all others
        uniform: where numbers come from; to be replaced in tests only
    """
    for name in code.recipients:
        check_text(name, "The recipient's name")
    biases = code.draw_biases(len(sides), uniform)
    words = {name: draw_word(biases, uniform) for name in code.recipients}
    return [
        TracingPair(
            first + number,
            a,
            b,
            {name: word[number] for name, word in words.items()},
            bias=biases[number],
        )
        for number, (a, b) in enumerate(sides)
    ]


def tracing_entry(pair: TracingPair, version: int) -> dict[str, Any]:
    """Returns a tracing pair as plain values, as a ledger holds it."""
    return {**pair_entry(pair, version), "bias": pair.bias}


def read_tracing_pairs(
    entries: Sequence[Mapping[str, Any]], header: Mapping[str, Any], first: int, version: int
) -> list[TracingPair]:
    """Reads tracing pairs from plain values and checks them against the header.

    Raises:
        LedgerError: if they are not whole
    """
    pairs = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping) or "bias" not in entry:
            raise LedgerError(f"Tracing pair {number} has no bias")
        plain = read_pair({k: v for k, v in entry.items() if k != "bias"}, version)
        pairs.append(
            TracingPair(plain.index, plain.a, plain.b, plain.released, bias=float(entry["bias"]))
        )
    told = header.get("tracing")
    if not pairs and told is None:
        return []
    names = set(pairs[0].released) if pairs else set()
    if any(set(pair.released) != names for pair in pairs) or told != {
        "recipients": len(names),
        "colluders": told["colluders"] if isinstance(told, Mapping) else None,
    }:
        raise LedgerError("The tracing pairs do not have the recipients that the header counts")
    if [pair.index for pair in pairs] != list(range(first, first + len(pairs))):
        raise LedgerError("The tracing pairs are not numbered after the others")
    try:
        Code(tuple(names), told["colluders"])
    except ParameterError as error:
        raise LedgerError(f"The tracing pairs' recipients cannot be used: {error}") from error
    return pairs


def tracing_queries(pairs: Sequence[TracingPair]) -> list[tuple[int, str, MarkedImage]]:
    """(pair, "a" or "b", image) of every query about tracing pairs: in turn side a first and side b first."""
    return [
        (pair.index, twin, image)
        for pair in pairs
        for twin in ("ab" if pair.index % 2 else "ba")
        for image in pair.side(twin).asked
    ]


def words(ledger: CommittedMarking) -> dict[str, npt.NDArray[np.bool_]]:
    """Recipient → whether he got side "a", of all tracing pairs in their order."""
    return {
        name: np.array([pair.released[name] == "a" for pair in ledger.tracing_pairs])
        for name in ledger.recipients
    }


def check_all_answered(ledger: CommittedMarking, answers: PairAnswers) -> None:
    """Raises LedgerError unless there is one answer on each tracing pair, in their order."""
    wanted = tuple(pair.index for pair in ledger.tracing_pairs)
    if answers.pairs != wanted:
        raise LedgerError(
            f"Answers are to {len(answers.pairs)} pairs, and there are {len(wanted)} tracing pairs; all of them are "
            "asked about, in their order"
        )


def recipient_of(ledger: CommittedMarking, digests: Collection[str]) -> str | None:
    """Whose release holds files with these digests; None where everybody gets the same.

    Raises:
        ReleaseError: if it is nobody's, byte by byte
    """
    if not ledger.recipients:
        return None
    held = set(digests)
    for name in ledger.recipients:
        if held.issuperset(image.marked_sha256 for image in ledger.released_images(name)):
            return name
    raise ReleaseError(
        f"this is the release of none of {', '.join(ledger.recipients)[:200]}, byte by byte. trace_copy says whose it "
        "comes from where files were changed"
    )


def num_differing(ledger: CommittedMarking, one: str, other: str) -> int:
    """In how many tracing pairs two recipients have different sides, which they see if they compare their copies."""
    return sum(pair.released[one] != pair.released[other] for pair in ledger.tracing_pairs)
