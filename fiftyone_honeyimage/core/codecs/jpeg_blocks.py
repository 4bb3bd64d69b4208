"""What JPEG does to a change of an image, as linear maps and one rounding.

A JPEG file holds integers: for each 8x8 block of each component (brightness, two colour differences,
the latter at a lower resolution) 64 multiples of the quantisation table's steps. A change that a file
can hold is a whole number of steps, whatever the picture is: ``decode(c + k) = decode(c) + D k`` with D
linear, up to rounding and clipping of the pixels. So the file's own codec acts on the change alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import dctn, idctn

from ..images import strips
from .jpeg_segments import Segments, stores_rgb

#: RGB to Y, Cb, Cr without offsets (ITU-T T.871).
_TO_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]],
    dtype=np.float32,
)

#: Position of the i-th value of a zigzag table in the 8x8 block, row by row.
ZIGZAG = sorted(
    range(64),
    key=lambda i: (
        i // 8 + i % 8,
        i // 8 if (i // 8 + i % 8) % 2 else i % 8,
    ),
)


@dataclass(frozen=True)
class _Plane:
    """One component: its steps (8, 8), and by how much it is smaller than the image."""

    steps: np.ndarray
    down: int
    right: int


class JpegBlocks:
    """The linear part of one file's codec.

    Args:
        segments: the file

    Raises:
        ValueError: if the components' sizes are not whole fractions of the image's

    All of it takes several images of one size at once, along axes before their rows.
    """

    def __init__(self, segments: Segments) -> None:
        components = segments.components
        tall = max(component.vertical for component in components)
        wide = max(component.horizontal for component in components)
        self.planes = []
        for component, table in zip(components, segments.quantisation, strict=True):
            if len(components) == 1:
                down = right = 1
            else:
                down, rest_down = divmod(tall, component.vertical)
                right, rest_right = divmod(wide, component.horizontal)
                if rest_down or rest_right:
                    raise ValueError("components of odd relative size")
            steps = np.empty(64, dtype=np.float32)
            steps[ZIGZAG] = table
            self.planes.append(_Plane(steps.reshape(8, 8), down, right))
        #: (height, width) in pixels of what is coded together
        self.unit = (
            8 * max(plane.down for plane in self.planes),
            8 * max(plane.right for plane in self.planes),
        )
        if len(components) == 1:
            self._forward = np.full((1, 3), 1 / 3, dtype=np.float32)
            self._backward = np.ones((3, 1), dtype=np.float32)
        elif stores_rgb(segments):
            self._forward = self._backward = np.eye(3, dtype=np.float32)
        else:
            self._forward = _TO_YCC
            self._backward = np.linalg.inv(_TO_YCC).astype(np.float32)

    @property
    def kind(self) -> tuple[object, ...]:
        """Equal for files that make the same of a change: of the same tables, resolutions and colours."""
        planes = tuple((plane.steps.tobytes(), plane.down, plane.right) for plane in self.planes)
        return (*planes, self._forward.tobytes())

    @property
    def has_brightness(self) -> bool:
        """Whether brightness has a plane of its own, at the image's size."""
        first = self.planes[0]
        return first.down == first.right == 1 and self._forward[0, 0] < 1

    def brightness_of(self, pixels: np.ndarray) -> np.ndarray:
        """What the first plane holds, where that is brightness: float32 (..., H, W), -128 to 127.

        Args:
            pixels: uint8 (..., H, W, 3)
        """
        return pixels.astype(np.float32) @ self._forward[0] - np.float32(128)

    def steps_of(self, change: np.ndarray) -> list[np.ndarray]:
        """The change in steps of each component's table, unrounded.

        Args:
            change: float (..., H, W, 3) in 0–255 units; H a multiple of the unit's height, or the image's end

        Returns:
            float32 (..., rows, columns, 8, 8) of each component
        """
        padded = self._pad(change.astype(np.float32, copy=False), "edge")
        values = padded @ self._forward.T
        return [
            _blocks(_pool(values[..., i], plane)) / plane.steps
            for i, plane in enumerate(self.planes)
        ]

    def change_of(self, steps: list[np.ndarray], height: int, width: int) -> np.ndarray:
        """The change of the decoded pixels, float32 (..., height, width, 3): the D of the module's text."""
        return self._to_pixels([k * p.steps for k, p in zip(steps, self.planes, strict=True)])[
            ..., :height, :width, :
        ]

    def realise(self, change: np.ndarray) -> np.ndarray:
        """What of a change a file can hold: the nearest whole numbers of steps, decoded.

        Args:
            change: float (..., H, W, 3)
        """
        result = np.empty(change.shape, dtype=np.float32)
        for rows in strips(change.shape[-3]):
            part = change[..., rows, :, :]
            steps = [np.rint(k) for k in self.steps_of(part)]
            result[..., rows, :, :] = self.change_of(steps, *part.shape[-3:-1])
        return result

    def project(self, gradient: np.ndarray, grey: bool = False) -> np.ndarray:
        """The part of a gradient that lies in the components' resolutions, fine steps first.

        The gradient for a coefficient is divided by its step: a coefficient of a coarse step is moved
        only where it gains much, since the rounding lets small changes of it vanish. (kornia's
        polynomial for the rounding has the derivative 3·(u − round(u))², which is zero for the
        coefficients of a decoded JPEG, as they are whole numbers.)

        Args:
            gradient: float (..., H, W, 3), for the decoded pixels
            grey (False): whether colour differences stay as they are
        """
        result = np.empty(gradient.shape, dtype=np.float32)
        for rows in strips(gradient.shape[-3]):
            part = gradient[..., rows, :, :].astype(np.float32, copy=False)
            values = self._pad(part, "constant") @ self._backward
            blocks = [
                _blocks(_pool(values[..., i], plane) * (plane.down * plane.right)) / plane.steps
                for i, plane in enumerate(self.planes)
            ]
            if grey and self._forward is _TO_YCC:
                blocks[1:] = [np.zeros_like(block) for block in blocks[1:]]
            height, width = part.shape[-3:-1]
            result[..., rows, :, :] = self._to_pixels(blocks)[..., :height, :width, :]
        return result

    def _to_pixels(self, blocks: list[np.ndarray]) -> np.ndarray:
        values = np.stack(
            [
                _enlarge(_unblocks(idctn(block, axes=(-2, -1), norm="ortho")), plane)
                for block, plane in zip(blocks, self.planes, strict=True)
            ],
            axis=-1,
        )
        return values @ self._backward.T

    def _pad(self, values: np.ndarray, mode: str) -> np.ndarray:
        height, width = values.shape[-3:-1]
        down, right = -height % self.unit[0], -width % self.unit[1]
        if not (down or right):
            return values
        before = ((0, 0),) * (values.ndim - 3)
        return np.pad(values, (*before, (0, down), (0, right), (0, 0)), mode=mode)  # type: ignore[call-overload]


