"""Which images are chosen, and how they are paired."""

from __future__ import annotations

import numpy as np
import pytest

from fiftyone_honeyimage.core.errors import ParameterError, SamplesError
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.likeness import WINDOW, pair_in_windows
from fiftyone_honeyimage.core.methods.selection import (
    IN_ORDER,
    MEASURES,
    RULES,
    default_num_pairs,
    measures_needed,
    select_candidates,
)
from fiftyone_honeyimage.core.methods.selection_options import SelectionOptions
from fiftyone_honeyimage.core.pipeline.candidates import select


def test_sides_of_several_files_are_matched_file_by_file(scored):
    hardness, labels = scored
    chosen = select_candidates(
        hardness, labels, num_honeyimages=30, num_pairs=6, files_a_side=4, rule="spread"
    )
    assert len(chosen.singles) == 30 - 24
    assert len(set(chosen.rows)) == len(chosen.rows) == 30 + 24
    assert chosen.sides.shape == (6, 2, 4)
    for a, b in labels[chosen.rows[chosen.sides]]:
        assert a.tolist() == b.tolist(), "file by file of one class"
    assert sorted(chosen.sides.ravel()) == list(range(6, 54)), "each once, after the singles"
    with pytest.raises(SamplesError, match="twins"):
        select_candidates(hardness, labels, num_honeyimages=300, num_pairs=60, files_a_side=5)


def test_secrets_need_as_many_images_each():
    class Shared(type(METHODS["unperturbed"])):
        shares_secrets = True

    method = Shared()
    assert method.default_num_honeyimages(10_000, 16) == 96
    assert method.files_a_side(96, 16) == 6
    for images, pairs in ((97, 16), (8, 16), (8, 0)):
        with pytest.raises(ParameterError, match="multiple of num_pairs"):
            method.files_a_side(images, pairs)
    assert METHODS["unperturbed"].files_a_side(97, 16) == 1


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    return rng.exponential(size=500), rng.integers(0, 5, 500)


def test_pairs_have_one_label_and_neighbouring_hardness(scored):
    hardness, labels = scored
    chosen = select_candidates(hardness, labels, num_honeyimages=30, num_pairs=20)
    assert chosen.pairs.shape == (20, 2)
    assert chosen.singles.shape == (10,)
    assert len(set(chosen.rows.tolist())) == 50
    for a, b in chosen.pairs:
        assert labels[a] == labels[b]
        between = (hardness < hardness[a]) & (hardness > hardness[b]) & (labels == labels[a])
        assert not between.any()


def test_the_hardest_are_chosen(scored):
    hardness, labels = scored
    chosen = select_candidates(hardness, labels, num_honeyimages=30, num_pairs=0)
    np.testing.assert_array_equal(np.sort(chosen.singles), np.sort(np.argsort(-hardness)[:30]))
    with_pairs = select_candidates(hardness, labels, num_honeyimages=30, num_pairs=20)
    # Pairing needs two of a class, which may cost a few ranks, no more than one a class.
    rank = np.argsort(np.argsort(-hardness))
    assert rank[with_pairs.rows].max() < 50 + 5


def test_excluded_images_are_never_chosen(scored):
    hardness, labels = scored
    mask = hardness > np.quantile(hardness, 0.95)
    chosen = select_candidates(
        hardness, labels, num_honeyimages=30, num_pairs=10, excluded={"label_errors": mask}
    )
    assert not mask[chosen.rows].any()
    assert chosen.excluded == {"label_errors": int(mask.sum())}


@pytest.mark.parametrize(
    ("num_honeyimages", "num_pairs"), [(0, 0), (5, 6), (5, -1)], ids=["none", "more pairs", "less"]
)
def test_wrong_numbers_are_refused(scored, num_honeyimages, num_pairs):
    with pytest.raises(ParameterError):
        select_candidates(*scored, num_honeyimages=num_honeyimages, num_pairs=num_pairs)


def test_too_few_images_are_refused():
    hardness = np.arange(6.0)
    with pytest.raises(SamplesError, match="need 8 images; 6 of 6"):
        select_candidates(hardness, np.zeros(6, int), num_honeyimages=4, num_pairs=4)
    labels = np.array([0, 0, 1, 2, 3, 4])
    with pytest.raises(SamplesError, match="only 1 can be formed"):
        select_candidates(hardness, labels, num_honeyimages=3, num_pairs=3)


