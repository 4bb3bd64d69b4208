"""WebP: the picture is compressed anew, the container's other chunks are kept byte by byte."""

from __future__ import annotations

import struct
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ImageError
from .base import Codec, save

_PICTURE = b"VP8L"

#: Quality and method of the compressor that are tried, Pillow's defaults first
_EFFORTS = ((80, 4), (75, 4), (100, 4), (100, 6), (80, 6), (75, 6), (80, 0), (100, 0))


class WebpCodec(Codec):
    """Lossless (VP8L) still images.

    Kept: the extended header, ICC profile, EXIF and XMP, and the compressor's effort: the one that gives the
    source's own data, or else Pillow's default. A lossy file would have to be encoded anew, which adds noise of
    its own that can be many times a mark's.
    """

    format = "WEBP"

    def __init__(self, path: Path, image: Image.Image) -> None:
        super().__init__(path, image)
        self._chunks = split_chunks(path.read_bytes())
        kinds = [kind for kind, _ in self._chunks]
        if b"ANIM" in kinds or b"ANMF" in kinds:
            raise ImageError(f"{path} is an animated WebP; only still images are supported")
        if b"VP8 " in kinds:
            raise ImageError(
                f"{path} is a lossy WebP, whose pixels would have to be encoded anew, with changes larger "
                "than a mark's; convert it to PNG or lossless WebP"
            )
        if _PICTURE not in kinds:
            raise ImageError(f"{path} has no picture that can be replaced; convert it to PNG")

    @cached_property
    def _effort(self) -> tuple[int, int]:
        own = dict(self._chunks)[_PICTURE]
        pixels = self.original()
        return next((e for e in _EFFORTS if self._picture(pixels, e) == own), _EFFORTS[0])

    def _picture(self, pixels: np.ndarray, effort: tuple[int, int]) -> bytes:
        quality, method = effort
        image = self._with_pixels(np.ascontiguousarray(pixels))
        written = save(image, "WEBP", lossless=True, quality=quality, method=method, exact=True)
        return dict(split_chunks(written))[_PICTURE]

    def _encode(self, pixels: np.ndarray) -> bytes:
        picture = self._picture(pixels, self._effort)
        body = b"".join(
            _pack(kind, picture if kind == _PICTURE else content) for kind, content in self._chunks
        )
        return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def split_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a WebP file, each with its kind, in order."""
    chunks = []
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        chunks.append((kind, data[position + 8 : position + 8 + length]))
        position += 8 + length + length % 2
    return chunks


def _pack(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
