"""Suspects that are asked in a wrong way are found out on unmarked images: real models, trained here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fiftyone_honeyimage.core.suspects import load_suspect, query
from fiftyone_honeyimage.core.suspects.competence import Competence, ask_otherwise, judge

#: Colours of the digits 0 to 5. In the other order of channels most are another one's
TINTS = np.array(
    [
        [1, 0.2, 0.1],
        [0.1, 0.3, 1],
        [0.3, 0.9, 0.2],
        [0.9, 0.8, 0.1],
        [0.1, 0.7, 0.9],
        [0.8, 0.1, 0.8],
    ]
)
CLASSES = [str(label) for label in range(len(TINTS))]


@pytest.fixture(scope="module")
def coloured(digits):
    """Images uint8 (n, 8, 8, 3) of six digits, each in a colour of its own, and their labels."""
    paper, labels = digits
    images = (paper.astype(float) - 64) * 2  # on black, as only colours on black tell classes apart
    rows = np.flatnonzero(labels < len(TINTS))
    rng = np.random.default_rng(0)
    tints = np.clip(TINTS[labels[rows]] + rng.normal(0, 0.15, (len(rows), 3)), 0, 1)
    # From black to white: nothing is marked here, and how a model is asked shows in the contrast
    ink = (images[rows].astype(float) - 64) * 255 / 128
    pixels = ink[..., None] * tints[:, None, None, :]
    return np.clip(pixels + rng.normal(0, 12, pixels.shape), 0, 255).astype(np.uint8), labels[rows]


class Sine(nn.Module):
    """An activation at which it matters how large its input is; a network with ReLU hardly cares."""

    def forward(self, x):
        return torch.sin(x)


@pytest.fixture(scope="module")
def train(coloured):
    """Trains a small network on inputs prepared as told: ``train(mean, std, channels)``."""
    images, labels = coloured
    made = {}

    def run(mean=0.0, std=1.0, reverse=False, activation=nn.ReLU):
        key = (mean, std, reverse, activation)
        if key in made:
            return made[key]
        x = torch.from_numpy(images[:700]).permute(0, 3, 1, 2).float() / 255
        x = (x.flip(1) if reverse else x).sub(mean).div(std)
        y = torch.from_numpy(labels[:700])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            model = nn.Sequential(
                nn.Conv2d(3, 12, 3, padding=1), activation(), nn.AvgPool2d(2), nn.Flatten(),
                nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, len(TINTS)),
            )  # fmt: skip
            scale = float(x.std())
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01 / max(1.0, scale))
            for _ in range(80):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
        made[key] = model.eval()
        return made[key]

    return run


@pytest.fixture(scope="module")
def found(coloured):
    """What is found of a model on 96 images that it has not seen, asked as told."""
    images, labels = coloured
    rows = np.arange(700, 796)

    def run(model, order=None, proxies=0.9, number=96, **how):
        suspect = load_suspect(model, **how)
        pictures = list(images[rows[:number]])
        keys = [str(row) for row in rows[:number]]
        truth = labels[rows[:number]]
        if order is not None:
            truth = np.array(order)[truth]
        asked = {"num_classes": len(CLASSES), "batch_size": 32}
        answers = query(suspect, pictures, keys, truth, **asked)
        others, normalisations = ask_otherwise(
            suspect, pictures, keys, truth, outputs=answers.outputs, **asked
        )
        return judge(
            answers.predicted,
            truth,
            CLASSES,
            chance=0.2,
            proxies=proxies,
            others=others,
            normalisations=normalisations,
            losses=answers.losses,
        )

    return run


@pytest.mark.parametrize("kind", ["module", "function"])
def test_a_model_that_is_asked_rightly_passes(train, found, kind):
    model = train()
    if kind == "function":
        model = lambda batch, module=model: module(batch)  # noqa: E731
    competence = found(model)
    assert competence.accuracy > 0.85
    assert not competence.is_wrong
    assert not competence.is_doubtful
    assert competence.better == {}


@pytest.mark.parametrize("as_function", [False, True])
def test_another_order_of_classes_is_found_and_told(train, found, as_function):
    model = train()
    suspect = (lambda batch: model(batch)) if as_function else model
    order = [3, 0, 5, 1, 2, 4]  # what the dataset calls 0 is the suspect's output 3
    competence = found(suspect, order=order)
    assert competence.is_wrong
    ((way, accuracy),) = [
        item for item in competence.better.items() if "order of classes" in item[0]
    ]
    assert accuracy > 0.7
    expected = ", ".join(f"{output}: '{order[output]}'" for output in range(6))
    assert f"another order of classes ({expected})" in way
    assert way in competence.sentence()


@pytest.mark.parametrize(
    ("trained_on", "asked", "told"),
    [
        ({"std": 1 / 255}, {}, "pixels of 0–255 (std="),
        ({"activation": Sine}, {"std": [1 / 255] * 3}, "pixels in [0, 1], without mean and std"),
        ({"reverse": True}, {}, 'channels="BGR"'),
        ({}, {"channels": "BGR"}, 'channels="RGB"'),
        ({"mean": 0.5, "std": 0.1, "activation": Sine}, {}, "mean"),
        ({"mean": 0.5, "std": 0.5, "reverse": True}, {}, 'and channels="BGR"'),
    ],
)
def test_pixels_prepared_in_another_way_are_found_and_told(train, found, trained_on, asked, told):
    model = train(**trained_on)
    competence = found(model, **asked)
    assert competence.is_wrong, competence
    assert any(told in way for way in competence.better), competence.sentence()
    assert max(competence.better.values()) > competence.accuracy + 0.1


def test_what_cannot_be_asked_otherwise_is_wrong_by_the_proxies(train, found):
    """A function takes no other preparation from outside, and its calls may cost money."""
    model = train(std=1 / 255)
    competence = found(lambda batch: model(batch), number=16)
    assert competence.num_images == 16
    assert competence.is_wrong
    assert competence.better == {}


def test_a_model_that_knows_half_as_much_as_the_proxies_is_wrong_and_a_little_less_is_doubtful():
    def at(accuracy, proxies=0.9, number=128):
        return Competence(number, accuracy, 0.1, proxies, {})

    assert not at(0.88).is_doubtful
    assert not at(0.6).is_wrong
    assert at(0.6).is_doubtful
    assert at(0.3).is_wrong
    assert not at(0.3, proxies=None).is_wrong
    assert at(0.12, proxies=None).is_wrong, "no better than a constant answer"
    assert not Competence(14, 1.0, 1.0, None, {}).is_wrong, "images of one class tell nothing"
    assert not at(None).is_wrong
    assert not at(None).is_doubtful


def test_few_images_do_not_refuse_a_model_that_may_know_enough():
    """Of models of 80 % a fifth is not shown to be better than one class of half the images by 16 answers."""
    assert not Competence(16, 11 / 16, 0.51, None, {}).is_wrong
    assert Competence(16, 11 / 16, 0.51, None, {}).is_doubtful
    assert Competence(16, 7 / 16, 0.51, None, {}).is_wrong
    assert Competence(128, 0.5, 0.51, None, {}).is_wrong
    rng = np.random.default_rng(2)
    for right, most in ((0.8, 0.01), (0.51, 1.0)):
        draws = rng.binomial(16, right, 500)
        wrong = np.mean([Competence(16, n / 16, 0.51, None, {}).is_wrong for n in draws])
        assert wrong <= most
    assert wrong >= 0.5, "and most that only guess the largest class are"


def test_a_model_that_gains_by_another_normalisation_is_not_refused(digits):
    """A real one of 80 %, asked just as it was trained: one of its four outputs never left the end of tanh."""
    images, labels = digits
    rows = np.flatnonzero(labels < 4)
    x = torch.from_numpy(images).flatten(1).float() / 255
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        linear = nn.Linear(64, 4)
        optimizer = torch.optim.Adam(linear.parameters(), lr=0.05)
        for _ in range(100):
            optimizer.zero_grad()
            scores = 4 * torch.tanh(linear(x[rows[300:]]))
            F.cross_entropy(scores, torch.from_numpy(labels[rows[300:]])).backward()
            optimizer.step()

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = linear

        def forward(self, batch):
            return 4 * torch.tanh(self.linear(batch.mean(dim=1).flatten(1)))

    pictures = [np.repeat(image[..., None], 3, axis=2) for image in images[rows[:128]]]
    keys, truth = [str(row) for row in rows[:128]], labels[rows[:128]]
    suspect, asked = load_suspect(Flat()), {"num_classes": 4, "batch_size": 64}
    answers = query(suspect, pictures, keys, truth, **asked)
    others, normalisations = ask_otherwise(
        suspect, pictures, keys, truth, outputs=answers.outputs, **asked
    )
    competence = judge(
        answers.predicted,
        truth,
        CLASSES[:4],
        chance=0.27,
        proxies=0.3,
        others=others,
        normalisations=normalisations,
    )
    assert 0.7 < competence.accuracy < 0.85
    ((way, accuracy),) = competence.hints.items()
    assert "mean" in way
    assert accuracy > competence.accuracy + 0.1
    assert not competence.is_wrong, competence
    assert competence.is_doubtful
    assert way in competence.sentence()


def test_scores_that_are_too_extreme_are_told(train, found):
    model = train()
    competence = found(lambda batch: 1000 * model(batch))
    assert competence.saturated > 0.9
    assert competence.is_doubtful
    assert not competence.is_wrong
    assert "exactly 0" in competence.sentence()


def test_too_few_answers_say_nothing(train, found):
    competence = found(train(), number=7)
    assert competence.accuracy is None
    assert "could not be checked" in competence.sentence()


def test_innocent_models_asked_rightly_are_seldom_called_wrong():
    """A model of 70 % where the proxies reach 80 %: 400 draws, of which none may be refused by an order or way."""
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(400):
        labels = rng.integers(0, 10, 128)
        noise = rng.integers(0, 10, 128)
        predicted = np.where(rng.random(128) < 0.7, labels, noise)
        again = np.where(rng.random(128) < 0.7, labels, noise)
        competence = judge(
            predicted,
            labels,
            [str(i) for i in range(10)],
            chance=0.12,
            proxies=0.8,
            others={f"way {i}": again for i in range(11)},
        )
        refused += competence.is_wrong
    assert refused == 0


def test_guessing_is_called_wrong_and_finds_no_order():
    rng = np.random.default_rng(4)
    orders = wrong = 0
    for _ in range(200):
        labels, predicted = rng.integers(0, 10, (2, 128))
        competence = judge(predicted, labels, [str(i) for i in range(10)], chance=0.12, proxies=0.8)
        wrong += competence.is_wrong
        orders += bool(competence.better)
    assert wrong == 200
    assert orders <= 4, "at level 0.01"