def test_defaults_are_a_few_dozen_pairs_and_one_percent():
    assert [default_num_pairs(n) for n in (100, 2000, 60000)] == [16, 20, 200]
    assert METHODS["honeyimage"].default_num_honeyimages(60000, 36) == 600
    assert METHODS["honeyimage"].default_num_honeyimages(100, 12) == 12


@pytest.mark.parametrize("rule", ["hardest", "spread", "random"])
def test_rules_take_pairs_alike_in_label_and_hardness(rule):
    rng = np.random.default_rng(0)
    hardness, labels = rng.exponential(size=400), rng.integers(0, 4, 400)
    found = select_candidates(hardness, labels, num_honeyimages=30, num_pairs=20, rule=rule, seed=3)
    assert found.pairs.shape == (20, 2)
    assert found.singles.shape == (10,)
    assert len(set(found.rows)) == 50
    assert (labels[found.pairs[:, 0]] == labels[found.pairs[:, 1]]).all()
    for a, b in found.pairs:
        between = (labels == labels[a]) & (hardness < hardness[a]) & (hardness > hardness[b])
        assert not between.any()
    hard = np.argsort(-hardness)[:60]
    share = np.isin(found.pairs, hard).mean()
    assert share == 1 if rule == "hardest" else share < 0.4
    again = select_candidates(hardness, labels, num_honeyimages=30, num_pairs=20, rule=rule, seed=3)
    np.testing.assert_array_equal(again.rows, found.rows)


