"""Compressed TIFF: written again with the same compression, strips and tags, or refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin

from ..errors import ImageError
from .base import Codec

#: Pillow's names of lossless compressions that it can write.
_COMPRESSIONS = ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits")

_ROWS_PER_STRIP, _STRIP_OFFSETS, _STRIP_LENGTHS, _TILE_WIDTH, _ICC = 278, 273, 279, 322, 34675
_PLANAR = 284


class TiffCodec(Codec):
    """LZW, Deflate and PackBits in strips. Kept: compression, predictor, strips and every tag."""

    format = "TIFF"

    def __init__(self, path: Path, image: Image.Image) -> None:
        super().__init__(path, image)
        tags = image.tag_v2  # type: ignore[attr-defined]
        self._compression = image.info.get("compression", "raw")
        if self._compression not in _COMPRESSIONS:
            raise ImageError(
                f"{path} is a TIFF with compression {self._compression!r}, which is not supported; store "
                "it with LZW or Deflate"
            )
        if _TILE_WIDTH in tags:
            raise ImageError(
                f"{path} is a tiled TIFF, and Pillow writes strips; convert it to strips"
            )
        if tags.prefix != b"II" or tags.get(_PLANAR, 1) != 1:
            raise ImageError(
                f"{path} is a compressed TIFF in big-endian or planar order, which Pillow cannot write; "
                "convert it"
            )
        self._rows_per_strip = int(min(tags.get(_ROWS_PER_STRIP, self.height), self.height))
        self._tags = _comparable(tags)

    def _encode(self, pixels: np.ndarray) -> bytes:
        image = self._with_pixels(pixels)
        with Image.open(self.path) as source:
            tags = source.tag_v2  # type: ignore[attr-defined]
            for tag in (_STRIP_OFFSETS, _STRIP_LENGTHS):
                tags.pop(tag, None)
            buffer = io.BytesIO()
            image.save(
                buffer,
                format="TIFF",
                compression=self._compression,
                tiffinfo=tags,
                icc_profile=source.info.get("icc_profile"),
                strip_size=self._rows_per_strip * self.width * len(image.getbands()),
            )
        with Image.open(buffer) as written:
            changed = sorted(
                tag
                for tag, value in {**self._tags, **_comparable(written.tag_v2)}.items()  # type: ignore[attr-defined]
                if self._tags.get(tag) != value or tag not in written.tag_v2  # type: ignore[attr-defined]
            )
        if changed:
            names = ", ".join(str(TiffImagePlugin.TiffTags.lookup(tag).name) for tag in changed)
            raise ImageError(
                f"{self.path} has TIFF tags that Pillow does not write as they were ({names}); store it "
                "uncompressed, or as PNG"
            )
        return buffer.getvalue()


def _comparable(tags: TiffImagePlugin.ImageFileDirectory_v2) -> dict[int, object]:
    """Tags and values, but where the strips lie and how long they are."""
    return {tag: repr(tags[tag]) for tag in tags if tag not in (_STRIP_OFFSETS, _STRIP_LENGTHS)}
