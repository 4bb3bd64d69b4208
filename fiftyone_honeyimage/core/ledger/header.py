"""What a ledger's header says for itself: its format, its counts and which marking of a dataset it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import LedgerError
from .hashes import format_name, is_digest, read_version
from .lots import Beacon

#: Keys of the header that the ledger sets, beside those that a marking gives it
RESERVED = (
    "format",
    "plan",
    "counts",
    "marking_number",
    "earlier_commitments",
    "beacon",
    "tracing",
)


def own_header(
    num_singles: int,
    num_pairs: int,
    earlier_commitments: Sequence[str],
    beacon: Beacon | None = None,
    num_tracing_pairs: int = 0,
) -> dict[str, Any]:
    """Returns the header's own part, without the plan.

    Args:
        num_singles, num_pairs, num_tracing_pairs: how many there are
        earlier_commitments: of every earlier marking of the dataset, oldest first
        beacon (None): the public round that the coins are drawn from, unless they are drawn here
    """
    return {
        "format": format_name("ledger"),
        "counts": _counts(num_singles, num_pairs, num_tracing_pairs),
        # Who commits often enough and publishes late could choose among the coins
        "marking_number": len(earlier_commitments) + 1,
        "earlier_commitments": list(earlier_commitments),
        **({} if beacon is None else {"beacon": beacon.header()}),
    }


def _counts(num_singles: int, num_pairs: int, num_tracing_pairs: int) -> dict[str, int]:
    counts = {"singles": num_singles, "pairs": num_pairs}
    return {**counts, "tracing_pairs": num_tracing_pairs} if num_tracing_pairs else counts


def _counts_recipients(told: Any) -> bool:
    """Whether a header says how many recipients there are and how many colluders they are told apart from."""
    return (
        isinstance(told, Mapping)
        and set(told) == {"recipients", "colluders"}
        and all(type(number) is int and number >= 1 for number in told.values())
    )


def num_tracing_pairs(header: Mapping[str, Any]) -> int:
    """How many tracing pairs a header counts: none where it does not speak of them."""
    number = header["counts"].get("tracing_pairs", 0)
    if type(number) is not int or number < 0:
        raise LedgerError(f"The header counts {number!r} tracing pairs")
    return number


def check_header(
    header: Mapping[str, Any], num_singles: int, num_pairs: int, tracing: int = 0
) -> None:
    """Checks the header's own part.

    Raises:
        LedgerError: if it is of another format, has other counts, or its number of the marking does
            not fit the earlier commitments
    """
    read_version(header.get("format"), "ledger")
    if header["counts"] != _counts(num_singles, num_pairs, tracing):
        raise LedgerError(
            f"The header counts {header['counts']}, but there are {num_singles} singles, {num_pairs} pairs and "
            f"{tracing} tracing pairs"
        )
    told = header.get("tracing")
    if (tracing > 0) != ("tracing" in header) or (tracing and not _counts_recipients(told)):
        raise LedgerError(
            f"The header counts {tracing} tracing pairs and says {told!r:.100} of the recipients that they tell apart"
        )
    earlier = header["earlier_commitments"]
    if (
        not isinstance(earlier, list)
        or not all(map(is_digest, earlier))
        or len(set(earlier)) != len(earlier)
        or header["marking_number"] != len(earlier) + 1
    ):
        raise LedgerError(
            f"The header calls this marking number {header['marking_number']!r} of its dataset, "
            "which does not fit the earlier commitments that it lists"
        )
