"""Images left as they are: pairs of twins without any mark, and the ablation of the perturbation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    title = "Leaves the images as they are: the ablation"
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

    def craft(self, request: CraftRequest) -> CraftResult:
        """The candidates, unchanged, with the out-model's losses on them."""
        import torch

        from ..training import cross_entropy, predict_logits
        from .crafting import thumbnails, train_out_model
        from .finishing import DecodedFiles, FinishedFiles
        from .request import CraftResult

        f_out = train_out_model(request)
        encoded = None
        images: Sequence[np.ndarray]
        if request.codecs is None:
            images = [np.array(image, copy=True) for image in request.candidates]
        else:
            # Written again like a perturbed image, so that nothing but the pixels can differ.
            folder = request.checkpoint_dir / "files" if request.checkpoint_dir else None
            encoded = FinishedFiles(len(request.candidates), folder)
            pairs = zip(request.codecs, request.candidates, strict=True)
            for row, (codec, image) in enumerate(pairs):
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

    def passes(self, size: RunSize, options: Any) -> int:
        return (size.num_images - size.num_marked) * size.epochs
