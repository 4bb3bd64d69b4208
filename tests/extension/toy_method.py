"""A toy method: a frame of one pixel, brighter by a few levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fiftyone_honeyimage.core.limits import Whole
from fiftyone_honeyimage.core.methods.base import Method, RunSize
from fiftyone_honeyimage.core.methods.options import Options, option


@dataclass(frozen=True)
class ToyOptions(Options):
    """Attributes:
    levels: by how much the frame is brighter, 0 to 255
    """

    levels: int = option(
        3, Whole(1, 16), label="Brightness of the frame", help="Levels", folded=False
    )


class ToyFrame(Method):
    """Brightens the outermost pixels."""

    name = "toy_frame"
    title = "Brightens the frame of an image"
    Options = ToyOptions
    score = "toy_root"

    def craft(self, request: Any) -> Any:
        from fiftyone_honeyimage.core.methods.changed_images import finish_changed

        return finish_changed(
            request, [self._framed(image, request.options) for image in request.candidates]
        )

    def passes(self, size: RunSize, options: Any) -> int:
        return (size.num_images - size.num_marked) * size.epochs

    def _framed(self, image: np.ndarray, options: ToyOptions) -> np.ndarray:
        brighter = np.minimum(image.astype(int) + options.levels, 255).astype(np.uint8)
        brighter[1:-1, 1:-1] = image[1:-1, 1:-1]
        return brighter
