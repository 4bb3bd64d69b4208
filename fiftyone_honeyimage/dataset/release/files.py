"""The files of a release: which they are, what each is called, and which names no release can hold."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

import fiftyone.types as fot

from ...core.audit.files import is_image_name
from ...core.errors import ReleaseError
from ...core.files import sha256_bytes
from ...core.ledger.ledger import Ledger
from ...core.ledger.marked_files import find_wrong_file
from ...core.pipeline.labeled import LabeledSamples
from ..marking.marking import OpenMarking

#: What to do about a file of the marking that is missing, or a HoneyImage that was altered
RESTORE = "restore it before the release"

#: The folder that FiftyOne's importer of directory trees takes for images without a label
_UNLABELED = "_unlabeled"

#: Most bytes of a name and of a path, where the system does not say
_NAME_BYTES, _PATH_BYTES = 255, 1024


@dataclass(frozen=True)
class ReleasedFile:
    """One image of a release.

    Attributes:
        path: the file whose bytes are released
        name: the name that it has in the release, or had before it was made one of its own
        label: its class
        sample_id: the sample that it stands for, the original's for a HoneyImage
        is_marked: whether it is a HoneyImage
        target: where it is in the release, relative to the folder, with forward slashes
    """

    path: str
    name: str
    label: str
    sample_id: str
    is_marked: bool
    target: str = ""


def released_files(
    labeled: LabeledSamples, opened: OpenMarking, names: str = "keep"
) -> list[ReleasedFile]:
    """Every image of the release, in the order of the originals; dealt out anew where labels are changed.

    Raises:
        ReleaseError: if a file is missing, or a name would stand out
    """
    ledger, output_dir = opened.in_dataset, opened.marking.output_dir
    missing = find_wrong_file(ledger.marked_images, output_dir, contents=False)
    if missing is not None:
        raise ReleaseError(f"{missing}; {RESTORE}")
    # Both twins, so that the error tells no coin
    suffixes = {i.sample_id: os.path.splitext(i.file)[1] for i in ledger.marked_images}
    for sample_id, path in zip(labeled.ids, labeled.filepaths, strict=True):
        suffix = os.path.splitext(path)[1]
        if suffixes.get(sample_id, suffix) != suffix:
            raise ReleaseError(
                f"sample {sample_id} ({path}) was marked as a {suffixes[sample_id]} file; among files of "
                "another format it would stand out. Give its file the old name, or mark the dataset again"
            )
    replaced = {image.sample_id: str(output_dir / image.file) for image in ledger.released_images()}
    relabelled = {
        image.sample_id: image.label for image in ledger.released_images() if image.source_label
    }
    withheld = {image.sample_id for image in ledger.withheld_images()}
    rows = [row for row, sample_id in enumerate(labeled.ids) if sample_id not in withheld]
    if relabelled:
        # Sorted by class, as most datasets are, the place would tell what an image shows. The same in every release,
        # so that two of them tell no more than one; and drawn from the salts of all pairs, of which evidence opens
        # only those that were asked about: commitment and ids alone would give the order away
        secret = sha256_bytes("".join(ledger.salts).encode())
        rows.sort(key=lambda row: sha256_bytes(f"{secret}/{labeled.ids[row]}".encode()))
    digits = len(str(len(rows)))

    files = []
    for number, row in enumerate(rows):
        sample_id, path = labeled.ids[row], labeled.filepaths[row]
        source = replaced.get(sample_id, path)
        # No Path here: a form checks every file of the dataset
        name, suffix = os.path.basename(path), os.path.splitext(path)[1]
        if not os.path.isfile(source):
            raise ReleaseError(
                f"the file of sample {sample_id} is missing: '{source}'; restore it, or pass a view "
                "without it"
            )
        if names == "renumber":
            name = f"{number:0{digits}d}{suffix}"
        label = relabelled.get(sample_id) or labeled.classes[labeled.labels[row]]
        files.append(ReleasedFile(source, name, label, sample_id, sample_id in replaced))
    return files


def count_relabelled(ledger: Ledger) -> int:
    """How many images of a release get another label; as many on either side of a pair, so that it tells no coin."""
    return sum(image.source_label is not None for image in ledger.released_images())


def check_names(kind: type, labeled: LabeledSamples, names: str, folder: Path) -> None:
    """Checks that no file or class has a name that FiftyOne's importers read back as another, or not at all.

    Looks at all originals, so that an error tells no coin.

    Raises:
        ReleaseError: naming the first sample or class, and saying what to do
    """
    for sample_id, path in zip(labeled.ids, labeled.filepaths, strict=True):
        name = os.path.basename(path)
        problem = _problem_of_name(name) if names == "keep" else None
        if problem is None and not is_image_name(name):
            problem = "has no ending of an image file"
        if problem is not None:
            advice = (
                "rename the file" if names == "renumber" else "rename it, or pass names='renumber'"
            )
            raise ReleaseError(
                f"the file {name!r} of sample {sample_id} {problem}, so that loaders of the release "
                f"would miss it or read another name; {advice}"
            )
    if kind is fot.ImageClassificationDirectoryTree:
        _check_folder_names(labeled.classes)
    elif kind is fot.CSVDataset:
        _check_csv_labels(labeled.classes)
    _check_lengths(kind, labeled, names, folder)


def _problem_of_name(name: str) -> str | None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return "has a name that is no text (it is not in UTF-8)"
    if name.startswith("."):
        return "is hidden (it starts with a dot)"
    if "\\" in name or any(unicodedata.category(letter) == "Cc" for letter in name):
        return "has a backslash, a line break or another control character in its name"
    if name != name.strip():
        return "has a blank at an end of its name"
    return None


def _check_folder_names(classes: Sequence[str]) -> None:
    """Checks that every class can be the name of a folder, and is read back as that class.

    Raises:
        ReleaseError: naming the first that cannot
    """
    other = "rename the class, or choose another dataset_type, such as FiftyOneImageClassificationDataset"
    seen: dict[str, str] = {}
    for label in classes:
        problem = None
        if label in (".", "..") or not set(label).isdisjoint("/\\\0"):
            problem = "as a directory tree needs it"
        elif label.startswith("."):
            problem = "as FiftyOne skips hidden folders"
        elif label == _UNLABELED:
            problem = "as FiftyOne takes the images in it for unlabeled ones"
        elif label != label.strip() or label.endswith("."):
            problem = "as some systems drop a blank or a dot at its end"
        elif any(unicodedata.category(letter) == "Cc" for letter in label):
            problem = "as it holds a line break or another control character"
        if problem is not None:
            raise ReleaseError(
                f"class {label!r} cannot be the name of a folder, {problem}; {other}"
            )
        twin = seen.setdefault(_same(label), label)
        if twin != label:
            raise ReleaseError(
                f"classes {twin!r} and {label!r} would be one folder on Windows and macOS; {other}"
            )


def _check_csv_labels(classes: Sequence[str]) -> None:
    """Raises:
    ReleaseError: naming the first class that a CSV file is not read back with
    """
    for label in classes:
        if "\r" in label or "\0" in label:
            raise ReleaseError(
                f"class {label!r} holds a carriage return or a zero byte, which is not read back from a "
                "CSV file; rename the class, or choose another dataset_type"
            )


def _check_lengths(kind: type, labeled: LabeledSamples, names: str, folder: Path) -> None:
    """Raises:
    ReleaseError: if a class or a path is longer than the file system takes
    """
    parent = next(path for path in folder.parents if path.exists())
    most_name = _limit(parent, "PC_NAME_MAX", _NAME_BYTES)
    most_path = _limit(parent, "PC_PATH_MAX", _PATH_BYTES)
    tree = kind is fot.ImageClassificationDirectoryTree
    longest = max(labeled.classes, key=_num_bytes)
    if tree and _num_bytes(longest) > most_name:
        raise ReleaseError(
            f"class '{longest[:40]}…' takes {_num_bytes(longest)} bytes, and a folder's name on the disk "
            f"of '{parent}' at most {most_name}; shorten it, or choose another dataset_type, such as "
            "FiftyOneImageClassificationDataset"
        )
    room = most_path - len(os.fsencode(folder)) - len("/data//-000000") - 60  # while it is made
    for row, path in enumerate(labeled.filepaths):
        name = os.path.basename(path)
        inner = _num_bytes(labeled.classes[labeled.labels[row]]) if tree else 0
        if _num_bytes(name) > most_name:
            raise ReleaseError(
                f"the name of sample {labeled.ids[row]}'s file takes {_num_bytes(name)} bytes, and a name "
                f"on the disk of '{parent}' at most {most_name}; rename the file, or pass names='renumber'"
            )
        if inner + (_num_bytes(name) if names == "keep" else 20) > room:
            raise ReleaseError(
                f"the path of sample {labeled.ids[row]}'s file in '{folder}' would take more than the "
                f"{most_path} bytes that the system allows; choose a folder with a shorter path"
            )


def _limit(folder: Path, name: str, otherwise: int) -> int:
    try:
        return os.pathconf(folder, name)
    except (AttributeError, OSError, ValueError):  # Windows has none
        return otherwise


def _num_bytes(text: str) -> int:
    return len(os.fsencode(text))


def place_files(kind: type, files: Sequence[ReleasedFile]) -> list[ReleasedFile]:
    """Gives every file its place in the release: below its class, or in ``data``.

    Where two would have one name, on any system, the later gets a number, as FiftyOne's exporters give
    it. It knows the files of the release alone, so that no withheld one leaves a trace.
    """
    tree = kind is fot.ImageClassificationDirectoryTree
    by_stem = kind is fot.FiftyOneImageClassificationDataset
    wanted = [file.name if tree else _flat_name(file.name) for file in files]

    def key(row: int, name: str) -> tuple[str, str]:
        stem = os.path.splitext(name)[0] if by_stem else name
        return (_same(files[row].label) if tree else "", _same(stem))

    taken = Counter(key(row, name) for row, name in enumerate(wanted))
    seen: set[tuple[str, str]] = set()
    placed = []
    for row, file in enumerate(files):
        name = _free_name(wanted[row], partial(key, row), taken, seen)
        seen.add(key(row, name))
        target = PurePosixPath(file.label if tree else "data", name)
        placed.append(replace(file, name=name, target=str(target)))
    return placed


def _free_name(
    name: str,
    key: Callable[[str], tuple[str, str]],
    wanted: Counter[tuple[str, str]],
    seen: set[tuple[str, str]],
) -> str:
    if key(name) not in seen:
        return name
    stem, suffix = os.path.splitext(name)
    number = 2
    while True:
        # A number must leave room in a name of the most bytes
        end = f"-{number}{suffix}"
        short = os.fsencode(stem)[: _NAME_BYTES - len(os.fsencode(end))].decode(errors="ignore")
        if key(short + end) not in seen and key(short + end) not in wanted:
            return short + end
        number += 1


def _flat_name(name: str) -> str:
    """What FiftyOne's exporters make of a name in ``data``."""
    stem, suffix = os.path.splitext(name)
    return stem.replace("%", "-") + suffix.split("?")[0]


def _same(name: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold()


class Stage:
    """Files under the names that they have in a release, for exporters that keep a file's name.

    Links where the disk can, copies where it cannot.

    Args:
        folder: made when it is needed; it belongs below one that its owner alone can read, as its links
            tell which twins are released
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path_of(self, file: ReleasedFile) -> str:
        """A path of the file that ends in its name in the release."""
        if os.path.basename(file.path) == file.name:
            return file.path
        target = self._folder / file.target
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            # A hard link would set the time of change of all originals but the marked ones
            os.symlink(os.path.abspath(file.path), target)
        except OSError:
            shutil.copyfile(file.path, target)
        return str(target)
