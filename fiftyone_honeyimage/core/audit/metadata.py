"""Does anything but the pixels separate marked from unmarked files? What an export asks before its rename."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ParameterError, ReleaseError
from ..progress import Report, silent
from .annotations import Records, read_labels, read_records, record_features
from .encoding import MAX_PIXELS, encoding_features
from .features import Feature, score_features
from .files import file_features, folder_times, is_image_name, list_files
from .layout import uneven_layouts
from .lone_values import lone_values
from .matching import match
from .originals import Policies, changed_features, inherited_features, read_originals
from .report import Leak, Separation
from .strays import find_strays

#: The probability with which an audit speaks of a separation if the marks fell at random
ALPHA = 0.01

#: The same for a release that is stopped before it appears: exporting again would change little, so
#: that false alarms have to be rare
EXPORT_ALPHA = 1e-4

_WORD = re.compile(rb"[0-9A-Za-z_-]{8,}")
_OWN_NAME = b"honeyimage"


@dataclass(frozen=True)
class Release:
    """The images of a release.

    Attributes:
        folder: where they are
        names: relative to the folder, with forward slashes, in the order in which the disk lists them
        others: its other files
        marked: bool (N,)
    """

    folder: Path
    names: list[str]
    others: list[str]
    marked: np.ndarray


@dataclass(frozen=True)
class MetadataAudit:
    """Metadata features of a release, tested.

    Attributes:
        rows: features that vary, tested
        constant: names of features that do not
        sets: int (S, K), which files were compared
        lossy_sizes: the size of lossy files given their pixels, which is a feature of the pixels
        certain: leaks that need no test: what marked files do not have in common with their originals, and
            what lies in the folder or in label files and does not belong there
        named: what marked files alone have, and their originals may have had
        notes: what was not looked at
    """

    rows: list[Separation]
    constant: list[str]
    sets: np.ndarray
    lossy_sizes: list[Feature]
    certain: list[Leak]
    named: list[Leak]
    notes: list[str]


def check_metadata(
    folder: str | os.PathLike[str],
    marked_files: Iterable[str | os.PathLike[str]],
    *,
    labels: Mapping[str, str] | None = None,
    hardness: Mapping[str, float] | None = None,
    sources: Mapping[str, str | os.PathLike[str]] | None = None,
    reencoded: bool = False,
    thumbnails_dropped: bool = False,
    epsilon: float | None = None,
    alpha: float = EXPORT_ALPHA,
    max_pixels: int = MAX_PIXELS,
    seed: int = 51,
    report: Report | None = None,
) -> list[Leak]:
    """Looks for anything but the pixels that tells marked from unmarked files.

    Works on a folder as it lies, also a temporary one, and changes nothing but access times. It takes
    one reading of every file, and encodes the marked images and a few times as many others once more.

    Args:
        folder: the release, images and label files
        marked_files: the HoneyImages in it, relative to the folder or absolute
        labels (None): image → class, by the path relative to the folder with forward slashes; read
            from the label files or the names of folders where it is not given. It should be for the
            marked files at least
        hardness (None): image → hardness, likewise; marked images are then compared with unmarked
            ones that are about as hard, as they should be wherever hardness is known
        sources (None): marked image → the original that it stands for, for all of them or none. What a
            marked file has from its original (the tables of a rare camera, say) is then no leak, even
            where marked files alone have it
        reencoded (False): whether all files were encoded anew. In any case, whatever of a marked file is not its
            original's and no pixel is a leak, without a test and for a single file
        thumbnails_dropped (False): whether thumbnails were dropped from all files
        epsilon (None): the largest change that was promised, in 0–255 units; with ``sources``, a marked image that
            moved by more is reported
        alpha (0.0001): the probability with which a release is said to leak if the marks fell at random
        max_pixels (40 million): the most pixels that are encoded once more
        seed (51): of the choice of images to compare with
        report (None): progress

    Returns:
        the leaks, none if nothing separates

    Raises:
        ParameterError: if a marked file is not in the folder, or none or all files are marked
    """
    release = read_release(Path(folder), marked_files)
    audit = audit_metadata(
        release,
        labels=labels,
        hardness=hardness,
        sources=sources,
        policies=Policies(reencoded, thumbnails_dropped, epsilon),
        alpha=alpha,
        max_pixels=max_pixels,
        seed=seed,
        report=report,
    )
    return [*(row.leak() for row in audit.rows if row.separates), *audit.certain]


def read_release(folder: Path, marked_files: Iterable[str | os.PathLike[str]]) -> Release:
    """Lists a release's files.

    Raises:
        ParameterError: if a marked file is not in the folder, or none or all images are marked
        ReleaseError: if there is no such folder
    """
    if not folder.is_dir():
        raise ReleaseError(f"there is no release at '{folder}'")
    found = list_files(folder)
    marked = {_relative(folder, path) for path in marked_files}
    missing = sorted(marked - set(found))
    if missing:
        raise ParameterError(
            f"{len(missing)} marked files are not in '{folder}', the first is '{missing[0]}'"
        )
    names = [name for name in found if name in marked or is_image_name(name)]
    if not marked or len(marked) == len(names):
        raise ParameterError(
            f"{len(marked)} of the {len(names)} images in '{folder}' are marked: there is nothing to "
            "compare"
        )
    return Release(
        folder,
        names,
        [name for name in found if name not in marked and not is_image_name(name)],
        np.array([name in marked for name in names]),
    )


def audit_metadata(
    release: Release,
    *,
    labels: Mapping[str, str] | None = None,
    hardness: Mapping[str, float] | None = None,
    sources: Mapping[str, str | os.PathLike[str]] | None = None,
    policies: Policies | None = None,
    alpha: float = ALPHA,
    max_pixels: int = MAX_PIXELS,
    seed: int = 51,
    report: Report | None = None,
) -> MetadataAudit:
    """Tests every metadata feature of a release; the arguments are :func:`check_metadata`'s."""
    report = report or silent
    policies = policies or Policies()
    names = release.names
    records = read_records(release.folder, names, release.others)
    known = release_labels(release, records, labels)
    scores = None
    if hardness is not None:
        scores = np.array([float(hardness.get(name, np.nan)) for name in names])
    sets = match(release.marked, known, scores, seed=seed)

    # A class that was read from a folder's name cannot show that the folder is wrong
    are_given = labels is not None and all(
        name in labels for name, is_marked in zip(names, release.marked, strict=True) if is_marked
    )
    features, containers = file_features(
        release.folder, names, known, ignore_class_folders=are_given, report=report
    )
    encoded, lossy_sizes, skipped = encoding_features(
        release.folder, names, containers, sets, max_pixels
    )
    sizes = [
        (os.path.getsize(release.folder / name), *container.size)
        for name, container in zip(names, containers, strict=True)
    ]
    features += [*encoded, *record_features(records, names, sizes)]
    originals = read_originals(names, release.marked, sources, policies)
    inherited = inherited_features(names, features, containers, originals)
    rows = score_features(features, names, release.marked, known, sets, alpha, inherited)
    notes = list(records.unread)
    alone = int(release.marked.sum()) - len(sets)
    if alone:
        notes.append(
            f"{alone} HoneyImages have no unmarked image of their class beside them; only tell-tales "
            "were looked for"
        )
    if skipped:
        notes.append(
            f"{skipped} HoneyImages were not encoded once more (more than {max_pixels:,} pixels in all)"
        )
    strays, documents = find_strays(release.folder, names, release.others, records)
    told = {row.feature for row in rows if row.separates}
    lone, named = lone_values(features, names, release.marked, inherited)
    return MetadataAudit(
        rows=rows,
        constant=[feature.name for feature in features if feature.is_constant],
        sets=sets,
        lossy_sizes=lossy_sizes,
        certain=[
            *changed_features(release.folder, names, containers, originals, policies),
            *(leak for leak in lone if leak.feature not in told),
            *folder_times(release.folder, names),
            *uneven_layouts(release.folder, release.others),
            *strays,
        ],
        named=[*(leak for leak in named if leak.feature not in told), *documents],
        notes=notes,
    )


