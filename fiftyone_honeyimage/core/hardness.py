"""How hard each image is for a model that has not seen it.

HoneyImage (arXiv 2508.00892), "Hard sample selection": the private set in two random halves, a
proxy trained on each, each image scored by the one that has not seen it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy.stats import beta

from .errors import ParameterError, SamplesError
from .models import Proxy, build_model
from .models.last_layer import watched
from .progress import Report, silent
from .seeds import derive_seed
from .training import TrainingConfig, cross_entropy, predict_logits, train_models

#: Probability that a proxy's accuracy is above the bound that is judged.
CONFIDENCE = 0.95

#: Hardness is reliable if the proxies are surely this share of the way from guessing to being always right: then
#: they know a third of what guessing gets wrong. Below, an image is hard mostly because the proxy guesses.
LEAST_SKILL = 1 / 3

#: A label error is only claimed if the proxies are surely right on so many images. Datasets have about 3 % wrong
#: labels (Northcutt, Athalye, Mueller, "Pervasive Label Errors in Test Sets", 2021): at three quarters, one in
#: eight of the images on which a proxy contradicts the label has a wrong one; at 44 %, one in nineteen.
LABEL_ACCURACY = 0.75


#: Numbers of an image's embedding, of each proxy
_EMBEDDING = 16


@dataclass(frozen=True)
class ProxySkill:
    """How far the proxies of a hardness run can be trusted.

    Attributes:
        accuracy: share of images that the proxy which has not seen them gets right
        lowest: lower 95 % confidence bound of it (Clopper and Pearson), as images may be few
        chance: what always naming the largest class would get right
    """

    accuracy: float
    lowest: float
    chance: float

    @property
    def is_reliable(self) -> bool:
        """Whether hardness says more than that the proxy guesses."""
        return self.lowest >= self.chance + LEAST_SKILL * (1 - self.chance) and self.chance < 1

    @property
    def judges_labels(self) -> bool:
        """Whether a label that the proxies contradict may be called suspect."""
        return self.is_reliable and self.lowest >= LABEL_ACCURACY


def measure_skill(predictions: np.ndarray, labels: np.ndarray) -> ProxySkill:
    """How far out-of-fold predictions can be trusted.

    Args:
        predictions: int (N,), the predicted classes, N ≥ 1
        labels: int (N,), the given ones
    """
    right, count = int((predictions == labels).sum()), len(labels)
    lowest = float(beta.ppf(1 - CONFIDENCE, right, count - right + 1)) if right else 0.0
    return ProxySkill(right / count, lowest, float(np.bincount(labels).max() / count))


@dataclass(frozen=True)
class HardnessResult:
    """Out-of-fold scores, one row an image.

    Attributes:
        hardness: float64 (N,), cross-entropy in nats under the proxy that has not seen the image
        logits: float32 (N, C), that proxy's logits
        seen: float64 (N,), cross-entropy in nats under the proxy that has seen the image
        seen_right: bool (N,), whether that proxy tells the image's class
        half: int8 (N,), the half (0 or 1) that the image was in
        models: the proxy of half 0 and that of half 1, on the CPU
        trace_iqr: float64 (N,), Q3 − Q1 of an image's training loss over the epochs of the proxy that has seen it, nats:
            large where a model learned the image late, and so by heart. LT-IQR of Pollock et al., "Free Record-Level
            Privacy Risk Evaluation Through Artifact-Based Methods" (arXiv 2411.05743)
        embedding: float32 (N, E), features of both proxies' last layers by random projection; near where both find two
            images alike. E is 0 where a proxy has no such layer
    """

    hardness: np.ndarray
    logits: np.ndarray
    seen: np.ndarray
    seen_right: np.ndarray
    half: np.ndarray
    models: tuple[torch.nn.Module, ...] = ()
    trace_iqr: np.ndarray = field(default_factory=lambda: np.empty(0))
    embedding: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))

    @property
    def measures(self) -> dict[str, np.ndarray]:
        """What a choice may take beside hardness, by the names of :data:`.methods.selection.MEASURES`."""
        return {
            "gain": self.hardness - self.seen,
            "unsettled": self.trace_iqr,
            "embedding": self.embedding,
        }

    @property
    def predictions(self) -> np.ndarray:
        """int64 (N,): the out-of-fold predicted classes."""
        return self.logits.argmax(axis=1)


def split_in_halves(labels: np.ndarray, seed: int) -> np.ndarray:
    """Assigns each image to half 0 or 1 at random, within each class.

    Splitting within classes keeps a rare class in both halves, so that each proxy has seen every
    class that it scores.

    Args:
        labels: int (N,) class indices
        seed: the split's seed

    Returns:
        int8 (N,) of 0 and 1

    Raises:
        SamplesError: if a class has one image, which cannot be in both halves
    """
    rng = np.random.default_rng(derive_seed(seed, "halves"))
    half = np.zeros(len(labels), dtype=np.int8)
    for number, label in enumerate(np.unique(labels)):
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            raise SamplesError(
                f"class index {label} has one image; hardness needs at least two of each class"
            )
        rng.shuffle(rows)
        # The odd image goes to alternating halves, so that neither grows with the classes.
        cut = (len(rows) + number % 2) // 2
        half[rows[cut:]] = 1
    return half


def compute_hardness(
    images: torch.Tensor,
    labels: np.ndarray,
    num_classes: int,
    *,
    proxy: Proxy = "wrn28_2",
    config: TrainingConfig | None = None,
    seed: int = 51,
    device: str | torch.device | None = None,
    report: Report | None = None,
    executor: Executor | None = None,
    checkpoint_dir: Path | None = None,
) -> HardnessResult:
    """Scores every image by the proxy that was trained on the other half.

    Args:
        images: uint8 (N, 3, S, S) at the proxy's input size
        labels: int64 (N,) class indices
        num_classes: the number of classes C
        proxy ("wrn28_2"): a proxy's name or a factory ``f(num_classes) -> nn.Module``
        config (None): the :class:`TrainingConfig` of both proxies
        seed (51): the run's seed
        device (None): where to train; chosen automatically by default
        report (None): called as ``report(stage, done, total)``
        executor (None), checkpoint_dir (None): see :func:`.training.train_models`

    Returns:
        a :class:`HardnessResult`

    Raises:
        SamplesError: if a class has a single image
    """
    report = report or silent
    half = split_in_halves(labels, seed)
    size = int(images.shape[-1])
    seeds = [derive_seed(seed, "half", index) for index in (0, 1)]
    models = [build_model(proxy, num_classes, input_size=size, seed=s) for s in seeds]
    targets = torch.as_tensor(labels, dtype=torch.int64)

    summaries = train_models(
        models,
        images,
        targets,
        subsets=[torch.from_numpy(np.flatnonzero(half == index)) for index in (0, 1)],
        config=config or TrainingConfig(),
        seeds=seeds,
        device=device,
        report=report,
        stage="Training the two half proxies",
        executor=executor,
        checkpoint_dir=checkpoint_dir,
        traced=True,
    )

    logits = np.empty((len(labels), num_classes), dtype=np.float32)
    seen = np.empty(len(labels), dtype=np.float64)
    trace_iqr = np.empty(len(labels), dtype=np.float64)
    embeddings = []
    seen_right = np.empty(len(labels), dtype=bool)
    for index, model in enumerate(models):
        found, embedding = _look(model, images, device, derive_seed(seed, "embedding", index))
        embeddings.append(embedding)
        trace = summaries[index].trace
        assert trace is not None  # it was asked for
        low, high = np.quantile(trace.numpy().astype(np.float64), (0.25, 0.75), axis=0)
        trace_iqr[half == index] = high - low
        logits[half != index] = found[torch.from_numpy(half != index)].numpy()
        seen[half == index] = cross_entropy(found, targets)[half == index]
        seen_right[half == index] = (found.argmax(1) == targets).numpy()[half == index]
        report("Scoring", index + 1, 2)

    return HardnessResult(
        hardness=cross_entropy(torch.from_numpy(logits), targets),
        logits=logits,
        seen=seen,
        seen_right=seen_right,
        half=half,
        models=tuple(model.cpu() for model in models),
        trace_iqr=trace_iqr,
        embedding=np.concatenate(embeddings, axis=1),
    )


def _look(
    model: torch.nn.Module, images: torch.Tensor, device: str | torch.device | None, seed: int
) -> tuple[torch.Tensor, np.ndarray]:
    """A model's logits, float32 (N, C), and its features, in the same passes.

    The features are projected at random, which keeps distances (Johnson and Lindenstrauss, 1984), so that they take
    little memory, and scaled to a mean square of 1 in all; float32 (N, E), E = 0 where there are none.
    """
    parts: list[torch.Tensor] = []
    projections: list[torch.Tensor] = []

    def project(found: torch.Tensor) -> None:
        if found.ndim != 2:
            return
        if not projections:
            rng = np.random.default_rng(seed)
            drawn = rng.standard_normal((found.shape[1], _EMBEDDING)).astype(np.float32)
            projections.append(torch.from_numpy(drawn).to(found.device))
        parts.append((found.float() @ projections[0]).cpu())

    nothing = np.empty((len(images), 0), np.float32)
    try:
        with watched(model, project):
            logits = predict_logits(model, images, device=device)
    except ParameterError:  # a proxy of the user's, without a linear layer
        return predict_logits(model, images, device=device), nothing
    if sum(map(len, parts)) != len(images):
        return logits, nothing
    features = torch.cat(parts).numpy()
    scale = float(np.sqrt(np.mean(features**2))) or 1.0
    return logits, features / np.float32(scale)


def find_label_errors(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Images that look mislabelled by confident learning; none if the proxies are too weak to judge.

    What a proxy that errs often contradicts is mostly right: see :data:`LABEL_ACCURACY`.

    Northcutt et al., "Confident Learning" (JAIR 2021), eq. 1 and 2: the threshold of class j is the
    mean out-of-fold probability of j over the images labelled j; an image counts as an error if,
    among the classes whose threshold it reaches, its most probable one is not its label.

    Args:
        logits: float (N, C) out-of-fold logits
        labels: int (N,) given class indices

    Returns:
        bool (N,)
    """
    if not measure_skill(logits.argmax(axis=1), labels).judges_labels:
        return np.zeros(len(labels), dtype=bool)
    return contradicted_labels(logits, labels)


