"""Candidates at native size: their perturbations, what a model sees of them, and finished files.

Whatever an image's size, a few hundred of its rows are worked on at a time. Beside the decoded image,
only the perturbation is kept, as one byte a value; where that adds up to more than :data:`KEPT_BYTES`
it lies in the checkpoint folder.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import binary_dilation, gaussian_filter

from ..codecs.base import Codec, decode, strips
from ..files import write_atomic
from ..resizing import resize_map

#: Perturbations up to this size are kept in memory and in the round's checkpoint.
KEPT_BYTES = 64 << 20

#: Pixels a side of the cells in which a perturbation is made smaller until its file keeps to ε; those of JPEG.
_CELL = 8

_FIT_ROUNDS, _QUICK_ROUNDS = 16, 4
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


@dataclass(frozen=True)
class Scale:
    """Perturbations as whole numbers of levels, so that steps of α add up exactly.

    Attributes:
        unit: 0–255 units a level
        step: levels of α
        bound: levels of ε
        dtype: of the levels
    """

    unit: float
    step: int
    bound: int
    dtype: np.dtype

    @staticmethod
    def of(epsilon: float, step_size: float) -> Scale:
        fine = 127 * step_size >= epsilon
        dtype, largest = (np.dtype(np.int8), 127) if fine else (np.dtype(np.int16), 32767)
        step = max(1, int(largest * step_size / epsilon + 1e-9))
        bound = min(largest, int(epsilon * step / step_size + 1e-6))
        return Scale(step_size / step, step, bound, dtype)


class Perturbations:
    """The levels of every candidate, (H, W, 3) each; read one round, written for the next.

    Args:
        shapes: (H, W) of every candidate
        scale: how levels count
        folder: where what is too large for memory lies; None keeps all in memory
    """

    def __init__(
        self, shapes: Sequence[tuple[int, int]], scale: Scale, folder: Path | None
    ) -> None:
        self._shapes = [(height, width, 3) for height, width in shapes]
        lengths = [int(np.prod(shape)) for shape in self._shapes]
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        total = int(self._starts[-1])
        self.on_disk = folder is not None and total * scale.dtype.itemsize > KEPT_BYTES
        self._number = 0
        self._stores: list[np.ndarray]
        if folder is not None and self.on_disk:
            # Two files: one is read while the other is written, so that a round is whole or absent.
            self._stores = [
                _mapped(folder / f"perturbations-{number}.bin", scale.dtype, total)
                for number in (0, 1)
            ]
        else:
            store = np.zeros(total, dtype=scale.dtype)
            self._stores = [store, store]

    def read(self, row: int) -> np.ndarray:
        """This round's levels."""
        return self._view(self._stores[self._number], row)

    def next(self, row: int) -> np.ndarray:
        """Where the next round's levels are to be written."""
        return self._view(self._stores[1 - self._number], row)

    def advance(self) -> None:
        """Ends a round: what was written is what will be read."""
        store = self._stores[1 - self._number]
        if isinstance(store, np.memmap):
            store.flush()
        self._number = 1 - self._number

    def state(self) -> torch.Tensor | int:
        """What a checkpoint has to hold: the levels, or which of the files has them."""
        return self._number if self.on_disk else torch.from_numpy(self._stores[0])

    def restore(self, state: torch.Tensor | int) -> None:
        """Takes a checkpoint's state back."""
        if isinstance(state, int):
            self._number = state
        else:
            self._stores[0][:] = state.numpy()

    def _view(self, store: np.ndarray, row: int) -> np.ndarray:
        return store[self._starts[row] : self._starts[row + 1]].reshape(self._shapes[row])


def _mapped(path: Path, dtype: np.dtype, length: int) -> np.memmap:
    exists = path.exists() and path.stat().st_size == length * dtype.itemsize
    return np.memmap(path, dtype=dtype, mode="r+" if exists else "w+", shape=(length,))


def shrink(
    parts: Iterator[tuple[slice, np.ndarray]], height: int, width: int, size: int
) -> torch.Tensor:
    """What a model sees of a native image: float32 (3, S, S), 0–255.

    Args:
        parts: its rows and their pixels (h, W, 3), in any order
        height, width, size: of the image, and S
    """
    down, right = resize_map(height, size), resize_map(width, size)
    result = torch.zeros((3, size, size))
    for rows, pixels in parts:
        part = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32))
        result += down[:, rows] @ (part @ right.T)
    return result


def seen_by_model(pixels: np.ndarray, size: int) -> torch.Tensor:
    """What a model sees of a finished image: uint8 (3, S, S).

    Args:
        pixels: uint8 (H, W, 3)
        size: S
    """
    height, width = pixels.shape[:2]
    return to_bytes(shrink(((rows, pixels[rows]) for rows in strips(height)), height, width, size))


def to_bytes(seen: torch.Tensor) -> torch.Tensor:
    """0–255 floats as uint8."""
    return seen.round().clamp(0, 255).to(torch.uint8)


def enlarge_gradient(gradient: torch.Tensor, rows: slice, height: int, width: int) -> np.ndarray:
    """The gradient for some rows of the native image: float32 (h, W, 3).

    Args:
        gradient: float32 (3, S, S), for what :func:`shrink` gave
        rows: which rows
        height, width: of the image
    """
    size = gradient.shape[-1]
    down, right = resize_map(height, size), resize_map(width, size)
    return (down[:, rows].T @ gradient @ right).permute(1, 2, 0).contiguous().numpy()


