"""What a release is checked for before anything is written; forms ask the same."""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from pathlib import Path

from ...core.errors import ParameterError, ReleaseError
from ...core.ledger.ledger import Ledger
from ...core.ledger.marked_files import find_wrong_file
from ...core.limits import check_choice, check_path
from ...core.pipeline.labeled import LabeledSamples
from ..checks import check_new_folder, check_output_place
from ..marking.marking import Marking, OpenMarking
from .files import RESTORE

#: Digests that files are named by, and what of a name could be one, or its beginning
_DIGESTS = ("md5", "sha1", "sha256", "sha512")
_HEX = re.compile(r"[0-9a-f]{8,}")


def release_folder(export_dir: str | Path, labeled: LabeledSamples, marking: Marking) -> Path:
    """The folder of a release, absolute.

    Raises:
        ParameterError: if it exists, cannot be made, or lies among the media or beside the ledger
    """
    folder = check_path("export_dir", export_dir)
    check_new_folder(folder, "export_dir")
    check_output_place(folder, labeled.filepaths, "export_dir")
    if marking.output_dir in folder.parents:
        raise ParameterError(
            f"export_dir '{folder}' lies beside the secret ledger, in the marking's own folder; choose "
            "a folder elsewhere"
        )
    return folder


def check_policies(reencode: str, names: str) -> None:
    """Checks the policies of a release.

    Raises:
        ParameterError: if one is unknown
    """
    check_choice("reencode", reencode, ("marked", "all"))
    check_choice("names", names, ("keep", "renumber"))


def check_reencode(reencode: str, marking: Marking) -> None:
    """Checks that files which would not come back byte for byte were marked for such a release alone.

    Raises:
        ReleaseError: if they were marked for a release whose files are all encoded anew
    """
    if reencode != "all" and marking.config.get("reencode") == "all":
        raise ReleaseError(
            f"marking '{marking.honey_key}' was made with reencode='all': files of other encoders are among its "
            "HoneyImages and would stand out. Pass reencode='all' here too"
        )


def check_view(labeled: LabeledSamples, ledger: Ledger) -> None:
    """Checks that the samples hold every image that was marked, and others.

    Raises:
        ReleaseError: if they do not
    """
    marked = {image.sample_id for image in (*ledger.released_images(), *ledger.withheld_images())}
    absent = sorted(marked - set(labeled.ids))
    if absent:
        raise ReleaseError(
            f"{len(absent)} of the images that were marked are not in these samples (the first is "
            f"{absent[0]}); pass the view that was marked, or the whole dataset"
        )

    if len(marked) == len(labeled):
        raise ReleaseError(
            "every one of these samples was marked, so each image of the release would be a "
            "HoneyImage; pass the view that was marked, or the whole dataset"
        )


def check_labels(labeled: LabeledSamples, ledger: Ledger) -> None:
    """Checks that the marked images have the labels that they were marked with.

    Raises:
        ReleaseError: naming the first that has not
    """
    now = dict(zip(labeled.ids, labeled.labels, strict=True))
    for image in ledger.marked_images:
        then = image.source_label or image.label
        if image.sample_id in now and labeled.classes[now[image.sample_id]] != then:
            raise ReleaseError(
                f"sample {image.sample_id} was marked as {then!r} and is labelled "
                f"{labeled.classes[now[image.sample_id]]!r} now; restore the label, or mark the "
                "dataset again"
            )


def check_own_labels(label_field: str, marking: Marking, ledger: Ledger) -> None:
    """Checks that a marking that changes labels is released with the labels that it changed.

    Raises:
        ParameterError: if it is to be released with others
    """
    own = marking.config["label_field"]
    if label_field == own or not any(image.source_label for image in ledger.marked_images):
        return
    raise ParameterError(
        f"marking '{marking.honey_key}' changes labels of '{own}', so that a release with '{label_field}' would not "
        f"carry its marks; pass label_field='{own}'"
    )


def names_of_release(names: str, changes_labels: bool) -> str:
    """What files are called: as asked, and numbered at random where a method changes labels.

    Files that are named or ordered by what they show would tell which of them carry another label.
    """
    return "renumber" if changes_labels else names


def check_no_content_names(labeled: LabeledSamples, ledger: Ledger) -> None:
    """Checks that no marked image's original is named after its own content, as scraped files often are.

    A HoneyImage has other content and would keep the name. Both twins' originals are looked at, so that an
    error tells no coin.

    Raises:
        ReleaseError: naming the first
    """
    originals = dict(zip(labeled.ids, labeled.filepaths, strict=True))
    for image in ledger.marked_images:
        path = originals.get(image.sample_id)
        if path is None:
            continue
        parts = _HEX.findall(os.path.splitext(os.path.basename(path))[0].lower())
        if not parts:
            continue
        content = Path(path).read_bytes()
        digests = [hashlib.new(name, content).hexdigest() for name in _DIGESTS]
        digests.append(f"{zlib.crc32(content):08x}")
        if any(digest.startswith(part) for part in parts for digest in digests):
            raise ReleaseError(
                f"the file of sample {image.sample_id} ('{path}') is named after its own content, so that a "
                "HoneyImage would be the file whose name does not fit; pass names='renumber'"
            )


def check_marked_files(labeled: LabeledSamples, opened: OpenMarking) -> None:
    """Checks that the HoneyImages are those that the ledger lists, and so are their originals.

    Raises:
        ReleaseError: naming the first that is missing, altered or cannot be read
    """
    originals = dict(zip(labeled.ids, labeled.filepaths, strict=True))
    try:
        wrong = find_wrong_file(
            opened.in_dataset.marked_images, opened.marking.output_dir, originals
        )
    except OSError as error:
        raise ReleaseError(
            f"'{error.filename}' cannot be read ({error.strerror}); run this as a user who may read it"
        ) from error
    if wrong is None:
        return
    if wrong.is_original and not wrong.is_missing:
        raise ReleaseError(
            f"{wrong}, so that its HoneyImage would stand out among the others; restore it, or mark "
            "the dataset again"
        )
    raise ReleaseError(f"{wrong}; {RESTORE}")
