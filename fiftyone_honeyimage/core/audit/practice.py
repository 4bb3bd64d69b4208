"""The stranger who has this tool: he marks images himself, and learns from them what marks look like.

He needs no mark of the owner's. Of the release's images he takes some, marks them as the owner did, with models that he
trained on the release, and has each of them twice, without and with a mark: what differs is the mark alone, and not the
scene, so that a few dozen teach more than as many marked images among strange ones. Then he sorts the release.

The scores that come out have seen neither the HoneyImages nor the images that they are compared with, so the rank
test needs no correction for learning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf

from ..codecs import Codec, decoded_sources, open_codec
from ..device import choose_device
from ..errors import ImageError
from ..images import LazyImages, read_image
from ..methods import METHODS, PRACTISED_METHOD, Method
from ..methods.crafting import Crafting
from ..methods.options import Options
from ..methods.out_model import thumbnails
from ..methods.request import CraftRequest
from ..progress import Report, silent
from .compression import compression_features
from .pixels import residual_features

#: Images that are marked for practice at most, and at least: with fewer nothing is learned.
MOST, LEAST = 200, 30

#: Images that share a secret of the stranger's, at most; and other images that he learns from.
IMAGES_A_SECRET, _MOST_REST = 8, 400

#: Pixels of all of them at most: rounds at native size take about a second for each million.
_MOST_PIXELS = 16 << 20

#: Rounds of searching, each of ε times 2.5 over their number (Madry et al., 2018).
_ROUNDS = 6


@dataclass(frozen=True)
class MarkDetector:
    """A linear score of features: the larger, the more an image looks marked.

    Attributes:
        weights: float64 (D,)
        num_practised: images that were marked to learn it
    """

    weights: np.ndarray
    num_practised: int

    def score(self, features: np.ndarray) -> np.ndarray:
        """float64 (N,) scores of float (N, D) features, see :func:`detector_features`."""
        return features @ self.weights


def detector_features(path: Path, image: np.ndarray) -> np.ndarray:
    """What the stranger looks at in one image: float64 (251,), of its noise and its compression.

    Args:
        path: its file
        image: uint8 (H, W, 3), its decoded pixels
    """
    return np.concatenate([residual_features(image), compression_features(path, image)])


def practised_method(values: Mapping[str, Any]) -> tuple[Method, Options]:
    """What a stranger practises: the release's own method, HoneyImages where nothing changes.

    Args:
        values: ``method`` and its options among others, such as a ledger's header
    """
    method = METHODS.get(values.get("method", ""), PRACTISED_METHOD)
    if not method.changes_pixels:
        method = PRACTISED_METHOD
    return method, method.Options.read(values)


def choose_practice(
    paths: Sequence[Path],
    allowed: np.ndarray,
    settings: Options,
    seed: int,
    most: int = MOST,
    method: Method = PRACTISED_METHOD,
) -> tuple[list[int], list[Codec]]:
    """Images that can be marked, at random, and their codecs; fewer where they are large.

    Args:
        paths: N files
        allowed: bool (N,)
        settings: of the marks
        seed: of the choice
        most (200): how many at most
        method (HoneyImages): how they are marked
    """
    rows: list[int] = []
    codecs: list[Codec] = []
    pixels = 0
    for row in np.random.default_rng(seed).permutation(np.flatnonzero(allowed)).tolist():
        if len(rows) == most or pixels > _MOST_PIXELS:
            break
        try:
            codec = open_codec(paths[row])
            roomy = method.has_room(codec, settings)
        except ImageError:
            continue
        pixels += codec.width * codec.height
        if roomy:
            rows.append(row)
            codecs.append(codec)
    return rows, codecs


def mark_for_practice(
    codecs: Sequence[Codec],
    labels: np.ndarray,
    num_classes: int,
    models: tuple[torch.nn.Module, torch.nn.Module],
    input_size: int,
    settings: Options,
    *,
    seed: int,
    device: str | torch.device | None = None,
    folder: Path,
    report: Report | None = None,
    method: Method = PRACTISED_METHOD,
    partners: Sequence[np.ndarray] = (),
    sides: np.ndarray | None = None,
    rest: Sequence[np.ndarray] = (),
    rest_labels: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Marks images with two finished models and returns their features.

    Args:
        codecs: of the K images
        labels: int64 (K,)
        num_classes: C
        models: one that has not seen the images, and one that has
        input_size: side of the models' input in pixels
        settings: of the marks
        seed: of the search
        device (None): where to search
        folder: where a marked file lies while it is looked at
        report (None): called with the stage "Marking for practice"
        method (HoneyImages): how they are marked
        partners (()): see :class:`..methods.request.CraftRequest`
        sides (None): int64 (M, 2, F), which of the images share a secret, all of them, for a method that has secrets
        rest, rest_labels: other images of two classes or more, which such a method learns from

    Returns:
        K arrays (D,), see :func:`detector_features`
    """
    report = report or silent
    blank = torch.zeros((1, 3, input_size, input_size), dtype=torch.uint8)
    request = CraftRequest(
        candidates=decoded_sources(codecs),
        candidate_labels=labels,
        rest=blank,
        rest_labels=labels[:1],
        num_classes=num_classes,
        codecs=codecs,
        partners=partners,
        options=settings,
        seed=seed,
        device=device,
    )
    if sides is not None:
        assert rest_labels is not None
        request = _with_secrets(request, sides, rest, rest_labels)
    if method.num_models == 1:
        result = method.craft(replace(request, out_model=models[0]))
        images, files = result.images, result.encoded
        report("Marking for practice", 1, 1)
    else:
        images, files = _ascend(request, models, report)
    for model in models:
        model.cpu()
    assert files is not None  # there are codecs
    features = []
    for number, codec in enumerate(codecs):
        path = folder / f"practice{codec.path.suffix}"
        path.write_bytes(files[number])
        features.append(detector_features(path, images[number]))
    return features


