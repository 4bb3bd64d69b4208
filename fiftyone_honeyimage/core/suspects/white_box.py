"""A suspect whose weights are at hand: how well its classes fit the carriers of a radioactive marking."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ParameterError, SuspectError
from ..models.last_layer import class_weights, features
from .base import Preprocessing
from .callable_suspect import CallableSuspect, evaluation_mode

#: Images that features are computed of at once
_BATCH = 64


class WhiteBoxSuspect(CallableSuspect):
    """A module that tells one loss a secret: 1 minus the cosine between its class's weights and the carrier.

    The features of two models have nothing to do with each other, so that carriers, which are directions of the
    marker's, are compared with the suspect's weights through the linear map that takes the marker's features of ordinary
    images to the suspect's, by least squares. Map and weights are the same for both carriers of a pair: for a model that
    has not used the release it is a fair coin which of them fits better.

    Of an unmarked image it tells 1 minus the largest cosine between its features and a class's weights.

    Args:
        model: a classifier with a linear layer at its end
        marker: the model whose features the images were moved in
        ordinary: uint8 (H, W, 3) images without a secret
        shown: the same as the marker sees them, uint8 (N, 3, S, S)
        carriers: by the id of an image that is asked about, its key's carrier, float32 (D,), and the class's number
        preprocessing, device, name: see :class:`.CallableSuspect`

    Raises:
        SuspectError: if the model is no module
        ParameterError: if it has no such layer

    Source: Sablayrolles et al., Radioactive data (arXiv 2002.00937), sections 3.3 and 3.4.
    """

    title = "a classifier whose weights are at hand"
    outputs = "losses"
    #: Of a vector of any direction, on average
    blank_loss = 1.0

    caution = "Its weights were compared by a model and images of the owner's that nothing binds, so that this is no evidence."

    def __init__(
        self,
        model: nn.Module,
        marker: nn.Module,
        ordinary: Sequence[np.ndarray],
        shown: Tensor,
        carriers: Mapping[str, tuple[np.ndarray, int]],
        *,
        preprocessing: Preprocessing | None = None,
        device: torch.device | None = None,
        name: str | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise SuspectError(
                f"weights are compared of a torch.nn.Module, not of a {type(model).__name__}; any other suspect is "
                "asked about images"
            )
        super().__init__(model, preprocessing, device=device, name=name)
        assert isinstance(self.model, nn.Module)
        self._module = self.model
        self._weights = class_weights(model).double()
        theirs = torch.cat(
            [self._features(ordinary[i : i + _BATCH]) for i in range(0, len(ordinary), _BATCH)]
        )
        ours = _marker_features(marker, shown)
        if len(ours) < 2:
            raise ParameterError("ordinary images are needed, to compare two models' features")
        centred = ours - ours.mean(dim=0), theirs - theirs.mean(dim=0)
        self._aligned = self._weights @ torch.linalg.lstsq(*centred, driver="gelsd").solution.T
        self._carriers = dict(carriers)
        self.dimension = ours.shape[1]
        seen = hashlib.sha256(shown.numpy().tobytes()).hexdigest()[:16]
        self._way = f"WhiteBoxSuspect(aligned on {len(ours)} images, {seen})"

    @property
    def way(self) -> str:
        return self._way

    def cosine(self, key: str) -> float:
        """Between an image's carrier and the weights of the class that it is asked about."""
        carrier, label = self._carriers[key]
        own = torch.from_numpy(carrier).double()
        return float(nn.functional.cosine_similarity(own, self._aligned[label], dim=0))

    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        answers = np.empty(len(images))
        unmarked = [row for row, key in enumerate(keys) if key not in self._carriers]
        if unmarked:
            own = self._features([images[row] for row in unmarked])
            cosines = nn.functional.cosine_similarity(own[:, None], self._weights[None], dim=2)
            answers[unmarked] = 1 - cosines.amax(dim=1).numpy()
        for row, key in enumerate(keys):
            if key in self._carriers:
                answers[row] = 1 - self.cosine(key)
        return answers

    def _features(self, images: Sequence[np.ndarray]) -> Tensor:
        batch = self.preprocessing(images).to(self.device, self.dtype)
        with torch.no_grad(), evaluation_mode(self._module):
            return features(self._module, batch).cpu().double()


def _marker_features(marker: nn.Module, shown: Tensor) -> Tensor:
    with torch.no_grad(), evaluation_mode(marker):
        parts = [
            features(marker, shown[start : start + _BATCH] / 255).cpu().double()
            for start in range(0, len(shown), _BATCH)
        ]
    return torch.cat(parts)
