"""Dates by time-stamp authorities for a marking of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import fiftyone as fo

from ...core.ledger.stamping import StampReport, stamp_ledger
from ...core.limits import check_path
from ..runs import root_dataset
from .marking import open_marking


def stamp(
    samples: fo.core.collections.SampleCollection,
    honey_key: str,
    what: Sequence[str],
    authorities: Sequence[str],
    roots: Sequence[str | Path],
    timeout: float,
    ledger_path: str | Path | None,
) -> StampReport:
    """See :func:`fiftyone_honeyimage.stamp`."""
    trusted = [check_path("roots", path) for path in roots]
    ledger = open_marking(root_dataset(samples), honey_key, ledger_path).ledger
    return stamp_ledger(ledger, what, authorities, roots=trusted, timeout=timeout)
