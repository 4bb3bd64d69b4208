"""The whole audit of a folder of files of which some are marked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..errors import ImageError, ParameterError
from ..evidence.alpha_spending import holm
from ..images import read_image
from ..methods import DEFAULT_METHOD, Method
from ..methods.options import Options
from ..models import Proxy
from ..progress import Report, silent
from ..resizing import resize_uint8
from ..training import TrainingConfig
from .annotations import read_records
from .compression import compression_features
from .encoding import MAX_PIXELS
from .features import Feature
from .matching import match
from .metadata import ALPHA, Release, audit_metadata, find_secrets, read_release, release_labels
from .model_loss import FILTERS, ReleaseLosses, filtered_shares, release_losses
from .originals import Policies
from .pixels import (
    classify,
    colour_correlation,
    nearest_distances,
    noise_level,
    outlyingness,
    residual_features,
)
from .practice import MarkDetector, practise
from .report import LOSS, PIXELS, AuditReport, Leak, Separation
from .separation import TestResult, class_auroc, matched_auroc, rank_test

#: Marked images beyond so many are not looked at pixel by pixel; their number would sharpen nothing
MAX_SETS = 300

#: Side of the thumbnails in which near duplicates are looked for
_THUMBNAIL = 16

#: The steps of an audit, with their usual share of its time
STAGES = {
    "Reading images": 20,
    "Training the two half proxies": 25,
    "Scoring": 5,
    "Training on the release": 25,
    "Reading files": 10,
    "Marking for practice": 10,
    "Looking at pixels": 15,
}


@dataclass(frozen=True)
class _Loaded:
    """Images at one size, and which of them could be read."""

    images: torch.Tensor
    readable: np.ndarray


def audit_files(
    folder: str | os.PathLike[str],
    marked_files: Iterable[str | os.PathLike[str]],
    *,
    labels: Mapping[str, str] | None = None,
    hardness: Mapping[str, float] | None = None,
    sources: Mapping[str, str | os.PathLike[str]] | None = None,
    policies: Policies | None = None,
    proxy: Proxy | None = "resnet_tiny",
    config: TrainingConfig | None = None,
    input_size: int = 32,
    method: Method = DEFAULT_METHOD,
    marks: Options | None = None,
    found: Sequence[Leak] = (),
    named: Sequence[Leak] = (),
    secrets: Collection[str] = (),
    alpha: float = ALPHA,
    max_pixels: int = MAX_PIXELS,
    seed: int = 51,
    device: str | torch.device | None = None,
    report: Report | None = None,
) -> AuditReport:
    """Tries to tell marked from unmarked images of a release, and says what succeeded.

    Marked images are compared with unmarked ones of the same class and similar hardness: of the given
    one, or else of the loss under models that the audit trains on halves of the release, or else (without
    a proxy) of the same class alone. The losses themselves are compared within classes unless hardness
    is given, since a loss cannot be compared among images that were chosen for equal loss.

    Args:
        folder: the release
        marked_files: the HoneyImages in it, relative to the folder or absolute
        labels (None), hardness (None), sources (None), max_pixels (40 million): see
            :func:`.metadata.check_metadata`
        policies (None): how files were made from their originals; those of :class:`.originals.Policies` by
            default
        proxy ("resnet_tiny"): the model that is trained on the release; None for no model
        config (None): how it is trained
        input_size (32): side of its input in pixels
        method (HoneyImages): how images are marked for practice, as the release was
        marks (None): its options; its defaults by default
        found (()): leaks that are certain already, for the report
        named (()): what is to be named in the report and fails nothing
        secrets (()): words that must not be in the release, see :func:`.metadata.find_secrets`
        alpha (0.01): the probability that the metadata, or the pixel features, are said to separate if
            the marks fell at random
        seed (51): of models, folds and controls
        device (None): where to train
        report (None): progress, in the stages of :data:`STAGES`

    Returns:
        an :class:`.report.AuditReport`

    Raises:
        ParameterError: if a marked file is not in the folder, or none or all images are marked
        ReleaseError: if there is no such folder
    """
    report = report or silent
    release = read_release(Path(folder), marked_files)
    names, marked = release.names, release.marked
    known = release_labels(release, read_records(release.folder, names, release.others), labels)

    notes: list[str] = []
    loaded = _load(release, input_size, report)
    if not loaded.readable.all():
        notes.append(f"{int((~loaded.readable).sum())} images could not be decoded")
    losses = None
    if proxy is not None:
        losses, reason = _losses(loaded, known, proxy, config, seed, device, report)
        notes += [reason] if reason else []

    compared_by = "class"
    scores = None
    if hardness is not None:
        scores = np.array([float(hardness.get(name, np.nan)) for name in names])
        compared_by = "class and hardness"
    elif losses is not None:
        scores = losses.held_out
        compared_by = (
            "class and loss under a model that was trained on the other half of the release"
        )
    metadata = audit_metadata(
        release,
        labels=labels,
        hardness=None if scores is None else dict(zip(names, scores.tolist(), strict=True)),
        sources=sources,
        policies=policies,
        alpha=alpha,
        max_pixels=max_pixels,
        seed=seed,
        report=report,
    )

    sets = _readable_sets(metadata.sets, loaded.readable)
    if len(sets) > MAX_SETS:
        notes.append(f"pixels were looked at for {MAX_SETS} of {len(sets)} HoneyImages")
        chosen = np.random.default_rng(seed).choice(len(sets), MAX_SETS, replace=False)
        sets = sets[np.sort(chosen)]
    detector = None
    if losses is not None and len(sets):
        how = marks or method.Options()
        detector = _detector(
            release, loaded, known, losses, sets, method, how, seed, device, report
        )
        if detector is None:
            notes.append(
                "nobody's own marks were learned from: too few unmarked images can be marked, or they are large"
            )
    rows = _pixel_rows(release, loaded, known, sets, metadata.lossy_sizes, detector, seed, report)
    if losses is not None:
        by_class = sets if hardness is not None else match(marked, known, seed=seed)
        by_class = _readable_sets(by_class, ~np.isnan(losses.held_out))
        rows += _loss_rows(release, losses, known, by_class)
    if not rows:
        notes.append("no pixels were compared: no HoneyImage has an unmarked image of its class")
    elif len(sets) < 10:
        notes.append("classifiers were left out: they take 10 HoneyImages or more")

    return AuditReport(
        num_files=len(names),
        num_marked=int(marked.sum()),
        num_compared=len(metadata.sets),
        compared_by=compared_by,
        alpha=alpha,
        metadata=tuple(metadata.rows),
        constant=tuple(metadata.constant),
        pixels=tuple(_corrected(rows, alpha)),
        found=(*found, *metadata.certain, *find_secrets(release, secrets)),
        named=(*named, *metadata.named),
        notes=(*metadata.notes, *notes),
    )


def _load(release: Release, size: int, report: Report) -> _Loaded:
    names = release.names
    images = torch.zeros((len(names), 3, size, size), dtype=torch.uint8)
    readable = np.ones(len(names), dtype=bool)
    for row, name in enumerate(names):
        try:
            pixels = resize_uint8(read_image(release.folder / name), size)
            images[row] = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
        except ImageError:
            readable[row] = False
        if row % 256 == 255 or row + 1 == len(names):
            report("Reading images", row + 1, len(names))
    return _Loaded(images, readable)


def _losses(
    loaded: _Loaded,
    labels: Sequence[str | None],
    proxy: Proxy,
    config: TrainingConfig | None,
    seed: int,
    device: str | torch.device | None,
    report: Report,
) -> tuple[ReleaseLosses | None, str]:
    """The losses, NaN for images that cannot be trained on; or None, and why."""
    counts: dict[str, int] = {}
    for label, readable in zip(labels, loaded.readable, strict=True):
        if label is not None and readable:
            counts[label] = counts.get(label, 0) + 1
    classes = sorted(label for label, count in counts.items() if count >= 2)
    if len(classes) < 2:
        return None, "no model was trained: the release has no two classes with two images each"
    usable = np.array(
        [label in classes and ok for label, ok in zip(labels, loaded.readable, strict=True)]
    )
    rows = np.flatnonzero(usable)
    found = release_losses(
        loaded.images[torch.from_numpy(rows)],
        np.array([classes.index(str(labels[int(row)])) for row in rows], dtype=np.int64),
        len(classes),
        proxy=proxy,
        config=config,
        seed=seed,
        device=device,
        report=report,
    )
    trained, held_out = (np.full(len(labels), np.nan) for _ in range(2))
    half = np.full(len(labels), -1, dtype=np.int8)
    trained[rows], held_out[rows], half[rows] = found.trained, found.held_out, found.half
    return replace(found, trained=trained, held_out=held_out, half=half), ""


def _detector(
    release: Release,
    loaded: _Loaded,
    labels: Sequence[str | None],
    losses: ReleaseLosses,
    sets: np.ndarray,
    method: Method,
    marks: Options,
    seed: int,
    device: str | torch.device | None,
    report: Report,
) -> MarkDetector | None:
    """What a stranger learns who marks images of the release himself."""
    allowed = ~release.marked
    allowed[sets[sets >= 0]] = False
    classes = sorted({str(labels[row]) for row in np.flatnonzero(losses.half >= 0).tolist()})
    numbers = np.array([classes.index(str(x)) if str(x) in classes else 0 for x in labels])
    with tempfile.TemporaryDirectory(prefix="honeyimage-") as folder:
        return practise(
            [release.folder / name for name in release.names],
            numbers,
            len(classes),
            allowed,
            losses.half,
            losses.half_models,
            losses.whole_model,
            int(loaded.images.shape[-1]),
            marks,
            seed=seed,
            device=device,
            folder=Path(folder),
            report=report,
            method=method,
        )


def _readable_sets(sets: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Sets without images that cannot be used; the members move up, and empty sets go."""
    kept = np.where((sets >= 0) & usable[sets], sets, -1)
    kept = kept[kept[:, 0] >= 0]
    order = np.argsort(kept[:, 1:] < 0, axis=1, kind="stable")
    kept[:, 1:] = np.take_along_axis(kept[:, 1:], order, axis=1)
    return kept[kept[:, 1] >= 0] if kept.shape[1] > 1 else kept[:0]


