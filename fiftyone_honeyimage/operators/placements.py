"""Buttons above the grid, and why one of them cannot be used.

The App asks for them after every change of the view, and the server answers nothing else meanwhile. So
a dataset is only loaded when it has changed; loading it for each button takes longer than the change.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import fiftyone.operators.types as types
from bson import ObjectId
from fiftyone.core import odm

from ..core.errors import HoneyImageError
from .calls import titled

#: What tells that a dataset is still the same: the first changes with its fields and runs, the second with
#: its first sample
_VERSION = ("last_modified_at", "media_type", "sample_collection_name")

#: Answers that are remembered, for all datasets and buttons
_MAX_REASONS = 256


def placement(label: str, icon: str, reason: str | None, asks: bool = True) -> types.Placement:
    """A button above the grid.

    Args:
        label: what it does
        icon: the first part of its icons' names
        reason: why it cannot be used now, or None. Today's App shows a disabled button like any other:
            so its label says why, and the form that it opens is blocked with the same reason
        asks (True): whether it opens a form
    """
    return types.Placement(
        types.Places.SAMPLES_GRID_SECONDARY_ACTIONS,
        types.Button(
            label=titled(f"{label} ({reason})" if reason else label),
            icon=f"/assets/{icon}-light.svg",
            darkIcon=f"/assets/{icon}-dark.svg",  # the App reads this name as it is
            prompt=asks,
            disabled=reason is not None,
        ),
    )


def unavailable(ctx: Any, needs: str | None = None) -> str | None:
    """Why nothing can be done with the open dataset, or not yet; None if it can.

    ``needs`` is the method of a run that has to be there.
    """
    # By its id first, as FiftyOne does: the dataset may have been renamed since
    names = {"_id": ctx.dataset_id and ObjectId(ctx.dataset_id), "name": ctx.dataset_name}
    query = next(({name: value} for name, value in names.items() if value), None)
    database = odm.get_db_conn()
    found = query and database.datasets.find_one(query, dict.fromkeys(_VERSION, True))
    if not found:
        return "no dataset is open"
    is_empty = database[found["sample_collection_name"]].find_one({}, {"_id": True}) is None
    version = (*(found.get(name) for name in _VERSION), is_empty)
    return _unavailable(found["_id"], version, needs)


@lru_cache(maxsize=_MAX_REASONS)
def _unavailable(dataset_id: ObjectId, version: tuple[Any, ...], needs: str | None) -> str | None:
    """What :func:`unavailable` says of a version of a dataset."""
    from ..dataset.checks import check_collection, classification_fields
    from ..dataset.runs import HARDNESS, list_keys

    dataset = odm.load_dataset(id=dataset_id, reload=True)
    try:
        check_collection(dataset)
    except HoneyImageError as error:
        return str(error)
    if not classification_fields(dataset):
        return "this dataset has no field of type Classification"
    if needs is None or list_keys(dataset, needs):
        return None
    return "compute hardness first" if needs == HARDNESS else "generate HoneyImages first"
