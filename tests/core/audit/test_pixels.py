"""What pixels give away: found where it is planted, silent where it is not."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fiftyone_honeyimage.core.audit.compression import compression_features
from fiftyone_honeyimage.core.audit.epsilon import epsilon_at_chance, separation_by_epsilon
from fiftyone_honeyimage.core.audit.matching import match
from fiftyone_honeyimage.core.audit.pixels import (
    centre,
    classify,
    nearest_distances,
    noise_level,
    residual_features,
)
from fiftyone_honeyimage.core.audit.separation import matched_auroc
from fiftyone_honeyimage.core.errors import ParameterError


def perturb(image: np.ndarray, epsilon: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of ±epsilon on every value, as many steps of signed gradients leave it."""
    noise = rng.choice([-epsilon, epsilon], image.shape)
    return np.clip(image.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.fixture
def marked_digits(digit_arrays: Any) -> tuple[list[np.ndarray], list[str], np.ndarray, np.ndarray]:
    """240 digits, 24 of them chosen; their matched sets."""
    arrays, labels = digit_arrays
    marked = np.zeros(240, dtype=bool)
    marked[np.random.default_rng(0).choice(240, 24, replace=False)] = True
    return arrays[:240], labels[:240], marked, match(marked, labels[:240])


def test_features_are_probabilities_and_finite(digit_arrays: Any) -> None:
    image = digit_arrays[0][0]
    features = residual_features(image)
    assert features.shape == (222,)
    assert np.isfinite(features).all()
    # Transition probabilities, averaged over two directions and back: rows sum to at most 1
    table = features[:49].reshape(7, 7)
    assert (table >= 0).all()
    assert (table.sum(axis=1) <= 1 + 1e-9).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (7, 9), (900, 40)])
def test_any_size_has_features(shape: tuple[int, int], tmp_path: Any) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(image).save(path)
    assert np.isfinite(residual_features(image)).all()
    assert np.isfinite(compression_features(path, image)).all()
    assert np.isfinite(noise_level(image))
    assert max(centre(image).shape[:2]) <= 512


def test_classifier_finds_noise_and_not_its_absence(marked_digits: Any) -> None:
    arrays, _, marked, sets = marked_digits
    rng = np.random.default_rng(1)
    clean = np.array([residual_features(array) for array in arrays])
    found = classify(clean, sets)
    assert found is not None
    assert found.p_value > 0.05

    noisy = clean.copy()
    for row in np.flatnonzero(marked):
        noisy[row] = residual_features(perturb(arrays[row], 4, rng))
    found = classify(noisy, sets)
    assert found is not None
    assert found.p_value == 1 / 2000
    auroc = matched_auroc(found.scores, sets, found.inflation)
    assert auroc is not None
    assert auroc.value > 0.95
    assert auroc.low > 0.75


def test_permutation_test_keeps_its_level(marked_digits: Any) -> None:
    arrays, labels, _, _ = marked_digits
    features = np.array([residual_features(array) for array in arrays])
    p_values = []
    for seed in range(60):
        marked = np.zeros(240, dtype=bool)
        marked[np.random.default_rng(seed).choice(240, 15, replace=False)] = True
        found = classify(
            features, match(marked, labels, seed=seed), num_permutations=199, seed=seed
        )
        assert found is not None
        p_values.append(found.p_value)
    # 60 draws at level 0.1: 13 or more have a probability below 0.7 %
    assert sum(p <= 0.1 for p in p_values) <= 12
    assert 0.3 < np.median(p_values) < 0.7


def test_classifier_is_reproducible_and_needs_ten_sets(marked_digits: Any) -> None:
    arrays, _, _, sets = marked_digits
    features = np.array([residual_features(array) for array in arrays])
    one, two = classify(features, sets, seed=3), classify(features, sets, seed=3)
    assert one is not None
    assert two is not None
    assert one.p_value == two.p_value
    assert np.array_equal(one.scores, two.scores, equal_nan=True)
    assert classify(features, sets[:9]) is None
    same = classify(np.ones((240, 5)), sets)
    assert same is not None
    assert same.p_value == 1


def test_compression_classifier_finds_a_second_compression(
    digit_arrays: Any, tmp_path: Any
) -> None:
    """All files are JPEG of quality 90; the marked ones were of quality 70 before."""
    arrays, labels = (part[:150] for part in digit_arrays)
    marked = np.zeros(len(arrays), dtype=bool)
    marked[np.random.default_rng(0).choice(len(arrays), 20, replace=False)] = True
    sets = match(marked, labels)
    features: dict[bool, np.ndarray] = {}
    for planted in (False, True):
        rows = []
        for array, is_marked in zip(arrays, marked, strict=True):
            pixels = array
            if planted and is_marked:
                pixels = np.asarray(Image.open(io.BytesIO(jpeg(array, 70))))
            path = tmp_path / "image.jpg"
            path.write_bytes(jpeg(pixels, 90))
            rows.append(compression_features(path, np.asarray(Image.open(path))))
        features[planted] = np.array(rows)
    clean, found = classify(features[False], sets), classify(features[True], sets)
    assert clean is not None
    assert found is not None
    assert clean.p_value > 0.05
    assert found.p_value == 1 / 2000


def test_nearest_distances_are_the_nearest(digit_arrays: Any) -> None:
    thumbnails = np.array([array.ravel() for array in digit_arrays[0][:50]], dtype=np.float32)
    found = nearest_distances(thumbnails, [3, 7])
    assert np.isnan(np.delete(found, [3, 7])).all()
    for row in (3, 7):
        others = np.delete(thumbnails, row, axis=0).astype(np.float64)
        brute = np.sqrt(((others - thumbnails[row]) ** 2).mean(axis=1)).min()
        assert found[row] == pytest.approx(brute)
    thumbnails[9] = thumbnails[3]
    assert nearest_distances(thumbnails, [3])[3] == 0


def test_separation_grows_with_epsilon(marked_digits: Any) -> None:
    arrays, labels, marked, _ = marked_digits
    rng = np.random.default_rng(1)
    rows = np.flatnonzero(marked).tolist()
    crafted = {
        float(epsilon): [perturb(arrays[row], epsilon, rng) for row in rows] for epsilon in (8, 1)
    }
    result = separation_by_epsilon(arrays, labels, rows, crafted)
    assert [row.epsilon for row in result] == [0, 1, 8]
    assert not result[0].separates
    assert result[2].separates
    assert result[2].auroc > 0.95
    assert result[0].low <= 0.5 <= result[0].high
    assert epsilon_at_chance(result) in (0, 1)
    assert epsilon_at_chance(result[2:]) is None


def test_epsilon_refuses_what_does_not_fit(marked_digits: Any) -> None:
    arrays, labels, _, _ = marked_digits
    with pytest.raises(ParameterError, match="1 images for 2"):
        separation_by_epsilon(arrays, labels, [0, 1], {1.0: [arrays[0]]})
    with pytest.raises(ParameterError, match="10 or more"):
        separation_by_epsilon(arrays, labels, [0, 1], {1.0: arrays[:2]})
