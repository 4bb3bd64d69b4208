"""Candidates at native size: their perturbations, and what a model sees of them.

Whatever an image's size, a few hundred of its rows are worked on at a time. Beside the decoded image,
only the perturbation is kept, as one byte a value; where that adds up to more than :data:`KEPT_BYTES`
it lies in the checkpoint folder.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..checkpoints import load_checkpoint, save_checkpoint
from ..codecs.base import Codec, strips
from ..resizing import resize_map

#: Perturbations up to this size are kept in memory and in the round's checkpoint.
KEPT_BYTES = 64 << 20

#: Rounds of taking back what is outside, while marks are searched.
_QUICK_ROUNDS = 4


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
    parts: Iterable[tuple[slice, torch.Tensor]], height: int, width: int, size: int
) -> torch.Tensor:
    """What a model sees of native images of one size: float32 (B, 3, S, S), 0–255.

    Args:
        parts: their rows and pixels (B, h, W, 3), in any order
        height, width, size: of the images, and S
    """
    result = torch.zeros(0)
    for rows, pixels in parts:
        if not len(result):
            result = pixels.new_zeros((len(pixels), 3, size, size), dtype=torch.float32)
        part = pixels.permute(0, 3, 1, 2).to(torch.float32)
        if height == width == size:
            result[:, :, rows] = part
            continue
        down, right = (resize_map(length, size).to(part.device) for length in (height, width))
        # One by one: how a product is rounded may hang on how many are computed at once
        for one, whole in zip(part.contiguous(), result, strict=True):
            whole += down[:, rows] @ (one @ right.T)
    return result


def seen_by_model(pixels: np.ndarray, size: int) -> torch.Tensor:
    """What a model sees of a finished image: uint8 (3, S, S).

    Args:
        pixels: uint8 (H, W, 3)
        size: S
    """
    height, width = pixels.shape[:2]
    parts = ((rows, torch.from_numpy(pixels[rows].copy())[None]) for rows in strips(height))
    return to_bytes(shrink(parts, height, width, size)[0])


def to_bytes(seen: torch.Tensor) -> torch.Tensor:
    """0–255 floats as uint8."""
    return seen.round().clamp(0, 255).to(torch.uint8)


def enlarge_gradient(gradient: torch.Tensor, rows: slice, height: int, width: int) -> torch.Tensor:
    """The gradient for some rows of native images of one size: float32 (B, h, W, 3).

    Args:
        gradient: float32 (B, 3, S, S), for what :func:`shrink` gave
        rows: which rows
        height, width: of the images
    """
    size = gradient.shape[-1]
    if height == width == size:
        return gradient[:, :, rows].permute(0, 2, 3, 1)
    down, right = (resize_map(length, size).to(gradient.device) for length in (height, width))
    # One by one, as in shrink
    native = [down[:, rows].T @ one @ right for one in gradient]
    return torch.stack(native).permute(0, 2, 3, 1)


def smooth(gradient: torch.Tensor, sigma: float) -> torch.Tensor:
    """A gradient along which the channels move together and neighbouring pixels alike.

    Args:
        gradient: float32 (B, h, W, 3)
        sigma: standard deviation of the Gaussian in pixels; 0 changes nothing

    Returns:
        float32 (B, h, W, 3), with three equal channels if sigma is above 0
    """
    if sigma == 0:
        return gradient
    red, green, blue = gradient.unbind(-1)
    grey = red + green + blue
    for axis in (1, 2):
        grey = _smooth_along(grey, axis, sigma)
    return grey[..., None].expand(gradient.shape)


def _smooth_along(values: torch.Tensor, axis: int, sigma: float) -> torch.Tensor:
    """One axis of SciPy's ``gaussian_filter``, to the bit: images are mirrored at their borders."""
    reach, length = smoothing_reach(sigma), values.shape[axis]
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-reach, reach + 1) ** 2)
    weights /= weights.sum()
    places = np.pad(np.arange(length), reach, mode="symmetric")
    wider = values.double().index_select(axis, torch.from_numpy(places).to(values.device))
    total = wider.narrow(axis, reach, length) * weights[reach]
    for far in range(reach, 0, -1):
        beside = wider.narrow(axis, reach - far, length) + wider.narrow(axis, reach + far, length)
        total += beside * weights[reach - far]
    return total.float()


def smoothing_reach(sigma: float) -> int:
    """From how many rows away :func:`smooth` takes something."""
    return math.ceil(4 * sigma)


def realised(
    codec: Codec | None, change: np.ndarray, budget: np.ndarray, rounds: int = _QUICK_ROUNDS
) -> tuple[np.ndarray, np.ndarray]:
    """Moves a change to where its file keeps to its budget, as far as a few rounds can.

    What the codec makes of a change can leave the budget. Half of what is outside is subtracted from
    the change, as often as needed.

    Args:
        codec: the file's codec; None for pixels without a file
        change: float32 (..., h, W, 3), in 0–255 units, of several images where the codec's kind is theirs
        budget: float32 (..., h, W), how much each pixel may change
        rounds: of subtracting

    Returns:
        the change before the codec, and after it; both of its shape
    """
    if codec is None or codec.lossless:
        return change, change
    most = budget[..., None]
    after = codec.realise(change)
    for _ in range(rounds):
        outside = after - np.clip(after, -most, most)
        if not outside.any():
            break
        change = change - 0.5 * outside
        after = codec.realise(change)
    return change, after


def save_round(
    folder: Path | None,
    perturbations: Perturbations,
    history: list[float],
    done: int,
    f_in: torch.nn.Module | None,
    redrawn: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Keeps a finished round in the checkpoint folder, if there is one."""
    if folder is None:
        return
    weights = {} if f_in is None else f_in.state_dict()
    state = {name: value.cpu() for name, value in weights.items()}
    payload = {"current": perturbations.state(), "history": history, "round": done, "f_in": state}
    if redrawn is not None:
        payload["redrawn"] = dict(redrawn)
    save_checkpoint(folder / "rounds.pt", payload)


def load_round(folder: Path | None) -> dict | None:
    """The last round that was kept, or None."""
    path = folder / "rounds.pt" if folder else None
    if path is None or not path.exists():
        return None
    return load_checkpoint(path)
