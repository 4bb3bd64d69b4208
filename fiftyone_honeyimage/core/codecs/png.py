"""PNG: the image data are compressed anew, every other chunk is kept byte by byte."""

from __future__ import annotations

import struct
import zlib
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ImageError
from .base import Codec, save

SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: Levels of zlib that write each value of the two bits FLEVEL of a zlib stream's header.
_LEVELS = {0: (0, 1), 1: (3, 5), 2: (6,), 3: (9, 7)}


class PngCodec(Codec):
    """8-bit grey, grey with alpha, RGB and RGBA.

    Kept: IHDR, every ancillary chunk (text, ICC profile, gamma, EXIF, time, density, ...) and their
    order, the length of the IDAT chunks, and the compression level: the one that gives the source's own data, or
    else the nearest in size. The row filters are Pillow's choice.
    """

    format = "PNG"

    def __init__(self, path: Path, image: Image.Image) -> None:
        super().__init__(path, image)
        data = path.read_bytes()
        chunks = read_chunks(data)
        depth, _, _, _, interlace = struct.unpack(">5B", chunks[0][1][8:13])
        kinds = [kind for kind, _ in chunks]
        if depth < 8:
            raise ImageError(
                f"{path} holds {depth} bits a pixel, which cannot show a small change; convert it to 8 bits"
            )
        if interlace:
            raise ImageError(
                f"{path} is an interlaced PNG, which Pillow cannot write; written plain it would stand "
                "out. Convert the dataset's interlaced files to plain PNG"
            )
        if b"tRNS" in kinds:
            raise ImageError(
                f"{path} marks one colour as transparent, and a change of pixels would change what is "
                "transparent; convert it to RGBA"
            )
        if b"acTL" in kinds:
            raise ImageError(f"{path} is an animated PNG; only still images are supported")
        first, last = kinds.index(b"IDAT"), len(kinds) - 1 - kinds[::-1].index(b"IDAT")
        self._before = b"".join(_pack(*chunk) for chunk in chunks[:first])
        self._after = b"".join(_pack(*chunk) for chunk in chunks[last + 1 :])
        self._idat_length = len(chunks[first][1]) if last > first else None
        stream = b"".join(content for kind, content in chunks[first : last + 1] if kind == b"IDAT")
        self._data = stream
        self._flevel = stream[1] >> 6 if len(stream) > 1 else 2

    @cached_property
    def _options(self) -> dict[str, object]:
        pixels = self.original()
        tried: list[dict[str, object]] = []
        tried += [{"compress_level": level} for level in _LEVELS[self._flevel]]
        tried += [{"optimize": True}]
        nearest = {}
        for options in tried:
            stream = self._stream(pixels, options)
            if stream == self._data:
                return options
            nearest[abs(len(stream) - len(self._data))] = options
        return nearest[min(nearest)]

    def _stream(self, pixels: np.ndarray, options: dict[str, object]) -> bytes:
        written = save(self._with_pixels(pixels), "PNG", **options)
        return b"".join(content for kind, content in read_chunks(written) if kind == b"IDAT")

    def _encode(self, pixels: np.ndarray) -> bytes:
        stream = self._stream(pixels, self._options)
        length = self._idat_length or len(stream)
        parts = [stream[start : start + length] for start in range(0, len(stream), length)]
        return (
            SIGNATURE
            + self._before
            + b"".join(_pack(b"IDAT", part) for part in parts)
            + self._after
        )


def read_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, content) of every chunk up to IEND; Pillow has read the file, so it is sound."""
    chunks = []
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunks.append((kind, data[position + 8 : position + 8 + length]))
        position += 12 + length
        if kind == b"IEND":
            break
    return chunks


def _pack(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
