"""WebP: the picture is compressed anew, the container's other chunks are kept byte by byte."""

from __future__ import annotations

import struct
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ImageError
from .base import Codec, save
from .vp8_header import Vp8Header, read_vp8_header

#: Qualities on either side of the one that the quantisers point to, which are tried too
_NEIGHBOURS = 3


class WebpCodec(Codec):
    """Lossless (VP8L) and lossy (VP8) still images.

    Kept: which of the two it is, the extended header, ICC profile, EXIF, XMP and the alpha channel of
    lossy files, byte by byte. A lossy file does not say its quality: the one is taken with which the
    decoded source gets a frame header most like the source's.
    """

    format = "WEBP"

    def __init__(self, path: Path, image: Image.Image) -> None:
        super().__init__(path, image)
        self._chunks = split_chunks(path.read_bytes())
        kinds = [kind for kind, _ in self._chunks]
        if b"ANIM" in kinds or b"ANMF" in kinds:
            raise ImageError(f"{path} is an animated WebP; only still images are supported")
        self.lossless = self.exact = self.local = b"VP8L" in kinds
        self._kind = b"VP8L" if self.lossless else b"VP8 "
        if self._kind not in kinds:
            raise ImageError(f"{path} has no picture that can be replaced; convert it to PNG")

    @property
    def limits(self) -> tuple[str, ...]:
        if self.lossless:
            return (
                "WebP: the effort of the compressor is not known; the size can differ slightly",
            )
        return (
            "lossy WebP: the quality is estimated from the quantisers, and re-encoding adds noise of its own",
        )

    @cached_property
    def quality(self) -> int:
        """The quality of lossy compression, 0 to 100.

        A file does not say it. It is the one that gives the decoded source a frame header most like
        the source's own: the encoder derives the quantisers of the header from quality and picture. (The size
        alone would mislead: a picture that was compressed before takes fewer bytes.)
        """
        pixels = self.original()
        frame = dict(self._chunks)[self._kind]
        wanted = read_vp8_header(frame)
        distances: dict[int, tuple[int, int]] = {}

        def coarseness(quality: int) -> int:
            written = self._picture(pixels, quality)
            header = read_vp8_header(written)
            distances[quality] = (_distance(header, wanted), abs(len(written) - len(frame)))
            return sum(header.quantisers)

        low, high = 0, 100
        while low < high:
            middle = (low + high) // 2
            if coarseness(middle) > sum(wanted.quantisers):
                low = middle + 1
            else:
                high = middle
        for near in range(max(low - _NEIGHBOURS, 0), min(low + _NEIGHBOURS, 100) + 1):
            if near not in distances:
                coarseness(near)
        return min(distances, key=lambda quality: (*distances[quality], quality))

    def _picture(self, pixels: np.ndarray, quality: int) -> bytes:
        # The alpha channel of a lossy file is a chunk of its own, which is kept as it is.
        image = self._with_pixels(pixels) if self.lossless else Image.fromarray(pixels)
        written = save(image, "WEBP", lossless=self.lossless, quality=quality, exact=True)
        return dict(split_chunks(written))[self._kind]

    def _encode(self, pixels: np.ndarray) -> bytes:
        picture = self._picture(np.ascontiguousarray(pixels), 80 if self.lossless else self.quality)
        body = b"".join(
            _pack(kind, picture if kind == self._kind else content)
            for kind, content in self._chunks
        )
        return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body

    def cell(self, grey: bool) -> tuple[int, bool]:
        # VP8 codes macroblocks, and smooths across their edges
        return (1, False) if self.lossless else (16, True)

    def realise(self, change: np.ndarray) -> np.ndarray:
        if self.lossless:
            return change
        original = self.original()
        from .base import add_change, decode

        decoded = decode(self._encode(add_change(original, change)), str(self.path))
        return decoded.astype(np.float32) - original


def _distance(header: Vp8Header, wanted: Vp8Header) -> int:
    """How far apart two headers are, in steps of quantisers and filter."""
    steps = zip(header.quantisers, wanted.quantisers, strict=True)
    return sum(abs(a - b) for a, b in steps) + abs(header.filter_level - wanted.filter_level)


def split_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a WebP file, each with its kind, in order."""
    chunks = []
    position = 12
    while position + 8 <= len(data):
        kind, length = (
            data[position : position + 4],
            struct.unpack_from("<I", data, position + 4)[0],
        )
        chunks.append((kind, data[position + 8 : position + 8 + length]))
        position += 8 + length + length % 2
    return chunks


def _pack(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