def practice_sides(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 (M, 2, F): places of images of one class each, F of them to a secret; what is over is left out.

    Args:
        labels: int64 (K,)
        num_classes: C; with many the secrets are in fewer images each
    """
    files = int(np.clip(len(labels) // (2 * num_classes), 1, IMAGES_A_SECRET))
    sides: list[np.ndarray] = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        pairs = len(own) // (2 * files)
        sides += list(own[: pairs * 2 * files].reshape(pairs, 2, files))
    return np.array(sides, dtype=np.int64).reshape(-1, 2, files)


def _with_secrets(
    request: CraftRequest,
    sides: np.ndarray,
    rest: Sequence[np.ndarray],
    rest_labels: np.ndarray,
) -> CraftRequest:
    """The request for secrets of the stranger's own; what a suspect would be asked about is of no use to him."""
    probes = [int(np.flatnonzero(rest_labels == label)[0]) for label in np.unique(rest_labels)[:2]]
    return replace(
        request,
        sides=sides,
        probe_sources=[rest[row] for row in probes],
        probe_labels=rest_labels[probes],
        rest=thumbnails(rest, int(request.rest.shape[-1])),
        rest_labels=rest_labels,
    )


def _ascend(
    request: CraftRequest, models: tuple[torch.nn.Module, torch.nn.Module], report: Report
) -> tuple[Sequence[np.ndarray], Sequence[bytes] | None]:
    """HoneyImages from models that stay as they are, and their files."""
    request = request.with_options(
        step_size=2.5 * request.options.epsilon / _ROUNDS, num_steps=_ROUNDS, robust=False
    )
    crafting = Crafting(request, choose_device(request.device))
    seen = crafting.see_all()
    targets = torch.as_tensor(request.candidate_labels, dtype=torch.int64)
    for step in range(_ROUNDS):
        crafting.ascend(seen, targets, *models, step)
        report("Marking for practice", step + 1, _ROUNDS)
    images, files, *_ = crafting.finish_all()
    return images, files


def learn_detector(plain: np.ndarray, marked: np.ndarray) -> MarkDetector:
    """Fisher's discriminant of the same images without and with a mark, with Ledoit–Wolf shrinkage.

    Args:
        plain: float (K, D), features of the images as they are
        marked: float (K, D), of the same images with a mark
    """
    both = np.concatenate([plain, marked])
    spread = both.std(axis=0)
    kept = spread > 1e-9
    weights = np.zeros(both.shape[1])
    if not kept.any():
        return MarkDetector(weights, len(plain))
    shift = ((marked - plain)[:, kept] / spread[kept]).mean(axis=0)
    # Scenes differ far more than a mark does: what is told apart is judged against them
    scenes = np.concatenate(
        [part[:, kept] - part[:, kept].mean(axis=0) for part in (plain, marked)]
    )
    covariance, _ = ledoit_wolf(scenes / spread[kept], assume_centered=True)
    weights[kept] = np.linalg.solve(covariance, shift) / spread[kept]
    return MarkDetector(weights, len(plain))


def practise(
    paths: Sequence[Path],
    labels: np.ndarray,
    num_classes: int,
    allowed: np.ndarray,
    half: np.ndarray,
    half_models: Sequence[torch.nn.Module],
    whole_model: torch.nn.Module,
    input_size: int,
    settings: Options,
    *,
    seed: int,
    device: str | torch.device | None,
    folder: Path,
    report: Report | None = None,
    method: Method = PRACTISED_METHOD,
) -> MarkDetector | None:
    """Marks some images of a release and learns to tell them from what they were.

    Args:
        paths: N files
        labels: int64 (N,); only those of allowed images are looked at
        num_classes: C
        allowed: bool (N,), images that no score is needed of
        half: int (N,), the half, 0 or 1, that an image was in when models were trained; others are left out
        half_models: the model of each half
        whole_model: the model of all images
        input_size, settings, seed, device, folder, report, method: see :func:`mark_for_practice`

    Returns:
        the detector, or None with fewer than 30 images that can be marked
    """
    free = allowed & (half >= 0)
    # Of a method whose images share secrets he learns from others too
    most = min(MOST, 2 * int(free.sum()) // 3) if method.shares_secrets else MOST
    rows, codecs = choose_practice(paths, free, settings, seed, most, method)
    if len(rows) < LEAST:
        return None
    others = np.setdiff1d(np.flatnonzero(allowed), rows)
    mixed = np.random.default_rng(seed).choice(others if len(others) else rows, len(rows))
    plain, marked = [], []
    for number in (0, 1):
        chosen = [place for place, row in enumerate(rows) if half[row] == number]
        if not chosen:
            continue
        sides, learned = None, np.empty(0, dtype=np.int64)
        if method.shares_secrets:
            sides = practice_sides(labels[[rows[place] for place in chosen]], num_classes)
            chosen = [chosen[place] for place in sides.ravel().tolist()]
            sides = np.arange(sides.size).reshape(sides.shape)
            learned = others[half[others] == number][:_MOST_REST]
            if not chosen or len(np.unique(labels[learned])) < 2:
                continue
        own = [rows[place] for place in chosen]
        partners = [paths[row] for row in mixed[chosen]]
        plain += [detector_features(paths[row], read_image(paths[row])) for row in own]
        marked += mark_for_practice(
            [codecs[place] for place in chosen],
            labels[own],
            num_classes,
            (half_models[1 - number], whole_model),
            input_size,
            settings,
            seed=seed,
            device=device,
            folder=folder,
            report=report,
            method=method,
            partners=_read_lazily(partners),
            sides=sides,
            rest=_read_lazily([paths[row] for row in learned.tolist()]),
            rest_labels=labels[learned],
        )
    if len(plain) < LEAST:
        return None
    return learn_detector(np.array(plain), np.array(marked))


def _read_lazily(paths: Sequence[Path]) -> LazyImages:
    return LazyImages(len(paths), lambda row: read_image(paths[row]))
