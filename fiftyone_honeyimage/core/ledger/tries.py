"""Who drew the coins, and how often an owner has tried: what evidence tells of both, and by how much choice inflates p."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ParameterError
from ..evidence.verdict import Verdict
from .lots import Beacon

#: What no file can show of coins that were drawn here
LOCAL_LIMIT = (
    "that the coins were fair, and fell after the pairs, their order and groups, the plan and what was "
    "known of each side: it rests on the owner's word that the program drew them, and on the marking's number"
)


def beacon_limit(beacon: Beacon) -> str:
    """What no file can show of coins that a public round decided."""
    return (
        f"that the commitment was published before {_time(beacon)}, when round {beacon.round} of "
        f"{beacon.chain.name} came out: compare it with a dated copy. One that was made later could choose the coins; "
        "one that was not cannot"
    )


def coins_facts(beacon: Beacon | None) -> list[tuple[str, str]]:
    """Which kind of coins it is, in words."""
    if beacon is None:
        return [
            ("coins", "local: drawn by the owner's program at the marking, which is his word alone")
        ]
    return [
        (
            "coins",
            f"beacon: from round {beacon.round} of {beacon.chain.name} and secrets that were committed; nobody chose "
            f"them if the commitment was public before {_time(beacon)}",
        ),
        ("commitment written", f"{beacon.committed_at.isoformat()}, by the owner's clock"),
        ("round signed", f"{(beacon.signature or b'').hex()}"),
    ]


def _time(beacon: Beacon) -> str:
    return f"{beacon.coins_at:%Y-%m-%d %H:%M:%S} UTC"


def check_num_markings(value: int | None) -> int | None:
    """Returns how many markings a checker knows of.

    Raises:
        ParameterError: if that is no number of markings
    """
    if value is None or (type(value) is int and value >= 1):
        return value
    raise ParameterError(f"The number of markings must be a whole number from 1, not {value!r:.80}")


def marking_facts(
    header: Mapping[str, Any], verdict: Verdict, beacon: Beacon | None, known: int | None
) -> list[tuple[str, str]]:
    """How many markings there were, and the bound where one of them could have been chosen afterwards.

    Args:
        header: of the ledger
        verdict: as recomputed
        beacon: the public round that decided, if one did
        known (None): how many commitments of this owner for this dataset the checker knows of
    """
    told = header["marking_number"]
    number = max(told, known or 1)
    digest = header.get("dataset_sha256")
    facts = []
    if isinstance(digest, str):
        facts.append(("dataset digest", digest[:64]))
    facts.append(
        (
            "markings",
            f"{told} of this dataset, this one included, by the owner's count that the commitment fixes"
            + ("" if known is None else f"; {known} known to you"),
        )
    )
    if number > 1:
        bound = min(1.0, number * verdict.p_adjusted)
        facts.append(
            (
                "bound over markings",
                f"{number} · {verdict.p_adjusted:.2g} = {bound:.2g}: so likely one of {number} markings accuses an "
                "innocent model as strongly, if the one that pleases was chosen",
            )
        )
        if known is not None and known > told:
            facts.append(
                (
                    "MARKINGS MISSING",
                    f"{known} are known to you, and the commitment counts {told}: others were made beside it",
                )
            )
    uncounted = (
        "commitments that were published nowhere, in parallel"
        if beacon
        else "coins that were tossed again in secret"
    )
    facts.append(
        (
            "uncounted",
            f"{uncounted}, and questions outside the log: no file shows them; N of them multiply p by N at most",
        )
    )
    return facts
