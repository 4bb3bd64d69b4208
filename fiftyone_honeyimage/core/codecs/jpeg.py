"""JPEG: the coefficients or the pixels are written anew, every other segment is kept byte by byte."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin

from ..errors import ImageError
from . import jpeg_segments
from .base import Codec, add_change, save, strips
from .jpeg_blocks import JpegBlocks
from .jpeg_segments import PROGRESSIVE, SOF, Segments

#: The largest coefficient of 8-bit JPEG, in steps.
_LARGEST = 1023


class JpegCodec(Codec):
    """8-bit baseline, extended and progressive Huffman JPEG, grey or colour.

    Kept: quantisation tables, chroma subsampling, progressive or not, restart interval, every APPn
    and COM segment (JFIF, EXIF with its orientation and thumbnail, ICC, XMP, Adobe) and their order,
    whether Huffman tables are libjpeg's standard ones or made for the image, and what stands behind
    the picture.

    Sequential files without restarts are changed in their coefficients if the package jpeglib is
    there: what is not changed stays bit for bit, and an unchanged image gives its own file back
    (the same bytes, where libjpeg wrote it). Others are decoded and encoded by Pillow with the same
    tables; rounding and clipping of the pixels then change a few values even of an unchanged image.
    """

    format = "JPEG"
    lossless = False

    def __init__(self, path: Path, image: Image.Image) -> None:
        super().__init__(path, image)
        try:
            self._source = jpeg_segments.split(path.read_bytes())
            self.blocks = JpegBlocks(self._source)
        except (ValueError, KeyError, IndexError) as error:
            raise ImageError(f"{path} is a JPEG that cannot be written again: {error}") from error
        self._check()
        self._subsampling = JpegImagePlugin.get_sampling(image)
        if not self.by_coefficients:
            self._check_pixel_path()

    @property
    def by_coefficients(self) -> bool:
        """Whether coefficients are changed; if not, pixels are encoded anew."""
        return (
            load_jpeglib() is not None
            and self._source.frame[0] != PROGRESSIVE
            and not self._source.restart_interval
        )

    @property
    def exact(self) -> bool:  # type: ignore[override]
        return self.by_coefficients

    @property
    def limits(self) -> tuple[str, ...]:
        if self.by_coefficients:
            return ()
        if self._source.frame[0] == PROGRESSIVE:
            return (
                "progressive JPEG: the order of scans is libjpeg's, and re-encoding adds noise of its own",
            )
        return ("JPEG: re-encoding adds noise of its own",)

    def realise(self, change: np.ndarray) -> np.ndarray:
        return self.blocks.realise(change)

    def cell(self, grey: bool) -> tuple[int, bool]:
        if grey or self.grey:
            return 8, False
        return max(self.blocks.unit), max(self.blocks.unit) > 8

    def project(self, gradient: np.ndarray, grey: bool = False) -> np.ndarray:
        return self.blocks.project(super().project(gradient), grey or self.grey)

    def encode_change(self, change: np.ndarray) -> bytes:
        if not self.by_coefficients:
            return self._by_pixels(add_change(self.original(), change))
        return self._by_coefficients(change)

    def _encode(self, pixels: np.ndarray) -> bytes:
        if not self.by_coefficients:
            return self._by_pixels(pixels)
        return self._by_coefficients(pixels.astype(np.int16) - self.original())

    def _check(self) -> None:
        marker = self._source.frame[0]
        if marker in SOF[7:]:
            raise ImageError(
                f"{self.path} is an arithmetic-coded JPEG, which Pillow cannot write; with Huffman codes "
                "it would stand out. Convert such files with: jpegtran -optimize"
            )
        if marker not in (*SOF[:2], PROGRESSIVE) or self._source.precision != 8:
            raise ImageError(
                f"{self.path} is a JPEG of a rare kind (lossless, hierarchical or not of 8 bits); convert it"
            )

    def _check_pixel_path(self) -> None:
        """Finds out before anything expensive whether Pillow can write such a file."""
        size = (max(self.blocks.unit), max(self.blocks.unit))
        blank = np.zeros((*size, 3), dtype=np.uint8)
        written = jpeg_segments.split(self._write(blank))
        wrong = []
        if written.quantisation != self._source.quantisation:
            wrong.append("quantisation tables")
        if len(written.components) != len(self._source.components) or (
            len(written.components) > 1
            and [(c.horizontal, c.vertical) for c in written.components]
            != [(c.horizontal, c.vertical) for c in self._source.components]
        ):
            wrong.append("chroma subsampling")
        if wrong:
            raise ImageError(
                f"{self.path} has {' and '.join(wrong)} that Pillow cannot write; install the package "
                "jpeglib, or convert the file to 4:4:4, 4:2:2 or 4:2:0"
            )

    def _by_pixels(self, pixels: np.ndarray) -> bytes:
        return self._join(self._write(pixels))

    def _write(self, pixels: np.ndarray) -> bytes:
        """Pillow's file of these pixels with the source's parameters."""
        tables = self._source.quantisation
        used = tables[:1] if len(set(tables)) == 1 else tables[:2]
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if len(tables) == 1:
            image = image.getchannel(0)
        options: dict[str, Any] = {}
        if len(tables) == 3:
            options["subsampling"] = self._subsampling
            options["keep_rgb"] = jpeg_segments.stores_rgb(self._source)
        return save(
            image,
            "JPEG",
            qtables=[_natural(table) for table in used],
            progressive=self._source.frame[0] == PROGRESSIVE,
            optimize=not self._source.has_standard_huffman,
            restart_marker_blocks=self._source.restart_interval,
            **options,
        )

    def _by_coefficients(self, change: np.ndarray) -> bytes:
        optimise = not self._source.has_standard_huffman
        with _opened(self._source) as file:
            planes = [
                (name, np.array(getattr(file, name)))
                for name in ("Y", "Cb", "Cr")
                if getattr(file, name) is not None
            ]
            self._add_steps([plane for _, plane in planes], change)
            for name, plane in planes:
                setattr(file, name, plane)
            return self._join(_written(file, optimise))

    def _add_steps(self, planes: list[np.ndarray], change: np.ndarray) -> None:
        """Adds a change to coefficients, int16 (rows, columns, 8, 8) of each component, in place."""
        top = [0] * len(planes)
        for rows in strips(self.height):
            for i, steps in enumerate(self.blocks.steps_of(change[rows])):
                target = planes[i][top[i] : top[i] + len(steps)]
                # Whole units are coded, of which a file keeps the blocks that hold pixels.
                steps = np.rint(steps[: len(target), : target.shape[1]]).astype(np.int16)
                # A source may lie beyond the range that is written; it is not pulled into it.
                np.clip(
                    target + steps,
                    np.minimum(target, -_LARGEST),
                    np.maximum(target, _LARGEST),
                    out=target,
                )
                top[i] += len(target)

    def _join(self, written: bytes) -> bytes:
        try:
            return jpeg_segments.join(self._source, jpeg_segments.split(written))
        except ValueError as error:
            raise ImageError(f"{self.path} cannot be written as it was: {error}") from error


def load_jpeglib() -> Any | None:
    """The package jpeglib, or None where it is not installed."""
    with _jpeglib_lock:
        if not _jpeglib:
            try:
                import jpeglib

                # One version of libjpeg for all: what is read and written does not hang on the default.
                jpeglib.version.set("turbo210")
                _jpeglib.append(jpeglib)
            except (ImportError, OSError, RuntimeError):
                _jpeglib.append(None)
        return _jpeglib[0]


_jpeglib: list[Any] = []
# jpeglib keeps state in global variables
_jpeglib_lock = threading.RLock()


@lru_cache(maxsize=1)
def _folder(process: int) -> tempfile.TemporaryDirectory[str]:
    """Where jpeglib reads and writes its files: one folder a process, since making one takes longest."""
    return tempfile.TemporaryDirectory(prefix="honeyimage-")


@contextmanager
def _opened(segments: Segments) -> Iterator[Any]:
    """A file in jpeglib, which is this thread's alone meanwhile."""
    with _jpeglib_lock:
        path = os.path.join(_folder(os.getpid()).name, "source.jpg")
        # Metadata stay out of it: jpeglib has room for 50 segments, and join() puts them back.
        Path(path).write_bytes(jpeg_segments.without_metadata(segments))
        yield load_jpeglib().read_dct(path)  # type: ignore[union-attr]


def _written(file: Any, optimise: bool) -> bytes:
    path = os.path.join(_folder(os.getpid()).name, "written.jpg")
    file.write_dct(path, flags=["+OPTIMIZE_CODING"] if optimise else [])
    return Path(path).read_bytes()


def _natural(zigzag: tuple[int, ...]) -> list[int]:
    """A zigzag table row by row, as Pillow takes it."""
    from .jpeg_blocks import _ZIGZAG

    table = [0] * 64
    for position, value in zip(_ZIGZAG, zigzag, strict=True):
        table[position] = value
    return table
