"""Pixels and losses of marked images, each beside those of the unmarked images that they are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ..images import read_image
from ..progress import Report
from .compression import compression_features
from .features import Feature
from .metadata import Release
from .model_loss import FILTERS, ReleaseLosses, filtered_shares
from .pixels import (
    classify,
    colour_correlation,
    nearest_distances,
    noise_level,
    outlyingness,
    residual_features,
)
from .practice import MarkDetector
from .report import LOSS, PIXELS, Separation
from .separation import TestResult, class_auroc, matched_auroc, rank_test

#: Side of the thumbnails in which near duplicates are looked for
_THUMBNAIL = 16


def pixel_separations(
    release: Release,
    images: torch.Tensor,
    sets: np.ndarray,
    lossy_sizes: Sequence[Feature],
    detector: MarkDetector | None,
    seed: int,
    report: Report,
) -> list[Separation]:
    """How well each feature of the pixels tells the images of some matched sets apart.

    Args:
        release: the release
        images: uint8 (N, 3, S, S), all of its images
        sets: int (S, K), see :func:`.matching.match`
        lossy_sizes: see :func:`.encoding.encoding_features`
        detector: what was learned from marks of one's own, or None
        seed: of folds and permutations
        report: called with the stage "Looking at pixels"

    Returns:
        p-values as they are, none of them corrected
    """
    used = np.unique(sets[sets >= 0])
    if not len(used):
        return []
    count = len(release.names)
    noise, colour, unlike, suspicion = (np.full(count, np.nan) for _ in range(4))
    residuals = compression = np.empty((0, 0))
    for number, row in enumerate(used, start=1):
        path = release.folder / release.names[row]
        pixels = read_image(path)
        noise[row], colour[row] = noise_level(pixels), colour_correlation(pixels)
        found = residual_features(pixels), compression_features(path, pixels)
        if number == 1:
            residuals, compression = (np.zeros((count, len(values))) for values in found)
        residuals[row], compression[row] = found
        if number % 16 == 0 or number == len(used):
            report("Looking at pixels", number, len(used))

    rows = []
    for name, features, detail in (
        ("noise classifier", residuals, "co-occurrences and high-pass residuals, cross-validated"),
        (
            "compression classifier",
            compression,
            "traces of an earlier JPEG compression, cross-validated",
        ),
    ):
        classified = classify(features, sets, seed=seed)
        if classified is not None:
            result = TestResult("permutation", classified.p_value, 0.0)
            inflation = classified.inflation
            rows.append(_row(name, PIXELS, classified.scores, result, sets, detail, inflation))

    tested: list[tuple[str, np.ndarray, str]] = []
    if detector is not None:
        suspicion[used] = detector.score(np.hstack([residuals, compression])[used])
        practised = f"{detector.num_practised} images of the release that were marked for it"
        taken = ", ".join(
            f"{share:.0%} {part:.0%}" for share, part in taken_shares(suspicion, sets).items()
        )
        detail = f"learned from {practised}; leaving out the most suspicious of similar images takes of the HoneyImages: {taken}"
        tested.append(("own marks", suspicion, detail))
    unlike[used] = outlyingness(residuals[used])
    size = max(1, min(_THUMBNAIL, int(images.shape[-1])))
    thumbnails = torch.nn.functional.interpolate(
        images.float(), size=(size, size), mode="bilinear", antialias=True
    )
    distances = nearest_distances(thumbnails.flatten(1).numpy(), used)
    tested += [
        ("noise level", noise, "mean high-pass residual"),
        ("colour noise", colour, "correlation of the channels' high-pass residuals"),
        (
            "unusual noise",
            unlike,
            "distance from the other images' co-occurrences and residuals; nothing was learned",
        ),
        (
            "nearness to another image",
            -distances,
            "difference to the most similar image of the release, 16×16 pixels",
        ),
    ]
    for feature in lossy_sizes:
        if not feature.is_constant:
            values = np.asarray(feature.values, dtype=np.float64)
            detail = "bytes of the coded pixels beside those of the pixels coded again"
            tested.append((feature.name, values, detail))
    for name, values, detail in tested:
        rows.append(_row(name, PIXELS, values, rank_test(values, sets), sets, detail))
    return rows


def taken_shares(
    values: np.ndarray, sets: np.ndarray, shares: Sequence[float] = (0.02, 0.05)
) -> dict[float, float]:
    """What share of the marked images has values above all but such a share of the images they are compared with.

    Args:
        values: float (N,), of the images in sets
        sets: int (S, K), see :func:`.matching.match`
        shares ((0.02, 0.05)): of images like them
    """
    others = sets[:, 1:]
    controls = values[others[others >= 0]]
    marked = values[sets[:, 0]]
    return {share: float((marked > np.quantile(controls, 1 - share)).mean()) for share in shares}


def loss_separations(
    release: Release,
    losses: ReleaseLosses,
    labels: Sequence[str | None],
    sets: np.ndarray,
) -> list[Separation]:
    """The same for the losses of models that were trained on the release."""
    usable = ~np.isnan(losses.trained)
    filters = []
    for values, name in ((losses.trained, "trained on it"), (losses.held_out, "not trained on it")):
        dropped = filtered_shares(values[usable], release.marked[usable])
        text = ", ".join(
            f"{share:.0%} {part:.0%}" for share, part in zip(FILTERS, dropped, strict=True)
        )
        filters.append(
            f"under a model {name}; dropping the images of highest loss drops of the HoneyImages: {text}"
        )
    rows = []
    for name, values, detail in (
        ("loss, trained", losses.trained, filters[0]),
        ("loss, held out", losses.held_out, filters[1]),
        ("loss, memorised", losses.memorised, "how much training on an image lowers its loss"),
    ):
        row = _row(name, LOSS, values, rank_test(values, sets), sets, detail)
        rows.append(replace(row, auroc_class=class_auroc(values, release.marked, labels)))
    return rows


def _row(
    name: str,
    group: str,
    values: np.ndarray,
    result: TestResult,
    sets: np.ndarray,
    detail: str,
    inflation: float = 1.0,
) -> Separation:
    auroc = matched_auroc(values, sets, inflation)
    return Separation(
        feature=name,
        group=group,
        test=result.name,
        auroc=None if auroc is None else auroc.value,
        interval=None if auroc is None else (auroc.low, auroc.high),
        auroc_class=None,
        p_value=result.p_value,
        p_adjusted=1.0,
        separates=False,
        detail=detail,
    )
