"""Image files written again like their sources: one file a format, registered here.

``encode_like(source, pixels)`` gives a file of the source's format, mode, tables and metadata with
other pixels. What cannot be written like its source, so that it would stand out among the other files
of a dataset, is refused with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ImageError
from ..images import LazyImages, opened_image, read_image
from .base import Codec, RewrittenError
from .jpeg import JpegCodec, load_jpeglib
from .png import PngCodec
from .previews import without_previews
from .raw import RawCodec
from .tiff import TiffCodec
from .webp import WebpCodec

__all__ = [
    "Codec",
    "RewrittenError",
    "check_markable",
    "decoded_sources",
    "encode_like",
    "encoder_versions",
    "open_codec",
    "written_like_marked",
]

#: Pillow's name of a format → codec. Uncompressed TIFF is patched in place like BMP.
CODECS: dict[str, type[Codec]] = {
    "BMP": RawCodec,
    "JPEG": JpegCodec,
    "PNG": PngCodec,
    "PPM": RawCodec,
    "TIFF": TiffCodec,
    "WEBP": WebpCodec,
}


def open_codec(path: str | os.PathLike[str]) -> Codec:
    """The codec of one file, from its header; the pixels are not decoded.

    Args:
        path: an image file

    Raises:
        ImageError: with the reason, if it cannot be read or cannot be written again like it is
    """
    path = Path(path)
    with opened_image(path) as image:
        _refuse_unmarkable(path, image)
        kind = CODECS[image.format or ""]
        if kind is TiffCodec and all(tile[0] == "raw" for tile in image.tile):  # type: ignore[attr-defined]
            kind = RawCodec
        if kind is RawCodec and not all(tile[0] == "raw" for tile in image.tile):  # type: ignore[attr-defined]
            raise ImageError(
                f"{path} is a run-length or text coded {image.format}, which is not supported; store it plainly"
            )
        return kind(path, image)


def check_markable(path: str | os.PathLike[str], *, rewritten: bool = False) -> None:
    """Finds out whether a file can be marked, by writing it again, changed and unchanged.

    Args:
        path: an image file
        rewritten (False): whether it need not come back byte for byte, as all files of the release will be
            encoded anew

    Raises:
        RewrittenError: if it can hold a mark and would not come back byte for byte
        ImageError: with the reason, if it cannot be marked
    """
    codec = open_codec(path)
    codec.check_change()
    try:
        codec.check_comes_back()
    except RewrittenError:
        if not rewritten:
            raise


def encode_like(source_path: str | os.PathLike[str], pixels: np.ndarray) -> bytes:
    """Returns a file with other pixels and everything else as in the source.

    PNG, BMP, PPM, TIFF and lossless WebP hold the pixels bit by bit, JPEG what its tables let through.

    Args:
        source_path: the file to be like
        pixels: uint8 array of shape ``(height, width, 3)``, RGB, of the source's size; for grey files
            with three equal channels. An alpha channel is taken from the source, unchanged

    Raises:
        ImageError: with the reason, if the source cannot be written again, or the pixels do not fit it
    """
    return open_codec(source_path).encode(pixels)


def written_like_marked(path: str | os.PathLike[str], *, anew: bool, drop: bool) -> bytes:
    """What stands in a release for a file that is not marked.

    Args:
        path: the file
        anew: whether it is encoded anew, as HoneyImages are
        drop: whether previews are dropped

    Returns:
        the file's own bytes, or those written; its own too if no file of its kind can be marked

    Raises:
        ImageError: if it cannot be read
    """
    data = Path(path).read_bytes()
    pixels = read_image(path)
    with suppress(ImageError):
        written = encode_like(path, pixels) if anew else data
        data = without_previews(written, str(path)) if drop else written
    return data


def decoded_sources(codecs: Sequence[Codec]) -> LazyImages:
    """The pixels of the codecs' sources, each decoded when it is asked for."""
    return LazyImages(len(codecs), lambda row: codecs[row].original())


def encoder_versions() -> dict[str, str | None]:
    """What decides the bytes of written files: the libraries and their versions; None if absent."""
    return {
        "pillow": Image.__version__,
        "jpeglib": None if load_jpeglib() is None else metadata.version("jpeglib"),
    }


def _refuse_unmarkable(path: Path, image: Image.Image) -> None:
    if image.format == "MPO":
        raise ImageError(
            f"{path} is a multi-picture JPEG (MPO), whose index would point to wrong places; keep its "
            "first picture alone"
        )
    if image.mode in ("P", "PA", "1") or image.format == "GIF":
        colours = "two colours" if image.mode == "1" else "a palette"
        raise ImageError(
            f"{path} has {colours}, which cannot show a small change; convert it to RGB or grey"
        )
    if image.format not in CODECS:
        raise ImageError(f"{path} is a {image.format} file, which cannot be written again")
