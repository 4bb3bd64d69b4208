"""Coins that nobody chose: what an owner commits to before a round of public randomness, and how it decides.

Each pair has a secret of 32 bytes. The commitment holds the secrets and the number of a round that does not exist yet; when
it is out,

    coin = the first (most significant) bit of HMAC-SHA-256(key = secret, message = signature ‖ index ‖ recipient)

0 releases side a, 1 side b. The signature has 48 bytes, the pair's index 8 bytes, big-endian, and the recipient is UTF-8: nothing for
everybody's release. The owner cannot foresee the signature when he writes the secrets, and nobody else knows the secrets when
it is out: he did not choose the coins, and the public does not learn them.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

from ..errors import BeaconError, LedgerError, ParameterError
from .beacon import QUICKNET, Chain, check_installed, check_number, find_chain, now, read_signature
from .hashes import check_text, is_digest, read_moment
from .relays import clock

#: Where coins come from
COINS = {
    "local": "drawn on this computer: others have the owner's word for it",
    "beacon": "drawn from public randomness that did not exist yet when the commitment was written",
}
#: Seconds from the commitment to its round, by default: time to publish it
LEAD = 180
#: At least so many: clocks differ, and a round that is nearly out may be known to some
LEAST_LEAD = 30


@dataclass(frozen=True)
class Lot:
    """What a pair's coins are drawn from.

    Attributes:
        secret: 32 bytes, in hexadecimal digits
        recipients: who gets a coin of his own
    """

    secret: str
    recipients: tuple[str, ...]

    def __post_init__(self) -> None:
        if not is_digest(self.secret):
            raise LedgerError(
                "A pair's secret must be 32 bytes in 64 lower-case hexadecimal digits"
            )
        names = self.recipients
        if not names or len(set(names)) != len(names) or not all(isinstance(n, str) for n in names):
            raise LedgerError(f"A pair's recipients must be names, each once, not {names!r:.200}")
        check_text(names, "A recipient's name")


def toss(secret: str, signature: bytes, index: int, recipient: str) -> str:
    """Returns "a" or "b", which side of a pair a recipient gets; see this module.

    Args:
        secret: the pair's, 64 hexadecimal digits
        signature: the round's, 48 bytes
        index: the pair's
        recipient: his name, nothing for everybody
    """
    message = signature + index.to_bytes(8, "big") + recipient.encode("utf-8")
    first = hmac.new(bytes.fromhex(secret), message, sha256).digest()[0]
    return "b" if first & 0x80 else "a"


@dataclass(frozen=True)
class Beacon:
    """Which round of public randomness decides, and, once it is out, how it was signed.

    Attributes:
        chain: whose round
        round: its number
        committed_at: when the commitment was written, by the owner's clock
        signature: the round's, 48 bytes; None as long as the coins are not drawn
    """

    chain: Chain
    round: int
    committed_at: datetime
    signature: bytes | None = None

    def __post_init__(self) -> None:
        check_number(self.round)
        lead = (self.coins_at - self.committed_at).total_seconds()
        if lead < LEAST_LEAD:
            raise BeaconError(
                f"Round {self.round:,} of {self.chain.name} comes out at {clock(self.coins_at)}, and the commitment was "
                f"written at {clock(self.committed_at)}: at least {LEAST_LEAD} s must lie between, so that nobody "
                "could know the coins. Choose a later time"
            )
        if self.signature is not None:
            self.chain.check(self.round, self.signature)

    @property
    def coins_at(self) -> datetime:
        """When the round comes out, UTC: the commitment must have been published by then."""
        return self.chain.time_of(self.round)

    def coins(self, index: int, lot: Lot) -> dict[str, str]:
        """Returns a pair's coin for each of its recipients; nothing before the round."""
        if self.signature is None:
            return {}
        return {who: toss(lot.secret, self.signature, index, who) for who in lot.recipients}

    def drawn(self, signature: bytes) -> Beacon:
        """Returns the same with its round's signature.

        Raises:
            BeaconError: if the round is not out yet by this computer's clock, or the signature is another's
        """
        if now() < self.coins_at:
            raise BeaconError(
                f"The coins are drawn from round {self.round:,} of {self.chain.name}, which comes out at "
                f"{clock(self.coins_at)}; by this computer's clock it is {clock(now())}. Wait, or set the clock"
            )
        return replace(self, signature=signature)

    def header(self) -> dict[str, Any]:
        """What the header holds, and the commitment covers."""
        return {
            "chain": self.chain.hash,
            "round": self.round,
            "committed_at": self.committed_at.isoformat(timespec="seconds"),
        }

    def draw(self) -> dict[str, Any]:
        """What a ledger or evidence holds beside what was committed, once the coins are drawn."""
        assert self.signature is not None
        return {"round": self.round, "signature": self.signature.hex()}

    def pending_text(self) -> str:
        """What is to be done as long as the coins are not drawn."""
        told = f"the coins are not drawn yet: they come from round {self.round:,} of {self.chain.name}, which"
        how = "draw_coins (with round_file=… on a machine without internet)"
        if now() < self.coins_at:
            return (
                f"{told} comes out at {clock(self.coins_at)}. Publish the commitment before then, and draw them after with "
                f"{how}"
            )
        return (
            f"{told} is out since {clock(self.coins_at)}. Draw them now with {how}; a commitment that was not published "
            "before then shows nobody that it was not chosen by them"
        )


