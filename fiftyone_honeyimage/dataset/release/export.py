"""export_release: the dataset as the world may see it.

All images, with released twins in place of their originals and withheld twins absent. FiftyOne's
exporters are given files and labels alone, so no tag, id, field, run, view or time stamp of the
working dataset can get out; and no dataset is made of them, so no coin gets into the database. Until it
is whole, a release lies in a folder that its owner alone can read.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.types as fot

from ...core.codecs import written_like_marked
from ...core.errors import HoneyImageError, ImageError, ParameterError, ReleaseError, SamplesError
from ...core.files import advice_on, ensure_free_space
from ...core.ledger.ledger import Ledger
from ...core.ledger.release_digest import ReleaseFiles, read_release
from ...core.methods import most_changed
from ...core.pipeline.loading import for_each
from ..checks import check_label_field
from ..ledger_heads import check_head, note_head
from ..marking.marking import OpenMarking, load_marking, open_marking
from ..progress import Progress, StageBar
from ..running import locked, work_in
from ..runs import catch_up, root_dataset
from ..samples import read_labels
from .checks import (
    check_labels,
    check_marked_files,
    check_no_content_names,
    check_own_labels,
    check_policies,
    check_reencode,
    check_view,
    names_of_release,
    release_folder,
)
from .fields import check_fields, read_fields
from .files import ReleasedFile, check_names, count_relabelled, place_files, released_files
from .formats import check_dataset_type
from .formats import write as write_release
from .history import (
    check_against_releases,
    exposing_releases,
    others_releases,
    published_places,
    record_release,
)
from .read_back import (
    check_copies,
    check_leaks,
    check_read_back,
    file_states,
    hide_times,
    known_hardness,
)
from .report import ReleaseReport
from .views import check_views, note_view
from .withheld import check_all_known, check_written, to_release

_logger = logging.getLogger(__name__)

#: What the smallest file takes on most disks, in bytes
_BLOCK = 4096

_FORBIDDEN_MEDIA_OPTIONS = {
    "move": "it would take the originals out of the dataset",
    "symlink": "links show the paths of the working dataset and which files lie elsewhere",
    "manifest": "a manifest lists the paths of the working dataset",
    "False": "labels without media would hold the paths of the working dataset",
}


def export_release(
    samples: fo.core.collections.SampleCollection,
    honey_key: str,
    export_dir: str | Path,
    *,
    dataset_type: type | None,
    label_field: str | None,
    ledger_path: str | Path | None,
    export_media: Any,
    reencode: str,
    names: str,
    fields: Sequence[str],
    unpublished: Collection[str | Path],
    progress: Progress,
    recipient: str | None = None,
) -> ReleaseReport:
    """See :func:`fiftyone_honeyimage.export_release`."""
    start = time.monotonic()
    kind = dataset_type or fot.ImageClassificationDirectoryTree
    check_dataset_type(kind, fields)
    check_policies(reencode, names)
    if export_media is not True:
        reason = _FORBIDDEN_MEDIA_OPTIONS.get(str(export_media), "a release copies its media")
        raise ParameterError(f"export_media={export_media!r} is refused: {reason}")

    dataset = root_dataset(samples)
    catch_up(dataset)
    opened = open_marking(dataset, honey_key, ledger_path, recipient)
    check_head(opened.ledger)
    opened.ledger.check_drawn()
    marking, ledger = opened.marking, opened.in_dataset
    num_relabelled = count_relabelled(ledger)
    names = names_of_release(names, num_relabelled > 0)
    label_field = label_field or marking.config["label_field"]
    check_label_field(samples, label_field)
    check_fields(samples, fields, label_field, kind)
    check_against_releases(opened, reencode, names, unpublished)
    labeled = read_labels(samples, label_field)
    check_reencode(reencode, marking)
    check_own_labels(label_field, marking, ledger)
    if label_field == marking.config["label_field"]:
        check_labels(labeled, ledger)
    folder = release_folder(export_dir, labeled, marking)
    check_view(labeled, ledger)
    view_ids = labeled.ids
    earlier = published_places(opened, unpublished)
    comparable = others_releases(opened, unpublished)
    check_views(marking.output_dir, view_ids, earlier, honey_key)
    if names == "keep":
        check_no_content_names(labeled, ledger)
    check_all_known(dataset, labeled.filepaths)
    check_names(kind, labeled, names, folder)
    num_usable = len(labeled)
    labeled = to_release(labeled, opened)
    check_marked_files(labeled, opened)
    files = place_files(kind, released_files(labeled, opened, names))
    carried = read_fields(samples, fields, kind, labeled)
    if num_relabelled:
        _logger.warning(
            "The release will hold %d images with another label than their originals have here, as the method of "
            "marking '%s' says; its files are numbered at random",
            num_relabelled,
            honey_key,
        )
    hardness = known_hardness(opened)
    blocks = sum(os.path.getsize(file.path) // _BLOCK + 1 for file in files)
    ensure_free_space(folder.parent, blocks * _BLOCK * 2)

    drop = marking.config.get("thumbnails") == "drop"
    stages = {
        "Re-encoding": 60 if reencode == "all" or drop else 0,
        "Exporting": 60,
        "Checking": 20,
        "Looking for leaks": 20,
    }
    with (
        locked(folder),
        StageBar(stages, progress) as bar,
        _errors_explained(files, folder),
        work_in(folder) as work,
    ):
        if reencode == "all" or drop:
            files = _reencode(files, work / "encoded", reencode == "all", drop, bar)
        states = file_states(files)
        written_to = work / "release"
        write_release(
            kind,
            files,
            written_to,
            work / "media",
            label_field,
            carried,
            lambda done: bar.report("Exporting", done, len(files)),
        )
        # Whatever a release is asked comes here, between the last byte and its name
        written = check_copies(kind, written_to, files, states, bar)
        check_read_back(kind, written_to, files, label_field)
        hide_times(written_to)
        check_leaks(
            written_to,
            written,
            labeled,
            hardness,
            bar,
            reencoded=reencode == "all",
            thumbnails_dropped=drop,
            epsilon=most_changed(marking.config["marking_method"], marking.config),
        )
        # The files once more, as they are released: what is noted in the ledger is what was checked
        read = read_release(written_to)
        _check_marking_is_there(opened)
        held = check_written(read, written, opened)
        note_view(marking.output_dir, str(folder), view_ids)
        _take_name(written_to, folder)
    _record_in_ledger(opened.ledger, folder, read)

    report = ReleaseReport(
        export_dir=folder,
        num_images=len(files),
        num_honeyimages=held.num_honeyimages,
        num_relabelled=num_relabelled,
        num_withheld=held.num_withheld,
        num_other_honeyimages=sum(key != honey_key for key in labeled.honey.values()),
        num_left_out=num_usable - len(labeled),
        exposed_by=exposing_releases(opened),
        seconds=time.monotonic() - start,
        commitment=marking.commitment,
        release_digest=read.digest(ledger.version),
        recipient=recipient,
        comparable=comparable,
    )
    record_release(
        opened,
        report,
        dataset_type=kind,
        reencode=reencode,
        names=names,
        unpublished=unpublished,
    )
    return report


def _check_marking_is_there(opened: OpenMarking) -> None:
    """Checks, hours later, that the marking was not deleted meanwhile.

    Raises:
        ReleaseError: if it was
    """
    dataset, marking = opened.dataset, opened.marking
    try:
        if dataset.deleted or not fo.dataset_exists(dataset.name):
            raise SamplesError("there is no such dataset any more")
        catch_up(dataset)
        now = load_marking(dataset, marking.honey_key)
    except SamplesError as error:
        raise ReleaseError(
            f"marking '{marking.honey_key}' was deleted or renamed while it was exported ({error}); "
            "nothing was released. Export again, under the name that it has now"
        ) from error
    if now.commitment != marking.commitment:
        raise ReleaseError(
            f"marking '{marking.honey_key}' was replaced by another one while it was exported; nothing was "
            "released. Export again"
        )


def _take_name(written_to: Path, folder: Path) -> None:
    """Gives a finished release its name.

    Raises:
        ReleaseError: if something of that name appeared meanwhile
    """
    if os.path.lexists(folder):
        raise ReleaseError(
            f"'{folder}' appeared while the release was made; nothing was overwritten and nothing "
            "released. Choose another folder, or move it away"
        )
    os.rename(written_to, folder)


def _record_in_ledger(ledger: Ledger, folder: Path, read: ReleaseFiles) -> None:
    """Notes a release in its ledger. One that is written is complete: where that fails, a warning is logged."""
    try:
        recipient = ledger.recipient or None
        ledger.record_release(read.digest(ledger.version), len(read.files), recipient)
        note_head(ledger)
    except (HoneyImageError, OSError) as error:
        _logger.warning(
            "The release '%s' is whole, and could not be noted in the ledger, so that evidence cannot show "
            "which files were released: %s. See to that, delete the folder, and export again before you "
            "publish it",
            folder,
            error,
        )


@contextmanager
def _errors_explained(files: Sequence[ReleasedFile], folder: Path) -> Iterator[None]:
    """Says what an error of the system means for a release, without the file that it happened at.

    That file is one of the release, and of a pair the released twin: errors are kept with a delegated
    operation, and name no file but an unmarked one.

    Raises:
        ReleaseError: if a source is gone or cannot be read any more
        OSError: if the release cannot be written, of the class that fits the cause
    """
    try:
        yield
    except OSError as error:
        lost = [file for file in files if not os.access(file.path, os.R_OK)]
        plain = next((file for file in lost if not file.is_marked), None)
        if plain is not None:
            raise ReleaseError(
                f"the file of sample {plain.sample_id} is gone or cannot be read any more: '{plain.path}'; "
                "nothing was released. Restore it, or pass a view without it"
            ) from None
        if lost:
            raise ReleaseError(
                "the marking's own files were deleted or moved while they were exported; nothing was "
                "released. Restore its folder, and export again"
            ) from None
        raise OSError(
            error.errno,
            f"The release could not be written, nothing was released ({error.strerror or error}); "
            f"{advice_on(error)}",
            str(folder),
        ) from None


def _reencode(
    files: Sequence[ReleasedFile], folder: Path, anew: bool, drop: bool, bar: StageBar
) -> list[ReleasedFile]:
    """Encodes every unmarked image anew, as the HoneyImages were, or drops thumbnails; one process for all.

    Files of kinds that cannot be marked stay as they are: no HoneyImage is of their kind.

    Raises:
        ReleaseError: naming the first image that cannot be re-encoded
    """
    folder.mkdir(mode=0o700)  # it holds what is not marked
    result = list(files)

    def encode(row: int) -> None:
        file = files[row]
        if file.is_marked:
            return
        target = folder / f"{row}{Path(file.path).suffix}"
        try:
            data = written_like_marked(file.path, anew=anew, drop=drop)
        except ImageError as error:
            raise ReleaseError(
                f"{error} (sample {file.sample_id}); repair it or leave it out"
            ) from error
        target.write_bytes(data)
        result[row] = replace(file, path=str(target))

    for_each(encode, range(len(files)), bar.report, "Re-encoding")
    return result
