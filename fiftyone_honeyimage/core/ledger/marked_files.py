"""Whether the files of a marking are still those that the ledger lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..files import sha256_file
from .sides import MarkedImage


@dataclass(frozen=True)
class WrongFile:
    """A file that is missing or altered.

    ``str()`` names sample and file and says what is wrong; what to do depends on what it is needed for.

    Attributes:
        sample_id: the sample that was marked
        path: the file
        is_original: whether it is the sample's own file, and not its HoneyImage
        is_missing: whether it is missing, and not altered
    """

    sample_id: str
    path: Path
    is_original: bool
    is_missing: bool

    def __str__(self) -> str:
        kind = "original" if self.is_original else "HoneyImage"
        problem = "is missing" if self.is_missing else "was altered since it was marked"
        return f"sample {self.sample_id}: its {kind} '{self.path}' {problem}"


def find_wrong_file(
    images: Iterable[MarkedImage],
    folder: Path,
    originals: Mapping[str, str] | None = None,
    *,
    contents: bool = True,
) -> WrongFile | None:
    """Finds the first file of a marking that is missing or altered, and looks no further.

    Args:
        images: HoneyImages, in an order that knows no coin: which file is named first tells the order
        folder: the marking's folder
        originals (None): sample id → the sample's own file; if given, those are looked at too
        contents (True): whether to compare digests; else it only looks whether the files are there

    Returns:
        the file, or None if all are as they were

    Raises:
        OSError: if a file cannot be read
    """
    for image in images:
        files = [(folder / image.file, image.marked_sha256)]
        if originals is not None:
            files.append((Path(originals[image.sample_id]), image.source_sha256))
        for number, (path, digest) in enumerate(files):
            is_missing = not path.is_file()
            if is_missing or (contents and sha256_file(path) != digest):
                return WrongFile(image.sample_id, path, number == 1, is_missing)
    return None