def _pool(plane_values: np.ndarray, plane: _Plane) -> np.ndarray:
    """Means over the pixels that one sample of a component stands for."""
    if plane.down == plane.right == 1:
        return plane_values
    *before, height, width = plane_values.shape
    return plane_values.reshape(
        *before, height // plane.down, plane.down, width // plane.right, plane.right
    ).mean(axis=(-3, -1))


def _enlarge(samples: np.ndarray, plane: _Plane) -> np.ndarray:
    """Samples at the image's resolution, by the triangle filter of libjpeg's "fancy upsampling"."""
    if plane.down == plane.right == 1:
        return samples
    *before, height, width = samples.shape
    size = (height * plane.down, width * plane.right)
    batch = torch.from_numpy(np.ascontiguousarray(samples)).reshape(-1, 1, height, width)
    larger = F.interpolate(batch, size, mode="bilinear", align_corners=False)
    return larger.reshape(*before, *size).numpy()


def _blocks(samples: np.ndarray) -> np.ndarray:
    *before, height, width = samples.shape
    blocks = samples.reshape(*before, height // 8, 8, width // 8, 8).swapaxes(-3, -2)
    return dctn(blocks, axes=(-2, -1), norm="ortho")


def _unblocks(blocks: np.ndarray) -> np.ndarray:
    *before, rows, columns = blocks.shape[:-2]
    return blocks.swapaxes(-3, -2).reshape(*before, rows * 8, columns * 8)
