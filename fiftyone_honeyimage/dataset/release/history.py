"""Which releases of a marking were exported, where to, and whether they passed an audit.

Kept in the config of the marking's run, so that it is renamed and deleted with it. A release is written
from files and labels alone, so nothing of this gets into one. No digest of a release is kept: whoever
reads the dataset holds both twins of every pair, and could find the coins by trying them out on it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
from fiftyone import ViewField as F
from mongoengine.errors import DoesNotExist
from pymongo.errors import PyMongoError

from ...core.errors import HoneyImageError, ReleaseError, SamplesError
from ...core.ledger.tracing import num_differing
from ..identity import DELETED, known_markings, originals, recorded_images
from ..runs import MARKING, catch_up, changing, find_results, list_keys, root_dataset, run_config

if TYPE_CHECKING:
    from ...core.audit import AuditReport
    from ...core.ledger.ledger import Ledger
    from ..marking.marking import OpenMarking
    from .report import ReleaseReport

_RELEASES = "releases"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """One release of a marking.

    Attributes:
        export_dir: the folder, absolute
        exported_at: when the export ended, UTC; None if the folder is only known from an audit
        dataset_type: name of the FiftyOne dataset type
        num_images: images in the release
        num_files: files in the folder when it was exported, those with labels included
        reencode: ``"marked"`` or ``"all"``
        names: ``"keep"`` or ``"renumber"``
        commitment: of the ledger that it was exported with
        audit_passed: whether the newest audit found no leak; None before the first
        audited_at: when that audit ended, UTC
        num_leaks: leaks that it found
        audit_pixels: what the pixels give away, in words
        num_added: originals that were added to the dataset since
        num_deleted: originals that were deleted from it since
        num_edited: originals of which any field was edited since
        recipient: whose it is; None where everybody gets the same
    """

    export_dir: Path
    commitment: str
    exported_at: datetime | None = None
    dataset_type: str | None = None
    num_images: int | None = None
    num_files: int | None = None
    reencode: str | None = None
    names: str | None = None
    audit_passed: bool | None = None
    audited_at: datetime | None = None
    num_leaks: int | None = None
    audit_pixels: str | None = None
    num_added: int = 0
    num_deleted: int = 0
    num_edited: int = 0
    recipient: str | None = None

    @property
    def is_there(self) -> bool:
        """Whether the folder is still where it was exported to."""
        return self.export_dir.is_dir()


def list_releases(
    samples: fo.core.collections.SampleCollection, honey_key: str, last: int | None = None
) -> list[Release]:
    """See :func:`fiftyone_honeyimage.list_releases`.

    Of the ``last`` newest, or of all.
    """
    dataset = root_dataset(samples)
    catch_up(dataset)
    run_config(dataset, honey_key, MARKING)
    entries = _entries(dataset, honey_key)
    entries = entries if last is None else entries[-last:]
    own = originals(dataset)
    num_originals = own.count() if entries else 0
    return [_release(own, entry, num_originals) for entry in entries]


def has_releases(dataset: fo.Dataset, honey_key: str) -> bool:
    """Whether a marking was ever released, without counting what changed since.

    Raises:
        SamplesError: if there is no such marking
    """
    return bool(run_config(dataset, honey_key, MARKING).get(_RELEASES))


def check_against_releases(
    opened: OpenMarking, reencode: str, names: str, unpublished: Collection[str | Path] = ()
) -> None:
    """Checks that whoever holds an earlier release of the marking, too, learns nothing by comparing.

    A HoneyImage is the same file in every release of its marking. So wherever the other files are not, or
    are the same in some formats only, the same ones are the marked ones.

    Args:
        opened: the marking
        reencode, names: of the release to be
        unpublished (()): folders of earlier releases that nobody was given

    Raises:
        ReleaseError: naming the earlier release
    """
    from ...core.codecs import encoder_versions

    encoders = encoder_versions()
    for entry in _published(opened, unpublished):
        problem = None
        if entry["reencode"] != reencode:
            problem = f"was exported with reencode={entry['reencode']!r}: pass that again"
        elif reencode == "all" and entry.get("encoders") != encoders:
            versions = ", ".join(f"{name} {version}" for name, version in entry["encoders"].items())
            problem = f"was encoded by {versions}: install these again"
        if problem is not None:
            raise ReleaseError(
                f"the earlier release '{entry['export_dir']}' of marking '{opened.marking.honey_key}' {problem}. Whoever "
                "compared the two could find the HoneyImages, which are the same files in both as others are not. If "
                f"nobody was ever given it, delete it and pass unpublished=['{entry['export_dir']}']; else "
                "mark the dataset again"
            )
        if entry["names"] != names:
            _logger.warning(
                "The earlier release '%s' has names=%r. Whoever holds both can number its files, and sees "
                "which names are missing; that does not tell which images are marked",
                entry["export_dir"],
                entry["names"],
            )


def published_places(opened: OpenMarking, unpublished: Collection[str | Path] = ()) -> list[str]:
    """Folders of the releases of a marking that somebody may hold."""
    return [entry["export_dir"] for entry in _published(opened, unpublished)]


def _published(opened: OpenMarking, unpublished: Collection[str | Path]) -> list[dict[str, Any]]:
    apart = _places(unpublished)
    return [
        entry
        for entry in _entries(opened.dataset, opened.marking.honey_key)
        if entry["export_dir"] not in apart
        and not entry.get("unpublished")
        and entry.get("exported_at")
    ]


def others_releases(
    opened: OpenMarking, unpublished: Collection[str | Path] = ()
) -> tuple[tuple[str, str, int], ...]:
    """Releases of other recipients that somebody may hold: folder, recipient, and tracing pairs in which theirs has the
    other side. Whoever holds both sees these; what ownership pairs withhold is in neither."""
    ledger, own = opened.ledger, opened.ledger.recipient
    if not own:
        return ()
    return tuple(
        (entry["export_dir"], entry["recipient"], num_differing(ledger, own, entry["recipient"]))
        for entry in _published(opened, unpublished)
        if entry.get("recipient") not in (None, own)
    )


def record_release(
    opened: OpenMarking,
    report: ReleaseReport,
    *,
    dataset_type: type,
    reencode: str,
    names: str,
    unpublished: Collection[str | Path] = (),
) -> None:
    """Notes an exported release in the marking's run.

    A release that is written is complete: where it cannot be noted, a warning is logged.

    Args:
        opened: the marking
        report: of the export
        dataset_type, reencode, names: as exported
        unpublished (()): folders of earlier releases that nobody was given; noted with them
    """
    from ...core.codecs import encoder_versions

    now = datetime.now(timezone.utc)
    entry = {
        "export_dir": str(report.export_dir),
        "commitment": report.commitment,
        "exported_at": now.isoformat(),
        # What was edited while the files were written may not be in them
        "read_at": (now - timedelta(seconds=report.seconds)).isoformat(),
        "dataset_type": dataset_type.__name__,
        "num_images": report.num_images,
        "num_files": sum(len(files) for _, _, files in os.walk(report.export_dir)),
        "reencode": reencode,
        "names": names,
        "encoders": encoder_versions(),
        **({} if report.recipient is None else {"recipient": report.recipient}),
        # Other markings' images are not in it: see exposing_releases
        "left_out": [
            known.commitment
            for known in known_markings(opened.dataset)
            if known.commitment not in (None, report.commitment)
        ],
    }
    _note(opened.dataset, opened.marking.honey_key, entry, _places(unpublished))


def _places(folders: Collection[str | Path]) -> set[str]:
    return {str(Path(folder).expanduser().absolute()) for folder in folders}


def keep_in_mind(dataset: fo.Dataset, honey_key: str) -> None:
    """Notes in the dataset's info what a marking that goes chose, and where it was released.

    Its ledger can still prove something: a later release must go on leaving these images out.
    """
    config = run_config(dataset, honey_key, MARKING)
    known = {name: config[name] for name in ("output_dir", "ledger_path", "commitment")}
    entry = {
        **known,
        "honey_key": honey_key,
        "releases": _entries(dataset, honey_key),
        "images": [{**image, "honey": None} for image in recorded_images(dataset, honey_key)],
        "asked": (find_results(dataset, honey_key) or {}).get("asked", []),
    }
    others = [
        old for old in dataset.info.get(DELETED, ()) if old["commitment"] != config["commitment"]
    ]
    dataset.info[DELETED] = [*others, entry]
    dataset.save()


def exposing_releases(opened: OpenMarking) -> tuple[str, ...]:
    """Folders of other markings' releases that hold the unmarked originals of this marking's images.

    Those that were exported before it was made: later ones leave its images out.
    """
    dataset, marking = opened.dataset, opened.marking
    others = [key for key in list_keys(dataset, MARKING) if key != marking.honey_key]
    entries = [entry for key in others for entry in _entries(dataset, key)]
    for deleted in (dataset.info or {}).get(DELETED, ()):
        entries += deleted["releases"]
    return tuple(
        entry["export_dir"]
        for entry in entries
        if "exported_at" in entry and marking.commitment not in entry["left_out"]
    )


def record_audit(
    dataset: fo.Dataset | None,
    ledger: Ledger,
    export_dir: Path,
    report: AuditReport,
) -> None:
    """Notes the outcome of an audit in the run of the marking that the ledger belongs to.

    Without a dataset, or where the dataset has no such marking, there is nothing to note it on.
    """
    if dataset is None:
        return
    for honey_key in list_keys(dataset, MARKING, commitment=ledger.commitment):
        entry = {
            "export_dir": str(export_dir),
            "commitment": ledger.commitment,
            "audit_passed": report.passed,
            "audited_at": datetime.now(timezone.utc).isoformat(),
            "num_leaks": len(report.leaks),
            "audit_pixels": report.pixels_result,
        }
        _note(dataset, honey_key, entry)


def _note(
    dataset: fo.Dataset,
    honey_key: str,
    entry: Mapping[str, Any],
    unpublished: Collection[str] = (),
) -> None:
    """Adds an entry, or completes the one of the same folder; others are marked as unpublished."""
    try:
        with changing(dataset):
            catch_up(dataset)
            entries = [
                {**old, "unpublished": True} if old["export_dir"] in unpublished else old
                for old in _entries(dataset, honey_key)
            ]
            places = [old["export_dir"] for old in entries]
            place = places.index(entry["export_dir"]) if entry["export_dir"] in places else None
            if "exported_at" in entry:
                # A new export to an old place: neither the figures nor the audit of the old one hold
                entry = {**entry, "num_originals": originals(dataset).count()}
                entries = [*(old for row, old in enumerate(entries) if row != place), entry]
            elif place is None:
                entries.append(dict(entry))
            else:
                entries[place] = {**entries[place], **entry}
            config = dataset.get_run_info(honey_key).config
            setattr(config, _RELEASES, entries)
            dataset.update_run_config(honey_key, config)
    except (HoneyImageError, ValueError, OSError, PyMongoError) as error:
        _logger.warning(
            "'%s' could not be noted among the releases of marking '%s': %s",
            entry["export_dir"],
            honey_key,
            error,
        )


def _entries(dataset: fo.Dataset, honey_key: str) -> list[dict[str, Any]]:
    """What is noted, oldest first, read from the database: another process may have added to it.

    Raises:
        SamplesError: if the run is gone
    """
    document = dataset._doc.runs.get(honey_key)
    try:
        if document is None:
            raise DoesNotExist
        document.reload()
    except DoesNotExist:
        raise SamplesError(f"marking '{honey_key}' was deleted meanwhile") from None
    return list(document.config.get(_RELEASES) or [])


def _release(own: fo.DatasetView, entry: Mapping[str, Any], num_originals: int) -> Release:
    known = {name: value for name, value in entry.items() if name in Release.__dataclass_fields__}
    for name in ("exported_at", "audited_at"):
        if known.get(name):
            known[name] = datetime.fromisoformat(known[name])
    known["export_dir"] = Path(entry["export_dir"])
    if entry.get("read_at"):
        read_at = datetime.fromisoformat(entry["read_at"])
        known["num_added"] = own.match(F("created_at") > read_at).count()
        known["num_edited"] = own.match(
            (F("created_at") <= read_at) & (F("last_modified_at") > read_at)
        ).count()
        then = entry["num_originals"] + known["num_added"]
        known["num_deleted"] = max(0, then - num_originals)
    return Release(**known)
