"""What the time-stamps in an evidence file show, under root certificates that the reader trusts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ..printing import quoted
from .comparisons import Compared
from .hashes import read_moment
from .stamps import (
    FAILS,
    FOREIGN,
    HOLDS,
    Stamp,
    StampCheck,
    check_stamp,
    read_roots,
    stamped_things,
)

Facts = tuple[tuple[str, str], ...]


def compare_stamps(
    stamps: Sequence[Stamp],
    commitment: str,
    log: Sequence[Mapping[str, Any]],
    roots: Sequence[str | Path],
    coins_at: datetime | None = None,
) -> tuple[Compared, Facts]:
    """Checks every stamp offline, and tells when what was stamped was there at the latest.

    Args:
        stamps: those in the file, each of something that it holds
        commitment: what the log begins with
        log: its entries, checked
        roots: files with root certificates that the reader trusts
        coins_at (None): when the coins were thrown by public randomness; None where it was the owner's program that drew
            them. The commitment must have been stamped before

    Raises:
        LedgerError: if a root cannot be read
    """
    trusted = read_roots(roots)
    if not stamps:
        return Compared((), ("roots were given, but the evidence holds no time-stamp",)), ()
    things = stamped_things(commitment, log)
    checks = [check_stamp(stamp, trusted) for stamp in stamps]
    failed = [
        f"the time-stamp of {_thing(check, things)} that is said to be from {quoted(check.stamp.authority)}: {check.problem}"
        for check in checks
        if check.state == FAILS
    ]
    holding = sorted((c for c in checks if c.state == HOLDS), key=_time)
    num_foreign = sum(check.state == FOREIGN for check in checks)
    if not holding and not failed:
        failed.append(
            f"none of the {len(checks)} time-stamps was signed by an authority that the given roots vouch for; give the "
            "roots of the authorities that are named: "
            + ", ".join(dict.fromkeys(quoted(check.stamp.authority) for check in checks))
        )
    held = []
    if holding:
        more = f"; {num_foreign} of other authorities were not looked at" if num_foreign else ""
        held.append(f"{len(holding)} time-stamps were signed under the given roots{more}")
    dated = [check for check in holding if check.stamp.digest == commitment]
    if coins_at is not None and (held or failed):
        _compare_coins(dated, coins_at, held, failed)
    return Compared(tuple(held), tuple(failed)), _facts(holding, things, commitment, log)


def _compare_coins(
    dated: Sequence[StampCheck], coins_at: datetime, held: list[str], failed: list[str]
) -> None:
    if not dated:
        failed.append(
            f"no time-stamp under the given roots is of the commitment, so that nothing shows that it was made before {_words(coins_at)}, when "
            "the coins could be known"
        )
    elif _time(dated[0]) < coins_at:
        held.append(
            f"the commitment was stamped at {_words(_time(dated[0]))}, before {_words(coins_at)}, when the coins could be known"
        )
    else:
        failed.append(
            f"the commitment was stamped at {_words(_time(dated[0]))}, not before {_words(coins_at)}, when the coins could be "
            "known: it may have been chosen by them"
        )


def _facts(
    holding: Sequence[StampCheck],
    things: Mapping[str, str],
    commitment: str,
    log: Sequence[Mapping[str, Any]],
) -> Facts:
    """The earliest stamp of each thing, and what is odd about it."""
    earliest: dict[str, StampCheck] = {}
    for check in holding:
        earliest.setdefault(check.stamp.digest, check)
    written = {entry["hash"]: read_moment(entry["at"]) for entry in log}
    written |= {
        entry["public"]["digest"]: read_moment(entry["at"])
        for entry in reversed(log)
        if entry["event"] == "release"
    }
    base = earliest.get(commitment)
    first = min(
        (read_moment(e["at"]) for e in log if e["event"] in ("release", "open")), default=None
    )
    facts = []
    for digest, check in earliest.items():
        line = f"{_thing(check, things)} was there at {_words(_time(check))}, by {quoted(check.signer)}"
        if digest in written and _time(check) < written[digest]:
            line += f"; the owner's clock was ahead and said {_words(written[digest])}"
        if digest == commitment and first is not None and _time(check) > first:
            line += (
                f"; LATER than {_words(first)}, when the log tells of a release or a verification: it does not show that "
                "the marking was fixed before"
            )
        if digest != commitment and (base is None or _time(base) > _time(check)):
            line += "; NO STAMP OF THE COMMITMENT is as early"
        facts.append(("stamped", line))
    return tuple(facts)


def _thing(check: StampCheck, things: Mapping[str, str]) -> str:
    return things.get(check.stamp.digest, "what this file does not hold")


def _time(check: StampCheck) -> datetime:
    assert check.at is not None
    return check.at


def _words(at: datetime) -> str:
    return at.isoformat(sep=" ", timespec="seconds")
