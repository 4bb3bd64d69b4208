"""Coins that a public round decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..public import public

if TYPE_CHECKING:
    import fiftyone.core.collections as foc

    from ..dataset.marking.marking import Marking


@public
def draw_coins(
    samples: foc.SampleCollection,
    honey_key: str,
    round_file: str | Path | None = None,
    *,
    relays: Sequence[str] | None = None,
    ledger_path: str | Path | None = None,
    progress: bool | Callable | None = None,
) -> Marking:
    """Draws the coins of a marking that waits for its public round (``coins="beacon"``).

    Nothing is left to choose: the round was committed to, and whoever brings its signature, it is checked. Coins that are
    drawn already stay.

    Args:
        samples: the dataset
        honey_key: the marking
        round_file (None): on a machine without internet, a file with the round as a relay gives it, or that text itself, or
            the signature alone; ``marking.load_ledger().beacon`` says which round. By default relays are asked, and waited for
        relays (None): see :func:`fiftyone_honeyimage.generate_honeyimages`
        ledger_path (None): the ledger, if it was moved
        progress (None): see :func:`fiftyone_honeyimage.compute_hardness`

    Returns:
        the ``Marking``

    Raises:
        SamplesError: if there is no such marking
        LedgerError: if the ledger is missing or altered, the coins were drawn at the marking, the round is not out yet,
            is another one, or no relay gave it
    """
    from ..dataset.marking.coins import draw_coins as run

    return run(
        samples,
        honey_key,
        round_file,
        relays=relays,
        ledger_path=ledger_path,
        progress=progress,
    )
