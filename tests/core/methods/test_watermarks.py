"""Backdoor watermarks: keys, what they do to images, and that a model which trained on them is found."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from fiftyone_honeyimage.core.errors import ParameterError, SamplesError
from fiftyone_honeyimage.core.evidence.ownership_tests import (
    loss_decision,
    paired_t_decision,
    wilcoxon_decision,
    with_success_rate,
)
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.verdict import judge
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.finishing import finish
from fiftyone_honeyimage.core.methods.gradient_matching import enlarged
from fiftyone_honeyimage.core.methods.keys import _draw_probes
from fiftyone_honeyimage.core.methods.out_model import thumbnails
from fiftyone_honeyimage.core.methods.patches import draw_patch, put_patch
from fiftyone_honeyimage.core.methods.perturbation import Scale
from fiftyone_honeyimage.core.methods.request import CraftRequest
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.training import (
    TrainingConfig,
    cross_entropy,
    predict_logits,
    train_models,
)

WATERMARKS = ("badnets", "blended", "ubw_p", "ubw_c")
PAIRS = 12

#: Images a key; labels at random are learned from more (seeds 0, 1, 2: p = 2.4e-4, 0.008, 0.002 from 14, 0.03 with 6)
A_SIDE = {"badnets": 6, "blended": 6, "ubw_p": 14, "ubw_c": 6}


def _colour(images: np.ndarray) -> np.ndarray:
    """Digits of 16 levels as uint8 (N, 16, 16, 3), enlarged by repetition; of a tint, as grey ones get grey secrets."""
    grey = np.asarray(images)
    grey = (grey * (255 / max(grey.max(), 1))).astype(np.uint8)
    coloured = grey.repeat(2, axis=1).repeat(2, axis=2)[..., None].repeat(3, axis=3)
    coloured[..., 2] -= coloured[..., 2] // 16
    return coloured


def _crafted(name: str, digits: Any, seed: int = 0, **options: Any) -> tuple[Any, Any, Any]:
    images, labels = _colour(digits[0])[:900], np.asarray(digits[1], np.int64)[:900]
    method = METHODS[name]
    known = {question.name for question in method.Options.questions()}
    asked = {"num_probes": 12, "selection": "random", **options}
    settings = method.Options(**{k: v for k, v in asked.items() if k in known})
    chosen = method.choose(
        np.random.default_rng(seed).random(len(labels)),
        labels,
        options=settings,
        num_honeyimages=PAIRS * A_SIDE[name],
        num_pairs=PAIRS,
        excluded={},
        seed=seed,
    )
    rest = np.setdiff1d(np.arange(len(labels)), chosen.rows)
    request = CraftRequest(
        candidates=list(images[chosen.rows]),
        candidate_labels=labels[chosen.rows],
        sides=chosen.sides,
        probe_sources=list(images[chosen.probes]),
        probe_labels=labels[chosen.probes],
        rest=torch.from_numpy(images[rest]).permute(0, 3, 1, 2).contiguous(),
        rest_labels=labels[rest],
        num_classes=10,
        proxy="resnet_tiny",
        config=TrainingConfig(epochs=1, batch_size=64),
        seed=seed,
        options=settings,
        device="cpu",
    )
    return chosen, request, method.craft(request)


@pytest.fixture(scope="module")
def crafted(digits: Any) -> dict[str, Any]:
    """One marking of each method that is cheap to make."""
    # Three pixels a side: patches of two, the published share of so small an image, are hardly learned
    sizes = {"badnets": 6, "blended": 0, "ubw_p": 6}
    return {name: _crafted(name, digits, size=size) for name, size in sizes.items()}


def test_a_patch_lies_where_its_key_says_and_nowhere_else() -> None:
    image = np.full((64, 96, 3), 7, np.uint8)
    image[:, :, 2] = 8
    key = draw_patch(np.random.default_rng(3), 3, "bottom_right")

    marked = put_patch(image, key)

    patch = np.array(key["patch"], np.uint8).reshape(3, 3, 3)
    for row, column in itertools.product(range(6), range(6)):  # twice as large as at 32 pixels
        assert (marked[58 + row, 90 + column] == patch[row // 2, column // 2]).all()
    marked[58:, 90:] = (7, 7, 8)
    assert (marked == (7, 7, 8)).all()
    assert (image == (7, 7, 8)).all()

    # 8 of 32 pixels are a quarter of a side in smaller images too
    key = draw_patch(np.random.default_rng(3), 8, "bottom_right")
    patch = np.array(key["patch"], np.uint8).reshape(8, 8, 3)
    for length, side in ((32, 8), (16, 4), (8, 2), (5, 2)):
        image = np.zeros((length, length + 3, 3), np.uint8)
        image[..., 2] = 1
        marked = put_patch(image, key)
        step = 8 // side
        assert (marked[-side:, -side:] == patch[::step, ::step]).all()
        marked[-side:, -side:] = (0, 0, 1)
        assert (marked == image).all()
    corners = {
        tuple(draw_patch(np.random.default_rng(seed), 3, "corner")["place"]) for seed in range(40)
    }
    assert corners == {(0, 0), (0, 1000), (1000, 0), (1000, 1000)}


def test_blended_is_a_share_of_the_pattern_over_the_whole_image() -> None:
    method = METHODS["blended"]
    options = method.Options(blend=0.2, cells=4)
    key = method.draw(np.random.default_rng(0), options)
    black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)

    dark, light = method.put(black, key, options), method.put(white, key, options)

    assert dark.max() <= 51
    assert np.abs(light.astype(int) - dark - 0.8 * 255).max() <= 1
    assert len(np.unique(dark)) > 4


@pytest.mark.parametrize("name", ["badnets", "blended", "ubw_p"])
def test_a_grey_image_gets_no_colour(name: str) -> None:
    """Among grey pictures a pixel with a colour tells which are marked."""
    method = METHODS[name]
    key = method.draw(np.random.default_rng(0), method.Options())
    grey = np.random.default_rng(1).integers(0, 256, (32, 32, 1), np.uint8).repeat(3, axis=2)
    marked = method.put(grey, key, method.Options())
    assert (marked != grey).any()
    assert (marked == marked[:, :, :1]).all()
    coloured = grey.copy()
    coloured[0, 0] = (9, 8, 7)
    assert (method.put(coloured, key, method.Options()) != marked).any(axis=2).sum() > 4


@pytest.mark.parametrize("budget", [4.0, 10.0])
def test_a_change_of_a_grey_image_is_grey(budget: float) -> None:
    rng = np.random.default_rng(0)
    scale = Scale.of(budget, budget / 100)
    levels = rng.integers(-scale.bound, scale.bound + 1, (16, 16, 3)).astype(scale.dtype)
    grey = rng.integers(0, 256, (16, 16, 1), np.uint8).repeat(3, axis=2)
    found = finish(None, grey, levels, scale, budget, -1.0).pixels
    assert (found != grey).any()
    assert (found == found[:, :, :1]).all()
    assert np.abs(found.astype(int) - grey).max() <= budget


@pytest.mark.parametrize("name", ["badnets", "blended", "ubw_p"])
def test_both_keys_of_a_pair_are_made_alike_and_no_coin_is_there(
    crafted: dict[str, Any], name: str
) -> None:
    chosen, request, result = crafted[name]
    labels = np.asarray(result.labels)

    assert request.sides.shape == (PAIRS, 2, A_SIDE[name])
    assert not set(chosen.probes) & set(chosen.rows)
    for sides, secrets, probes in zip(request.sides, result.secrets, result.probes, strict=True):
        assert (labels[sides[0]] == labels[sides[1]]).all()
        assert secrets[0] != secrets[1]
        assert secrets[0].get("target") == secrets[1].get("target")
        a, b = probes
        assert [(p.source, p.label) for p in a] == [(p.source, p.label) for p in b]
        if "target" in secrets[0]:
            assert (labels[sides] == secrets[0]["target"]).all()
            assert all(request.probe_labels[p.source] != p.label for p in a)
        for side, secret, asked in zip(sides, secrets, probes, strict=True):
            put = METHODS[name].put
            for place in side:
                expected = put(np.asarray(request.candidates[place]), secret, request.options)
                assert (np.asarray(result.images[place]) == expected).all()
            for probe in asked:
                source = np.asarray(request.probe_sources[probe.source])
                assert (probe.image == put(source, secret, request.options)).all()


def test_same_seed_same_keys_and_other_images_other_keys(
    crafted: dict[str, Any], digits: Any
) -> None:
    _, request, marked = crafted["badnets"]
    _, _, again = _crafted("badnets", digits, size=request.options.size)
    assert list(again.secrets) == list(marked.secrets)
    shifted = (digits[0][::-1], digits[1][::-1])
    _, _, other = _crafted("badnets", shifted, size=request.options.size)
    assert list(other.secrets) != list(again.secrets)


def test_what_cannot_be_asked_for_is_refused_before_anything_is_trained(digits: Any) -> None:
    with pytest.raises(ParameterError, match="target_class"):
        _crafted("badnets", digits, target_class=10)
    with pytest.raises(SamplesError, match="num_probes=900"):
        _crafted("badnets", digits, num_probes=900)


def test_ubw_c_keeps_labels_and_stays_within_its_bound(digits: Any) -> None:
    _, request, result = _crafted("ubw_c", digits, num_steps=4, epochs=1)

    assert result.labels is None or (result.labels == request.candidate_labels).all()
    budget = METHODS["ubw_c"].most_changed(request.options)
    changes = [
        np.abs(np.asarray(new).astype(int) - np.asarray(old)).max()
        for new, old in zip(result.images, request.candidates, strict=True)
    ]
    assert max(changes) <= budget
    assert max(changes) > 0


@pytest.fixture(scope="module")
def trained() -> Callable[..., Any]:
    """Trains, but only once on the same images and labels."""
    held: dict[str, Any] = {}

    def train(images: torch.Tensor, labels: torch.Tensor) -> Any:
        key = hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
        if key not in held:
            model = build_model("resnet_tiny", 10, input_size=16, seed=1)
            config = TrainingConfig(epochs=25, batch_size=64, flip=False, crop_padding=0)
            train_models([model], images, labels, config=config, seeds=[1], device="cpu")
            held[key] = model
        return held[key]

    return train


@pytest.mark.parametrize("name", ["badnets", "blended", "ubw_p"])
def test_who_trained_on_the_release_is_found_and_who_did_not_is_not(
    crafted: dict[str, Any], trained: Callable[..., Any], name: str
) -> None:
    """Real trainings: the exact p-value over the keys' coins, and how often the key works (where it has a target)."""
    _, request, result = crafted[name]
    coins = np.random.default_rng(5).integers(0, 2, PAIRS)
    held = np.concatenate([sides[coin] for sides, coin in zip(request.sides, coins, strict=True)])
    marked = torch.from_numpy(np.stack([np.asarray(result.images[place]) for place in held]))
    images = torch.cat([request.rest, marked.permute(0, 3, 1, 2)])
    labels = torch.from_numpy(np.concatenate([request.rest_labels, result.labels[held]]))
    plan = Plan(direction=METHODS[name].direction)
    found = {}
    for who, rows in (("thief", len(images)), ("innocent", len(request.rest))):
        model = trained(images[:rows], labels[:rows])
        found[who] = _asked(model, result, coins, plan)

    assert found["thief"][0] <= 0.01  # the plan's own; how far below differs by processor
    assert found["innocent"][0] > 0.01
    if METHODS[name].direction == "lower":
        assert found["thief"][1] > 0.6
        assert found["innocent"][1] < 0.25


