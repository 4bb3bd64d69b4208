"""Scores that compare with reference models: their formulas, that they find memory, and that they are exact."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy import optimize, special, stats

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.evidence.membership import membership_decisions, shadow_scores
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.verdict import judge
from fiftyone_honeyimage.core.pipeline.reference_models import check_num_references, draw_members
from fiftyone_honeyimage.core.scores import SCORES, References, SideReferences

from .shadows import NUM_PAIRS, references, trained

NAMES = [name for name, score in SCORES.items() if score.least_references]


def _made_up(num_models: int, num_images: int, seed: int = 0) -> tuple[References, np.ndarray]:
    """References and a suspect's losses: seen images have lower ones."""
    rng = np.random.default_rng(seed)
    members = draw_members(num_models, num_images, seed)
    level = rng.normal(0, 1, num_images)
    losses = np.exp(level + 0.5 * rng.normal(size=members.shape) - 1.2 * members)
    return References(losses, members), np.exp(level + 0.5 * rng.normal(size=num_images) - 0.6)


def _of(name: str, losses: Any, given: References) -> np.ndarray:
    return SCORES[name].of(losses, given.with_fitted(SCORES[name].fit(given)))


def _logit(losses: Any) -> np.ndarray:
    p = np.exp(-np.asarray(losses))
    return np.log(p) - np.log1p(-p)


def _split(given: References) -> list[tuple[np.ndarray, np.ndarray]]:
    """φ of each image under the models that have seen it, and under the others."""
    columns = zip(_logit(given.losses).T, given.members.T, strict=True)
    return [(values[seen], values[~seen]) for values, seen in columns]


def _pooled(groups: list[np.ndarray]) -> float:
    residuals = np.concatenate([group - group.mean() for group in groups])
    return float(np.sqrt((residuals**2).sum() / (residuals.size - len(groups))))


@pytest.mark.parametrize("num_models", [6, 64])
def test_lira_is_the_papers_by_scipy(num_models: int) -> None:
    given, losses = _made_up(num_models, 12)
    groups, suspect = _split(given), _logit(losses)
    pooled = [_pooled([group[place] for group in groups]) for place in (0, 1)]
    online, offline, copied = [], [], []
    raw = np.concatenate([outside for _, outside in groups])
    for (inside, outside), phi in zip(groups, suspect, strict=True):
        own = num_models == 64
        std_in = inside.std(ddof=1) if own else pooled[0]
        std_out = outside.std(ddof=1) if own else pooled[1]
        ratio = stats.norm(inside.mean(), std_in).pdf(phi)
        online.append(-np.log(ratio / stats.norm(outside.mean(), std_out).pdf(phi)))
        offline.append(stats.norm(outside.mean(), std_out).cdf(phi))
        raw_std = outside.std() if own else raw.std()
        copied.append(np.log(stats.norm(np.median(outside), raw_std).pdf(phi)))

    np.testing.assert_allclose(_of("lira_online", losses, given), online, rtol=1e-9)
    np.testing.assert_allclose(1 - np.exp(_of("lira_offline", losses, given)), offline, atol=1e-12)
    np.testing.assert_allclose(_of("carlini_compat", losses, given), copied, rtol=1e-9)


def test_the_copied_form_takes_an_unusually_unsure_answer_for_memory_and_the_papers_does_not() -> (
    None
):
    given, _ = _made_up(8, 3)
    unsure, usual = np.full(3, 40.0), np.median(given.losses, axis=0)
    assert (_of("carlini_compat", unsure, given) < _of("carlini_compat", usual, given)).all()
    assert (_of("lira_offline", unsure, given) > _of("lira_offline", usual, given)).all()


def test_model_loss_is_the_distance_from_halfway() -> None:
    given, losses = _made_up(7, 5)
    halfway = [
        (np.mean(column[seen]) + np.mean(column[~seen])) / 2
        for column, seen in zip(given.losses.T, given.members.T, strict=True)
    ]
    np.testing.assert_allclose(_of("model_loss", losses, given), losses - halfway, rtol=1e-12)


def test_learn_original_is_the_best_logistic_regression() -> None:
    given, losses = _made_up(6, 40)
    fitted = SCORES["learn_original"].fit(given)
    x, y = _logit(given.losses).ravel(), given.members.ravel()
    z = (x - x.mean()) / x.std()

    def cost(w: np.ndarray) -> float:
        odds = w[0] + w[1] * z
        return float(np.logaddexp(0, np.where(y, -odds, odds)).sum() + 0.005 * w[1] ** 2)

    best = optimize.minimize(cost, [0.0, 0.0], tol=1e-12).x
    slope = best[1] / x.std()
    assert fitted["slope"] == pytest.approx(slope, rel=1e-4)
    assert fitted["intercept"] == pytest.approx(best[0] - slope * x.mean(), abs=1e-4)
    chance = special.expit(fitted["intercept"] + fitted["slope"] * _logit(losses))
    np.testing.assert_allclose(_of("learn_original", losses, given), -chance, rtol=1e-9)