def appoint(
    coins_at: datetime | str | None = None, round: int | None = None, chain: Chain = QUICKNET
) -> Beacon:
    """Returns the round for a commitment that is written now.

    Args:
        coins_at (None): when the coins are to be drawn, with its time zone; a text is ISO 8601. The newest round of then is
            taken; by default in :data:`LEAD` seconds
        round (None): the round itself, instead
        chain (QUICKNET): whose

    Raises:
        ParameterError: if both are given, or the time cannot be read
        BeaconError: if it lies too near, or in the past
    """
    written = now()
    if round is not None and coins_at is not None:
        raise ParameterError("Give coins_at or round, not both: one follows from the other")
    if round is None:
        time = read_time(coins_at)
        # Rounded up, so that the default lead is kept
        later = timedelta(seconds=LEAD + chain.period)
        round = chain.round_at(written + later if time is None else time)
    return Beacon(chain, check_number(round), written.replace(microsecond=0))


def read_time(value: datetime | str | None) -> datetime | None:
    """Reads a time with its time zone.

    Raises:
        ParameterError: if it is none, or says no time zone
    """
    if value is None:
        return None
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(_zone(value))
    except (TypeError, ValueError, AttributeError) as error:
        raise ParameterError(
            f"coins_at must be a time such as '2026-11-28T14:35:00+00:00', not {value!r:.80}"
        ) from error
    if time.tzinfo is None:
        raise ParameterError(
            f"coins_at {value!s:.80} says no time zone; add one, such as +00:00 for UTC"
        )
    return time.astimezone(timezone.utc)


def check_coins(
    coins: str, coins_at: datetime | str | None = None, round: int | None = None
) -> None:
    """Checks, before anything expensive, how coins are to be drawn.

    Raises:
        ParameterError: if there is no such way, or a time is given for coins that need none
        BeaconError: if the round would be out already, or nothing is installed to check it
    """
    if not isinstance(coins, str) or coins not in COINS:
        raise ParameterError(f"coins must be one of {', '.join(COINS)}; found {coins!r:.80}")
    if coins == "beacon":
        check_installed()
        appoint(coins_at, round)
    elif coins_at is not None or round is not None:
        raise ParameterError(
            "A time or round is given for coins that are drawn here and at once; pass coins='beacon', or leave it out"
        )


def read_beacon(header: Mapping[str, Any], draw: Any) -> Beacon | None:
    """Reads which round decides from a header, and its signature from what lies beside; None where coins are local.

    Raises:
        LedgerError: if one is there without the other being possible, or they are of different rounds
        BeaconError: if the round could have been known, or the signature is not the round's
    """
    told = header.get("beacon")
    if told is None:
        if draw is not None or "beacon" in header:
            raise LedgerError("There is a round of public randomness that was not committed to")
        return None
    if not isinstance(told, Mapping) or set(told) != {"chain", "round", "committed_at"}:
        raise LedgerError("The header's beacon must say chain, round and committed_at, no more")
    written = read_moment(told["committed_at"])
    beacon = Beacon(find_chain(told["chain"]), told["round"], written)
    if draw is None:
        return beacon
    if not isinstance(draw, Mapping) or set(draw) != {"round", "signature"}:
        raise LedgerError("A drawn round must say round and signature, no more")
    if type(draw["round"]) is not int or draw["round"] != beacon.round:
        raise LedgerError(
            f"Committed was round {beacon.round}, and the coins were drawn from {draw['round']!r:.40}"
        )
    return replace(beacon, signature=read_signature(draw["signature"]))


def _zone(text: str) -> str:
    # Python 3.10 reads no Z
    return text[:-1] + "+00:00" if text.endswith("Z") else text