def contradicted_labels(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The same whatever the proxies know, as somebody does who loses little by leaving out too much.

    Args:
        logits, labels: see :func:`find_label_errors`

    Returns:
        bool (N,)
    """
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted)
    probabilities /= probabilities.sum(axis=1, keepdims=True)

    thresholds = np.full(probabilities.shape[1], np.inf)
    for label in np.unique(labels):
        thresholds[label] = probabilities[labels == label, label].mean()

    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    best = reached.argmax(axis=1)
    return (reached.max(axis=1) > 0) & (best != labels)


def find_duplicates(
    images: torch.Tensor,
    rows: Sequence[int] | np.ndarray,
    *,
    max_rms: float = 4.0,
    block: int = 8192,
) -> np.ndarray:
    """Which of some images have an exact or near duplicate, mirrored or turned too, anywhere in the set.

    Images are compared at 16×16 pixels: re-encoding and slight resizing move that thumbnail by one
    or two grey levels, other photographs of the same thing by tens. Augmented sets hold copies that are mirrored
    or turned by quarters: beside an exact copy, a marked image would stand out.

    Args:
        images: uint8 (N, 3, S, S)
        rows: the rows to test, K of them
        max_rms (4.0): two images are near duplicates if their thumbnails differ by at most this
            root mean square, in 0–255 units
        block (8192): images compared at a time, to bound memory

    Returns:
        bool (K,)
    """
    rows = np.asarray(rows, dtype=np.int64)
    found = np.zeros(len(rows), dtype=bool)
    if len(rows) == 0:
        return found

    wanted = [view.flatten(1) for view in symmetries(_thumbnails(images[torch.from_numpy(rows)]))]
    norms = (wanted[0] ** 2).sum(dim=1)
    limit = max_rms**2 * wanted[0].shape[1]
    for start in range(0, len(images), block):
        others = _thumbnails(images[start : start + block]).flatten(1)
        distances = norms[:, None] + (others**2).sum(dim=1)[None, :]
        inside = (rows >= start) & (rows < start + block)
        for view in wanted:
            close = distances - 2 * view @ others.T <= limit
            # An image may be its own mirror image
            close[np.flatnonzero(inside), rows[inside] - start] = False
            found |= close.any(dim=1).numpy()
    return found


def symmetries(images: torch.Tensor) -> list[torch.Tensor]:
    """The eight ways to mirror and turn square images by quarters, the images themselves first.

    Args:
        images: (N, C, S, S)
    """
    mirrored = (images, images.flip(3))
    return [torch.rot90(view, turns, (2, 3)) for turns in range(4) for view in mirrored]


def _thumbnails(images: torch.Tensor) -> torch.Tensor:
    """float32 (N, 3, 16, 16): thumbnails, centred on mid-grey to keep float32 exact enough."""
    size = min(16, int(images.shape[-1]))
    thumbs = torch.nn.functional.interpolate(
        images.float(), size=(size, size), mode="bilinear", antialias=True
    )
    return thumbs - 127.5
