"""What a method returns that changes images by itself, without an ascent on proxies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..device import choose_device
from .crafted import check_sides
from .finishing import FinishedFiles, decoded_files
from .out_model import losses, thumbnails, train_out_model
from .request import CraftRequest, CraftResult, Probe


def finish_changed(
    request: CraftRequest,
    changed: Sequence[np.ndarray],
    *,
    labels: np.ndarray | None = None,
    secrets: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]] = (),
    probes: Sequence[tuple[Sequence[Probe], Sequence[Probe]]] = (),
    files: FinishedFiles | None = None,
    out_model: torch.nn.Module | None = None,
) -> CraftResult:
    """What :meth:`.base.Method.craft` returns, of images that a method changed by itself.

    Each is written as its source was, also where nothing was changed, so that nothing but the pixels can
    differ. The out-model is trained and asked about images before and after.

    Args:
        request: what was asked for
        changed: uint8 images in the order and of the shapes of the candidates
        labels, secrets, probes: see :class:`.request.CraftResult`
        files (None): the files of ``changed``, where the method wrote them
        out_model (None): where the method trained it

    Raises:
        ParameterError: if they do not fit, before anything is trained
    """
    check_sides(request, labels, secrets, probes)
    if out_model is None:
        out_model = train_out_model(request)
    encoded = files
    if request.codecs is not None and encoded is None:
        folder = request.checkpoint_dir / "files" if request.checkpoint_dir else None
        encoded = FinishedFiles(len(changed), folder)
        for row, (codec, image) in enumerate(zip(request.codecs, changed, strict=True)):
            encoded.put(row, codec.encode(image))
    images: Sequence[np.ndarray]
    if encoded is None:
        images = [np.array(image, copy=True) for image in changed]
    else:
        images = decoded_files(encoded)
    size = int(request.rest.shape[-1])
    device = choose_device(request.device)
    before = torch.as_tensor(request.candidate_labels, dtype=torch.int64)
    after = before if labels is None else torch.as_tensor(labels, dtype=torch.int64)
    return CraftResult(
        images=images,
        encoded=encoded,
        proxy_losses=losses(out_model, thumbnails(images, size), after, device),
        original_losses=losses(out_model, thumbnails(request.candidates, size), before, device),
        in_losses=np.full(len(images), np.nan),
        history=np.empty(0),
        out_model=out_model.cpu(),
        labels=labels,
        secrets=secrets,
        probes=probes,
    )