def smooth(gradient: np.ndarray, sigma: float) -> np.ndarray:
    """A gradient along which the channels move together and neighbouring pixels alike.

    Args:
        gradient: float32 (h, W, 3)
        sigma: standard deviation of the Gaussian in pixels; 0 changes nothing

    Returns:
        float32 (h, W, 3), with three equal channels if sigma is above 0
    """
    if sigma == 0:
        return gradient
    grey = gaussian_filter(gradient.sum(axis=2), sigma, radius=smoothing_reach(sigma))
    return np.repeat(grey[:, :, None], 3, axis=2)


def smoothing_reach(sigma: float) -> int:
    """From how many rows away :func:`smooth` takes something."""
    return math.ceil(4 * sigma)


def working_rows(codec: Codec | None, height: int) -> list[slice]:
    """The rows that can be worked on alone: a lossy WebP is one piece, for all others a few hundred."""
    return strips(height) if codec is None or codec.local else [slice(0, height)]


def realised(
    codec: Codec | None, change: np.ndarray, epsilon: float, rounds: int = _QUICK_ROUNDS
) -> tuple[np.ndarray, np.ndarray]:
    """Moves a change to where its file keeps to ε, as far as a few rounds can.

    What the codec makes of a change can leave the ε-ball. Half of what is outside is subtracted from
    the change, as often as needed.

    Returns:
        the change before the codec, and after it; both float32 (h, W, 3)
    """
    if codec is None or codec.lossless:
        return change, change
    after = codec.realise(change)
    for _ in range(rounds):
        outside = after - np.clip(after, -epsilon, epsilon)
        if not outside.any():
            break
        change = change - 0.5 * outside
        after = codec.realise(change)
    return change, after


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
    codec: Codec | None, original: np.ndarray, levels: np.ndarray, scale: Scale, epsilon: float
) -> Finished:
    """Makes the file of a perturbed image, such that decoded it is within ε of the decoded source.

    Lossless formats hold the rounded perturbation. For lossy ones, what lies outside is taken back from
    the perturbation a few times; then it is made smaller in cells of 8x8 pixels around each value that is
    still outside, and dropped in blocks of 32x32 where that does not help.

    Codecs that add noise of their own (``exact`` is False: JPEG that Pillow re-encodes, lossy WebP)
    change even an untouched image, by N at most. What they write is within ``max(ε, N)``, and as far as
    it can be had, only the values that they change in the untouched image are beyond ε.

    Args:
        codec: the file's codec; None for pixels without a file
        original: uint8 (H, W, 3)
        levels: the perturbation
        scale: how levels count
        epsilon: 0–255 units
    """
    if codec is None or codec.lossless:
        pixels = np.empty_like(original)
        for rows in strips(len(original)):
            change = levels[rows] * np.float32(scale.unit)
            pixels[rows] = round_into_ball(original[rows] + change, original[rows], epsilon)
        return Finished(pixels, None if codec is None else codec.encode(pixels))

    change = np.empty(original.shape, dtype=np.float16)
    for rows in working_rows(codec, len(original)):
        part = levels[rows] * np.float32(scale.unit)
        change[rows] = realised(codec, part, epsilon, _FIT_ROUNDS)[0]
    limit: np.ndarray | float = epsilon
    if not codec.exact:
        unchanged = Finished(*_written(codec, np.zeros_like(change))[::-1])
        noise = np.maximum(_distance(original, unchanged.pixels), np.uint8(epsilon))
        # Where the noise falls hangs on the whole picture in WebP.
        limit = noise if codec.local else float(noise.max())
    data, pixels = _written(codec, change)
    many = original.shape[0] * original.shape[1] <= _MANY_TRIES_PIXELS
    for correction in _CORRECTIONS if many else _CORRECTIONS[:8]:
        if not _correct(change, original, pixels, limit, correction):
            break
        data, pixels = _written(codec, change)
    for factor in _SHRINKING:
        outside = _cells_outside(original, pixels, limit)
        if not outside.any():
            break
        _scale_cells(change, outside, factor)
        data, pixels = _written(codec, change)
    dropped = np.zeros_like(_blocks_of(_cells_outside(original, original, epsilon)))
    for _ in range(_DROPPING):
        outside = _cells_outside(original, pixels, limit)
        if not outside.any():
            break
        blocks = _blocks_of(outside)
        # Where a dropped block is still outside, its neighbours' blurred colours reach into it.
        dropped |= blocks | binary_dilation(blocks & dropped, np.ones((3, 3)))
        _scale_cells(change, dropped.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1), 0.0)
        data, pixels = _written(codec, change)
    if _cells_outside(original, pixels, float(np.max(limit))).any():
        # A mark of nothing is better than one that can be seen.
        return unchanged if not codec.exact else Finished(original, codec.encode(original))
    return Finished(pixels, data)


def round_into_ball(values: np.ndarray, original: np.ndarray, epsilon: float) -> np.ndarray:
    """Rounds to 8 bits without leaving the ε-ball.

    Args:
        values: float (H, W, 3), 0–255
        original: uint8 (H, W, 3)
        epsilon: 0–255 units; a fraction is rounded down, since the stored change is an integer

    Returns:
        uint8 (H, W, 3) with ``|result − original| ≤ epsilon``
    """
    budget = int(np.floor(epsilon))
    change = np.clip(np.rint(values - original.astype(np.float32)), -budget, budget)
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


class DecodedFiles(Sequence[np.ndarray]):
    """The pixels of finished files, decoded when they are asked for."""

    def __init__(self, files: Sequence[bytes]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, row):  # type: ignore[no-untyped-def]
        return decode(self._files[row], f"HoneyImage {row}")


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
    limit: np.ndarray | float,
    share: float,
) -> bool:
    """Takes a share of what moved beyond the limit back from a change, in place; False if nothing did."""
    found = False
    for rows in strips(len(original)):
        allowed = limit[rows].astype(np.int16) if isinstance(limit, np.ndarray) else limit
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
