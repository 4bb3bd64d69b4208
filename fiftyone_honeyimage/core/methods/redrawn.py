"""One model for both: each round it is trained on a random half of the candidates, so that each is seen and unseen by turns.

After the canaries of "Optimizing Canaries for Privacy Auditing with Metagradient Descent" (arXiv 2507.15836): they draw
anew in each step which canaries a model trains on, and climb the loss of those left out less that of those taken in, under
the same model. Here too; but where they differentiate through the training, an image climbs what the model itself tells:
its gradient in the last round that left it out, less that in the last round that took it in. So the two sides of
the gap differ by whether the image was seen, and not by another initialisation. The model begins as the out-model, which
has seen no candidate, and is trained for an epoch a round.

Which half an image is in hangs on the seed alone. Both sides of a pair are always in the same half.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ..seeds import derive_seed
from .request import CraftRequest


class Redrawn:
    """What the one model last said of every candidate, with and without having seen it.

    Args:
        request: of K candidates; kept in memory are two gradients of each, as the models see them
    """

    def __init__(self, request: CraftRequest) -> None:
        number, size = len(request.candidates), int(request.rest.shape[-1])
        self._seed = request.seed
        self._unit = _units(number, request.sides)
        # out, in
        self._losses = torch.zeros((2, number))
        self._gradients = torch.zeros((2, number, 3, size, size))
        self._half = torch.ones(number, dtype=torch.int64)

    def begin(self, rows: range, losses: torch.Tensor, gradients: torch.Tensor) -> None:
        """Takes what a model says that has seen none of some candidates."""
        now = slice(rows.start, rows.stop)
        # Of what no round has taken in yet the gap is 0, and it climbs its loss
        self._losses[:, now] = losses.cpu()
        self._gradients[0, now] = gradients.cpu()

    def draw(self, step: int) -> torch.Tensor:
        """Which candidates a round takes in, bool (K,)."""
        rng = np.random.default_rng(derive_seed(self._seed, "redrawn", step))
        number = int(self._unit.max(initial=-1)) + 1
        taken = rng.permutation(number) < (number + rng.integers(2)) // 2
        self._half = torch.from_numpy(taken[self._unit].astype(np.int64))
        return self._half == 1

    def gaps(
        self, rows: range, losses: torch.Tensor, gradients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``L_out − L_in`` of some candidates (B,), and its gradient (B, 3, S, S), from what the model says now.

        Args:
            rows: which
            losses: float32 (B,), of the model of this round
            gradients: float32 (B, 3, S, S), of these
        """
        places = torch.arange(rows.start, rows.stop)
        half = self._half[places]
        self._losses[half, places] = losses.cpu()
        self._gradients[half, places] = gradients.cpu()
        out, seen = self._gradients[:, places]
        return self._losses[0, places] - self._losses[1, places], out - seen

    def state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint has to hold."""
        return {"losses": self._losses, "gradients": self._gradients}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Takes a checkpoint's state back."""
        self._losses, self._gradients = state["losses"], state["gradients"]


def _units(number: int, sides: np.ndarray) -> np.ndarray:
    """What is drawn together: int64 (K,), a number for all candidates of a pair, and one for each of no pair."""
    first = np.arange(number)
    for pair in np.asarray(sides).reshape(len(sides), -1):
        first[pair] = pair.min()
    return np.unique(first, return_inverse=True)[1].reshape(number)
