"""What must never be in a release: what any marking of the dataset withholds, and originals of HoneyImages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import fiftyone as fo

from ...core.errors import LedgerError, ReleaseError
from ...core.ledger.ledger import Ledger, load_ledger
from ...core.ledger.release_digest import ReleaseFiles
from ...core.pipeline.labeled import LabeledSamples
from ..identity import KnownMarking, known_markings
from ..marking.marking import OpenMarking
from .read_back import WrittenFile


def to_release(labeled: LabeledSamples, opened: OpenMarking) -> LabeledSamples:
    """The samples of a release: without the originals that other markings chose, and without copies.

    A release of this marking must not publish what another withholds. It does not hold the other's
    released HoneyImages either: the other's verdict would fall on who only ever had this release. A file
    with the bytes of a marked original stays out as well, under whatever id, for either twin alike, and so does an
    image that suspects are asked about with a secret in it: who holds it knows the question.

    Raises:
        ReleaseError: if another marking chose an image of this one
    """
    honey_key = opened.marking.honey_key
    own = {image.sample_id for image in opened.in_dataset.marked_images}
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
    files: ReleaseFiles, written: Mapping[str, WrittenFile], opened: OpenMarking
) -> Written:
    """Compares every file of a release with what each marking of the dataset keeps out of releases.

    The last step before a release gets its name. Errors name no sample: that could tell a coin.

    Args:
        files: of the release, read when nothing was written to it any more
        written: its images as they were compared with their sources
        opened: the marking that is released

    Raises:
        ReleaseError: if one is there, if a HoneyImage is missing, if an image changed since it was compared,
            or a marking's images are not known
    """
    dataset, ledger = opened.dataset, opened.ledger
    markings = check_all_known(dataset, dataset.values("filepath"))
    found = Counter(digest for _, digest in files.files)
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
    now = dict(files.files)
    if any(now.get(name) != image.digest for name, image in written.items()):
        raise ReleaseError(
            "exported files changed after they were compared with their sources; nothing was released. Does "
            "another program write to them, or is the disk unsound?"
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
    digests |= {image["source_sha256"] for image in marking.asked}
    if marking.commitment == ledger.commitment:
        other: Ledger | None = ledger
    else:
        other = _reachable_ledger(marking)
    if other is not None:
        images = other.marked_images
        digests |= {image.source_sha256 for image in images}
        digests |= {image.marked_sha256 for image in images}
        digests |= {image.source_sha256 for pair in other.all_pairs for image in pair.asked}
    return digests - {image.marked_sha256 for image in ledger.released_images()}


def _reachable_ledger(marking: KnownMarking) -> Ledger | None:
    """The ledger of another marking, which says once more what it chose; None if it is not there."""
    if marking.ledger_path is None or not marking.ledger_path.is_file():
        return None
    try:
        return load_ledger(marking.ledger_path, commitment=marking.commitment)
    except LedgerError:
        return None
