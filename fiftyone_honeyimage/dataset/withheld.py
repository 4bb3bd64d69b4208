"""What must never be in a release: what any marking of the dataset withholds, and originals of HoneyImages."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fiftyone as fo

from ..core.errors import LedgerError, ReleaseError
from ..core.evidence.ledger import Ledger, load_ledger
from ..core.files import sha256_file
from ..core.progress import Report
from .identity import KnownMarking, known_markings
from .loading import for_each
from .release_files import marked_images
from .samples import LabeledSamples


def to_release(labeled: LabeledSamples, ledger: Ledger, honey_key: str) -> LabeledSamples:
    """The samples of a release: without the originals that other markings chose, and without copies.

    A release of this marking must not publish what another withholds. It does not hold the other's
    released HoneyImages either: the other's verdict would fall on who only ever had this release. A file
    with the bytes of a marked original stays out as well, under whatever id, for either twin alike.

    Args:
        labeled: the samples, HoneyImages left out
        ledger, honey_key: of the marking that is released

    Raises:
        ReleaseError: if another marking chose an image of this one
    """
    own = {image.sample_id for image in marked_images(ledger)}
    rows = []
    for row, sample_id in enumerate(labeled.ids):
        chosen = labeled.chosen.get(sample_id, set())
        others = sorted(chosen - {honey_key})
        if sample_id in own and others:
            raise ReleaseError(
                f"sample {sample_id} was marked by '{honey_key}' and by '{others[0]}', so that a release of "
                "one publishes what the other withholds. Delete the one that was never released, or mark "
                "the dataset again"
            )
        if sample_id in own or not chosen:
            rows.append(row)
    return labeled if len(rows) == len(labeled) else labeled.keep(rows)


@dataclass(frozen=True)
class Written:
    """What a release holds, counted from its files.

    Attributes:
        num_honeyimages: files that are HoneyImages of the release
        num_withheld: pairs of which neither the withheld HoneyImage nor its original is there
    """

    num_honeyimages: int
    num_withheld: int


def check_written(
    folder: Path,
    samples: fo.core.collections.SampleCollection,
    ledger: Ledger,
    report: Report,
) -> Written:
    """Compares every file below a folder with what each marking of the dataset keeps out of releases.

    The last step before a release gets its name. Errors name no sample: that could tell a coin.

    Args:
        folder: the release, complete but for its name
        samples: the dataset, or the view that is released
        ledger: of the marking that is released
        report: called with the stage "Checking"

    Raises:
        ReleaseError: if one is there, if a HoneyImage is missing, or a marking's images are not known
    """
    dataset = samples._root_dataset
    markings = check_all_known(dataset, dataset.values("filepath"))
    files = [os.path.join(root, name) for root, _, names in os.walk(folder) for name in names]
    digests = [""] * len(files)

    def digest(row: int) -> None:
        digests[row] = sha256_file(files[row])

    for_each(digest, range(len(files)), report, "Checking")
    found = Counter(digests)
    released = Counter(image.marked_sha256 for image in ledger.released_images())
    for marking in markings:
        if not found.keys().isdisjoint(_kept_out(marking, ledger)):
            raise ReleaseError(
                f"the release would hold a file that marking '{marking.name}' keeps out of releases: did a "
                "sample's file change while it was exported? Nothing was released; try again"
            )
    if +(released - found):
        raise ReleaseError(
            "HoneyImages are missing from the exported files; nothing was released. Is the disk sound?"
        )
    return Written(
        num_honeyimages=sum((found & released).values()),
        num_withheld=sum(
            found.keys().isdisjoint((image.marked_sha256, image.source_sha256))
            for image in ledger.withheld_images()
        ),
    )


def check_all_known(dataset: fo.Dataset, filepaths: Sequence[str] = ()) -> list[KnownMarking]:
    """Every marking of a dataset, each with its images.

    Raises:
        ReleaseError: naming one of which nobody knows what it withholds
    """
    markings = known_markings(dataset, filepaths)
    for marking in markings:
        if marking.problem is not None:
            raise ReleaseError(
                f"marking '{marking.name}' has no run any more, and {marking.problem}: what it withholds is "
                "not known, so nothing can be released. Bring it back with attach_marking, or take it off "
                f"the dataset with delete_run(dataset, '{marking.name}') if it was never released"
            )
    return markings


def _kept_out(marking: KnownMarking, ledger: Ledger) -> set[str]:
    """Digests of a marking's files that a release of ``ledger`` may not hold."""
    digests = {
        image[name] for image in marking.images for name in ("source_sha256", "marked_sha256")
    }
    if marking.commitment == ledger.commitment:
        other: Ledger | None = ledger
    else:
        other = _reachable_ledger(marking)
    if other is not None:
        images = marked_images(other)
        digests |= {image.source_sha256 for image in images}
        digests |= {image.marked_sha256 for image in images}
    return digests - {image.marked_sha256 for image in ledger.released_images()}


def _reachable_ledger(marking: KnownMarking) -> Ledger | None:
    """The ledger of another marking, which says once more what it chose; None if it is not there."""
    if marking.ledger_path is None or not marking.ledger_path.is_file():
        return None
    try:
        return load_ledger(marking.ledger_path, commitment=marking.commitment)
    except LedgerError:
        return None
