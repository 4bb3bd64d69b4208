"""The digest of a release: of the names and contents of all its files, and of nothing else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import ReleaseError
from ..files import sha256_file
from .hashes import VERSION, check_text, hash_manifest


@dataclass(frozen=True)
class ReleaseFiles:
    """The files of a folder.

    Attributes:
        files: (path relative to the folder, with forward slashes; SHA-256), sorted
    """

    files: tuple[tuple[str, str], ...]

    def digest(self, version: int = VERSION) -> str:
        """The hash of the sorted list of relative paths and SHA-256s, 64 hexadecimal digits.

        Args:
            version (VERSION): of the ledger that it is written down in
        """
        return hash_manifest(self.files, version)

    @property
    def digests(self) -> frozenset[str]:
        """The SHA-256s of all files."""
        return frozenset(digest for _, digest in self.files)


def read_release(folder: str | os.PathLike[str]) -> ReleaseFiles:
    """Reads every file of a folder, hidden ones included.

    Links are followed to files, not to folders: a release as written has none.

    Args:
        folder: an exported release

    Raises:
        ReleaseError: if it is no folder, or holds what is neither file nor folder, or a name
            outside UTF-8
        OSError: if a file cannot be read
    """
    root = Path(folder)
    if not root.is_dir():
        raise ReleaseError(f"There is no folder at '{folder}'; give the folder of the release")

    def fail(error: OSError) -> None:
        raise error

    files = []
    for place, folders, names in os.walk(root, onerror=fail):
        linked = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in (*names, *linked):
            path = Path(place, name)
            relative = path.relative_to(root).as_posix()
            if not path.is_file():
                raise ReleaseError(
                    f"'{relative}' in '{folder}' is no file; a release has files only"
                )
            check_text(relative, "The file")
            files.append((relative, sha256_file(path)))
    return ReleaseFiles(tuple(sorted(files)))