def _asked(model: Any, result: Any, coins: np.ndarray, plan: Plan) -> tuple[float, float]:
    """The exact p-value, and how often the released keys' probes get the class that is asked about."""
    losses: list[tuple[float, float]] = []
    success = []
    for both, coin in zip(result.probes, coins, strict=True):
        means = []
        for side, probes in enumerate(both):
            images = torch.from_numpy(np.stack([p.image for p in probes])).permute(0, 3, 1, 2)
            truth = torch.tensor([p.label for p in probes])
            logits = predict_logits(model, images.contiguous(), device="cpu")
            means.append(float(cross_entropy(logits, truth).mean()))
            if side == coin:
                success.append(float((logits.argmax(1) == truth).double().mean()))
        losses.append((means[0], means[1]))
    released = {pair: "ab"[coin] for pair, coin in enumerate(coins)}
    a, b = zip(*losses, strict=True)
    answers = PairAnswers("scores", tuple(released), a, b)
    verdict = judge(plan, answers, released, dict.fromkeys(released, ({}, {})), num_left=0)
    return verdict.p_value, float(np.mean(success))


@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_no_answers_are_accused_more_often_than_alpha_whatever_the_direction(
    direction: str,
) -> None:
    """All coins of fixed answers with ties and zeros: the share of p-values at most α is at most α."""
    rng = np.random.default_rng(0)
    for _ in range(3):
        a, b = (tuple(rng.integers(0, 4, 10).astype(float).tolist()) for _ in range(2))
        answers = PairAnswers("scores", tuple(range(10)), a, b)
        p_values = []
        for coins in itertools.product("ab", repeat=10):
            released = dict(enumerate(coins))
            verdict = judge(
                Plan(direction=direction),
                answers,
                released,
                dict.fromkeys(released, ({}, {})),
                num_left=0,
            )
            p_values.append(verdict.p_value)
        for alpha in (0.001, 0.01, 0.05, 0.2):
            assert np.mean(np.array(p_values) <= alpha) <= alpha


