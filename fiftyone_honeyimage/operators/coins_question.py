"""The question who draws the coins of a marking."""

from __future__ import annotations

from typing import Any

import fiftyone.operators.types as types

from .. import generate_honeyimages as run
from . import calls
from .form_errors import errors_on
from .form_parts import dropdown


def ask_coins(ctx: Any, inputs: types.Object) -> None:
    """Asks who draws the coins that decide which twin is released."""
    from ..core.ledger.lots import COINS, check_coins

    dropdown(
        inputs,
        "coins",
        {
            "local": COINS["local"].capitalize(),
            "beacon": "Nobody: they come from public randomness, minutes after you have published the commitment",
        },
        default=calls.sdk_defaults(run)["coins"],
        label="Who draws the coins",
        description="They decide which image of each pair is released. Fixed by the commitment",
    )
    values = calls.values(ctx, run)
    if values["coins"] != "beacon" and values["coins_at"] is None:
        return
    prop = inputs.str(
        "coins_at",
        label="Coins at",
        description="A time with its zone, such as 2026-11-28T14:35:00+00:00, that leaves you time to publish. Empty: three "
        "minutes after the HoneyImages are done",
    )
    with errors_on(prop):
        check_coins("beacon", values["coins_at"])
