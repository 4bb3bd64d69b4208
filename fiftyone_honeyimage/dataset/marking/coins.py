"""A marking that waits for the public round that its coins are drawn from."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo

from ...core.errors import BeaconError
from ...core.ledger.ledger import Ledger
from ...core.ledger.relays import RELAYS, check_relays
from ...core.pipeline.coins import draw_by_hand, draw_when_out, waiting_text
from ..progress import Progress, StageBar
from ..runs import MARKING, catch_up, list_keys, root_dataset, run_config
from .marking import Marking, load_marking, open_marking

_logger = logging.getLogger(__name__)


def draw_coins(
    samples: fo.core.collections.SampleCollection,
    honey_key: str,
    round_file: str | Path | None,
    *,
    relays: Sequence[str] | None,
    ledger_path: str | Path | None,
    progress: Progress,
) -> Marking:
    """See :func:`fiftyone_honeyimage.draw_coins`."""
    asked = check_relays(RELAYS if relays is None else relays)
    dataset = root_dataset(samples)
    catch_up(dataset)
    ledger = open_marking(dataset, honey_key, ledger_path).ledger
    if round_file is not None:
        draw_by_hand(ledger, round_file)
    else:
        _wait(ledger, asked, progress)
    return load_marking(dataset, honey_key)


def wait_for_coins(marking: Marking, relays: Sequence[str], progress: Progress) -> None:
    """Waits for the coins of a marking that was just made; if no relay gives the round it stays as it is, with a warning."""
    ledger = marking.load_ledger()
    try:
        _wait(ledger, relays, progress)
    except BeaconError as error:
        _logger.warning(
            "The marking '%s' is whole, but for its coins: %s. Call the same again, or draw_coins(dataset, '%s'), with "
            "round_file=… on a machine without internet",
            marking.honey_key,
            error,
            marking.honey_key,
        )


def waits_for_coins(dataset: fo.Dataset, honey_key: str, request: Mapping[str, Any]) -> bool:
    """Whether this very call was made before, and was interrupted while it waited for its coins."""
    if "coins" not in request or honey_key not in list_keys(dataset, MARKING):
        return False
    config = run_config(dataset, honey_key, MARKING)
    config["method"] = config.get("marking_method")  # a run's own "method" is another
    asked = json.loads(json.dumps(request, default=str))
    held = json.loads(json.dumps({name: config.get(name) for name in request}, default=str))
    return bool(asked == held) and load_marking(dataset, honey_key).pending


def _wait(ledger: Ledger, relays: Sequence[str], progress: Progress) -> None:
    if ledger.beacon is None or not ledger.pending:
        return
    with StageBar({waiting_text(ledger.beacon): 1}, progress) as bar:
        draw_when_out(ledger, relays=relays, report=bar.report)