def test_spread_covers_every_tenth_of_the_ranking():
    rng = np.random.default_rng(1)
    hardness, labels = rng.exponential(size=1000), np.zeros(1000, dtype=int)
    found = select_candidates(hardness, labels, num_honeyimages=50, num_pairs=50, rule="spread")
    ranks = np.argsort(np.argsort(-hardness))[found.pairs[:, 0]]
    assert set(np.bincount(ranks // 100, minlength=10)) == {5}


@pytest.fixture
def measured():
    """Hardness, labels, and measures that have nothing to do with them."""
    rng = np.random.default_rng(3)
    hardness, labels = rng.exponential(size=600), rng.integers(0, 3, 600)
    measures = {
        "gain": rng.exponential(size=600),
        "unsettled": rng.exponential(size=600),
        "embedding": rng.normal(size=(600, 6)),
    }
    return hardness, labels, measures


@pytest.mark.parametrize("rule", ["gain", "unsettled"])
def test_a_rule_takes_what_is_largest_by_its_measure(measured, rule):
    hardness, labels, measures = measured
    given = {"num_honeyimages": 40, "num_pairs": 30, "measures": measures}
    found = select_candidates(hardness, labels, **given, rule=rule)
    top = np.argsort(-measures[rule])
    assert np.isin(found.rows, top[:120]).mean() > 0.9
    hardest = select_candidates(hardness, labels, **given)
    assert set(found.rows) != set(hardest.rows)
    assert (labels[found.pairs[:, 0]] == labels[found.pairs[:, 1]]).all()
    for a, b in found.pairs:  # near in the ranking of their class
        ranks = np.argsort(np.argsort(-measures[rule][labels == labels[a]], kind="stable"))
        place = np.cumsum(labels == labels[a]) - 1
        assert abs(ranks[place[a]] - ranks[place[b]]) < WINDOW
    apart = np.abs(np.subtract(*hardness[found.pairs].T)).mean()
    random = np.random.default_rng(0).permutation(600).reshape(-1, 2)
    assert apart < 0.5 * np.abs(np.subtract(*hardness[random].T)).mean(), "and about as hard"
    again = select_candidates(hardness, labels, **given, rule=rule, seed=9)
    np.testing.assert_array_equal(again.rows, found.rows)


def test_matched_twins_look_more_alike(measured):
    hardness, labels, measures = measured
    given = {"num_honeyimages": 60, "num_pairs": 60, "measures": measures}
    plain, matched = (
        select_candidates(hardness, labels, **given, matched=matched) for matched in (False, True)
    )

    def apart(found):
        a, b = (measures["embedding"][side] for side in found.pairs.T)
        return np.linalg.norm(a - b, axis=1).mean()

    assert apart(matched) < 0.8 * apart(plain)
    hard = np.argsort(-hardness)
    assert np.isin(matched.pairs, hard[:200]).all(), "and are still among the hardest"
    assert len(set(matched.rows)) == 120


def test_windows_match_at_least_as_well_as_any_exchange_of_two():
    rng = np.random.default_rng(0)
    embedding, hardness = rng.normal(size=(10, 3)), np.zeros(10)
    pairs = pair_in_windows(np.arange(10), hardness, embedding)
    assert sorted(pairs.ravel()) == list(range(10))

    def cost(a, b):
        return ((embedding[a] - embedding[b]) ** 2).sum()

    for i, (a, b) in enumerate(pairs):
        for c, d in pairs[:i]:
            now = cost(a, b) + cost(c, d)
            assert now <= cost(a, c) + cost(b, d) + 1e-9
            assert now <= cost(a, d) + cost(b, c) + 1e-9


@pytest.mark.parametrize("rule", RULES)
def test_diverse_pairs_differ_from_each_other(rule):
    """One in eight images is of another kind, in each of four clusters."""
    rng = np.random.default_rng(5)
    number = 800
    kind = np.where(rng.random(number) < 0.8, 0, rng.integers(1, 5, number))
    embedding = 10.0 * np.eye(5)[kind] + rng.normal(0, 0.1, (number, 5))
    measures = {"gain": rng.random(number), "unsettled": rng.random(number), "embedding": embedding}
    hardness, labels = rng.exponential(size=number), kind
    given = {"num_honeyimages": 20, "num_pairs": 20, "measures": measures, "rule": rule}
    plain, diverse = (
        select_candidates(hardness, labels, **given, diverse=diverse) for diverse in (False, True)
    )
    assert diverse.pairs.shape == (20, 2)
    assert len(set(diverse.rows)) == 40
    rare = [(kind[found.pairs[:, 0]] > 0).sum() for found in (plain, diverse)]
    assert rare[1] > rare[0]
    if rule == "spread":
        ranks = np.argsort(np.argsort(-hardness))[diverse.pairs[:, 0]]
        assert (np.bincount(ranks // 200, minlength=4) >= 3).all(), "still over all of hardness"


@pytest.mark.parametrize("alike", [{}, {"matched": True, "diverse": True}])
@pytest.mark.parametrize("rule", RULES)
def test_tracing_pairs_are_any_of_those_that_the_rule_takes(measured, rule, alike):
    hardness, labels, measures = measured
    request = {
        "method": "unperturbed",
        **SelectionOptions(rule, **alike).to_dict(),
        "num_honeyimages": 40,
        "num_pairs": 30,
        "seed": 7,
    }
    whole = select(hardness, labels, {}, request, measures)
    traced = {**request, "num_pairs": 18, "num_tracing_pairs": 12}
    found = select(hardness, labels, {}, traced, measures)
    assert set(map(tuple, found.pairs)) == set(map(tuple, whole.pairs))
    np.testing.assert_array_equal(found.singles, whole.singles)
    assert (found.pairs[:18] != whole.pairs[:18]).any(), "not the last of the ranking"
    again = select(hardness, labels, {}, traced, measures)
    np.testing.assert_array_equal(again.pairs, found.pairs)


def test_what_a_choice_takes_is_known_before_it_is_made(measured):
    hardness, labels, measures = measured
    assert measures_needed(SelectionOptions()) == ()
    assert measures_needed(SelectionOptions("gain", matched=True)) == ("gain", "embedding")
    assert measures_needed(SelectionOptions("random", diverse=True)) == ("embedding",)
    assert set(IN_ORDER) < set(RULES)
    assert set(MEASURES) == set(measures)
    given = {"num_honeyimages": 4, "num_pairs": 4}
    with pytest.raises(ParameterError, match=r"'unsettled'.*compute_hardness again"):
        select_candidates(hardness, labels, **given, rule="unsettled")
    with pytest.raises(ParameterError, match=r"'embedding'.*compute_hardness again"):
        select_candidates(hardness, labels, **given, matched=True)
    with pytest.raises(ParameterError, match="each of 600 images; found 5"):
        select_candidates(hardness, labels, **given, rule="gain", measures={"gain": np.ones(5)})
    measures["gain"][:300] = np.nan
    found = select_candidates(hardness, labels, **given, rule="gain", measures=measures)
    assert found.excluded == {"not_measured": 300}
    assert (found.rows >= 300).all()


@pytest.mark.parametrize(
    "method", ["honeyimage", "unperturbed", "adv", "crop", "flip", "mixup", "badnets"]
)
def test_methods_choose_by_every_rule(measured, method):
    hardness, labels, measures = measured
    chosen = {}
    for rule in RULES:
        options = METHODS[method].Options(selection=rule)
        found = METHODS[method].choose(
            hardness,
            labels,
            options=options,
            num_honeyimages=32,
            num_pairs=16,
            excluded={},
            seed=1,
            measures=measures,
        )
        chosen[rule] = tuple(sorted(found.rows))
    assert len(set(chosen.values())) == len(RULES)
