"""Can the pixels tell? Steganalysis of marked against similar unmarked images.

The classifiers' adversary is stronger than any that holds the release alone: it learns from the marks of a
part of the images, as if it had made markings of its own that fit the release perfectly, and is scored
on the rest. The single numbers beside them (noise level, correlation of the channels' noise, outlyingness)
are what anybody can sort a release by who has seen no mark.

Features: the first-order Markov probabilities of truncated differences (SPAM: Pevný, Bas, Fridrich,
"Steganalysis by Subtractive Pixel Adjacency Matrix", IEEE TIFS 2010), of the colour channels and of the differences
between them, which noise that is drawn channel by channel changes most; moments of high-pass residuals
(the 3×3 and second-order kernels of the spatial rich model: Fridrich, Kodovský, IEEE TIFS 2012).

Classifier: Fisher's linear discriminant with Ledoit–Wolf shrinkage. Matched sets stay together in a fold, so
that each marked image is compared with its controls under one model. Given the images, its scores are linear
in the marks, so that the permutation test (which image of each set is the marked one?) repeats the whole
cross-validation thousands of times at the price of a matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.covariance import ledoit_wolf

#: Differences are cut at ±3, as in SPAM
_T = 3

#: The middle of larger images is looked at: the pixel grid stays, and time is bounded
_MAX_SIDE = 512

NUM_PERMUTATIONS = 1999


@dataclass(frozen=True)
class Classified:
    """A cross-validated classifier's result.

    Attributes:
        scores: float64 (N,), out of fold; NaN for images that are in no set
        p_value: the share of permutations with an AUROC at least as large, the observed one included
        inflation: how much larger the standard error of the AUROC is than that of a feature that
            was not learned, over the permutations; at least 1
    """

    scores: np.ndarray
    p_value: float
    inflation: float


def residual_features(image: np.ndarray) -> np.ndarray:
    """Features of the noise in one image.

    Args:
        image: uint8 (H, W, 3), of any size; the middle 512×512 pixels are used

    Returns:
        float64 (222,)
    """
    pixels = centre(image).astype(np.int16)
    planes = [pixels[:, :, channel] for channel in range(3)]
    differences = [planes[0] - planes[1], planes[2] - planes[1]]
    parts = [
        np.mean([_spam(plane) for plane in planes], axis=0),
        np.mean([_spam(plane) for plane in differences], axis=0),
    ]
    residuals = [_high_pass(plane.astype(np.float32)) for plane in planes]
    for plane in (*planes, *differences):
        parts.append(_moments(_high_pass(plane.astype(np.float32))))
    parts.append(_correlations(residuals))
    parts.append(np.array([np.mean(pixels == 0), np.mean(pixels == 255), np.mean(pixels % 2)]))
    return np.concatenate(parts)


def noise_level(image: np.ndarray) -> float:
    """Mean absolute high-pass residual over the channels: the simplest thing to sort by."""
    pixels = centre(image).astype(np.float32)
    return float(np.mean([np.abs(_high_pass(pixels[:, :, c])).mean() for c in range(3)]))


def colour_correlation(image: np.ndarray) -> float:
    """Mean correlation of the high-pass residuals of the three channels.

    Cameras' channels share most of their detail; noise that is drawn channel by channel does not.
    """
    pixels = centre(image).astype(np.float32)
    return float(_correlations([_high_pass(pixels[:, :, c]) for c in range(3)]).mean())


def outlyingness(features: np.ndarray) -> np.ndarray:
    """Mahalanobis distance of each image from the mean of all, with Ledoit–Wolf shrinkage.

    Args:
        features: float (N, D)

    Returns:
        float64 (N,)
    """
    spread = features.std(axis=0)
    kept = spread > 1e-9
    if len(features) < 2 or not kept.any():
        return np.zeros(len(features))
    x = (features[:, kept] - features[:, kept].mean(axis=0)) / spread[kept]
    covariance, _ = ledoit_wolf(x, assume_centered=True)
    return np.sqrt(np.maximum((x * np.linalg.solve(covariance, x.T).T).sum(axis=1), 0))


def centre(image: np.ndarray, side: int = _MAX_SIDE) -> np.ndarray:
    """The middle of an image, at most ``side`` pixels in each direction, cut at multiples of 8."""
    top, left = (max(0, (size - side) // 2) // 8 * 8 for size in image.shape[:2])
    return image[top : top + side, left : left + side]


def classify(
    features: np.ndarray,
    sets: np.ndarray,
    *,
    num_folds: int = 5,
    num_permutations: int = NUM_PERMUTATIONS,
    seed: int = 51,
) -> Classified | None:
    """Scores images by a linear discriminant that did not see their matched sets.

    Args:
        features: float (N, D); rows of images that are in no set are not looked at
        sets: int (S, K), see :func:`.matching.match`
        num_folds (5): folds of whole sets
        num_permutations (1999): of the test
        seed (51): of folds and permutations

    Returns:
        the scores and the p-value, or None with fewer than 10 sets
    """
    num_sets = len(sets)
    if num_sets < 2 * num_folds:
        return None
    rng = np.random.default_rng(seed)
    fold_of_set = rng.permutation(np.arange(num_sets) % num_folds)
    rows = sets[sets >= 0]
    set_of = np.nonzero(sets >= 0)[0]
    fold = fold_of_set[set_of]
    x = features[rows].astype(np.float64)

    marks = _draw_marks(sets >= 0, num_permutations, rng)
    scores = np.empty(marks.shape, dtype=np.float32)
    for held_out in range(num_folds):
        train, test = fold != held_out, fold == held_out
        weights = _discriminant(x[train], x[test], int((fold_of_set != held_out).sum()))
        scores[test] = weights @ marks[train]

    statistics = _set_aurocs(scores, marks, set_of, num_sets)
    result = np.full(len(features), np.nan)
    result[rows] = scores[:, 0]
    extreme = int((statistics[1:] >= statistics[0] - 1e-9).sum())
    num_controls = (sets >= 0).sum(axis=1) - 1
    # The variance of a rank that is uniform over the set
    plain = np.sqrt(((num_controls + 2) / (12 * num_controls)).mean() / num_sets)
    return Classified(
        scores=result,
        p_value=(1 + extreme) / (1 + num_permutations),
        inflation=max(1.0, float(statistics[1:].std() / plain)),
    )


def nearest_distances(thumbnails: np.ndarray, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """Root mean square difference of some images to their nearest other image, at thumbnail size.

    Args:
        thumbnails: float32 (N, D), of all images
        rows: the images to compare with all others

    Returns:
        float64 (N,), NaN for images that are not in ``rows``; in the thumbnails' units
    """
    result = np.full(len(thumbnails), np.nan)
    centred = thumbnails - thumbnails.mean(axis=0, keepdims=True)
    norms = (centred**2).sum(axis=1)
    for row in rows:
        squared = norms - 2 * centred @ centred[row] + norms[row]
        squared[row] = np.inf
        # Exact for the nearest one: the expansion above rounds
        nearest = int(np.argmin(squared))
        difference = thumbnails[nearest].astype(np.float64) - thumbnails[row]
        result[row] = np.sqrt((difference**2).mean())
    return result


def _spam(plane: np.ndarray) -> np.ndarray:
    """(98,): transition probabilities along rows and columns, and along diagonals."""
    straight = np.zeros((2 * _T + 1) ** 2)
    diagonal = np.zeros_like(straight)
    for down, right, total in (
        (0, 1, straight),
        (1, 0, straight),
        (1, 1, diagonal),
        (1, -1, diagonal),
    ):
        first = _differences(plane, down, right)
        for sign in (1, -1):
            total += _transitions(first, down, right, sign)
    return np.concatenate([straight / 4, diagonal / 4])


def _differences(plane: np.ndarray, down: int, right: int) -> np.ndarray:
    a, b = _shifted(plane, down, right)
    return np.clip(a - b, -_T, _T) + _T


def _shifted(plane: np.ndarray, down: int, right: int) -> tuple[np.ndarray, np.ndarray]:
    height, width = plane.shape
    if right >= 0:
        return plane[: height - down, : width - right], plane[down:, right:]
    return plane[: height - down, -right:], plane[down:, :right]


def _transitions(differences: np.ndarray, down: int, right: int, sign: int) -> np.ndarray:
    """P(next difference | this one) going one way (sign 1) or back."""
    here, there = _shifted(differences, down, right)
    if sign < 0:
        here, there = 2 * _T - there, 2 * _T - here
    size = 2 * _T + 1
    counts = np.bincount((here.astype(np.int64) * size + there).ravel(), minlength=size * size)
    table = counts.reshape(size, size).astype(np.float64)
    return (table / np.maximum(table.sum(axis=1, keepdims=True), 1)).ravel()


def _high_pass(plane: np.ndarray) -> np.ndarray:
    """The residual of the 3×3 kernel of Ker and Böhme, −¼ ½ −¼ / ½ −1 ½ / −¼ ½ −¼ (times −1)."""
    if min(plane.shape) < 3:
        return np.zeros((1, 1), dtype=np.float32)
    rows = plane[:-2] - 2 * plane[1:-1] + plane[2:]
    return (rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]) / 4


def _moments(residual: np.ndarray) -> np.ndarray:
    size = np.abs(residual)
    return np.array(
        [
            np.log1p(size.mean()),
            np.log1p(residual.std()),
            np.log1p(np.median(size)),
            np.mean(size < 0.5),
        ]
    )


def _correlations(residuals: Sequence[np.ndarray]) -> np.ndarray:
    result = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        spread = residuals[a].std() * residuals[b].std()
        covariance = np.mean(
            (residuals[a] - residuals[a].mean()) * (residuals[b] - residuals[b].mean())
        )
        result.append(float(covariance / spread) if spread > 0 else 1.0)
    return np.array(result)


def _draw_marks(valid: np.ndarray, num_permutations: int, rng: np.random.Generator) -> np.ndarray:
    """float32 (images, 1 + permutations): which image of each set is marked; column 0 is the truth."""
    sizes = valid.sum(axis=1)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    marks = np.zeros((int(sizes.sum()), 1 + num_permutations), dtype=np.float32)
    marks[starts, 0] = 1
    drawn = starts[:, None] + (rng.random((len(sizes), num_permutations)) * sizes[:, None]).astype(
        int
    )
    marks[drawn, np.arange(1, 1 + num_permutations)] = 1
    return marks


def _discriminant(train: np.ndarray, test: np.ndarray, num_marked: int) -> np.ndarray:
    """(test, train): the scores of Fisher's discriminant as a linear map of the marks, up to a constant.

    The pooled covariance is used, which depends on no mark; for two classes it gives the direction of
    the covariance within classes (Sherman–Morrison), up to the shrinkage.
    """
    mean, spread = train.mean(axis=0), train.std(axis=0)
    kept = spread > 1e-9
    train, test = ((part[:, kept] - mean[kept]) / spread[kept] for part in (train, test))
    if not kept.any():
        return np.zeros((len(test), len(train)), dtype=np.float32)
    covariance, _ = ledoit_wolf(train, assume_centered=True)
    # Direction Σ⁻¹(mean of the marked − mean of the others)
    share = 1 / num_marked + 1 / (len(train) - num_marked)
    return (test @ np.linalg.solve(covariance, train.T) * share).astype(np.float32)


def _set_aurocs(
    scores: np.ndarray, marks: np.ndarray, set_of: np.ndarray, num_sets: int
) -> np.ndarray:
    """The matched AUROC of every column."""
    starts = np.flatnonzero(np.diff(np.concatenate(([-1], set_of))))
    own = np.add.reduceat(scores * marks, starts, axis=0)[set_of]
    below = (scores < own) + 0.5 * (scores == own) * (1 - marks)
    sizes = np.bincount(set_of, minlength=num_sets)
    shares = np.add.reduceat(below, starts, axis=0) / (sizes[:, None] - 1)
    return shares.mean(axis=0)
