"""Hardness, suspected label errors and duplicates, on scikit-learn's digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fiftyone_honeyimage.core.errors import SamplesError
from fiftyone_honeyimage.core.hardness import (
    compute_hardness,
    find_duplicates,
    find_label_errors,
    measure_skill,
    split_in_halves,
    symmetries,
)
from fiftyone_honeyimage.core.training import TrainingConfig

CONFIG = TrainingConfig(epochs=25, flip=False)


@pytest.fixture(scope="module")
def images_and_labels(digits):
    pixels, labels = digits
    chosen = np.flatnonzero(labels < 4)[:300]
    images = torch.from_numpy(pixels[chosen])[:, None].repeat(1, 3, 1, 1)
    return images, labels[chosen]


def test_halves_hold_half_of_every_class():
    labels = np.repeat(np.arange(5), [2, 3, 7, 10, 11])
    half = split_in_halves(labels, seed=3)
    for label in range(5):
        counts = np.bincount(half[labels == label], minlength=2)
        assert abs(counts[0] - counts[1]) <= 1
        assert counts.min() >= 1
    assert abs((half == 0).sum() - (half == 1).sum()) <= 1
    assert (half != split_in_halves(labels, seed=4)).any()


def test_class_with_one_image_is_refused():
    with pytest.raises(SamplesError, match="one image"):
        split_in_halves(np.array([0, 0, 1]), seed=0)


def test_planted_label_errors_are_the_hardest_and_are_found(images_and_labels):
    images, labels = images_and_labels
    rng = np.random.default_rng(0)
    wrong = rng.choice(len(labels), 12, replace=False)
    noisy = labels.copy()
    noisy[wrong] = (noisy[wrong] + 1) % 4

    result = compute_hardness(images, noisy, 4, proxy="resnet_tiny", config=CONFIG, seed=1)
    right = np.setdiff1d(np.arange(len(labels)), wrong)
    assert np.median(result.hardness[wrong]) > 5 * np.median(result.hardness[right])
    found = find_label_errors(result.logits, noisy)
    assert found[wrong].mean() >= 0.75
    assert found[right].mean() <= 0.05


def test_scores_come_from_the_proxy_that_has_not_seen_the_image(images_and_labels):
    """Random labels can be memorised but not predicted: out of fold the loss is at least ln 4."""
    images, labels = images_and_labels
    random = np.random.default_rng(5).integers(0, 4, len(labels))
    result = compute_hardness(
        images, random, 4, proxy="resnet_tiny", config=TrainingConfig(epochs=30, flip=False), seed=2
    )
    assert result.hardness.mean() > np.log(4)
    assert (result.predictions == random).mean() < 0.4


def test_a_weak_proxy_claims_nothing_and_says_so(images_and_labels):
    """One epoch on a few images: it contradicts most labels, all of which are right."""
    images, labels = images_and_labels
    config = TrainingConfig(epochs=1, flip=False)
    weak = compute_hardness(images, labels, 4, proxy="resnet_tiny", config=config, seed=1)
    skill = measure_skill(weak.predictions, labels)
    assert (weak.predictions != labels).mean() > 0.3
    assert not skill.is_reliable
    assert not skill.judges_labels
    assert not find_label_errors(weak.logits, labels).any()

    good = compute_hardness(images, labels, 4, proxy="resnet_tiny", config=CONFIG, seed=1)
    skill = measure_skill(good.predictions, labels)
    assert skill.accuracy > 0.9
    assert skill.judges_labels


@pytest.mark.parametrize(
    ("right", "count", "classes", "reliable", "judges"),
    [
        (110, 250, 10, False, False),  # 44 % of 250 images in ten classes
        (1800, 3000, 10, True, False),  # useful, and wrong too often to contradict anybody
        (2700, 3000, 10, True, True),
        (9, 10, 2, False, False),  # too few images to tell
        (560, 1000, 2, False, False),
        (0, 20, 2, False, False),
        (20, 20, 1, False, False),  # one class: nothing was learned
    ],
)
def test_skill_is_judged_against_guessing(right, count, classes, reliable, judges):
    labels = np.arange(count) % classes
    predictions = labels.copy()
    predictions[right:] = (predictions[right:] + 1) % max(classes, 2)
    skill = measure_skill(predictions, labels)
    assert skill.accuracy == right / count
    assert skill.lowest < skill.accuracy or right == 0
    assert (skill.is_reliable, skill.judges_labels) == (reliable, judges)


def test_naming_the_largest_class_is_no_skill():
    labels = np.repeat([0, 1], [930, 70])
    skill = measure_skill(np.zeros(1000, dtype=np.int64), labels)
    assert skill.accuracy == skill.chance == 0.93
    assert not skill.is_reliable
    assert not find_label_errors(np.tile([3.0, 0.0], (1000, 1)), labels).any()


def test_same_seed_same_scores(images_and_labels):
    images, labels = images_and_labels
    config = TrainingConfig(epochs=1, flip=True)
    first, second = (
        compute_hardness(images, labels, 4, proxy="resnet_tiny", config=config, seed=7)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.hardness, second.hardness)


def test_duplicates_exact_near_and_none(images_and_labels):
    images, _ = images_and_labels
    noise = torch.randint(-2, 3, images[:1].shape, generator=torch.Generator().manual_seed(0))
    near = (images[:1].int() + noise).clamp(0, 255).to(torch.uint8)
    every = torch.cat([images, images[5:6], near])
    rows = np.array([0, 5, 9, 20, 300, 301])
    np.testing.assert_array_equal(
        find_duplicates(every, rows, block=64), [True, True, False, False, True, True]
    )
    assert find_duplicates(every, []).shape == (0,)


def test_mirrored_and_turned_copies_are_duplicates(images_and_labels):
    images, _ = images_and_labels
    views = symmetries(images[:16])
    assert len(views) == 8
    for number, view in enumerate(views[1:], start=1):
        every = torch.cat([images, view[number : number + 1]])
        rows = np.array([number, number + 8, len(images)])
        np.testing.assert_array_equal(find_duplicates(every, rows, block=64), [True, False, True])


def test_an_image_that_is_its_own_mirror_image_is_no_duplicate(images_and_labels):
    images, _ = images_and_labels
    even = images[:1].clone()
    even = torch.maximum(even, even.flip(3))
    assert torch.equal(even, even.flip(3))
    every = torch.cat([even, images[9:60]])
    assert not find_duplicates(every, [0]).any()


def test_the_proxies_leave_traces_and_features_of_all_images(images_and_labels, tmp_path):
    """An image that was learned late, here for its wrong label, has the loss that moves most."""
    images, labels = images_and_labels
    noisy = labels.copy()
    noisy[::25] = (noisy[::25] + 1) % 4
    wrong = np.arange(len(labels)) % 25 == 0
    given = {"proxy": "resnet_tiny", "config": CONFIG, "seed": 1}
    first = compute_hardness(images, noisy, 4, **given)
    assert first.trace_iqr.shape == first.hardness.shape
    assert (first.trace_iqr >= 0).all()
    assert np.median(first.trace_iqr[wrong]) > 2 * np.median(first.trace_iqr[~wrong])
    assert np.isfinite(first.embedding).all()
    assert len(first.embedding) == len(labels)
    same, other = (
        np.linalg.norm(first.embedding[a] - first.embedding[b], axis=1).mean()
        for a, b in (_alike(labels, True), _alike(labels, False))
    )
    assert same < other, "both proxies find images of one class more alike"
    again = [compute_hardness(images, noisy, 4, **given, checkpoint_dir=tmp_path) for _ in "ab"]
    for found in again:  # trained as a task, and read back
        np.testing.assert_array_equal(found.trace_iqr, first.trace_iqr)
        np.testing.assert_array_equal(found.embedding, first.embedding)


def _alike(labels, same):
    a, b = np.divmod(np.arange(len(labels) ** 2), len(labels))
    kept = (labels[a] == labels[b]) == same
    return a[kept], b[kept]


def test_a_proxy_without_a_linear_layer_has_no_features(images_and_labels):
    class Flat(torch.nn.Module):
        def __init__(self, num_classes):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, num_classes, 8)

        def forward(self, x):
            return self.layer(x[..., :8, :8]).flatten(1)

    images, labels = images_and_labels
    config = TrainingConfig(epochs=1, flip=False)
    found = compute_hardness(images, labels, 4, proxy=Flat, config=config, seed=1)
    assert found.embedding.shape == (len(labels), 0)
