"""Size on disk, given the image: how a file compares with what an encoder makes of its own pixels."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin

from ..codecs import RewrittenError, open_codec
from ..codecs.base import save
from ..errors import ImageError
from .container import Container
from .containers import read_container
from .features import CONTENT, NUMBER, Feature

#: Formats in which the size is free once the pixels are given. In JPEG and lossy WebP, the coded values *are*
#: the pixels, and how they are packed shows in the tables.
_LOSSLESS = ("png", "tiff", "gif")

_PNG_LEVELS = (6, 9, 1, 3, 0)

#: Images beyond so many pixels in all are not encoded again
MAX_PIXELS = 40_000_000


@dataclass(frozen=True)
class Recoded:
    """A file beside what Pillow makes of its pixels.

    Attributes:
        encoder: Pillow's setting that gives the very same coded bytes, "other" if none of those tried
        log_ratio: log(bytes / Pillow's bytes) of the coded pixels, 0 if they are the same
        filters: share of a PNG's rows that are filtered as Pillow filters them
        covariates: (4,) log pixels, log Pillow's bytes, entropy, mean gradient
        lossless: whether the format left the encoder this freedom
    """

    encoder: str
    log_ratio: float
    filters: float
    covariates: np.ndarray
    lossless: bool


def encoding_features(
    folder: Path,
    names: Sequence[str],
    containers: Sequence[Container],
    sets: np.ndarray,
    max_pixels: int = MAX_PIXELS,
) -> tuple[list[Feature], list[Feature], int]:
    """Encodes the matched images again and compares sizes.

    Each marked image and its nearest control come first, then the other controls, until ``max_pixels``;
    of whatever size, at least one set is encoded.

    Args:
        folder, names: the files
        containers: theirs
        sets: int (S, K), see :func:`.matching.match`
        max_pixels (40 million): a bound on the work

    Returns:
        features for lossless formats (metadata), features for lossy ones (which belong to the pixels), and
        the number of matched sets that were left out
    """
    found: dict[int, Recoded] = {}
    count = len(names)
    comes_back: list[Hashable] = [None] * count
    left, skipped = max_pixels, 0
    for part in (sets[:, :2], sets[:, 2:]):
        for members in part:
            rows = [int(row) for row in members if row >= 0]
            cost = sum(math.prod(containers[row].size) for row in rows)
            if cost > left and found:
                skipped += part.shape[1] == 2
                continue
            left -= cost
            for row in rows:
                comes_back[row] = _comes_back(folder / names[row])
                recoded = _recode(folder / names[row], containers[row])
                if recoded is not None:
                    found[row] = recoded

    residuals = _residuals(found)
    encoders: list[str | None] = [None] * count
    filters, lossless, lossy = (np.full(count, np.nan) for _ in range(3))
    for row, recoded in found.items():
        (lossless if recoded.lossless else lossy)[row] = residuals[row]
        if recoded.lossless:
            encoders[row] = recoded.encoder
            filters[row] = recoded.filters
    metadata = [
        # Known for the matched images alone, so compared among them alone
        Feature("size: same bytes as Pillow", CONTENT, encoders, is_partial=True),
        Feature("written again: the same bytes", CONTENT, comes_back, is_partial=True),
        Feature("size: on disk, given the image", NUMBER, lossless.tolist()),
        Feature("size: PNG filters, given the image", NUMBER, filters.tolist()),
    ]
    return metadata, [Feature("size of the coded pixels", NUMBER, lossy.tolist())], skipped


def encoder_of(path: Path, container: Container) -> str | None:
    """Pillow's setting that gives a lossless file's coded bytes, "other", or None for other files."""
    recoded = _recode(path, container)
    return recoded.encoder if recoded is not None and recoded.lossless else None


def _comes_back(path: Path) -> Hashable:
    """Whether a file written again has the same bytes, down to the padding behind its last code."""
    try:
        open_codec(path).check_comes_back()
    except RewrittenError:
        return False
    except ImageError:
        return "cannot be written"
    return True


def _recode(path: Path, container: Container) -> Recoded | None:
    if container.format not in ("jpeg", "webp", *_LOSSLESS):
        return None
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            lossless = container.format in _LOSSLESS or (
                container.format == "webp" and "webp.lossless header" in container.structure
            )
            encoder, size, filters = _compare(data, image, container, lossless)
            return Recoded(
                encoder,
                0.0 if encoder != "other" else float(np.log(container.payload / size)),
                filters,
                np.array([np.log(image.width * image.height), np.log(size), *_statistics(image)]),
                lossless,
            )
    except (OSError, ValueError, SyntaxError, KeyError, struct.error, zlib.error):
        return None  # what is damaged is a feature of its own


def _compare(
    data: bytes, image: Image.Image, container: Container, lossless: bool
) -> tuple[str, int, float]:
    """Pillow's setting that gives the same coded bytes, its size at the default, agreeing filters."""
    if container.format == "png":
        return _compare_png(data, image)
    if container.format == "jpeg":
        options: dict[str, Any] = {
            "qtables": image.quantization,  # type: ignore[attr-defined]
            "subsampling": JpegImagePlugin.get_sampling(image),
            "progressive": "SOF2" in str(container.structure.get("jpeg.frame")),
            "optimize": "made" in str(container.structure.get("jpeg.Huffman tables")),
        }
        written = save(image, "JPEG", **options)
    elif container.format == "webp":
        written = save(image, "WEBP", lossless=lossless)
    elif container.format == "tiff":
        written = save(image, "TIFF", compression=image.info.get("compression"))
    else:
        written = save(image, "GIF")
    same = lossless and written == data
    return ("default" if same else "other"), read_container(written).payload, np.nan


def _compare_png(data: bytes, image: Image.Image) -> tuple[str, int, float]:
    own = _png_stream(data)
    plain = image.copy()
    plain.info.clear()
    size, filters = 0, 1.0
    for level in _PNG_LEVELS:
        stream = _png_stream(save(plain, "PNG", compress_level=level))
        if stream == own:
            return f"level {level}", len(stream), 1.0
        if not size:
            size = len(stream)
            filters = _agreeing_filters(own, stream, image)
    return "other", size, filters


def _png_stream(data: bytes) -> bytes:
    parts = []
    position = 8
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            parts.append(data[position + 8 : position + 8 + length])
        position += 12 + length
    return b"".join(parts)


def _agreeing_filters(own: bytes, other: bytes, image: Image.Image) -> float:
    rows = [np.frombuffer(zlib.decompress(stream), np.uint8) for stream in (own, other)]
    if len(rows[0]) != len(rows[1]) or len(rows[0]) % image.height:
        return 0.0  # interlaced, or of another bit depth
    stride = len(rows[0]) // image.height
    return float((rows[0][::stride] == rows[1][::stride]).mean())


def _statistics(image: Image.Image) -> tuple[float, float]:
    """Entropy in bits and mean absolute horizontal difference of the grey image."""
    grey = image.convert("L")
    pixels = np.asarray(grey, dtype=np.int16)
    gradient = float(np.abs(np.diff(pixels, axis=1)).mean()) if pixels.shape[1] > 1 else 0.0
    return float(grey.entropy()), gradient


def _residuals(found: dict[int, Recoded]) -> dict[int, float]:
    """log(bytes / Pillow's bytes) less what size, entropy and gradient of the image explain.

    The fit does not know which files are marked. Files that Pillow gives byte by byte have nothing left to
    explain and stay at 0.
    """
    others = [row for row, recoded in found.items() if recoded.encoder == "other"]
    residuals = dict.fromkeys(found, 0.0)
    if not others:
        return residuals
    ratios = np.array([found[row].log_ratio for row in others])
    if len(others) >= 20:
        x = np.array([found[row].covariates for row in others])
        x = np.column_stack([np.ones(len(x)), x])
        coefficients, *_ = np.linalg.lstsq(x, ratios, rcond=None)
        explained = x[:, 1:] @ coefficients[1:]
        # The intercept stays: it tells "other" encoders from Pillow's files at 0
        ratios = ratios - (explained - explained.mean())
    # Rounding of floats must not make an order of its own
    return {**residuals, **dict(zip(others, np.round(ratios, 6).tolist(), strict=True))}
