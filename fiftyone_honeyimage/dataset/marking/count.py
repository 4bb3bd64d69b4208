"""Which markings a dataset has ever had: every commitment whose coins were drawn, and none taken back.

Marking the same images again draws other coins in moments, and whoever does so often enough finds
coins that please. So each ledger names the commitments before it, those of deleted markings and of
runs that were killed included. They are kept in the database beside the dataset, as runs and the
dataset's own fields can be deleted or set by anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fiftyone as fo
import fiftyone.core.odm as foo
from pymongo.errors import DuplicateKeyError

from ...core.errors import InterruptedRunError
from ...core.ledger.ledger import Ledger
from ..runs import MARKING, list_keys, run_config

_COLLECTION = "honeyimage_markings"


def earlier_commitments(dataset: fo.Dataset) -> list[str]:
    """The commitments of every marking that the dataset ever had, oldest first."""
    known = _counted(dataset)
    # A dataset that came from another machine brings its runs with it
    runs = [run_config(dataset, key, MARKING)["commitment"] for key in list_keys(dataset, MARKING)]
    return [*(commitment for commitment in runs if commitment not in known), *known]


def count_marking(dataset: fo.Dataset, commitment: str, earlier: Sequence[str]) -> None:
    """Counts a marking, for good.

    ``earlier`` is what :func:`earlier_commitments` gave, on which the ledger rests.

    Raises:
        InterruptedRunError: if another marking was counted meanwhile
    """
    before = _counted(dataset)
    missing = set(before) - set(earlier)
    entry = {"commitments": [*earlier, commitment]}
    try:
        if missing:
            raise DuplicateKeyError("")
        # Only from the state that was looked at: two runs that end at once are not both the next
        _markings().update_one(
            {"_id": dataset._doc.id, "commitments": before}, {"$set": entry}, upsert=True
        )
    except DuplicateKeyError:
        raise InterruptedRunError(
            f"another marking of dataset '{dataset.name}' was finished at this moment; run again, it "
            "goes on where it stopped"
        ) from None


def count_attached(dataset: fo.Dataset, ledger: Ledger) -> None:
    """Counts the marking of a ledger that came from elsewhere, and those that it names."""
    known = [*ledger.header["earlier_commitments"], ledger.commitment]
    _markings().update_one(
        {"_id": dataset._doc.id}, {"$addToSet": {"commitments": {"$each": known}}}, upsert=True
    )


def _counted(dataset: fo.Dataset) -> list[str]:
    found = _markings().find_one({"_id": dataset._doc.id})
    return list(found["commitments"]) if found else []


def _markings() -> Any:
    return foo.get_db_conn()[_COLLECTION]
