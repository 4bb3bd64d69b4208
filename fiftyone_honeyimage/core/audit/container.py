"""What is taken down of one file besides its pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass, field

#: Characters of a value that are shown
NUM_TEXT = 80


@dataclass
class Container:
    """The features of one file.

    Attributes:
        format: "jpeg", "png", "webp", "bmp", "gif", "tiff" or "other"
        structure: features that the encoder sets, whatever the image shows
        content: features that a camera or a person sets, such as the EXIF values
        numbers: features on a scale
        payload: bytes of the coded pixels alone; of BMP, GIF and unknown formats, the whole file's
    """

    format: str
    structure: dict[str, Hashable] = field(default_factory=dict)
    content: dict[str, Hashable] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    payload: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels; 0 where the header cannot be read."""
        width, height = self.content.get("width"), self.content.get("height")
        return (width, height) if isinstance(width, int) and isinstance(height, int) else (0, 0)


def describe(value: Hashable) -> str:
    """A feature's value, short enough for a report."""
    text = "absent" if value is None else str(value)
    return text if len(text) <= NUM_TEXT else f"{text[: NUM_TEXT - 1]}…"


def digest(data: bytes) -> str:
    """Stands for bytes in a report."""
    return hashlib.sha256(data).hexdigest()[:12]
