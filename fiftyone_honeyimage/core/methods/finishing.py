"""The files of finished HoneyImages: within their budget, and without a window that shows the change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation

from ..codecs.base import Codec, decode, in_its_colours, strips
from ..files import write_atomic
from ..images import LazyImages
from ..metrics import LEAST_SIMILARITY, SSIM_WINDOW, window_similarity
from .perturbation import Scale, realised

#: Pixels a side of the cells in which a perturbation is made smaller until its file keeps to ε; those of JPEG.
_CELL = 8

_FIT_ROUNDS = 16
#: How much of what is outside ε is taken back, value by value, in the first tries of fitting.
_CORRECTIONS = (0.5,) * 4 + (1.0,) * 20
#: Images with more pixels have the first eight of these tries, each of which encodes and decodes.
_MANY_TRIES_PIXELS = 1 << 20
#: How the perturbation of such a cell is scaled in the tries of fitting that follow.
_SHRINKING = (0.9,) * 16 + (0.8,) * 6
#: Cells a side of the blocks whose perturbation is dropped where all that does not help. Whole numbers of
#: them cover what any JPEG codes together, so that such a block decodes to the source's own pixels.
_BLOCK = 4
_DROPPING = 40
#: The same for lossless formats, where a cell can be made smaller without being coded anew.
_FADING = (0.75,) * 8 + (0.0,) * 4


@dataclass(frozen=True)
class Finished:
    """A finished HoneyImage.

    Attributes:
        pixels: uint8 (H, W, 3), as decoded
        data: the file, or None without a codec
    """

    pixels: np.ndarray
    data: bytes | None


def finish(
    codec: Codec | None,
    original: np.ndarray,
    levels: np.ndarray,
    scale: Scale,
    budget: np.ndarray | float,
    least_similarity: float = LEAST_SIMILARITY,
) -> Finished:
    """Makes the file of a perturbed image, such that decoded no value is further from the source than its budget.

    Lossless formats hold the rounded perturbation. For lossy ones, what lies outside is taken back from
    the perturbation a few times; then it is made smaller in cells of 8x8 pixels around each value that is
    still outside, and dropped in blocks of 32x32 where that does not help. So is, in all formats, what can be
    seen: the perturbation of windows that are less like the original's than ``least_similarity``. A grey picture
    stays grey.

    Args:
        codec: the file's codec; None for pixels without a file
        original: uint8 (H, W, 3)
        levels: the perturbation
        scale: how levels count
        budget: float (H, W), how much each pixel may change, or one number for all, 0–255 units
        least_similarity: of each window, see :func:`..metrics.window_similarity`
    """
    levels = in_its_colours(levels, original)
    budget = np.broadcast_to(np.asarray(budget, dtype=np.float32), original.shape[:2])
    if codec is None or codec.lossless:
        pixels = np.empty_like(original)
        for rows in strips(len(original)):
            change = levels[rows] * np.float32(scale.unit)
            pixels[rows] = round_into_ball(original[rows] + change, original[rows], budget[rows])
        for factor in _FADING:
            seen = _cells_seen(original, pixels, least_similarity)
            if not seen.any():
                break
            _fade(original, pixels, seen, factor)
        return Finished(pixels, None if codec is None else codec.encode(pixels))

    change = np.empty(original.shape, dtype=np.float16)
    for rows in strips(len(original)):
        part = levels[rows] * np.float32(scale.unit)
        change[rows] = realised(codec, part, budget[rows], _FIT_ROUNDS)[0]
    limit = np.floor(budget)[:, :, None]
    data, pixels = _written(codec, change)
    many = original.shape[0] * original.shape[1] <= _MANY_TRIES_PIXELS
    for correction in _CORRECTIONS if many else _CORRECTIONS[:8]:
        if not _correct(change, original, pixels, limit, correction):
            break
        data, pixels = _written(codec, change)
    for factor in _SHRINKING:
        wrong = _cells_wrong(original, pixels, limit, least_similarity)
        if not wrong.any():
            break
        _scale_cells(change, wrong, factor)
        data, pixels = _written(codec, change)
    dropped = np.zeros_like(_blocks_of(_cells_outside(original, original, 0.0)))
    for _ in range(_DROPPING):
        wrong = _cells_wrong(original, pixels, limit, least_similarity)
        if not wrong.any():
            break
        blocks = _blocks_of(wrong)
        # Where a dropped block is still outside, its neighbours' blurred colours reach into it.
        dropped |= blocks | binary_dilation(blocks & dropped, np.ones((3, 3)))
        _scale_cells(change, dropped.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1), 0.0)
        data, pixels = _written(codec, change)
    if _cells_wrong(original, pixels, limit, least_similarity).any():
        # A mark of nothing is better than one that can be seen.
        return Finished(original, codec.encode(original))
    return Finished(pixels, data)


def round_into_ball(
    values: np.ndarray, original: np.ndarray, budget: np.ndarray | float
) -> np.ndarray:
    """Rounds to 8 bits without leaving the ε-ball.

    Args:
        values: float (H, W, 3), 0–255
        original: uint8 (H, W, 3)
        budget: float (H, W), or one number for all pixels, 0–255 units; a fraction is rounded down, since
            the stored change is an integer

    Returns:
        uint8 (H, W, 3) with ``|result − original| ≤ budget``
    """
    most = np.floor(np.asarray(budget, dtype=np.float32))[..., None]
    change = np.clip(np.rint(values - original.astype(np.float32)), -most, most)
    return np.clip(original.astype(np.int16) + change.astype(np.int16), 0, 255).astype(np.uint8)


class FinishedFiles(Sequence[bytes]):
    """Finished files, in memory or, with a folder, on disk, where a resumed run finds them.

    Args:
        length: how many
        folder (None): where they lie
    """

    def __init__(self, length: int, folder: Path | None = None) -> None:
        self._length = length
        self._folder = folder
        self._data: dict[int, bytes] = {}

    def __contains__(self, row: object) -> bool:
        return row in self._data or (self._folder is not None and self._path(row).exists())

    def put(self, row: int, data: bytes) -> None:
        """Keeps a file."""
        if self._folder is None:
            self._data[row] = data
            return
        self._folder.mkdir(exist_ok=True)
        write_atomic(self._path(row), data, 0o600)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row):  # type: ignore[no-untyped-def]
        if not -self._length <= row < self._length:
            raise IndexError(row)
        row %= self._length
        return self._data[row] if self._folder is None else self._path(row).read_bytes()

    def _path(self, row: object) -> Path:
        assert self._folder is not None
        return self._folder / f"{row}.bin"


def decoded_files(files: Sequence[bytes]) -> LazyImages:
    """The pixels of finished files, decoded when they are asked for."""
    return LazyImages(len(files), lambda row: decode(files[row], f"HoneyImage {row}"))


def _written(codec: Codec, change: np.ndarray) -> tuple[bytes, np.ndarray]:
    data = codec.encode_change(change)
    return data, decode(data, str(codec.path))


def _distance(original: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """|original − pixels|, uint8."""
    return np.where(original > pixels, original - pixels, pixels - original)


def _blocks_of(cells: np.ndarray) -> np.ndarray:
    """Which blocks of cells hold a marked one."""
    rows, columns = (-(-length // _BLOCK) for length in cells.shape)
    padded = np.zeros((rows * _BLOCK, columns * _BLOCK), dtype=bool)
    padded[: cells.shape[0], : cells.shape[1]] = cells
    return np.any(padded.reshape(rows, _BLOCK, columns, _BLOCK), axis=(1, 3))


def _cells_wrong(
    original: np.ndarray, pixels: np.ndarray, limit: np.ndarray, least_similarity: float
) -> np.ndarray:
    """Which 8x8 cells are outside the limit; if none is, which can be seen. Looking takes longer."""
    outside = _cells_outside(original, pixels, limit)
    return outside if outside.any() else _cells_seen(original, pixels, least_similarity)


def _cells_seen(original: np.ndarray, pixels: np.ndarray, least_similarity: float) -> np.ndarray:
    """Which 8x8 cells lie in the middle of a window that is less like the original's than allowed, bool."""
    cells = _cells_outside(original, original, 0.0)
    half = SSIM_WINDOW // 2
    for rows, similarity in window_similarity(original, pixels):
        where, columns = np.nonzero(similarity < least_similarity)
        # The windows of a margin begin at the image's border
        cells[(where + rows.start + half) // _CELL, (columns + half) // _CELL] = True
    return cells


def _fade(original: np.ndarray, pixels: np.ndarray, cells: np.ndarray, factor: float) -> None:
    """Multiplies the change of the marked cells, rounding towards the original, in place."""
    height, width = original.shape[:2]
    for rows in strips(height):
        inside = cells[rows.start // _CELL : -(-rows.stop // _CELL)]
        mask = inside.repeat(_CELL, axis=0).repeat(_CELL, axis=1)[: rows.stop - rows.start, :width]
        before = original[rows][mask].astype(np.int16)
        change = np.trunc((pixels[rows][mask] - before) * factor).astype(np.int16)
        pixels[rows][mask] = (before + change).astype(np.uint8)


def _scale_cells(change: np.ndarray, cells: np.ndarray, factor: float) -> None:
    """Multiplies the marked cells of a change, in place."""
    height, width = change.shape[:2]
    for rows in strips(height):
        inside = cells[rows.start // _CELL : -(-rows.stop // _CELL)]
        mask = inside.repeat(_CELL, axis=0).repeat(_CELL, axis=1)
        change[rows][mask[: rows.stop - rows.start, :width]] *= np.float16(factor)


def _correct(
    change: np.ndarray,
    original: np.ndarray,
    pixels: np.ndarray,
    limit: np.ndarray,
    share: float,
) -> bool:
    """Takes a share of what moved beyond the limit back from a change, in place; False if nothing did."""
    found = False
    for rows in strips(len(original)):
        allowed = limit[rows].astype(np.int16)
        moved = pixels[rows].astype(np.int16) - original[rows]
        outside = moved - np.clip(moved, -allowed, allowed)
        if outside.any():
            found = True
            change[rows] -= (share * outside).astype(np.float16)
    return found


def _cells_outside(
    original: np.ndarray, pixels: np.ndarray, limit: np.ndarray | float
) -> np.ndarray:
    """Which 8x8 cells hold a value that moved by more than the limit, bool."""
    height, width = original.shape[:2]
    cells = np.zeros((-(-height // _CELL), -(-width // _CELL)), dtype=bool)
    for rows in strips(height):
        allowed = limit[rows] if isinstance(limit, np.ndarray) else limit
        moved = _distance(original[rows], pixels[rows])
        where, columns = np.nonzero((moved > allowed).any(axis=2))
        cells[(where + rows.start) // _CELL, columns // _CELL] = True
    return cells
