"""Hard images left as they are: the ablation that shows what the perturbation adds."""

from __future__ import annotations

import numpy as np
import torch

from ..training import cross_entropy, predict_logits
from .base import CraftRequest, CraftResult
from .honeyimage import thumbnails, train_out_model


def keep_unperturbed(request: CraftRequest) -> CraftResult:
    """Returns the candidates unchanged, with the out-model's losses on them.

    Args:
        request: a :class:`CraftRequest`; ``epsilon`` and the other attack parameters are unused

    Returns:
        a :class:`CraftResult`
    """
    f_out = train_out_model(request)
    images = [np.array(image, copy=True) for image in request.candidates]
    rows = thumbnails([torch.from_numpy(image) for image in images], int(request.rest.shape[-1]))
    labels = torch.as_tensor(request.candidate_labels, dtype=torch.int64)
    losses = cross_entropy(predict_logits(f_out, rows, device=request.device), labels)
    return CraftResult(
        images=images,
        proxy_losses=losses,
        original_losses=losses.copy(),
        in_losses=np.full(len(images), np.nan),
        history=np.empty(0),
        out_model=f_out.cpu(),
    )
