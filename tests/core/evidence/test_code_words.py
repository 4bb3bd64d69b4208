"""Code words of recipients: their constants computed again, p-values exact, and nobody named by failed queries."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import special, stats

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.evidence.code_words import (
    BIASES,
    Code,
    Redraw,
    draw_word,
    draws_needed,
    p_values,
    side_scores,
)
from fiftyone_honeyimage.core.evidence.collusion import ATTACKS, plan_recipients
from fiftyone_honeyimage.core.evidence.recipients import RecipientVerdict, judge_recipients
from fiftyone_honeyimage.core.evidence.twins import sign_test, signed_rank_test

NONE = np.zeros(0, bool)


def correlation(biases: tuple[float, ...], colluders: int, num_ones: int) -> float:
    """What colluders of whom so many have side "a" add to their scores by giving out "a" and not "b": the mean over p_i
    of the chance of that, times the sum of their scores."""
    total = 0.0
    for p in biases:
        for_a, for_b = side_scores(p)
        chance = p**num_ones * (1 - p) ** (colluders - num_ones)
        total += chance * float(num_ones * for_a + (colluders - num_ones) * for_b) / len(biases)
    return total


def test_the_biases_are_zeros_of_the_legendre_polynomial() -> None:
    zeros = np.sort(special.roots_legendre(2)[0])
    assert pytest.approx((zeros + 1) / 2, abs=1e-15) == BIASES
    assert pytest.approx((0.21132, 0.78868), abs=1e-5) == BIASES


@pytest.mark.parametrize("colluders", [2, 3, 4])
def test_whatever_up_to_four_do_leaves_the_same_trace(colluders: int) -> None:
    """Where they have both sides, the side that they give out changes their scores' sum by nothing on average."""
    for num_ones in range(1, colluders):
        assert correlation(BIASES, colluders, num_ones) == pytest.approx(0, abs=1e-15)


def test_fair_coins_do_so_for_two_and_not_for_three_and_biased_ones_not_for_five() -> None:
    assert correlation((0.5,), 2, 1) == pytest.approx(0, abs=1e-15)
    assert correlation((0.5,), 3, 1) < -0.1
    assert abs(correlation(BIASES, 5, 1)) > 1e-3


def test_three_who_always_give_out_what_fewer_have_leave_no_trace_in_fair_coins() -> None:
    words = np.array(list(itertools.product([False, True], repeat=3))).T
    given = ATTACKS["minority"](words, np.random.default_rng(0))
    scores = np.where(words, 1, -1) * given
    assert scores.sum(axis=1).tolist() == [0, 0, 0]


def test_scores_of_a_pair_have_mean_0_and_variance_1() -> None:
    for p in (*BIASES, 0.5, 0.1):
        for_a, for_b = side_scores(p)
        assert p * for_a + (1 - p) * for_b == pytest.approx(0, abs=1e-12)
        assert p * for_a**2 + (1 - p) * for_b**2 == pytest.approx(1)


def test_fair_words_give_the_exact_tests() -> None:
    rng = np.random.default_rng(1)
    differences, word = rng.normal(size=20), rng.random(21) < 0.5
    failed = np.arange(21) == 4
    signed = np.where(word[~failed], differences, -differences)
    for ranked, test in ((True, signed_rank_test), (False, sign_test)):
        found = p_values(
            differences, failed, np.full(21, 0.5), {"one": word}, Redraw(1, 1), ranked=ranked
        )
        assert found["one"] == test(signed, 1).p_value


@pytest.mark.parametrize("seed", range(3))
def test_redrawn_p_values_are_those_of_all_words(seed: int) -> None:
    rng = np.random.default_rng(seed)
    differences, biases = rng.normal(size=9), rng.choice(BIASES, 9)
    word = rng.random(9) < biases
    draws = 200_000
    found = p_values(
        differences, np.zeros(9, bool), biases, {"one": word, "same": word}, Redraw(draws, seed)
    )
    for_a, for_b = side_scores(biases)
    weights = differences / (1 + np.abs(differences))
    own = (weights * np.where(word, for_a, for_b)).sum()
    exact = 0.0
    for other in itertools.product([False, True], repeat=9):
        score = (weights * np.where(other, for_a, for_b)).sum()
        exact += float(np.prod(np.where(other, biases, 1 - biases))) * (score >= own - 1e-12)
    assert found["one"] == found["same"]
    assert found["one"] == pytest.approx(exact, abs=5 * math.sqrt(exact / draws))


def test_a_redrawn_p_value_is_uniform_on_innocents() -> None:
    """P(p <= t) <= t on 3,000 innocents at every t that is looked at, up to what chance allows (1 in 100,000)."""
    rng = np.random.default_rng(5)
    found = []
    for case in range(300):
        biases = rng.choice(BIASES, 25)
        differences = rng.normal(size=25)
        words = {str(n): rng.random(25) < biases for n in range(10)}
        found += list(
            p_values(differences, np.zeros(25, bool), biases, words, Redraw(399, case)).values()
        )
    for level in (0.0025, 0.01, 0.05, 0.1, 0.5):
        reached = int((np.array(found) <= level).sum())
        assert stats.binom.sf(reached - 1, len(found), level) > 1e-5


