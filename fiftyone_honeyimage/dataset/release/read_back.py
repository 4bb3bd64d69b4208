"""What a release is asked before it takes its name: is it whole, is it read back, does anything give it away?"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import fiftyone as fo

from ...core.audit.metadata import check_metadata
from ...core.errors import ReleaseError
from ...core.files import sha256_file
from ...core.pipeline.labeled import LabeledSamples
from ...core.pipeline.loading import for_each
from ..marking.marking import OpenMarking
from ..progress import StageBar
from .files import ReleasedFile
from .formats import LABEL_FILES, TIME_STAMP, read_back

#: The probability with which a release is refused although nothing gives it away
_LEAK_ALPHA = 1e-4


@dataclass(frozen=True)
class WrittenFile:
    """An image of a release as it was written.

    Attributes:
        source: what it was made from
        digest: SHA-256 of its bytes, read back from the disk
    """

    source: ReleasedFile
    digest: str


def file_states(files: Sequence[ReleasedFile]) -> list[tuple[int, int]]:
    """What tells that a source was changed while it was exported: its size and time of change."""
    states = [os.stat(file.path) for file in files]
    return [(state.st_size, state.st_mtime_ns) for state in states]


def check_copies(
    kind: type,
    folder: Path,
    files: Sequence[ReleasedFile],
    states: Sequence[tuple[int, int]],
    bar: StageBar,
) -> dict[str, WrittenFile]:
    """Reads every exported file again and compares it with its source.

    Args:
        kind: the dataset type
        folder: the release as it was written
        files: what it was made from
        states: of the sources, before they were copied
        bar: progress

    Returns:
        file relative to the folder, with forward slashes → what it is

    Raises:
        ReleaseError: if a file is missing, extra or differs
    """
    found = {
        Path(root, name).relative_to(folder).as_posix()
        for root, _, names in os.walk(folder)
        for name in names
    }
    strange = found.symmetric_difference([*LABEL_FILES[kind], *(file.target for file in files)])
    if strange:
        raise ReleaseError(
            f"{len(strange)} files are missing from the release as FiftyOne {fo.__version__} wrote it, or "
            "were added to it; nothing was released. Pass names='renumber', and report it if that does "
            "not help"
        )
    digests: list[tuple[str, str]] = [("", "")] * len(files)

    def digest(row: int) -> None:
        file = files[row]
        digests[row] = (sha256_file(file.path), sha256_file(folder / file.target))

    for_each(digest, range(len(files)), bar.report, "Checking")
    wrong = sum(expected != written for expected, written in digests)
    if wrong:
        reason = (
            "the sources were changed meanwhile; export again when nothing writes to them"
            if file_states(files) != list(states)
            else f"the disk of '{folder.parent.parent}' gave back other bytes than were written; is it sound?"
        )
        raise ReleaseError(
            f"{wrong} of the exported files differ from their sources; nothing was released: {reason}"
        )
    return {
        file.target: WrittenFile(file, written)
        for file, (_, written) in zip(files, digests, strict=True)
    }


def check_read_back(
    kind: type, folder: Path, files: Sequence[ReleasedFile], label_field: str
) -> None:
    """Reads a release with FiftyOne's importer, and compares files and labels.

    Raises:
        ReleaseError: without the names of files: the next release has the same coins
    """
    advice = "rename the classes, pass names='renumber', or choose another dataset_type"
    try:
        found = read_back(kind, folder, label_field)
    except Exception as error:
        raise ReleaseError(
            f"FiftyOne's importer cannot read the release as {kind.__name__} "
            f"({type(error).__name__}), so nothing was released; {advice}"
        ) from None
    expected = {file.target: [file.label] for file in files}
    lost = expected.keys() - found.keys()
    added = found.keys() - expected.keys()
    if lost or added:
        raise ReleaseError(
            f"FiftyOne's importer finds {len(lost)} images of the release not at all and {len(added)} that "
            f"are none, so nothing was released; {advice}"
        )
    wrong = [(labels[0], found[name]) for name, labels in expected.items() if found[name] != labels]
    if wrong:
        label, read = wrong[0]
        raise ReleaseError(
            f"{len(wrong)} labels of the release are read back as others by FiftyOne's importer, the first "
            f"is {label!r}, read as {', '.join(map(repr, read))}, so nothing was released; {advice}, and "
            "set PYTHONUTF8=1 where Python does not read text as UTF-8"
        )


def hide_times(folder: Path) -> None:
    """Gives every file and folder the same time stamp and permissions, one after the other by name."""
    for root, _, files in os.walk(folder, topdown=False):
        for name in sorted(files):
            path = os.path.join(root, name)
            os.chmod(path, 0o644)
            os.utime(path, (TIME_STAMP, TIME_STAMP))
        os.chmod(root, 0o755)
        os.utime(root, (TIME_STAMP, TIME_STAMP))


def known_hardness(opened: OpenMarking) -> dict[str, float]:
    """Hardness by sample, of those that have it; none if the field is no longer there."""
    dataset, field = opened.dataset, opened.marking.config.get("hardness_field")
    if not isinstance(dataset.get_field(field) if field else None, fo.FloatField):
        return {}
    ids, scores = dataset.values(["id", field])
    return {key: score for key, score in zip(ids, scores, strict=True) if score is not None}


def check_leaks(
    folder: Path,
    written: Mapping[str, WrittenFile],
    labeled: LabeledSamples,
    hardness: Mapping[str, float],
    bar: StageBar,
    *,
    reencoded: bool,
    thumbnails_dropped: bool,
    epsilon: float | None,
) -> None:
    """Looks for anything but the pixels that tells HoneyImages from other files.

    Raises:
        ReleaseError: naming what it is
    """
    originals = dict(zip(labeled.ids, labeled.filepaths, strict=True))
    files = {name: file.source for name, file in written.items()}
    marked = {name: file for name, file in files.items() if file.is_marked}
    scores = {
        name: hardness[file.sample_id] for name, file in files.items() if file.sample_id in hardness
    }
    leaks = check_metadata(
        folder,
        list(marked),
        labels={name: file.label for name, file in files.items()},
        hardness=scores if marked.keys() <= scores.keys() else None,
        sources={name: originals[file.sample_id] for name, file in marked.items()},
        reencoded=reencoded,
        thumbnails_dropped=thumbnails_dropped,
        epsilon=epsilon,
        alpha=_LEAK_ALPHA,
        report=lambda _, done, total: bar.report("Looking for leaks", done, total),
    )
    if not leaks:
        return
    advice = (
        "pass names='renumber' if it is the names, and report it otherwise"
        if reencoded
        else "pass reencode='all', so that every file is encoded alike"
    )
    # Without the names of files: the next release has the same coins
    raise ReleaseError(
        "the files give the HoneyImages away, so nothing was released: "
        f"{leaks[0].feature}: {leaks[0].reason}"
        + (f", and {len(leaks) - 1} more" if len(leaks) > 1 else "")
        + f"; {advice}"
    )
