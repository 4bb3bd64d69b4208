"""Images left as they are: pairs of twins without any mark, and the ablation of the perturbation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..limits import Choice
from .base import Method, RunSize
from .options import Options, option
from .selection import RULES, Candidates, select_candidates

if TYPE_CHECKING:
    from .request import CraftRequest, CraftResult


@dataclass(frozen=True)
class UnperturbedOptions(Options):
    """Attributes:
    selection: which images are taken, a name in :data:`.selection.RULES`
    """

    selection: str = option(
        "hardest", Choice(RULES), label="Which images", help="Twins are alike in any case"
    )


class Unperturbed(Method):
    """No pixel is changed, so that any image has room."""

    name = "unperturbed"
    title = "Hard images, left as they are"
    Options = UnperturbedOptions
    changes_pixels = False

    def choose(
        self,
        hardness: np.ndarray,
        labels: np.ndarray,
        *,
        options: Any,
        num_honeyimages: int,
        num_pairs: int,
        excluded: Mapping[str, np.ndarray],
        seed: int,
    ) -> Candidates:
        return select_candidates(
            hardness,
            labels,
            num_honeyimages=num_honeyimages,
            num_pairs=num_pairs,
            excluded=excluded,
            rule=options.selection,
            seed=seed,
        )

    def most_changed(self, options: Any) -> float:
        return 4.0  # what writing a file again may change

    def craft(self, request: CraftRequest) -> CraftResult:
        """The candidates, unchanged, with the out-model's losses on them."""
        from .changed_images import finish_changed

        return finish_changed(request, request.candidates)

    def passes(self, size: RunSize, options: Any) -> int:
        return (size.num_images - size.num_marked) * size.epochs