def _pixel_rows(
    release: Release,
    loaded: _Loaded,
    labels: Sequence[str | None],
    sets: np.ndarray,
    lossy_sizes: Sequence[Feature],
    detector: MarkDetector | None,
    seed: int,
    report: Report,
) -> list[Separation]:
    used = np.unique(sets[sets >= 0])
    if not len(used):
        return []
    count = len(release.names)
    noise, colour = np.full(count, np.nan), np.full(count, np.nan)
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
            rows.append(
                _row(name, PIXELS, classified.scores, result, release, labels, sets, detail)
            )

    if detector is not None:
        suspicion = np.full(count, np.nan)
        suspicion[used] = detector.score(np.hstack([residuals, compression])[used])
        detail = (
            f"learned from {detector.num_practised} images of the release that were marked for it"
        )
        rows.append(_tested("own marks", PIXELS, suspicion, release, labels, sets, detail))
    rows.append(
        _tested("noise level", PIXELS, noise, release, labels, sets, "mean high-pass residual")
    )
    rows.append(
        _tested(
            "colour noise",
            PIXELS,
            colour,
            release,
            labels,
            sets,
            "correlation of the channels' high-pass residuals",
        )
    )
    unlike = np.full(count, np.nan)
    unlike[used] = outlyingness(residuals[used])
    rows.append(
        _tested(
            "unusual noise",
            PIXELS,
            unlike,
            release,
            labels,
            sets,
            "distance from the other images' co-occurrences and residuals; nothing was learned",
        )
    )
    size = max(1, min(_THUMBNAIL, int(loaded.images.shape[-1])))
    thumbnails = torch.nn.functional.interpolate(
        loaded.images.float(), size=(size, size), mode="bilinear", antialias=True
    )
    distances = nearest_distances(thumbnails.flatten(1).numpy(), used)
    rows.append(
        _tested(
            "nearness to another image",
            PIXELS,
            -distances,
            release,
            labels,
            sets,
            "difference to the most similar image of the release, 16×16 pixels",
        )
    )
    for feature in lossy_sizes:
        values = np.asarray(feature.values, dtype=np.float64)
        if not feature.is_constant:
            detail = "bytes of the coded pixels beside those of the pixels coded again"
            rows.append(_tested(feature.name, PIXELS, values, release, labels, sets, detail))
    return rows


