"""The whole audit of a folder of files of which some are marked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..errors import ImageError
from ..evidence.alpha_spending import holm
from ..images import read_image
from ..methods import PRACTISED_METHOD, Method
from ..methods.options import Options
from ..models import Proxy
from ..progress import Report, silent
from ..resizing import resize_uint8
from ..training import TrainingConfig
from .annotations import read_records
from .cleaning import cleanings
from .encoding import MAX_PIXELS
from .matching import match
from .metadata import ALPHA, Release, audit_metadata, find_secrets, read_release, release_labels
from .model_loss import ReleaseLosses, release_losses
from .originals import Policies
from .practice import MarkDetector, practise
from .report import AuditReport, Leak, Separation
from .separations import loss_separations, pixel_separations

#: Marked images beyond so many are not looked at pixel by pixel; their number would sharpen nothing
MAX_SETS = 300

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
    method: Method = PRACTISED_METHOD,
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
    sizes = metadata.lossy_sizes
    rows = pixel_separations(release, loaded.images, sets, sizes, detector, seed, report)
    if losses is not None:
        by_class = sets if hardness is not None else match(marked, known, seed=seed)
        by_class = _readable_sets(by_class, ~np.isnan(losses.held_out))
        rows += loss_separations(release, losses, known, by_class)
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
        cleanings=() if losses is None else cleanings(marked, losses),
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
    mislabelled = np.zeros(len(labels), dtype=bool)
    trained[rows], held_out[rows], half[rows] = found.trained, found.held_out, found.half
    mislabelled[rows] = found.mislabelled
    whole = replace(found, trained=trained, held_out=held_out, mislabelled=mislabelled, half=half)
    return whole, ""


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


def _corrected(rows: Sequence[Separation], alpha: float) -> list[Separation]:
    adjusted = holm([row.p_value for row in rows])
    return [
        replace(row, p_adjusted=p, separates=p <= alpha)
        for row, p in zip(rows, adjusted, strict=True)
    ]
