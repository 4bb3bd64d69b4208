"""Images left as they are: pairs of twins without any mark, and the ablation of the perturbation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import Method, RunSize
from .selection_options import SelectionOptions

if TYPE_CHECKING:
    from .request import CraftRequest, CraftResult


class Unperturbed(Method):
    """No pixel is changed, so that any image has room."""

    name = "unperturbed"
    title = "Hard images, left as they are"
    Options = SelectionOptions
    changes_pixels = False

    def most_changed(self, options: Any) -> float:
        return 4.0  # what writing a file again may change

    def craft(self, request: CraftRequest) -> CraftResult:
        """The candidates, unchanged, with the out-model's losses on them."""
        from .changed_images import finish_changed

        return finish_changed(request, request.candidates)

    def passes(self, size: RunSize, options: Any) -> int:
        return (size.num_images - size.num_marked) * size.epochs
