"""What a marking leaves behind: single HoneyImages, pairs of twins and the order of the queries."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ..errors import LedgerError
from .hashes import check_text, is_digest

TWINS = ("a", "b")


@dataclass(frozen=True)
class MarkedImage:
    """One HoneyImage.

    Attributes:
        sample_id: the id of the sample it was made from
        label: the class name, unchanged by the marking
        file: its path relative to the marking's folder, with forward slashes
        source_sha256: the digest of the original file
        marked_sha256: the digest of the HoneyImage's file
    """

    sample_id: str
    label: str
    file: str
    source_sha256: str
    marked_sha256: str

    def __post_init__(self) -> None:
        for name in ("sample_id", "label", "file"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise LedgerError(f"A marked image needs a {name} in words, not {value!r}")
        path = PurePosixPath(self.file)
        if path.is_absolute() or ".." in path.parts or "\\" in self.file or ":" in self.file:
            raise LedgerError(
                f"The file {self.file!r} of sample {self.sample_id} must be a path below the "
                "marking's folder, with forward slashes"
            )
        for name in ("source_sha256", "marked_sha256"):
            if not is_digest(getattr(self, name)):
                raise LedgerError(
                    f"The {name} of sample {self.sample_id} must be 64 hexadecimal digits, not "
                    f"{getattr(self, name)!r}"
                )


@dataclass(frozen=True)
class Pair:
    """Two HoneyImages, one of which a fair coin released.

    Attributes:
        index: the pair's position among the pairs
        a: one twin
        b: the other twin
        released: "a" or "b"
    """

    index: int
    a: MarkedImage
    b: MarkedImage
    released: str

    def __post_init__(self) -> None:
        if self.released not in TWINS:
            raise LedgerError(f"Pair {self.index}: released must be a or b, not {self.released!r}")

    @property
    def released_twin(self) -> MarkedImage:
        """The twin in the release."""
        return self.a if self.released == "a" else self.b

    @property
    def withheld_twin(self) -> MarkedImage:
        """The twin that nobody else has."""
        return self.b if self.released == "a" else self.a


def read_pair(entry: Mapping[str, Any]) -> Pair:
    """Reads a pair from plain values."""
    if not isinstance(entry, Mapping):
        raise LedgerError(f"A pair must be a JSON object, not {entry!r}")
    fields = dict(entry)
    if type(fields["index"]) is not int:
        raise LedgerError(f"A pair's index must be a whole number, not {fields['index']!r}")
    return Pair(
        **{**fields, "a": MarkedImage(**fields["a"]), "b": MarkedImage(**fields["b"])},
    )


def read_query_order(entries: Sequence[Any], num_pairs: int) -> list[tuple[int, str]]:
    """Reads the query order from plain values.

    Raises:
        LedgerError: if it is no order of the pairs
    """
    order = [(index, first) for index, first in entries]
    indices = [index for index, _ in order]
    if not all(type(index) is int for index in indices) or sorted(indices) != list(
        range(num_pairs)
    ):
        raise LedgerError(f"The query order is no permutation of {num_pairs} pairs")
    if not all(first in TWINS for _, first in order):
        raise LedgerError("The query order must name a or b as the first of each pair")
    return order


def check_images(
    singles: Sequence[MarkedImage], pairs: Sequence[tuple[MarkedImage, MarkedImage]]
) -> None:
    """Checks that marked images can stand in one ledger, or one evidence file.

    Args:
        singles: HoneyImages without a twin
        pairs: the twins (a, b) of each pair

    Raises:
        LedgerError: if an image occurs twice, twins have different labels, or a text is outside UTF-8
    """
    images = [*singles, *(image for pair in pairs for image in pair)]
    for image in images:
        check_text(dataclasses.asdict(image), f"Sample {image.sample_id!a}:")
    for a, b in pairs:
        if a.label != b.label:
            raise LedgerError(
                f"Twins need the same label, but sample {a.sample_id} has {a.label!r} and "
                f"{b.sample_id} {b.label!r}"
            )
    for name in ("sample_id", "file"):
        seen: set[str] = set()
        for image in images:
            value = getattr(image, name)
            if value in seen:
                raise LedgerError(
                    f"Two marked images have the {name} {value!r}; each needs its own"
                )
            seen.add(value)

    # A twin that also lies in the release under another name would not be withheld
    owner: dict[str, MarkedImage] = {}
    in_pairs = {image.marked_sha256 for pair in pairs for image in pair}
    for image in images:
        other = owner.setdefault(image.marked_sha256, image)
        if other is not image and image.marked_sha256 in in_pairs:
            raise LedgerError(
                f"The HoneyImages of samples {other.sample_id} and {image.sample_id} are the same "
                "file, so that one would give the other away; remove duplicates first"
            )