@pytest.mark.parametrize("code", ["fair", "biased"])
def test_failed_queries_make_no_p_value_smaller(code: str) -> None:
    rng = np.random.default_rng(9)
    for case in range(200):
        biases = np.full(12, 0.5) if code == "fair" else rng.choice(BIASES, 12)
        differences, word = rng.normal(size=12), rng.random(12) < biases
        redraw = Redraw(4999, case)
        whole = p_values(differences, np.zeros(12, bool), biases, {"o": word}, redraw)
        failed = rng.random(12) < 0.3
        lost = p_values(differences[~failed], failed, biases, {"o": word}, redraw)
        if code == "fair":
            assert lost["o"] >= min(whole["o"], 0.05)
        else:  # what is redrawn differs by chance: five standard deviations at the most
            assert lost["o"] >= whole["o"] - 5 * math.sqrt(2 * whole["o"] / 4999) - 1e-3


def test_all_failed_names_nobody() -> None:
    for biases in ((0.5,) * 8, (*BIASES,) * 4):
        found = p_values([], np.ones(8, bool), biases, {"one": np.ones(8, bool)}, Redraw(99, 1))
        assert found == {"one": 1.0}


def test_the_same_seed_gives_the_same_and_huge_differences_count() -> None:
    biases = np.array(BIASES * 20)
    word = np.random.default_rng(0).random(40) < biases
    infinite = np.where(word, np.inf, -np.inf)
    one, again = (
        p_values(infinite, np.zeros(40, bool), biases, {"o": word}, Redraw(9999, 7)) for _ in "ab"
    )
    assert one == again == {"o": 1 / 10_000}


def test_words_are_drawn_as_they_say() -> None:
    code = Code(("one", "two"), 4)
    biases = code.draw_biases(4000)
    assert set(biases) == set(BIASES)
    assert abs(biases.count(BIASES[0]) - 2000) < 250
    word = np.array(draw_word(biases)) == "a"
    rare = np.array(biases) == BIASES[0]
    assert word[rare].mean() == pytest.approx(BIASES[0], abs=0.06)
    assert word[~rare].mean() == pytest.approx(BIASES[1], abs=0.06)
    assert set(Code(("one", "two"), 2).draw_biases(5)) == {0.5}
    assert draw_word([0.5, 0.5], lambda number: [0.4999, 0.5]) == ["a", "b"]


def test_holm_is_over_all_recipients_and_levels_shrink() -> None:
    words = {f"r{n}": np.random.default_rng(n).random(30) < 0.5 for n in range(4)}
    said = np.where(words["r2"], 1.0, -1.0) * np.arange(1, 31)
    given = (said, np.zeros(30, bool), np.full(30, 0.5), words, Redraw(1, 1))
    found = judge_recipients(*given, alpha=0.01, position=3)
    assert (found.named, found.level) == (("r2",), 0.01 / 12)
    assert found.adjusted["r2"] == 4 * 2.0**-30
    assert found.draws == found.seed == 0
    assert RecipientVerdict.from_dict(found.to_dict()) == found
    with pytest.raises(ParameterError, match="no verdict on recipients"):
        RecipientVerdict.from_dict({"named": []})


@pytest.mark.parametrize(
    ("recipients", "colluders", "match"),
    [
        (("a",), 2, "2 to 1000"),
        (("a", " "), 2, "not empty"),
        (("a", "b"), 6, "from 1 to 5"),
        (("a", "b"), True, "from 1 to 5"),
    ],
)
def test_what_is_no_code(recipients: tuple[str, ...], colluders: int, match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        Code(recipients, colluders)


def test_draws_reach_far_below_what_is_asked_for() -> None:
    assert 1 / (draws_needed(10, 0.0005) + 1) <= 0.0005 / 10 / 20
    assert draws_needed(1000, 1e-9) == 9_999_999


def test_more_pairs_are_needed_against_more() -> None:
    one, two = (plan_recipients(10, colluders, 0.95).num_pairs for colluders in (1, 2))
    assert one is not None
    assert two is not None
    assert 20 <= one < two <= 120
    biased = plan_recipients(10, 3, 0.95)
    assert biased.num_pairs is not None
    assert two < biased.num_pairs <= 400
    assert str(biased).startswith("Tracing pairs that name one of 3 of 10 recipients")
    assert plan_recipients(10, 5, 0.55).num_pairs is None
    for change in ({"readable": 0.5}, {"power": 0}, {"colluders": 9}, {"recipients": 1}):
        with pytest.raises(ParameterError):
            plan_recipients(**{"recipients": 10, **change})