def _loss_rows(
    release: Release,
    losses: ReleaseLosses,
    labels: Sequence[str | None],
    sets: np.ndarray,
) -> list[Separation]:
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
    memorised = "how much training on an image lowers its loss"
    return [
        _tested("loss, trained", LOSS, losses.trained, release, labels, sets, filters[0]),
        _tested("loss, held out", LOSS, losses.held_out, release, labels, sets, filters[1]),
        _tested("loss, memorised", LOSS, losses.memorised, release, labels, sets, memorised),
    ]


def _tested(
    name: str,
    group: str,
    values: np.ndarray,
    release: Release,
    labels: Sequence[str | None],
    sets: np.ndarray,
    detail: str,
) -> Separation:
    return _row(name, group, values, rank_test(values, sets), release, labels, sets, detail)


def _row(
    name: str,
    group: str,
    values: np.ndarray,
    result: TestResult,
    release: Release,
    labels: Sequence[str | None],
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
        auroc_class=class_auroc(values, release.marked, labels) if group == LOSS else None,
        p_value=result.p_value,
        p_adjusted=1.0,
        separates=False,
        detail=detail,
    )


def _corrected(rows: Sequence[Separation], alpha: float) -> list[Separation]:
    adjusted = holm([row.p_value for row in rows])
    return [
        replace(row, p_adjusted=p, separates=p <= alpha)
        for row, p in zip(rows, adjusted, strict=True)
    ]


def check_alpha(alpha: float) -> float:
    """Raises :class:`ParameterError` unless ``alpha`` is a probability between 0 and 0.5."""
    if not isinstance(alpha, (int, float)) or isinstance(alpha, bool) or not 0 < alpha <= 0.5:
        raise ParameterError(
            f"alpha must be a probability above 0 and at most 0.5; found {alpha!r}"
        )
    return float(alpha)
