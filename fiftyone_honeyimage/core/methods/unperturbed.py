"""Hard images left as they are: the ablation that shows what the perturbation adds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..training import cross_entropy, predict_logits
from .base import CraftRequest, CraftResult
from .finishing import DecodedFiles, FinishedFiles
from .honeyimage import thumbnails, train_out_model


def keep_unperturbed(request: CraftRequest) -> CraftResult:
    """Returns the candidates unchanged, with the out-model's losses on them.

    Args:
        request: a :class:`CraftRequest`; ``epsilon`` and the other attack parameters are unused

    Returns:
        a :class:`CraftResult`
    """
    f_out = train_out_model(request)
    encoded = None
    images: Sequence[np.ndarray]
    if request.codecs is None:
        images = [np.array(image, copy=True) for image in request.candidates]
    else:
        # Written again like a perturbed image, so that nothing but the pixels can differ.
        folder = request.checkpoint_dir / "files" if request.checkpoint_dir else None
        encoded = FinishedFiles(len(request.candidates), folder)
        for row, (codec, image) in enumerate(zip(request.codecs, request.candidates, strict=True)):
            encoded.put(row, codec.encode(image))
        images = DecodedFiles(encoded)
    size = int(request.rest.shape[-1])
    labels = torch.as_tensor(request.candidate_labels, dtype=torch.int64)

    def losses(pixels: Sequence[np.ndarray]) -> np.ndarray:
        logits = predict_logits(f_out, thumbnails(pixels, size), device=request.device)
        return cross_entropy(logits, labels)

    return CraftResult(
        images=images,
        encoded=encoded,
        proxy_losses=losses(images),
        original_losses=losses(request.candidates),
        in_losses=np.full(len(images), np.nan),
        history=np.empty(0),
        out_model=f_out.cpu(),
    )
