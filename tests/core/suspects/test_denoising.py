"""Diffusion models as suspects: the loss is what it says, and depends on the image alone."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from denoiser import SCHEDULE, train_denoiser
from PIL import Image
from scipy import stats
from torch import nn

from fiftyone_honeyimage.core.errors import ParameterError, SuspectError
from fiftyone_honeyimage.core.evidence.exact_tests import TESTS
from fiftyone_honeyimage.core.suspects import Cached, DenoisingSuspect, Preprocessing, query
from fiftyone_honeyimage.core.suspects.callable_suspect import digest_of_state

EVERY_STEP = range(len(SCHEDULE))


@pytest.fixture(scope="module")
def denoiser(digits):
    """A diffusion model that has seen the first 60 digits."""
    return train_denoiser(digits[0][:60, :, :, None].repeat(3, axis=3), seed=0)


@pytest.fixture(scope="module")
def suspect(denoiser):
    return DenoisingSuspect(denoiser, SCHEDULE, timesteps=EVERY_STEP)


def _pixels(images):
    return np.stack(images).transpose(0, 3, 1, 2) / 127.5 - 1


def _ask(suspect, images):
    return suspect.answer(images, [str(row) for row in range(len(images))])


def test_the_loss_of_models_whose_mistakes_are_known(real_digits):
    """Whatever the noise is: a model that knows it makes none, one that is off by 0.3 everywhere makes 0.09."""
    images = real_digits.images
    x = torch.from_numpy(_pixels(images)).float()

    def knows(noisy, steps, off=0.0):
        share = SCHEDULE[steps][:, None, None, None]
        return (noisy - share.sqrt() * x) / (1 - share).sqrt() + off

    losses = _ask(DenoisingSuspect(knows, SCHEDULE), images)
    assert losses.shape == (len(images),)
    np.testing.assert_allclose(losses, 0, atol=1e-10)
    off = DenoisingSuspect(lambda noisy, steps: knows(noisy, steps, 0.3), SCHEDULE)
    np.testing.assert_allclose(_ask(off, images), 0.09, rtol=1e-4)


def test_the_loss_against_its_expectation(real_digits):
    """Of a model that takes the noisy image for the noise: ᾱ·mean(x²) + (1 − √(1 − ᾱ))², over Gaussian noise."""
    images = real_digits.images[:4]
    step = 5
    suspect = DenoisingSuspect(lambda x, steps: x, SCHEDULE, timesteps=[step], num_noises=1000)
    share = float(SCHEDULE[step])
    square = (_pixels(images) ** 2).mean(axis=(1, 2, 3))
    expected = share * square + (1 - (1 - share) ** 0.5) ** 2
    np.testing.assert_allclose(_ask(suspect, images), expected, rtol=0.02)


def test_the_loss_against_a_computation_by_hand(denoiser, suspect, real_digits):
    """Noise is read from what a model is given; then NumPy alone, in float64."""
    image = real_digits.images[7]
    seen = []

    def spy(noisy, steps):
        seen.append((noisy.double().numpy()[0], int(steps[0]), steps.dtype, len(steps)))
        return denoiser(noisy, steps)

    loss = _ask(DenoisingSuspect(spy, SCHEDULE, timesteps=EVERY_STEP), [image])[0]
    assert len(seen) == 4 * len(SCHEDULE)
    errors, noises = [], []
    for noisy, step, dtype, number in seen:
        assert (dtype, number) == (torch.int64, 1)
        share = float(SCHEDULE[step])
        noise = (noisy - share**0.5 * _pixels([image])[0]) / (1 - share) ** 0.5
        with torch.no_grad():
            said = denoiser(torch.from_numpy(noisy[None]).float(), torch.tensor([step]))[0].numpy()
        errors.append(((said - noise) ** 2).mean())
        noises.append(noise.ravel())
    assert loss == pytest.approx(np.mean(errors), rel=1e-4)
    assert loss == pytest.approx(_ask(suspect, [image])[0], rel=1e-5)
    # The noise is Gaussian, and another one each time
    assert stats.kstest(np.concatenate(noises), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(noises) - np.eye(len(noises))).max() < 0.4


def test_neither_batch_nor_order_nor_key_matters(suspect, real_digits):
    images = real_digits.images
    whole = _ask(suspect, images)
    np.testing.assert_array_equal(_ask(suspect, images), whole)
    np.testing.assert_allclose(_ask(suspect, images[::-1])[::-1], whole, rtol=1e-5)
    for size in (1, 7):
        answers = query(
            suspect,
            images,
            [f"other {row}" for row in range(len(images))],
            real_digits.labels[::-1].copy(),
            num_classes=10,
            batch_size=size,
        )
        assert answers.outputs == "losses", "it says so itself"
        np.testing.assert_allclose(answers.losses, whole, rtol=1e-5)


def test_another_seed_is_another_noise(denoiser, suspect, real_digits):
    other = DenoisingSuspect(denoiser, SCHEDULE, timesteps=EVERY_STEP, seed=52)
    assert not np.allclose(_ask(other, real_digits.images), _ask(suspect, real_digits.images))


def test_the_module_is_asked_in_evaluation_mode_and_left_as_it_was(denoiser, real_digits):
    class Guarded(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = copy.deepcopy(denoiser).train()

        def forward(self, x, steps):
            assert not self.training
            assert not torch.is_grad_enabled()
            return self.inner(x, steps)

    model = Guarded().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    given = DenoisingSuspect(model, SCHEDULE)
    _ask(given, real_digits.images)
    assert model.training
    assert model.inner.training
    assert given.digest == digest_of_state(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "wrap", [lambda x: SimpleNamespace(sample=x), lambda x: (x, None), lambda x: x.bfloat16()]
)
def test_what_models_of_others_return(denoiser, suspect, real_digits, wrap):
    other = DenoisingSuspect(
        lambda x, steps: wrap(denoiser(x, steps)), SCHEDULE, timesteps=EVERY_STEP
    )
    images = real_digits.images
    np.testing.assert_allclose(_ask(other, images), _ask(suspect, images), rtol=0.05)


def test_the_way_tells_all_that_could_be_chosen(denoiser):
    given = {
        "plain": DenoisingSuspect(denoiser, SCHEDULE),
        "steps": DenoisingSuspect(denoiser, SCHEDULE, timesteps=[0]),
        "noises": DenoisingSuspect(denoiser, SCHEDULE, num_noises=5),
        "seed": DenoisingSuspect(denoiser, SCHEDULE, seed=1),
        "schedule": DenoisingSuspect(denoiser, SCHEDULE * 0.99),
    }
    assert len({one.way for one in given.values()}) == len(given)
    assert DenoisingSuspect(denoiser, SCHEDULE.tolist()).way == given["plain"].way


def test_answers_are_kept_by_the_way(denoiser, real_digits, tmp_path):
    first, other = (DenoisingSuspect(denoiser, SCHEDULE, seed=seed) for seed in (1, 2))
    kept = _ask(Cached(first, tmp_path), real_digits.images)
    assert Cached(first, tmp_path).outputs == "losses"
    assert Cached(first, tmp_path).blank_loss == 1.0
    np.testing.assert_array_equal(_ask(Cached(first, tmp_path), real_digits.images), kept)
    assert not np.allclose(_ask(Cached(other, tmp_path), real_digits.images), kept)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"alphas_cumprod": [0.9, 0.95]}, "alphas_cumprod is a falling row"),
        ({"alphas_cumprod": [1.1, 0.5]}, "from 0 to 1"),
        ({"alphas_cumprod": [float("nan"), 0.5]}, "alphas_cumprod"),
        ({"alphas_cumprod": []}, "alphas_cumprod"),
        ({"alphas_cumprod": "linear"}, "found 'linear'"),
        ({"timesteps": [8]}, "a time step must be an integer from 0 to 7; found 8"),
        ({"timesteps": []}, "one or more different time steps"),
        ({"timesteps": [1, 1]}, r"found \[1, 1\]"),
        ({"num_noises": 0}, "num_noises must be an integer from 1 to 1000; found 0"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_is_out_of_range_is_refused(denoiser, given, message):
    arguments = {"alphas_cumprod": SCHEDULE, **given}
    with pytest.raises(ParameterError, match=message):
        DenoisingSuspect(denoiser, **arguments)


def test_a_model_that_gives_no_noise_is_told(real_digits):
    for model, message in (
        (
            lambda x, steps: x.mean((1, 2, 3)),
            r"shape \(40,\), and noise of the images' shape \(40, 3",
        ),
        (lambda x, steps: "noise", "answered with 'noise'"),
    ):
        with pytest.raises(SuspectError, match=message):
            _ask(DenoisingSuspect(model, SCHEDULE), real_digits.images)
    with pytest.raises(SuspectError, match="is the class"):
        DenoisingSuspect(nn.Identity, SCHEDULE)


def test_images_of_other_sizes_are_resized_where_it_is_asked_for(denoiser, suspect, real_digits):
    larger = [image.repeat(2, axis=0).repeat(2, axis=1) for image in real_digits.images]
    how = Preprocessing(input_size=8, mean=(0.5,) * 3, std=(0.5,) * 3)
    resizing = DenoisingSuspect(denoiser, SCHEDULE, timesteps=EVERY_STEP, preprocessing=how)
    smaller = [
        np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BILINEAR))
        for image in larger
    ]
    np.testing.assert_allclose(_ask(resizing, larger), _ask(suspect, smaller), rtol=0.05)
    assert suspect.needs_equal_sizes
    assert not resizing.needs_equal_sizes


def test_it_tells_seen_images_and_no_coin_accuses_an_innocent_one(digits, suspect):
    """1,000 draws of coins on what it said of images that it has not seen, at three levels."""
    images = list(digits[0][:, :, :, None].repeat(3, axis=3))
    seen, unseen = _ask(suspect, images[:60]), _ask(suspect, images[60:120])
    assert stats.mannwhitneyu(seen, unseen, alternative="less").pvalue < 1e-6

    pairs = unseen.reshape(30, 2)
    rng = np.random.default_rng(7)
    run = TESTS["signed_rank"].run
    nothing = np.zeros(30, bool)
    values = []
    for _ in range(1000):
        signs = rng.choice([-1.0, 1.0], 30)
        values.append(run(signs * (pairs[:, 0] - pairs[:, 1]), nothing, None).p_value)
    for alpha in (0.05, 0.01, 0.001):
        number = int((np.array(values) <= alpha).sum())
        assert number <= stats.binom.ppf(0.9999, 1000, alpha), f"{number} of 1000 at {alpha}"
    assert (np.array(values) <= 0.5).mean() > 0.4, "the test is not empty"
