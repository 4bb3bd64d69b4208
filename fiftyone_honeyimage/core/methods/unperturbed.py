"""Images left as they are: pairs of twins without any mark, and the ablation of the perturbation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..limits import Choice
from .base import Method, RunSize
from .options import option
from .selection import RULES
from .selection_options import SelectionOptions

if TYPE_CHECKING:
    from .request import CraftRequest, CraftResult


@dataclass(frozen=True)
class UnperturbedOptions(SelectionOptions):
    """Attributes:
    selection: as everywhere; those that models remember best are found with fewest pairs (docs/measured.md)
    """

    selection: str = option(
        "gain", Choice(RULES), label="Which images", help="Twins are alike in any case"
    )


class Unperturbed(Method):
    """No pixel is changed, so that any image has room."""

    name = "unperturbed"
    title = "Images left as they are"
    Options: ClassVar[type[SelectionOptions]] = UnperturbedOptions
    changes_pixels = False

    def most_changed(self, options: Any) -> float:
        return 4.0  # what writing a file again may change

    def craft(self, request: CraftRequest) -> CraftResult:
        """The candidates, unchanged, with the out-model's losses on them."""
        from .changed_images import finish_changed

        return finish_changed(request, request.candidates)

    def passes(self, size: RunSize, options: Any) -> int:
        return (size.num_images - size.num_marked) * size.epochs
