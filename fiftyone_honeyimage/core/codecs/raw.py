"""Files whose pixels lie in them plainly (BMP, PPM, uncompressed TIFF): patched in place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from .base import Codec


class RawCodec(Codec):
    """Replaces the pixels' bytes; every other byte of the file is kept."""

    def __init__(self, path: Path, image: Image.Image) -> None:
        super().__init__(path, image)
        self.format = image.format or ""
        self._tiles = []
        for tile in image.tile:  # type: ignore[attr-defined]
            arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
            self._tiles.append((tile.extents, tile.offset, (*arguments, 0, 1)[:3]))

    def _encode(self, pixels: np.ndarray) -> bytes:
        data = np.frombuffer(self.path.read_bytes(), dtype=np.uint8).copy()
        before, after = self._with_pixels(self.original()), self._with_pixels(pixels)
        for extents, offset, (rawmode, stride, orientation) in self._tiles:
            old, new = (
                np.frombuffer(
                    image.crop(extents).tobytes("raw", rawmode, stride, orientation or 1), np.uint8
                )
                for image in (before, after)
            )
            # Bytes that hold no colour, such as the fourth of 32 bits, stay what they are.
            part = data[offset : offset + len(new)]
            np.copyto(part, new[: len(part)], where=(old != new)[: len(part)])
        return data.tobytes()
