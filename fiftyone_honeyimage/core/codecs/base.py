"""What every codec can do: write a file like the one that pixels came from."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Hashable
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ImageError
from ..images import check_image, largest_change, read_image, read_image_bytes, strips

#: How far the pixels of a trial are moved, in 0–255 units; more than any usual mark
_TRIAL = 16


class RewrittenError(ImageError):
    """A file that would not come back byte for byte if nothing of it were changed."""


class Codec(ABC):
    """How one image file is written again with other pixels, everything else as it was.

    A codec reads the file's header when it is made and its pixels when they are asked for; it keeps
    neither the pixels nor anything of their size.

    Attributes:
        path: the source file
        format: Pillow's name of its format
        mode: Pillow's mode of its pixels
        lossless: whether :meth:`encode` stores pixels bit by bit
    """

    format: str
    lossless: bool = True

    def __init__(self, path: Path, image: Image.Image) -> None:
        self.path = path
        self.mode = image.mode
        self.width, self.height = image.size

    def original(self) -> np.ndarray:
        """The source's pixels, uint8 (H, W, 3)."""
        return read_image(self.path)

    @cached_property
    def grey(self) -> bool:
        """Whether the three channels have to stay equal: a grey file, or a colour file of a grey picture."""
        if self.mode in ("L", "LA"):
            return True
        return is_grey(self.original())

    @property
    def kind(self) -> Hashable:
        """Equal for codecs that :meth:`realise` and :meth:`project` alike, so that either takes the images of both.

        A codec with rules of its own is alike to none, unless it says so.
        """
        own = type(self)
        if (own.realise, own.project, own.cell) != (Codec.realise, Codec.project, Codec.cell):
            return id(self)
        return self.lossless, self.grey

    @cached_property
    def transparent(self) -> bool:
        """Whether part of the picture is transparent."""
        if self.mode not in ("LA", "RGBA"):
            return False
        with Image.open(self.path) as image:
            return image.getchannel("A").getextrema() != (255, 255)

    def encode(self, pixels: np.ndarray) -> bytes:
        """Returns a whole file that holds these pixels, or for lossy formats, is nearest to them.

        Args:
            pixels: uint8 array of shape ``(height, width, 3)``, RGB, the size of the source

        Raises:
            ImageError: if the pixels do not fit the source (its size, grey), or the result of a
                lossless format is not what it should be
        """
        self.check_pixels(pixels)
        try:
            data = self._encode(pixels)
        except ImageError:
            raise
        # Pillow's encoders report what they cannot write as any of these
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SystemError) as error:
            raise ImageError(
                f"{self.path} cannot be written again in its own form ({error}); convert it to a plain PNG"
            ) from error
        if self.lossless and not np.array_equal(decode(data, str(self.path)), pixels):
            raise ImageError(
                f"{self.path} cannot be written again without loss in its own form; convert it to a "
                "plain PNG"
            )
        return data

    def check_change(self) -> None:
        """Finds out before anything expensive whether the file can hold a change of its pixels.

        Raises:
            ImageError: if it cannot
        """
        if not self.lossless:
            return
        pixels = self.original()
        # One value a row, which is soon compressed
        noise = np.random.default_rng(0).integers(-_TRIAL, _TRIAL + 1, (len(pixels), 1, 1))
        data = self.encode(add_change(pixels, np.broadcast_to(noise, pixels.shape)))
        if self._alpha(data) != self._alpha(self.path.read_bytes()):
            raise ImageError(
                f"{self.path} cannot be written again without changing what is transparent; convert it "
                "to a plain PNG"
            )

    def check_comes_back(self) -> None:
        """Checks that no change gives the very same file, so that a mark leaves nothing but itself.

        Raises:
            RewrittenError: if the file's encoder left something that is not written again
            ImageError: if it cannot be written again at all
        """
        data = self.path.read_bytes()
        if self.rewrite(data) != data:
            raise RewrittenError(
                f"{self.path} does not come back byte for byte when it is written again (another encoder "
                "made it), so that its HoneyImage would stand out"
            )

    def rewrite(self, data: bytes) -> bytes:
        """The source with what another file holds in place of its own coded pixels.

        It gives the other file back if that is the source but for the pixels. Of a lossy format the coded values
        are taken, not the pixels that they decode to.

        Args:
            data: a whole file, of the source's size and mode

        Raises:
            ImageError: if it does not fit the source
        """
        return self.encode(decode(data, str(self.path)))

    def encode_change(self, change: np.ndarray) -> bytes:
        """Returns a whole file for the source's pixels plus a change.

        Args:
            change: float or integer (H, W, 3), in 0–255 units
        """
        return self.encode(add_change(self.original(), change))

    def realise(self, change: np.ndarray) -> np.ndarray:
        """What is left of a change once it is written and read again, up to rounding and clipping.

        Args:
            change: float32 (..., h, W, 3), of all rows or of a strip of :func:`..images.strips`; of several images
                where :attr:`kind` is not this codec's own

        Returns:
            float32 (..., h, W, 3); of lossless formats, the change itself
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
            gradient: float32 (..., H, W, 3), of several images as for :meth:`realise`
            grey (False): whether colour differences stay as they are

        Returns:
            float32 (..., H, W, 3); the same for all three channels of grey images
        """
        if not self.grey:
            return gradient
        return np.repeat(gradient.sum(axis=-1, keepdims=True), 3, axis=-1)

    def placed(
        self,
        change: np.ndarray,
        gradient: np.ndarray,
        original: np.ndarray,
        budget: np.ndarray,
        share: float,
        pace: float,
    ) -> np.ndarray | None:
        """A change one round on whose place follows the file's coded values; see :func:`.jpeg_placement.placed`.

        Args:
            change, gradient: float32 (B, h, W, 3), of several images as for :meth:`realise`; 0–255 units
            original: uint8 (B, h, W, 3)
            budget: float32 (B, h, W), 0–255 units
            share: of the coded values, how many may change at most, 0 to 1
            pace: how many of these are moved in a round, 0 to 1

        Returns:
            float32 (B, h, W, 3), or None for formats without such a place
        """
        return None

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

    def _alpha(self, data: bytes) -> bytes:
        if self.mode not in ("LA", "RGBA"):
            return b""
        with Image.open(io.BytesIO(data)) as image:
            return image.getchannel("A").tobytes()

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


def check_change_kept(
    original: np.ndarray, pixels: np.ndarray, epsilon: float, name: str | os.PathLike[str]
) -> None:
    """Checks that a written image keeps to what was promised, decoded against decoded.

    Raises:
        ImageError: if it does not
    """
    if original.shape != pixels.shape:
        raise ImageError(
            f"the HoneyImage of {name} has another size than its original; nothing was kept"
        )
    moved = largest_change(original, pixels)
    if moved > epsilon:
        raise ImageError(
            f"the HoneyImage of {name} differs from its original by {moved} of 255, more than "
            f"epsilon={epsilon:g} allows; nothing was kept. Please report this file"
        )


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


def in_its_colours(pattern: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A pattern or change (H, W, 3) as it goes into an image: without colours if that has none, or it would stand out."""
    if not is_grey(image):
        return pattern
    return np.rint(pattern.mean(axis=2, keepdims=True)).astype(pattern.dtype).repeat(3, axis=2)


def save(image: Image.Image, file_format: str, **options: object) -> bytes:
    """The bytes that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()
