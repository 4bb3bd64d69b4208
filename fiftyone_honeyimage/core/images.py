"""Image files in and out.

Stored pixels are what counts: EXIF orientation is *not* applied, because a marked file replaces its
original and has to keep the original's geometry, and because common training loaders
(``torchvision.datasets.ImageFolder`` among them) do not apply it either.

What a file becomes as an 8-bit RGB array is what such loaders make of it (Pillow's ``convert("RGB")``):

====================  ==========================================================================
grey, 1-bit           the value repeated in the three channels
palette               the palette's colours
with transparency     the colours; the alpha channel is dropped and nothing is composited
16-bit, float, CMYK   refused, as an 8-bit RGB file could not stand in for the original unnoticed
====================  ==========================================================================
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL import ImageFile as PillowFile

from .errors import ImageError

#: Formats that are read. Others (JPEG 2000, AVIF, ...) may hold more than 8 bits without Pillow telling.
#: JPEG covers the multi-picture files (MPO) of phones.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

#: Rows that are worked on at a time, a multiple of the largest block of JPEG (32); bounds memory.
_STRIP_ROWS = 256

#: Pillow modes that become 8-bit RGB without loss of colour.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")


class LazyImages(Sequence[np.ndarray]):
    """Images that are made when they are asked for, and not kept.

    Args:
        length: how many
        read: makes the image of a row, uint8 (H, W, 3)
    """

    def __init__(self, length: int, read: Callable[[int], np.ndarray]) -> None:
        self._length = length
        self._read = read

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row):  # type: ignore[no-untyped-def]
        return self._read(row)


@dataclass(frozen=True, eq=False)
class ImageFile:
    """A decoded image file.

    Args:
        path: where it was read from
        format: Pillow's name of the file format, such as ``"JPEG"``
        mode: Pillow's mode of the pixels as stored, such as ``"L"`` or ``"RGBA"``
        size: ``(width, height)`` of the pixels as stored
        array: uint8 array of shape ``(height, width, 3)``, RGB
    """

    path: Path
    format: str
    mode: str
    size: tuple[int, int]
    array: np.ndarray


def read_image_file(path: str | os.PathLike[str]) -> ImageFile:
    """Reads and fully decodes a still image.

    Args:
        path: an image file in one of :data:`FORMATS`

    Returns:
        an :class:`ImageFile`

    Raises:
        ImageError: naming the file, if it is missing, empty, truncated, unreadable, animated, or of a
            format or mode that is not supported
    """
    path = Path(path)
    with opened_image(path) as image:
        return _decoded(path, image)


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads an image as a uint8 array of shape ``(height, width, 3)``, RGB.

    The same as :func:`read_image_file`, for callers that want the pixels alone.
    """
    return read_image_file(path).array


@contextlib.contextmanager
def opened_image(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """Opens a still image and reads its header; its pixels are decoded by what is done with it.

    Args:
        path: an image file in one of :data:`FORMATS`

    Raises:
        ImageError: as :func:`read_image_file` does, also for damage that shows inside the block
    """
    path = Path(path)
    if not path.exists():
        raise ImageError(f"there is no image file at {path}")
    if not path.is_file():
        raise ImageError(f"{path} is not a file")
    if path.stat().st_size == 0:
        raise ImageError(f"the image file {path} is empty (zero bytes); copy it again")
    with _opened(path, str(path)) as image:
        yield image


def read_image_bytes(data: bytes, name: str) -> np.ndarray:
    """Decodes a file in memory, as :func:`read_image` does one on disk.

    Args:
        data: the file's content
        name: what errors call it
    """
    with _opened(io.BytesIO(data), name) as image:
        return _decoded(Path(name), image).array


@contextlib.contextmanager
def _opened(source: Path | io.BytesIO, name: str) -> Iterator[Image.Image]:
    try:
        with _strict_truncation, Image.open(source, formats=FORMATS) as image:
            _refuse_unsupported(Path(name), image)
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError as e:
        raise ImageError(
            f"{name} is not an image in a supported format ({', '.join(FORMATS)}), or its header is damaged"
        ) from e
    except PermissionError as e:
        raise ImageError(f"no permission to read {name}") from e
    # Pillow's decoders report damage as any of these
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, IndexError, TypeError) as e:
        raise ImageError(f"the image file {name} is truncated or damaged: {e}") from e
    except Image.DecompressionBombError as e:
        raise ImageError(f"the image file {name} is too large to be decoded safely: {e}") from e


