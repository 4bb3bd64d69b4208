"""Comparisons of an evidence file with what lies beside it: a published head, a release, images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .log import LoggedRelease
from .release_digest import read_release
from .sides import MarkedImage, Pair

#: So many files are named, and no more
_NUM_NAMED = 5


@dataclass(frozen=True)
class Compared:
    """What a comparison found.

    Attributes:
        held: what fits
        failed: what does not
    """

    held: tuple[str, ...]
    failed: tuple[str, ...]


_BEFORE = (
    "it lies before the opening entry of this verification: it binds nothing that was tried since"
)


def compare_head(
    head: str, commitment: str, log: Sequence[Mapping[str, Any]], opening: int
) -> Compared:
    """Looks for a published head of the log in a log that was checked.

    Args:
        head: the published one
        commitment: what the log begins with
        log: its entries
        opening: the place of this verification's opening entry
    """
    if head == commitment:
        line = f"the published head is the commitment, before any entry of the log; {_BEFORE}"
        return Compared((line,), ())
    for entry in log:
        if entry["hash"] == head:
            after = len(log) - 1 - entry["index"]
            place = "it lies not before the opening entry of this verification"
            if entry["index"] < opening:
                place = _BEFORE
            line = (
                f"the published head is entry {entry['index']} of this log, {after} before its end; "
                f"{place}"
            )
            return Compared((line,), ())
    return Compared(
        (),
        (
            f"the published head {head} is no entry of this log: the log is another one, or the head "
            "was published after the end of this verification",
        ),
    )


def compare_release(
    folder: str | os.PathLike[str],
    pairs: Mapping[int, Pair],
    logged: Sequence[tuple[LoggedRelease, bool]],
    version: int,
) -> Compared:
    """Looks whether a folder is a logged release, with the released sides and without the withheld.

    Args:
        folder: the release
        pairs: the opened pairs, by index
        logged: the releases in the log, and whether each was logged before the verification
        version: of the ledger's hashes

    Raises:
        ReleaseError, OSError: see :func:`.release_digest.read_release`
    """
    read = read_release(folder)
    digest = read.digest(version)
    held: list[str] = []
    failed: list[str] = []

    same = [item for item in logged if item[0].digest == digest]
    found = [before for release, before in same if release.num_files == len(read.files)]
    if same and not found:
        failed.append(
            f"the release in '{folder}' has {len(read.files)} files, the log says {same[0][0].num_files}"
        )
    elif not found:
        failed.append(
            f"the release in '{folder}' has digest {digest}, which the log does not hold: another "
            "release, or a file was changed, added or removed since"
        )
    elif not any(found):
        failed.append("the release was logged after the verification was opened")
    else:
        held.append(f"the release is the one that was logged: {digest}")

    released = [image for pair in pairs.values() for image in pair.released_side().files]
    withheld = [image for pair in pairs.values() for image in pair.withheld_side().files]
    probes = [
        image for pair in pairs.values() for side in (pair.a, pair.b) for image in side.probes
    ]
    missing = [image for image in released if image.marked_sha256 not in read.digests]
    # Where no pixel was changed, source and marked file may be one
    present, shown = (
        [image for image in images if {image.marked_sha256, image.source_sha256} & read.digests]
        for images in (withheld, probes)
    )
    if missing:
        failed.append(f"{len(missing)} released images are not in the release: {_names(missing)}")
    else:
        held.append(f"all {len(released)} released images that were opened are in the release")
    if present:
        failed.append(
            f"{len(present)} withheld images, or their originals, are in the release: "
            f"{_names(present)}"
        )
    else:
        held.append(
            f"none of the {len(withheld)} withheld images, nor an original, is in the release"
        )
    if shown:
        failed.append(
            f"{len(shown)} images that the suspect was asked about, or their originals, are in the release, which no "
            f"release may hold: {_names(shown)}"
        )
    elif probes:
        held.append(f"none of the {len(probes)} images that were asked about is in the release")
    return Compared(tuple(held), tuple(failed))


def compare_images(folder: str | os.PathLike[str], pairs: Mapping[int, Pair]) -> Compared:
    """Looks whether a folder holds a file with the digest of every opened image, of any name.

    Raises:
        ReleaseError, OSError: see :func:`.release_digest.read_release`
    """
    digests = read_release(folder).digests
    # What was released, and what was asked about where that is something else
    images = list(
        dict.fromkeys(image for pair in pairs.values() for image in (*pair.images, *pair.asked))
    )
    missing = [image for image in images if image.marked_sha256 not in digests]
    if missing:
        line = f"{len(missing)} of {len(images)} opened images have no file in '{folder}': "
        return Compared((), (line + _names(missing),))
    return Compared((f"all {len(images)} opened images have a file in '{folder}'",), ())


def _names(images: Iterable[MarkedImage]) -> str:
    names = [f"'{image.file}'" for image in images]
    more = f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else ""
    return ", ".join(names[:_NUM_NAMED]) + more