def release_labels(
    release: Release, records: Records, labels: Mapping[str, str] | None
) -> list[str | None]:
    """The class of each image: as given, else as label files or folders say."""
    own = read_labels(records, release.names)
    if labels is None:
        return own
    # Label files may number the classes: what the given files are called tells which number is which
    seen: dict[str, Counter[str]] = {}
    for name, code in zip(release.names, own, strict=True):
        if name in labels and code is not None:
            seen.setdefault(code, Counter())[labels[name]] += 1
    meaning = {code: counts.most_common(1)[0][0] for code, counts in seen.items()}
    unmarked = {code for code, is_marked in zip(own, release.marked, strict=True) if not is_marked}
    numbered = any(code != label for code, label in meaning.items() if code in unmarked)
    known: list[str | None] = []
    for name, code in zip(release.names, own, strict=True):
        if name in labels:
            known.append(labels[name])
        elif code is None:
            known.append(None)
        else:
            known.append(meaning.get(code, f"number {code}") if numbered else code)
    return known


def find_secrets(release: Release, secrets: Collection[str]) -> list[Leak]:
    """Looks for words of the working dataset or the ledger in label files and in metadata of images.

    Args:
        release: the release
        secrets: ids, digests and keys, of 8 characters or more; shorter ones would be found by chance

    Returns:
        a leak for each file that holds one, at most ten
    """
    words = {secret.encode() for secret in secrets if len(secret) >= 8}
    leaks: list[Leak] = []
    for name in (*release.others, *release.names):
        text = name.encode() + b"\n" + (release.folder / name).read_bytes()
        found = words.intersection(_WORD.findall(text))
        if _OWN_NAME in text.lower():
            found.add(_OWN_NAME)
        if found:
            word = min(found).decode()
            leaks.append(
                Leak("secrets", f"the file holds '{word}', which tells of the marking", (name,))
            )
        if len(leaks) == 10:
            break
    return leaks


def _relative(folder: Path, path: str | os.PathLike[str]) -> str:
    path = Path(path)
    if path.is_absolute():
        path = Path(os.path.relpath(path, folder))
    return path.as_posix()