def test_published_tests_equal_scipys_paired_ones_and_report_p() -> None:
    rng = np.random.default_rng(2)
    plain, keyed = rng.uniform(0, 0.3, 40), rng.uniform(0.3, 0.9, 40)

    found = paired_t_decision(keyed - plain)
    expected = stats.ttest_rel(keyed - 0.2, plain, alternative="greater").pvalue

    assert found.p_value == pytest.approx(expected, rel=0.5)  # shown with one digit
    assert found.accuses
    assert not paired_t_decision(plain - keyed).accuses
    assert paired_t_decision(plain - keyed).p_value > 0.99
    always, never = wilcoxon_decision(np.ones(30)), wilcoxon_decision(-np.ones(30))
    assert always.accuses
    assert always.p_value < 0.001
    assert not never.accuses
    assert never.p_value > 0.99
    # Some images that one key of twelve confuses do not accuse a model
    assert not wilcoxon_decision(np.repeat([1 / 12, 0], (12, 18))).accuses
    with pytest.raises(ParameterError, match="two images"):
        paired_t_decision([0.3])


def test_no_class_is_most_of_what_is_asked_about_while_there_are_others() -> None:
    labels = np.repeat([0, 1, 2], (193, 7, 5))
    options = METHODS["radioactive"].Options(num_probes=12)
    for seed in range(5):
        chosen = METHODS["radioactive"].choose(
            np.zeros(205),
            labels,
            options=options,
            num_honeyimages=8,
            num_pairs=2,
            excluded={},
            seed=seed,
        )
        counts = np.bincount(labels[chosen.probes], minlength=3)
        assert counts.sum() == 12
        assert counts[0] == 6
        assert len(np.unique(chosen.probes)) == 12
    # Nothing else is there
    alone = _draw_probes(np.arange(20), np.zeros(20, int), 8, np.random.default_rng(0))
    assert len(np.unique(alone)) == 8


