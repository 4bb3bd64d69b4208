"""trace_copy: whose release a found folder of images comes from, without any model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import fiftyone as fo

from ...core.audit.files import is_image_name, list_files
from ...core.copies import Pictures, find_alike, read_pictures
from ...core.errors import LedgerError, ReleaseError
from ...core.evidence.pair_answers import PairAnswers
from ...core.evidence.recipients import RecipientVerdict
from ...core.ledger.marked_files import find_wrong_file
from ...core.ledger.release_digest import ReleaseFiles, read_release
from ...core.ledger.trace_log import close_trace, open_trace
from ...core.ledger.tracing import TracingPair
from ...core.limits import check_path
from ...core.pipeline.mark import dataset_digest
from ..identity import unmarked
from ..ledger_heads import check_log, note_head
from ..marking.marking import OpenMarking, open_marking
from ..progress import Progress, StageBar
from ..runs import MARKING, catch_up, root_dataset, run_config
from ..samples import read_labels

#: (pair's index, "a" or "b")
Key = tuple[int, str]


@dataclass(frozen=True)
class CopyTrace:
    """Whose release a folder of images comes from.

    Attributes:
        folder: the folder
        recipients: the verdict, an exact p for each recipient
        num_files: images in the folder
        num_unreadable: of which could not be read
        num_exact: sides of tracing pairs that were found byte by byte
        num_alike: further ones that were recognised
        num_both: pairs of which both sides were found: no release holds both, so that several were mixed, or it is a copy
            of the dataset itself
    """

    folder: Path
    recipients: RecipientVerdict
    num_files: int
    num_unreadable: int
    num_exact: int
    num_alike: int
    num_both: int

    def __str__(self) -> str:
        lines = [
            f"{self.folder}: {self.num_files:,} images, among them {self.num_exact:,} sides of tracing pairs byte by byte, and "
            f"{self.num_alike:,} changed ones",
            str(self.recipients),
        ]
        if self.num_both:
            lines.append(
                f"Of {self.num_both:,} pairs both sides are there, as in no single release: several were mixed, or it is a copy "
                "of the dataset itself"
            )
        if self.num_unreadable:
            lines.append(f"{self.num_unreadable:,} files could not be read")
        return "\n".join(lines)


def trace_copy(
    samples: fo.core.collections.SampleCollection,
    honey_key: str,
    folder: str | Path,
    *,
    ledger_path: str | Path | None,
    progress: Progress,
) -> CopyTrace:
    """See :func:`fiftyone_honeyimage.trace_copy`."""
    place = check_path("folder", folder)
    dataset = root_dataset(samples)
    catch_up(dataset)
    opened = open_marking(dataset, honey_key, ledger_path)
    ledger = opened.ledger
    check_log(dataset, ledger)
    if not ledger.recipients:
        raise LedgerError(
            f"marking '{honey_key}' has no recipients: everybody got the same release, so that none can be told from "
            "another. Mark the dataset anew with recipients=[…]"
        )
    wrong = find_wrong_file(
        [image for pair in ledger.tracing_pairs for image in pair.images], opened.marking.output_dir
    )
    if wrong is not None:
        raise LedgerError(f"{wrong}; restore the marking's folder from a backup")
    _check_as_marked(samples, opened)
    files = read_release(place)
    images = [name for name in list_files(place) if is_image_name(name)]
    if not images:
        raise ReleaseError(f"'{place}' holds no image file")

    # Before anything is compared: how code words are redrawn is then fixed
    trace = open_trace(ledger, place.name or str(place), files.digest(ledger.version))
    note_head(ledger)
    with StageBar({"Reading": 60, "Comparing": 40}, progress) as bar:
        exact = _exact(ledger.tracing_pairs, files)
        others, unreadable = _alike(opened, place, images, files, bar)
    found = exact | others
    pairs = ledger.tracing_pairs
    answers = PairAnswers(
        "labels",
        tuple(pair.index for pair in pairs),
        tuple((pair.index, "a") in found for pair in pairs),
        tuple((pair.index, "b") in found for pair in pairs),
    )
    verdict = close_trace(ledger, trace.id, answers)
    note_head(ledger)
    return CopyTrace(
        folder=place,
        recipients=verdict,
        num_files=len(images),
        num_unreadable=unreadable,
        num_exact=len(exact),
        num_alike=len(others - exact),
        num_both=sum(bool(a and b) for a, b in zip(answers.a, answers.b, strict=True)),
    )


def _check_as_marked(samples: fo.core.collections.SampleCollection, opened: OpenMarking) -> None:
    """Checks that all images compete that did when the marking was committed to.

    Who could take some out would choose whose sides a strange image looks like.
    """
    config = run_config(opened.dataset, opened.marking.honey_key, MARKING)
    labeled = read_labels(samples, config["label_field"])
    if dataset_digest(labeled.filepaths) != opened.ledger.header.get("dataset_sha256"):
        raise LedgerError(
            f"the {len(labeled):,} images are others than those that were marked, and copies are told apart by comparing "
            "with all of these: restore what was deleted or changed, and pass a view without what was added since"
        )


def _exact(pairs: Collection[TracingPair], files: ReleaseFiles) -> set[Key]:
    held = files.digests
    return {
        (pair.index, name)
        for pair in pairs
        for name in ("a", "b")
        if any(image.marked_sha256 in held for image in pair.side(name).files)
    }


def _alike(
    opened: OpenMarking, place: Path, images: list[str], files: ReleaseFiles, bar: StageBar
) -> tuple[set[Key], int]:
    """Sides that files which are not theirs byte by byte show, and how many files could not be read."""
    ledger, output_dir = opened.ledger, opened.marking.output_dir
    sides = [
        ((pair.index, name), image)
        for pair in ledger.tracing_pairs
        for name in ("a", "b")
        for image in pair.side(name).files
    ]
    own = {image.marked_sha256 for _, image in sides}
    digests = dict(files.files)
    left = [place / name for name in images if digests[name] not in own]
    if not left:
        return set(), 0
    # Whatever else a release may hold competes, so that what only looks like a side is taken for itself
    known = [
        *(output_dir / image.file for _, image in sides),
        *(
            output_dir / image.file
            for pair in ledger.pairs
            for side in (pair.a, pair.b)
            for image in side.files
        ),
        *(output_dir / image.file for image in ledger.singles),
        *map(Path, unmarked(opened.dataset).values("filepath")),
    ]
    total, done = len(left) + len(known), 0

    def pictures(paths: list[Path]) -> Pictures:
        nonlocal done
        before = done
        done += len(paths)
        return read_pictures(paths, lambda now, _: bar.report("Reading", before + now, total))

    found, theirs = pictures(left), pictures(known)
    alike = find_alike(found, theirs, len(sides), bar.report)
    return (
        {sides[row][0] for row in alike.known if 0 <= row < len(sides)},
        len(found.failed),
    )