def test_learn_original_settles_where_seen_and_unseen_are_wholly_apart() -> None:
    members = draw_members(6, 10, 0)
    given = References(np.where(members, 1e-9, 20.0), members)
    values = _of("learn_original", np.array([0.0] * 5 + [20.0] * 5), given)
    assert values[:5].max() < -0.9 < -0.1 < values[5:].min()


def test_bavaria_is_the_predictive_of_its_prior() -> None:
    """Against the integral of the normal density over the posterior, by draws."""
    given, losses = _made_up(6, 4, seed=3)
    fitted = SCORES["bavaria"].fit(given)
    rng, expected = np.random.default_rng(0), []
    for (inside, outside), phi in zip(_split(given), _logit(losses), strict=True):
        density = []
        for name, group in (("in", inside), ("out", outside)):
            center, kappa, variance = (
                fitted[f"{k}_{name}"] for k in ("mean", "weight", "variance")
            )
            # σ² and μ from the prior, each weighed by how likely it makes the group
            s2 = stats.invgamma(2.0, scale=variance).rvs(1_000_000, random_state=rng)
            mu = rng.normal(center, np.sqrt(s2 / kappa))
            weight = np.exp(stats.norm.logpdf(group[:, None], mu, np.sqrt(s2)).sum(axis=0))
            density.append((weight * stats.norm.pdf(phi, mu, np.sqrt(s2))).sum() / weight.sum())
        expected.append(-np.log(density[0] / density[1]))
    np.testing.assert_allclose(_of("bavaria", losses, given), expected, atol=0.05)


def test_members_are_half_of_the_models_for_every_side_and_know_no_coin() -> None:
    members = draw_members(8, 501, 4)
    assert (members.sum(axis=0) == 4).all()
    assert set(members.sum(axis=1)) == {250, 251}
    np.testing.assert_array_equal(members, draw_members(8, 501, 4))
    odd = draw_members(9, 500, 4)
    assert set(odd.sum(axis=0)) == {4, 5}
    assert (odd.sum(axis=1) == 250).all()
    # Sides of a pair are drawn apart
    assert 0.4 < (odd[:, 0::2] == odd[:, 1::2]).mean() < 0.6


@pytest.mark.parametrize("name", NAMES)
def test_memory_is_found_above_chance_over_three_seeds(name: str) -> None:
    """Every trained network in turn is the suspect, and the others are its reference models."""
    areas = []
    for seed in range(3):
        given = references(seed)
        scores = shadow_scores(SCORES[name], given)
        seen, unseen = scores[given.members], scores[~given.members]
        areas.append(1 - stats.mannwhitneyu(seen, unseen).statistic / (seen.size * unseen.size))
    assert min(areas) > 0.65, areas