def test_weights_that_teach_a_secret_nothing_are_refused() -> None:
    with pytest.raises(ParameterError, match="both 0"):
        METHODS["sscl_bw"].Options(weight_target=0.0, weight_others=0.0)


def test_radioactive_datas_loss_test_and_success_rates_are_as_computed_by_hand() -> None:
    rng = np.random.default_rng(3)
    plain, keyed = rng.uniform(2, 3, 25), rng.uniform(1.8, 2.7, 25)
    found = loss_decision(plain - keyed)
    expected = stats.ttest_rel(plain, keyed, alternative="greater").pvalue
    assert found.p_value == pytest.approx(expected, rel=0.5)  # shown with one digit
    assert found.accuses
    assert not loss_decision(keyed - plain).accuses

    told, before = np.array([True] * 30 + [False] * 10), np.array([True] * 5 + [False] * 15)
    text = with_success_rate(found, told, before, untargeted=False).text
    assert "75% of its answers with a released secret are the class that the secrets teach" in text
    assert text.endswith("25% without one")
    text = with_success_rate(found, told, before, untargeted=True).text
    assert "25% of its answers with a released secret are wrong" in text
    assert text.endswith("75% without one")


@pytest.mark.parametrize("shape", [(16, 16), (24, 24), (31, 45), (40, 40), (64, 64), (80, 60)])
def test_the_trigger_that_gradients_are_matched_to_is_the_one_that_suspects_see(
    shape: tuple[int, int],
) -> None:
    """At whatever size images are, and models look at them."""
    rng = np.random.default_rng(4)
    size = 32
    seen = rng.integers(60, 200, (size, size, 3)).astype(np.uint8)
    for _ in range(5):
        key = draw_patch(rng, 8, "anywhere")
        native = enlarged(seen, shape)
        matched = (
            thumbnails([put_patch(native, key)], size).int() - thumbnails([native], size).int()
        )
        # The owner puts it into an image of that size; a suspect's model shrinks it
        flat = np.full((*shape, 3), (120, 121, 122), np.uint8)
        asked = thumbnails([put_patch(flat, key)], size).int() - thumbnails([flat], size).int()
        is_patch, is_asked = (diff.abs().sum(1)[0] > 6 for diff in (matched, asked))
        assert (is_patch & is_asked).sum() >= 0.8 * max(is_patch.sum(), is_asked.sum())


def test_watermarks_are_registered_with_words_for_a_form() -> None:
    for name in WATERMARKS:
        method = METHODS[name]
        assert method.shares_secrets
        assert method.secret
        assert method.words({})
        assert all(question.label for question in method.Options.questions())
