"""JPEG: the coefficients are changed, every other segment is kept byte by byte."""

from __future__ import annotations

import os
import struct
import tempfile
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ImageError
from ..images import strips
from . import jpeg_segments
from .base import Codec
from .jpeg_blocks import JpegBlocks
from .jpeg_huffman import ScanComponent, encode_scan, has_every_code
from .jpeg_placement import placed
from .jpeg_segments import PROGRESSIVE, SOF, Segments

#: The largest coefficient of 8-bit JPEG, in steps.
_LARGEST = 1023


class JpegCodec(Codec):
    """8-bit baseline and extended sequential Huffman JPEG, grey or colour, whose coefficients are changed.

    Kept: quantisation tables, chroma subsampling, restart interval, every APPn and COM segment (JFIF,
    EXIF with its orientation and thumbnail, ICC, XMP, Adobe) and their order, what stands behind the
    picture, and the Huffman tables if they are libjpeg's standard ones or its encoder's own fixed ones. Those
    that libjpeg made for the image are made for the new one.

    What is not changed stays bit for bit, and an unchanged image gives its own file back. This takes the
    package jpeglib; decoding and encoding the pixels would add noise of its own, tens of grey levels here
    and there.
    """

    format = "JPEG"
    lossless = False

    def __init__(self, path: Path, image: Image.Image) -> None:
        super().__init__(path, image)
        try:
            self._source = jpeg_segments.split(path.read_bytes())
            self.blocks = JpegBlocks(self._source)
        except (ValueError, KeyError, IndexError, struct.error) as error:
            raise ImageError(f"{path} is a JPEG that cannot be written again: {error}") from error
        self._check()

    @property
    def kind(self) -> Hashable:
        return (type(self), self.blocks.kind, self.grey)

    def realise(self, change: np.ndarray) -> np.ndarray:
        return self.blocks.realise(change)

    def cell(self, grey: bool) -> tuple[int, bool]:
        if grey or self.grey:
            return 8, False
        return max(self.blocks.unit), max(self.blocks.unit) > 8

    def project(self, gradient: np.ndarray, grey: bool = False) -> np.ndarray:
        return self.blocks.project(super().project(gradient), grey or self.grey)

    def placed(
        self,
        change: np.ndarray,
        gradient: np.ndarray,
        original: np.ndarray,
        budget: np.ndarray,
        share: float,
        pace: float,
    ) -> np.ndarray | None:
        return placed(self.blocks, change, gradient, original, budget, share, pace)

    def encode_change(self, change: np.ndarray) -> bytes:
        with _opened(self._source) as file:
            return self._encoded(file, change)

    def rewrite(self, data: bytes) -> bytes:
        with _opened(jpeg_segments.split(data)) as file:
            return self._encoded(file, None)

    def _encode(self, pixels: np.ndarray) -> bytes:
        return self.encode_change(pixels.astype(np.int16) - self.original())

    def _check(self) -> None:
        marker = self._source.frame[0]
        if marker in SOF[7:]:
            raise ImageError(
                f"{self.path} is an arithmetic-coded JPEG, which Pillow cannot write; with Huffman codes "
                "it would stand out. Convert such files with: jpegtran -optimize"
            )
        if marker == PROGRESSIVE:
            raise ImageError(
                f"{self.path} is a progressive JPEG, whose pixels would have to be encoded anew, with "
                "changes larger than a mark's. Convert such files without loss with: jpegtran -optimize"
            )
        if marker not in SOF[:2] or self._source.precision != 8:
            raise ImageError(
                f"{self.path} is a JPEG of a rare kind (lossless, hierarchical or not of 8 bits); convert it"
            )
        if load_jpeglib() is None:
            raise ImageError(
                f"{self.path} is a JPEG, and the package jpeglib, which changes JPEGs without encoding their "
                "pixels anew, is not installed here"
            )

    @cached_property
    def _writer(self) -> str:
        """Whose Huffman tables a written file has: "standard", "optimised" or its "own"."""
        if self._source.has_standard_huffman and not self._source.restart_interval:
            return "standard"
        if not has_every_code(self._source.huffman):
            return "optimised"
        if self._source.restart_interval:
            return "own"
        with _opened(self._source) as file:
            tables = jpeg_segments.split(_written(file, optimise=True)).huffman
        return "optimised" if tables == self._source.huffman else "own"

    def _encoded(self, file: Any, change: np.ndarray | None) -> bytes:
        """The source with a file's coefficients and a change of them; ``file`` is opened in jpeglib."""
        planes = {
            name: np.array(getattr(file, name))
            for name in ("Y", "Cb", "Cr")
            if getattr(file, name) is not None
        }
        if change is not None:
            self._add_steps(list(planes.values()), change)
        try:
            if self._writer == "own":
                return self._with_own_tables(list(planes.values()))
            for name, plane in planes.items():
                setattr(file, name, plane)
            written = jpeg_segments.split(_written(file, self._writer == "optimised"))
            return jpeg_segments.join(self._source, written)
        except ValueError as error:
            raise ImageError(f"{self.path} cannot be written as it was: {error}") from error

    def _with_own_tables(self, planes: list[np.ndarray]) -> bytes:
        scan = self._source.first_scan
        tables, components = self._source.huffman, self._source.components
        numbers = [number for number, _ in scan.tables]
        if numbers != [component.number for component in components]:
            raise ValueError("its components are in several scans")
        alone = len(components) == 1
        data = encode_scan(
            [
                ScanComponent(
                    plane,
                    1 if alone else component.vertical,
                    1 if alone else component.horizontal,
                    tables[table >> 4],
                    tables[0x10 | table & 15],
                )
                for plane, component, (_, table) in zip(
                    planes, components, scan.tables, strict=True
                )
            ],
            self._source.restart_interval,
        )
        return jpeg_segments.with_scan(self._source, scan.header + data)

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
