"""What the protection panel shows of a marking's releases: plain values in, rows out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..dataset.release.history import Release

#: Releases that are shown, newest first: each costs a few counts in the database
MAX_RELEASES = 20

#: Columns of the table: key, heading
COLUMNS = (
    ("release", "Release"),
    ("exported", "Exported (UTC)"),
    ("audit", "Audit"),
    ("changed", "Dataset since"),
)

_TYPES = {
    "ImageClassificationDirectoryTree": "a folder for each class",
    "FiftyOneImageClassificationDataset": "FiftyOne image classification",
    "FiftyOneDataset": "FiftyOne dataset",
    "CSVDataset": "CSV",
    "COCODetectionDataset": "COCO",
}

_POLICIES = {
    "marked": "unmarked files copied byte by byte",
    "all": "every file encoded anew",
}


def rows(releases: Sequence[Release]) -> list[dict[str, str]]:
    """One row a release, in order."""
    return [
        {
            "release": release.export_dir.name
            if release.is_there
            else f"{release.export_dir.name} (gone)",
            "exported": _time(release) or "not by this dataset",
            "audit": audit_text(release),
            "changed": changes_text(release),
        }
        for release in releases
    ]


def details(release: Release) -> str:
    """What does not fit into the table."""
    facts = [f"`{release.export_dir}`"]
    if not release.is_there:
        facts[0] += " is no longer there: it was moved or deleted"
    if release.dataset_type is not None:
        facts.append(_TYPES.get(release.dataset_type, release.dataset_type))
    if release.num_files is not None:
        facts.append(f"{release.num_files:,} files")
    if release.reencode is not None:
        facts.append(_POLICIES.get(release.reencode, release.reencode))
    if release.names == "renumber":
        facts.append("files numbered anew")
    return "; ".join(facts)


def audit_text(release: Release) -> str:
    """How the newest audit went."""
    if release.audit_passed is None:
        return "not yet"
    when = "" if release.audited_at is None else f", {release.audited_at:%Y-%m-%d %H:%M}"
    pixels = "" if release.audit_pixels is None else f"; pixels: {release.audit_pixels}"
    if release.audit_passed:
        return f"files passed{pixels}{when}"
    leaks = release.num_leaks or 0
    return f"files failed: {leaks} leak{'s' if leaks != 1 else ''}{pixels}{when}"


def changes_text(release: Release) -> str:
    """What changed in the dataset since the export."""
    if release.exported_at is None:
        return "unknown"
    counts = (
        (release.num_added, "added"),
        (release.num_deleted, "deleted"),
        (release.num_edited, "edited"),
    )
    return ", ".join(f"{count:,} {word}" for count, word in counts if count) or "unchanged"


def advice(releases: Sequence[Release]) -> tuple[str, str, str] | None:
    """The most urgent thing to do: a label, what to do, and how severe it is; None if nothing."""
    failed = [release for release in releases if release.audit_passed is False]
    if failed:
        return (
            f"HoneyImages stand out in {_names([r.export_dir for r in failed])}",
            "An audit found leaks. Do not publish this; export the release again.",
            "error",
        )
    unaudited = [r for r in releases if r.audit_passed is None and r.is_there]
    if unaudited:
        return (
            f"Not audited yet: {_names([r.export_dir for r in unaudited])}",
            "An audit tries to tell HoneyImages from other files, as somebody without the ledger would.",
            "info",
        )
    return None


def _names(folders: Sequence[Path]) -> str:
    more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
    return f"{folders[0].name}{more}"


def _time(release: Release) -> str | None:
    return None if release.exported_at is None else f"{release.exported_at:%Y-%m-%d %H:%M}"
