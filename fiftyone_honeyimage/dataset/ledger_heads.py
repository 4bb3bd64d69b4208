"""How far each ledger's log had come, so that a copy with a log of its own is found out.

Each of two copies would count its verifications from where it was copied, and their levels would add
up to more than α. What is kept, in the database beside the datasets, is the newest head that was seen:
a hash, which tells nothing.
"""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.core.odm as foo
from pymongo.errors import DuplicateKeyError

from ..core.errors import LedgerError
from ..core.ledger.ledger import Ledger
from .runs import VERIFICATION, list_keys, run_config

_COLLECTION = "honeyimage_ledgers"


def note_head(ledger: Ledger) -> None:
    """Notes the end of a ledger's log, after something was written to it.

    Raises:
        LedgerError: if another copy of it was written to meanwhile: of two that count at once, one goes on
    """
    known = [ledger.commitment, *(entry["hash"] for entry in ledger.log)]
    try:
        _heads().update_one(
            {"_id": ledger.commitment, "head": {"$in": known}},
            {"$set": {"head": ledger.head}},
            upsert=True,
        )
    except DuplicateKeyError:
        check_head(ledger)
        raise


def check_head(ledger: Ledger) -> None:
    """Checks that a ledger's log holds the newest entry that was noted.

    Raises:
        LedgerError: if it does not: it is an older copy, or one that has grown on its own
    """
    found = _heads().find_one({"_id": ledger.commitment})
    known = {ledger.commitment, *(entry["hash"] for entry in ledger.log)}
    if found is not None and found["head"] not in known:
        raise LedgerError(
            f"the ledger at '{ledger.path}' is an older or another copy: its log lacks entry "
            f"{found['head'][:12]}… that was written to this marking's ledger. Restore the newest "
            "copy, or pass its place as ledger_path"
        )


def check_log(dataset: fo.Dataset, ledger: Ledger) -> None:
    """Checks that a ledger holds every verification of its marking that the dataset knows.

    An older copy would count from the start again, and the levels add up to more than α.

    Raises:
        LedgerError: naming one that it does not hold, or see :func:`check_head`
    """
    for key in list_keys(dataset, VERIFICATION, commitment=ledger.commitment):
        if run_config(dataset, key, VERIFICATION)["verification_id"] not in ledger.verifications:
            raise LedgerError(
                f"the ledger at '{ledger.path}' does not hold verification '{key}': it is an older or "
                "another copy, which would not count it. Restore the newest copy, or pass its place as "
                "ledger_path"
            )
    check_head(ledger)


def _heads() -> Any:
    return foo.get_db_conn()[_COLLECTION]
