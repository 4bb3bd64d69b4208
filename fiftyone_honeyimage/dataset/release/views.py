"""Which images each release was made of, so that two releases that share little but the marks are refused.

Every release of a marking holds all its HoneyImages. Two of different views share these and whatever
unmarked images lie in both: where that is few, what they share is marked. The ids of a view lie in the
marking's own folder; they hold the withheld images too, and tell no coin.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path

from ...core.errors import ReleaseError
from ...core.files import write_json_atomic
from ..storage import VIEWS

#: The share of the smaller of two views that may be missing in the other. The marks among what both
#: share are then at most a ninth more frequent than in either.
_MOST_MISSING = 0.1


def check_views(folder: Path, ids: Collection[str], places: Iterable[str], honey_key: str) -> None:
    """Checks that a release shares with each earlier one most of the images of the smaller.

    Args:
        folder: the marking's folder
        ids: of the samples of the release to be, withheld ones too
        places: folders of earlier releases that somebody may hold
        honey_key: the marking

    Raises:
        ReleaseError: naming the earlier release
    """
    known = _read(folder)
    now = set(ids)
    for place in places:
        earlier = set(known.get(place, ()))
        smaller = min(len(earlier), len(now))
        missing = smaller - len(earlier & now)
        if missing > _MOST_MISSING * smaller:
            raise ReleaseError(
                f"the earlier release '{place}' of marking '{honey_key}' was made of other images: {missing:,} of "
                f"the {smaller:,} of the smaller are not in the other. Whoever compared the two could find the "
                "HoneyImages, which are in both. Export the same view, or one that holds it; if nobody was ever given "
                f"the earlier one, delete it and pass unpublished=['{place}']"
            )


def note_view(folder: Path, place: str, ids: Collection[str]) -> None:
    """Notes the samples of a release that was made.

    Raises:
        OSError: if it cannot be written
    """
    write_json_atomic(folder / VIEWS, {**_read(folder), place: sorted(ids)}, mode=0o600)


def _read(folder: Path) -> dict[str, list[str]]:
    path = folder / VIEWS
    if not path.is_file():
        return {}
    found: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return found
