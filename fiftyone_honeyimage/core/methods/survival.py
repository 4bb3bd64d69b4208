"""Which HoneyImages keep their effect after what a release may go through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..images import check_image
from ..progress import Report, silent
from ..seeds import derive_seed
from ..training import cross_entropy, predict_logits
from .perturbation import seen_by_model
from .transforms import TRANSFORMS

#: An effect is kept if at least this share of the loss gap is left.
KEPT_SHARE = 0.5

#: Random transforms are drawn this often, and the gaps averaged.
_DRAWS = 4

_BATCH = 256


@dataclass(frozen=True)
class Survival:
    """What is left of the effect of K HoneyImages.

    Attributes:
        gaps: transform's name → float64 (K,), ``L_out − L_in`` in nats on the transformed images;
            ``"none"`` is the image as it is
        kept: transform's name → bool (K,): the gap was above 0 and at least half of it is left
    """

    gaps: Mapping[str, np.ndarray]
    kept: Mapping[str, np.ndarray]

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean gap and share kept of each transform, JSON-safe; empty for no images."""
        return {
            name: {"gap": float(gap.mean()), "kept": float(self.kept[name].mean())}
            for name, gap in self.gaps.items()
            if len(gap)
        }


def measure_survival(
    images: Sequence[np.ndarray],
    labels: np.ndarray | torch.Tensor,
    out_model: torch.nn.Module,
    in_model: torch.nn.Module,
    input_size: int,
    *,
    seed: int = 51,
    device: str | torch.device | None = None,
    report: Report | None = None,
) -> Survival:
    """Measures the loss gap under the proxies before and after each transform.

    JPEG of quality 75 and 50, resizing to 75 % and back, a 3x3 median filter, and random crop and flip
    are applied to the images at native size with Pillow; then the proxies see them at their input size.

    Args:
        images: uint8 (H, W, 3) arrays of any sizes, decoded from their files; read once, one at a time
        labels: (K,)
        out_model: the proxy that was trained without the images
        in_model: the proxy that was trained with them
        input_size: the side S of the proxies' input
        seed (51): of the random crops
        device (None): where the proxies are queried
        report (None): progress

    Returns:
        :class:`Survival`
    """
    report = report or silent
    names = ["none", *(transform.name for transform in TRANSFORMS)]
    truth = torch.as_tensor(labels, dtype=torch.int64)
    gaps = {name: np.zeros(len(images)) for name in names}
    for start in range(0, len(images), _BATCH):
        rows = range(start, min(start + _BATCH, len(images)))
        batches: dict[str, list[torch.Tensor]] = {name: [] for name in names}
        for row in rows:
            pixels = images[row]
            check_image(pixels, f"image {row}")
            for name, variant in _variants(pixels, derive_seed(seed, "survival", row)):
                batches[name].append(seen_by_model(variant, input_size))
            report("Measuring survival", row + 1, len(images))
        for name, thumbnails in batches.items():
            draws = len(thumbnails) // len(rows)
            batch = torch.stack(thumbnails)
            targets = truth[list(rows)].repeat_interleave(draws)
            gap = cross_entropy(predict_logits(out_model, batch, device=device), targets)
            gap -= cross_entropy(predict_logits(in_model, batch, device=device), targets)
            gaps[name][list(rows)] = gap.reshape(-1, draws).mean(axis=1)
    before = gaps["none"]
    return Survival(
        gaps=gaps,
        kept={name: (before > 0) & (gap >= KEPT_SHARE * before) for name, gap in gaps.items()},
    )


def _variants(pixels: np.ndarray, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """(name, pixels) of each transformed image, made one at a time."""
    yield "none", pixels
    for transform in TRANSFORMS:
        rng = np.random.default_rng(derive_seed(seed, transform.name))
        for _ in range(_DRAWS if transform.name == "crop_flip" else 1):
            yield transform.name, transform.apply(pixels, rng)