def _sides(given: References) -> dict[int, tuple[SideReferences, SideReferences]]:
    made = [
        SideReferences(tuple(losses.tolist()), tuple(seen.tolist()))
        for losses, seen in zip(given.losses.T, given.members.T, strict=True)
    ]
    return dict(enumerate(zip(made[0::2], made[1::2], strict=True)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("test", ["signed_rank", "e_process"])
def test_every_verdict_is_exact_under_fair_coins(name: str, test: str) -> None:
    """By enumeration of all coins, for answers that do not depend on them."""
    given, losses = _made_up(6, 14, seed=2)
    sides = _sides(given)
    plan = Plan(score=name, test=test, min_pairs=1).with_fit([s for p in sides.values() for s in p])
    answers = PairAnswers(
        "scores", tuple(range(7)), tuple(losses[0::2].tolist()), tuple(losses[1::2].tolist())
    )
    p_values = [
        judge(plan, answers, dict(enumerate(coins)), {}, sides, num_left=0).p_value
        for coins in itertools.product("ab", repeat=7)
    ]
    assert min(p_values) < 0.2
    counted, below = Counter(p_values), 0
    for p_value in sorted(counted):
        below += counted[p_value]
        assert below / len(p_values) <= p_value * (1 + 1e-12)


def _p_value(name: str, seed: int, suspect: int, coins: np.ndarray) -> float:
    """One network of a seed as the suspect, the others as reference models."""
    given = references(seed)
    others = given.without(suspect)
    sides = _sides(others)
    plan = Plan(score=name).with_fit([side for pair in sides.values() for side in pair])
    a, b = given.losses[suspect][0::2].tolist(), given.losses[suspect][1::2].tolist()
    answers = PairAnswers("scores", tuple(range(NUM_PAIRS)), tuple(a), tuple(b))
    released = {pair: "ab"[int(coin)] for pair, coin in enumerate(coins)}
    return judge(plan, answers, released, {}, sides, num_left=0).p_value


@pytest.mark.parametrize("name", NAMES)
def test_innocent_networks_are_not_accused_and_thieves_are_found(name: str) -> None:
    rng = np.random.default_rng(5)
    # Real networks that know nothing of these coins; at most 5 % may fall below 0.05
    p_values = [
        _p_value(name, 0, suspect, rng.integers(0, 2, NUM_PAIRS))
        for suspect in range(8)
        for _ in range(25)
    ]
    below = sum(p <= 0.05 for p in p_values)
    assert stats.binomtest(below, len(p_values), 0.05, alternative="greater").pvalue > 1e-3

    # Coins as if a network had been trained on the release: where it saw one side alone, that is the released one
    p_values = []
    for suspect, seen in enumerate(references(0).members):
        one_sided = seen[0::2] != seen[1::2]
        coins = np.where(one_sided, seen[1::2], rng.integers(0, 2, NUM_PAIRS).astype(bool))
        p_values.append(_p_value(name, 0, suspect, coins))
    assert np.median(p_values) < 0.05, p_values


@pytest.mark.parametrize("name", ["loss", "confidence", *NAMES])
def test_a_thief_is_found_by_every_score_where_a_method_teaches_mistakes(name: str) -> None:
    """As UBW does: a model that has seen a key has more loss on its probes."""
    rng, num_pairs, num_models = np.random.default_rng(0), 20, 16
    members = draw_members(num_models, 2 * num_pairs, 3)
    base = rng.normal(0.8, 0.15, 2 * num_pairs)

    def losses(seen: np.ndarray) -> np.ndarray:
        return np.maximum(base + 1.5 * seen + rng.normal(0, 0.15, seen.shape), 0.01)

    given = References(losses(members), members)
    coins = rng.integers(0, 2, num_pairs)
    seen = np.stack([coins == 0, coins == 1], axis=1).ravel()
    thief, innocent = losses(seen), losses(np.zeros_like(seen))

    sides = _sides(given)
    plan = Plan(score=name, direction="higher").with_fit([s for p in sides.values() for s in p])
    p_values = []
    for suspect in (thief, innocent):
        a, b = suspect[0::2].tolist(), suspect[1::2].tolist()
        answers = PairAnswers("scores", tuple(range(num_pairs)), tuple(a), tuple(b))
        released = {pair: "ab"[coin] for pair, coin in enumerate(coins)}
        nothing: dict[int, Any] = {pair: ({}, {}) for pair in sides}
        p_values.append(judge(plan, answers, released, nothing, sides, num_left=0).p_value)
    assert p_values[0] < 1e-5 < 0.05 < p_values[1]

    if name in NAMES:
        place = NAMES.index(name)
        decided = [
            membership_decisions(one[seen].tolist(), np.flatnonzero(seen).tolist(), given, "higher")
            for one in (thief, innocent)
        ]
        assert [one[place].accuses for one in decided] == [True, False]


def test_published_decisions_rest_on_shadow_models_alone() -> None:
    given = references(0)
    others = given.without(0)
    seen, unseen = np.flatnonzero(given.members[0]), np.flatnonzero(~given.members[0])
    thief = membership_decisions(given.losses[0][seen].tolist(), seen.tolist(), others)
    innocent = membership_decisions(given.losses[0][unseen].tolist(), unseen.tolist(), others)

    assert [one.rule for one in thief] == [SCORES[name].title for name in NAMES]
    assert [one.threshold for one in thief] == [one.threshold for one in innocent]
    assert {one.p_value for one in thief} == {None}
    for guilty, clean in zip(thief, innocent, strict=True):
        assert guilty.statistic > clean.statistic
    by_rule = {one.rule: one for one in thief}
    assert by_rule[SCORES["lira_online"].title].accuses
    assert "once in 8 times" in thief[0].text


def test_too_few_references_are_told_before_anything() -> None:
    assert check_num_references(0, "loss") == 0
    assert check_num_references(4, "lira_offline") == 4
    with pytest.raises(ParameterError, match="at least 4, but num_references is 3"):
        check_num_references(3, "lira_offline")
    with pytest.raises(ParameterError, match="num_references is 1"):
        check_num_references(1, "loss")
    with pytest.raises(ParameterError, match="num_references"):
        check_num_references(-1, "loss")
    with pytest.raises(ParameterError, match="adjustment"):
        Plan(score="lira_online", adjustment="references")
    few = [side for pair in trained(0) for side in pair]
    with pytest.raises(ParameterError, match="1 lack reference"):
        Plan(score="lira_online").with_fit([*few, None])


def test_what_is_no_reference_is_refused() -> None:
    members = np.array([[True, True], [False, True]])
    with pytest.raises(ParameterError, match="2 reference models 2 have seen image 1"):
        References(np.ones((2, 2)), members)
    with pytest.raises(ParameterError, match="finite"):
        References(np.array([[np.nan], [1.0]]), np.array([[True], [False]]))
    given, losses = _made_up(4, 3)
    with pytest.raises(ParameterError, match="lack 'std_in'"):
        SCORES["lira_online"].of(losses, given)
    with pytest.raises(ParameterError, match="shape"):
        _of("model_loss", losses[:2], given)
    with pytest.raises(ParameterError, match="reference models: give"):
        SCORES["model_loss"].of(losses)