def _decoded(path: Path, image: Image.Image) -> ImageFile:
    mode = image.mode
    image.load()
    array = np.array(_as_rgb(image), dtype=np.uint8)
    return ImageFile(path, image.format or "", mode, image.size, array)


def check_image(array: np.ndarray, name: str) -> None:
    """Raises :class:`ImageError` unless ``array`` is a non-empty uint8 ``(height, width, 3)`` array.

    Args:
        array: the candidate
        name: what the error calls it
    """
    if not isinstance(array, np.ndarray):
        raise ImageError(f"{name}: an image is a NumPy array, got {type(array).__name__}")
    if array.dtype != np.uint8:
        raise ImageError(f"{name}: an image has dtype uint8, got {array.dtype}")
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ImageError(f"{name}: an image has shape (height, width, 3), got {array.shape}")


def _as_rgb(image: Image.Image) -> Image.Image:
    # straight to RGB is the same, but warns of a palette's transparency
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _refuse_unsupported(path: Path, image: Image.Image) -> None:
    # MPO is what phones write for a JPEG with a preview or depth map behind the picture
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        frames = image.n_frames  # type: ignore[attr-defined]
        raise ImageError(f"{path} holds {frames} frames; only still images are supported")
    if _bits_per_channel(image) > 8:
        raise ImageError(
            f"{path} holds more than 8 bits a channel, which are not supported yet; convert it to 8 bits"
        )
    if image.mode not in MODES:
        raise ImageError(
            f"{path} holds {image.mode} pixels, which are not supported yet; convert it to RGB or grey"
        )


def _bits_per_channel(image: Image.Image) -> int:
    """The bits as stored: Pillow opens 16-bit RGB files as 8-bit ``"RGB"`` without a word."""
    if image.mode.startswith(("I", "F")):
        return 32 if image.mode in ("I", "F") else 16
    if image.format == "TIFF":
        return max(np.atleast_1d(image.tag_v2.get(258, 8)).tolist())  # type: ignore[attr-defined]
    for tile in getattr(image, "tile", ()):
        args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if image.format == "PNG" and ";16" in str(args[0]):
            return 16
        if image.format == "PPM" and any(isinstance(a, int) and a > 255 for a in args[1:]):
            return 16
    return 8


class _StrictTruncation:
    """Some libraries tell Pillow, for the whole process, to fill truncated images with grey.

    This takes it back while any thread reads here, and threads still decode side by side.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._before = False

    def __enter__(self) -> None:
        with self._lock:
            if self._readers == 0:
                self._before = PillowFile.LOAD_TRUNCATED_IMAGES
                PillowFile.LOAD_TRUNCATED_IMAGES = False
            self._readers += 1

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                PillowFile.LOAD_TRUNCATED_IMAGES = self._before


_strict_truncation = _StrictTruncation()


def largest_change(original: np.ndarray, pixels: np.ndarray) -> int:
    """The largest difference of any value of two uint8 images of one shape, a few rows at a time."""
    return max(
        int(np.abs(original[rows].astype(np.int16) - pixels[rows]).max())
        for rows in strips(len(original))
    )


def strips(height: int) -> list[slice]:
    """The rows of an image, a few at a time, which bounds memory."""
    return [slice(top, min(top + _STRIP_ROWS, height)) for top in range(0, height, _STRIP_ROWS)]
