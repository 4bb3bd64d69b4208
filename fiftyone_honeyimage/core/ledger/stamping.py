"""Having a ledger's commitment, releases and log dated by time-stamp authorities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..errors import LedgerError, ParameterError
from ..printing import printable
from .authorities import TIMEOUT, Refusal, check_authorities, request_stamp
from .ledger import Ledger
from .stamps import Stamp, add_stamps, claimed_time, read_roots, read_stamps, stamped_things

#: What of a ledger can be dated, and what each date is worth
WHAT = {
    "commitment": "That images, pairs and coins were fixed by then",
    "releases": "That each release that was exported was there by then",
    "head": "That every verification so far was written down by then",
}


@dataclass(frozen=True)
class Dated:
    """A stamp that was had.

    Attributes:
        what: what was dated, in words
        stamp: the stamp
        at: the time that it states, UTC
    """

    what: str
    stamp: Stamp
    at: datetime


@dataclass(frozen=True)
class StampReport:
    """What became of a call of :func:`fiftyone_honeyimage.stamp`.

    Attributes:
        stamped: new stamps, which were kept beside the ledger
        already: how many were there before, and were not asked for again
        refused: authorities that gave none, and why
        verified: whether new stamps were checked against root certificates
    """

    stamped: tuple[Dated, ...]
    already: int
    refused: tuple[Refusal, ...]
    verified: bool

    def __str__(self) -> str:
        lines = [
            f"Dated: {one.what}, {one.at:%Y-%m-%d %H:%M:%S} UTC, by {one.stamp.authority}"
            for one in self.stamped
        ]
        lines += [f"No stamp from {one.authority}: {one.reason}" for one in self.refused]
        if self.already:
            lines.append(f"{self.already} stamps were there already and were not asked for again")
        if self.stamped and not self.verified:
            lines.append(
                "Who signed them was not checked: keep the authorities' root certificates, and pass them as roots"
            )
        return "\n".join(map(printable, lines)) or "There was nothing to date"


def stamp_ledger(
    ledger: Ledger,
    what: Sequence[str] = tuple(WHAT),
    authorities: Sequence[str] = ("digicert", "freetsa"),
    *,
    roots: Sequence[str | Path] = (),
    timeout: float = TIMEOUT,
) -> StampReport:
    """Asks authorities for stamps and keeps them beside the ledger. See :func:`fiftyone_honeyimage.stamp`.

    Raises:
        ParameterError: if what is to be dated, an authority or the timeout is none
        LedgerError: if a root cannot be read, or no authority gave a stamp
        OSError: if the stamps cannot be written
    """
    wanted = digests_of(ledger, what)
    addresses = check_authorities(authorities)
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= 600:
        raise ParameterError(
            f"timeout must lie above 0 and be at most 600 seconds, not {timeout!r}"
        )
    paths = [str(path) for path in roots]
    if paths:
        read_roots(paths)
    known = {(stamp.digest, stamp.authority) for stamp in read_stamps(ledger.path)}
    things = stamped_things(ledger.commitment, ledger.log)
    stamped: list[Dated] = []
    refused: list[Refusal] = []
    already = 0
    for digest in wanted:
        for address in addresses:
            if (digest, address) in known:
                already += 1
                continue
            found = request_stamp(digest, address, paths, timeout)
            if isinstance(found, Refusal):
                refused.append(found)
                continue
            # At once: the next authority may hang
            add_stamps(ledger.path, [found])
            stamped.append(Dated(things[digest], found, claimed_time(found)))
    if refused and not stamped and not already:
        reasons = "; ".join(dict.fromkeys(f"{one.authority}: {one.reason}" for one in refused))
        raise LedgerError(
            f"no time-stamp authority gave a stamp ({reasons}). Nothing was changed; try again, or name other authorities"
        )
    return StampReport(tuple(stamped), already, tuple(refused), bool(paths))


def digests_of(ledger: Ledger, what: Sequence[str]) -> list[str]:
    """What is to be stamped, each once.

    Raises:
        ParameterError: naming what is none of :data:`WHAT`
    """
    chosen = [what] if isinstance(what, str) else list(what)
    unknown = [one for one in chosen if one not in WHAT]
    if unknown or not chosen:
        raise ParameterError(
            f"what must be one or more of {', '.join(WHAT)}, not {', '.join(map(repr, unknown)) or 'nothing'}"
        )
    digests = []
    if "commitment" in chosen:
        digests.append(ledger.commitment)
    if "releases" in chosen:
        digests += [release.digest for release in ledger.releases]
    if "head" in chosen:
        digests.append(ledger.head)
    return list(dict.fromkeys(digests))
