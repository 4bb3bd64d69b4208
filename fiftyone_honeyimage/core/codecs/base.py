"""What every codec can do: write a file like the one that pixels came from."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ImageError
from ..images import check_image, read_image, read_image_bytes

#: Rows that are worked on at a time, a multiple of the largest block of JPEG (32); bounds memory.
STRIP_ROWS = 256


class Codec(ABC):
    """How one image file is written again with other pixels, everything else as it was.

    A codec reads the file's header when it is made and its pixels when they are asked for; it keeps
    neither the pixels nor anything of their size.

    Attributes:
        path: the source file
        format: Pillow's name of its format
        mode: Pillow's mode of its pixels
        lossless: whether :meth:`encode` stores pixels bit by bit
        exact: whether the source's own pixels, written again, come back unchanged
        local: whether :meth:`realise` may be given some rows alone, in strips of :data:`STRIP_ROWS`
    """

    format: str
    lossless: bool = True
    exact: bool = True
    local: bool = True

    def __init__(self, path: Path, image: Image.Image) -> None:
        self.path = path
        self.mode = image.mode
        self.width, self.height = image.size

    @property
    def limits(self) -> tuple[str, ...]:
        """What of a written file may differ from its source besides the pixels, in words."""
        return ()

    def original(self) -> np.ndarray:
        """The source's pixels, uint8 (H, W, 3)."""
        return read_image(self.path)

    @cached_property
    def grey(self) -> bool:
        """Whether the three channels have to stay equal: a grey file, or a colour file of a grey picture."""
        if self.mode in ("L", "LA"):
            return True
        return is_grey(self.original())

    def encode(self, pixels: np.ndarray) -> bytes:
        """Returns a whole file that holds these pixels, or for lossy formats, is nearest to them.

        Args:
            pixels: uint8 array of shape ``(height, width, 3)``, RGB, the size of the source

        Raises:
            ImageError: if the pixels do not fit the source (its size, grey), or the result of a
                lossless format is not what it should be
        """
        self.check_pixels(pixels)
        data = self._encode(pixels)
        if self.lossless and not np.array_equal(decode(data, str(self.path)), pixels):
            raise ImageError(
                f"{self.path} cannot be written again without loss in its own form; convert it to a "
                "plain PNG"
            )
        return data

    def encode_change(self, change: np.ndarray) -> bytes:
        """Returns a whole file for the source's pixels plus a change.

        Args:
            change: float or integer (H, W, 3), in 0–255 units
        """
        return self.encode(add_change(self.original(), change))

    def realise(self, change: np.ndarray) -> np.ndarray:
        """What is left of a change once it is written and read again, up to rounding and clipping.

        Args:
            change: float32 (H, W, 3)

        Returns:
            float32 (H, W, 3); of lossless formats, the change itself
        """
        return change

    def cell(self, grey: bool) -> tuple[int, bool]:
        """Pixels a side of the squares that only change as a whole, and whether they reach into their neighbours.

        Args:
            grey: whether the channels of a change are equal
        """
        return 1, False

    def project(self, gradient: np.ndarray, grey: bool = False) -> np.ndarray:
        """A gradient for the decoded pixels as an ascent direction for the pixels before encoding.

        Args:
            gradient: float32 (H, W, 3)
            grey (False): whether colour differences stay as they are

        Returns:
            float32 (H, W, 3); the same for all three channels of grey images
        """
        if not self.grey:
            return gradient
        return np.repeat(gradient.sum(axis=2, keepdims=True), 3, axis=2)

    def check_pixels(self, pixels: np.ndarray) -> None:
        """Raises :class:`ImageError` unless the source can hold these pixels."""
        check_image(pixels, f"pixels for {self.path.name}")
        if pixels.shape[:2] != (self.height, self.width):
            raise ImageError(
                f"{self.path} is {self.width}x{self.height}, the pixels are "
                f"{pixels.shape[1]}x{pixels.shape[0]}; a mark keeps the size"
            )
        if self.mode in ("L", "LA") and not is_grey(pixels):
            raise ImageError(f"{self.path} is grey and the pixels are not; a mark keeps the mode")

    @abstractmethod
    def _encode(self, pixels: np.ndarray) -> bytes:
        """Writes pixels that were checked."""

    def _with_pixels(self, pixels: np.ndarray) -> Image.Image:
        """A Pillow image in the source's own mode: the pixels, and the source's own alpha channel."""
        colours = Image.fromarray(np.ascontiguousarray(pixels))
        if self.mode in ("L", "LA"):
            colours = colours.getchannel(0)
        if self.mode not in ("LA", "RGBA"):
            return colours
        with Image.open(self.path) as image:
            alpha = image.getchannel("A")
        return Image.merge(self.mode, [*colours.split(), alpha])


def decode(data: bytes, name: str) -> np.ndarray:
    """Decodes a file in memory as :func:`..images.read_image` does."""
    return read_image_bytes(data, name)


def add_change(original: np.ndarray, change: np.ndarray) -> np.ndarray:
    """``original + change``, rounded to the nearest and clipped to 0–255, a few rows at a time."""
    result = np.empty_like(original)
    for rows in strips(len(original)):
        result[rows] = np.clip(np.rint(original[rows] + change[rows].astype(np.float32)), 0, 255)
    return result


def is_grey(pixels: np.ndarray) -> bool:
    """Whether the three channels are equal everywhere."""
    red = pixels[:, :, 0]
    return bool((red == pixels[:, :, 1]).all() and (red == pixels[:, :, 2]).all())


def strips(height: int, rows: int = STRIP_ROWS) -> list[slice]:
    """The rows of an image, a few at a time."""
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


def save(image: Image.Image, file_format: str, **options: object) -> bytes:
    """The bytes that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()
