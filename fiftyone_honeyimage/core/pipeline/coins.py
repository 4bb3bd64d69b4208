"""The end of a marking whose coins a public round decides: published, waited for, drawn."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import datetime, timedelta

from ..errors import LedgerError
from ..ledger.beacon import now
from ..ledger.ledger import Ledger
from ..ledger.lots import LEAST_LEAD, Beacon
from ..ledger.relays import PATIENCE, RELAYS, await_round, clock, read_round
from ..progress import Report, silent

_logger = logging.getLogger(__name__)


def publish_by(beacon: Beacon) -> datetime:
    """By when a commitment should be public: a little before the round, as clocks differ."""
    return max(beacon.committed_at, beacon.coins_at - timedelta(seconds=LEAST_LEAD))


def waiting_text(beacon: Beacon) -> str:
    """What is waited for, in words."""
    return f"Waiting for the coins: commitment published by {clock(publish_by(beacon))}, coins at {clock(beacon.coins_at)}"


def draw_when_out(
    ledger: Ledger,
    *,
    relays: Sequence[str] = RELAYS,
    patience: float = PATIENCE,
    report: Report = silent,
) -> None:
    """Waits for the round that a ledger was committed to, and draws its coins; nothing if they are drawn.

    Args:
        ledger: of the marking
        relays: asked for the round, in turn
        patience: seconds after the round's time until it gives up
        report: is told what is waited for

    Raises:
        BeaconError: if no relay gave the round; the same call goes on
    """
    beacon = ledger.beacon
    if beacon is None or not ledger.pending:
        return
    if now() < beacon.coins_at:
        _logger.warning(
            "Publish or time-stamp this commitment by %s: %s. The coins are drawn at %s from round %d of %s",
            clock(publish_by(beacon)),
            ledger.commitment,
            clock(beacon.coins_at),
            beacon.round,
            beacon.chain.name,
        )
    signature = await_round(
        beacon.chain,
        beacon.round,
        relays,
        patience=patience,
        stage=waiting_text(beacon),
        report=report,
    )
    ledger.draw_coins(signature)


def draw_by_hand(ledger: Ledger, source: str | os.PathLike[str]) -> None:
    """Draws a ledger's coins from a round that was brought from elsewhere; see :func:`..ledger.relays.read_round`.

    Raises:
        LedgerError: if its coins were drawn at the marking
        BeaconError: if it is another round, or none, or is not out yet
    """
    if ledger.beacon is None:
        raise LedgerError(
            f"The coins of {ledger.path} were drawn at the marking; it needs no public round"
        )
    ledger.draw_coins(read_round(source, ledger.beacon.chain, ledger.beacon.round))
