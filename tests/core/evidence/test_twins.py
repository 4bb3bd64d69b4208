"""The tests on twins are exact: by enumeration, against SciPy, and on awkward losses."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.evidence.effects import accuracy_difference, hodges_lehmann
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.twins import (
    TwinTest,
    loss_differences,
    min_attainable_p,
    sign_test,
    signed_rank_test,
)

Test = Callable[[np.ndarray], TwinTest]

BOTH = pytest.mark.parametrize("test", [signed_rank_test, sign_test])

MAGNITUDES = {
    "distinct": [0.1, 2.0, 0.3, 4.5, 0.7, 1.1, 9.0, 0.2, 3.3],
    "ties": [1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 1.0, 5.0, 5.0],
    "zeros": [0.0, 1.0, 0.0, 2.0, 2.0, 3.0, 0.0, 4.0, 0.5],
    "all equal": [1.0] * 9,
    "infinite": [math.inf, 1.0, math.inf, 0.0, 2.0, math.inf, 0.1, 0.1, 7.0],
    "tiny": [5e-324, 1e-300, 1e-17, 1e-16, 1.0, 1e-17, 0.0, 1e300, 2e-17],
    "one": [3.0],
    "two": [1.0, 1.0],
}


@BOTH
@pytest.mark.parametrize("name", MAGNITUDES)
def test_p_is_the_share_of_sign_patterns(test: Test, name: str) -> None:
    """For every pattern of signs, p equals the share of patterns with as large a statistic."""
    magnitudes = np.array(MAGNITUDES[name])
    nonzero = magnitudes[magnitudes > 0]
    weights = stats.rankdata(nonzero) if test is signed_rank_test else np.ones(nonzero.size)
    patterns = np.array(list(itertools.product([-1.0, 1.0], repeat=nonzero.size)))
    statistics = ((patterns > 0) * weights).sum(axis=1)

    p_values = []
    for pattern, statistic in zip(patterns, statistics, strict=True):
        differences = magnitudes.copy()
        differences[magnitudes > 0] = pattern * nonzero
        result = test(differences)
        share = Fraction(int((statistics >= statistic).sum()), len(patterns))
        assert result.p_value == pytest.approx(float(share), rel=1e-12)
        assert result.statistic == statistic
        assert (result.num_pairs, result.num_zeros) == (
            nonzero.size,
            magnitudes.size - nonzero.size,
        )
        p_values.append(result.p_value)

    # P(p <= alpha) <= alpha, at every level that is attained
    for alpha in set(p_values):
        assert np.mean(np.array(p_values) <= alpha) <= alpha * (1 + 1e-12)
    assert min(p_values) == pytest.approx(min_attainable_p(nonzero.size))


@pytest.mark.parametrize("size", [1, 7, 25, 50, 90])
def test_signed_rank_equals_scipy_without_ties(size: int) -> None:
    rng = np.random.default_rng(size)
    for shift in (0.0, 0.4, 1.5):
        differences = rng.standard_t(3, size) + shift
        theirs = stats.wilcoxon(differences, alternative="greater", method="exact")
        ours = signed_rank_test(differences)
        assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-10)
        assert ours.statistic == theirs.statistic


@pytest.mark.parametrize("size", [1, 8, 40, 300])
def test_sign_test_equals_scipy(size: int) -> None:
    rng = np.random.default_rng(size)
    released, withheld = rng.random((2, size)) < [[0.8], [0.4]]
    theirs = stats.binomtest(
        int((released & ~withheld).sum()), max(1, int((released ^ withheld).sum())), 0.5, "greater"
    )
    assert sign_test(released * 1.0 - withheld).p_value == pytest.approx(theirs.pvalue)


@BOTH
def test_p_is_never_zero(test: Test) -> None:
    assert test(np.ones(60)).p_value == pytest.approx(2.0**-60, rel=1e-10)
    assert test(np.ones(60)).p_value >= 2.0**-60
    assert test(np.ones(1200)).p_value >= sys.float_info.min
    assert min_attainable_p(1200) >= sys.float_info.min
    assert min_attainable_p(10) == 2.0**-10


@BOTH
def test_nothing_to_compare_is_no_evidence(test: Test) -> None:
    assert test(np.array([])).p_value == 1.0
    assert test(np.zeros(20)).p_value == 1.0
    assert test(-np.ones(20)).p_value == 1.0


@BOTH
@pytest.mark.parametrize("value", [[np.nan], [1.0, np.nan], [[1.0]]])
def test_nan_and_shapes_are_refused(test: Test, value: list) -> None:
    with pytest.raises(ParameterError):
        test(np.array(value))


def test_large_samples_agree_with_the_normal_limit() -> None:
    differences = np.random.default_rng(0).normal(0.15, 1, 400)
    theirs = stats.wilcoxon(differences, alternative="greater", method="asymptotic")
    assert signed_rank_test(differences).p_value == pytest.approx(theirs.pvalue, rel=0.02)


def answers_of_an_innocent(name: str, rng: np.random.Generator, shape: tuple[int, ...]) -> tuple:
    """Losses of twins a and b that have nothing to do with the coins, but are far from friendly."""
    if name == "normal":
        return rng.normal(size=shape), rng.normal(size=shape)
    if name == "heavy tails":
        return rng.standard_cauchy(shape), rng.standard_cauchy(shape)
    if name == "twin a is easier":
        return rng.exponential(size=shape), 3 + rng.exponential(size=shape)
    if name == "ties and zeros":
        return rng.poisson(1.0, shape) * 1.0, rng.poisson(2.0, shape) * 1.0
    if name == "clipped":
        a, b = rng.lognormal(2, 2, (2, *shape))
        return np.minimum(a, 10), np.minimum(b, 10)
    if name == "infinite":
        a, b = rng.lognormal(2, 2, (2, *shape))
        return np.where(a > 10, np.inf, a), np.where(b > 10, np.inf, b)
    if name == "float noise":
        return 1 + rng.normal(0, 1e-16, shape), 1 + rng.normal(0, 1e-16, shape)
    if name == "dependent pairs":
        common = rng.normal(size=(shape[0], 1))
        return common + 0.1 * rng.normal(size=shape), common * np.ones(shape)
    assert name == "labels"
    return (rng.random(shape) < 0.9) * 1.0, (rng.random(shape) < 0.5) * 1.0


INNOCENTS = [
    "normal",
    "heavy tails",
    "twin a is easier",
    "ties and zeros",
    "clipped",
    "infinite",
    "float noise",
    "dependent pairs",
    "labels",
]


@BOTH
@pytest.mark.parametrize("name", INNOCENTS)
def test_calibrated(test: Test, name: str) -> None:
    """Over 3,000 innocent suspects, p <= alpha no more often than the 99.9% binomial bound."""
    rng = np.random.default_rng(51)
    num_suspects, num_pairs = 3000, 22
    a, b = answers_of_an_innocent(name, rng, (num_suspects, num_pairs))
    coins = rng.random((num_suspects, num_pairs)) < 0.5
    p_values = np.array(
        [
            test(loss_differences(np.where(c, x, y), np.where(c, y, x))).p_value
            for x, y, c in zip(a, b, coins, strict=True)
        ]
    )
    for alpha in (0.1, 0.05, 0.01, 0.001):
        accused = int((p_values <= alpha).sum())
        assert accused <= stats.binom.ppf(0.999, num_suspects, alpha), (alpha, accused)


@BOTH
def test_calibrated_when_failures_depend_on_the_answers(test: Test) -> None:
    """Whole pairs drop, by a rule on both answers that is as nasty as can be without the coin."""
    rng = np.random.default_rng(52)
    accused = 0
    for _ in range(3000):
        a, b = rng.normal(size=(2, 40))
        failed = (a < b - 0.2) | (np.abs(a) > 1.5)
        coins = rng.random(40) < 0.5
        d = loss_differences(np.where(coins, a, b)[~failed], np.where(coins, b, a)[~failed])
        accused += test(d).p_value <= 0.01
    assert accused <= stats.binom.ppf(0.999, 3000, 0.01)


def test_dropping_one_twin_only_would_accuse() -> None:
    """Why a failed query drops its pair: a worst loss in its place is not symmetric.

    The suspect fails on hard images. If the owner looked at the released twins' failures alone, and
    dropped those pairs, what is left favours the released twins.
    """
    rng = np.random.default_rng(53)
    accused = 0
    for _ in range(300):
        released, withheld = rng.normal(size=(2, 40))
        kept = released < 0.5
        accused += (
            signed_rank_test(loss_differences(released[kept], withheld[kept])).p_value <= 0.01
        )
    assert accused > stats.binom.ppf(0.999, 300, 0.01)


def test_the_coin_decides_the_sign_and_nothing_else() -> None:
    """IEEE subtraction is antisymmetric, also among neighbours, subnormal and infinite numbers."""
    rng = np.random.default_rng(54)
    a = rng.lognormal(0, 50, 2000)
    b = np.concatenate([np.nextafter(a[:1000], np.inf), rng.lognormal(0, 50, 1000)])
    a[:5] = [0.0, 5e-324, math.inf, math.inf, 1.0]
    b[:5] = [5e-324, 0.0, math.inf, 1.0, 1.0]
    forth, back = loss_differences(a, b), loss_differences(b, a)
    assert (forth == -back).all()
    assert (forth[[2, 4]] == 0).all()
    assert forth[3] == -math.inf


@pytest.mark.parametrize(
    ("released", "withheld"),
    [([1.0], [1.0, 2.0]), ([math.nan], [1.0]), ([1.0], [math.nan]), ([[1.0]], [[1.0]])],
)
def test_loss_differences_refuses(released: list, withheld: list) -> None:
    with pytest.raises(ParameterError):
        loss_differences(released, withheld)


def test_hodges_lehmann_by_hand() -> None:
    """Depression scores of nine patients: Hollander, Wolfe and Chicken, example 3.1 and 3.4."""
    before = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
    after = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
    estimate, interval = hodges_lehmann(after - before, confidence=0.96)
    assert estimate == pytest.approx(-0.46, abs=0.001)
    assert interval == pytest.approx((-0.786, -0.010), abs=0.001)


def test_hodges_lehmann_covers() -> None:
    rng = np.random.default_rng(55)
    covered = 0
    for _ in range(1500):
        interval = hodges_lehmann(0.7 + rng.standard_t(3, 12))[1]
        assert interval is not None
        covered += interval[0] <= 0.7 <= interval[1]
    assert covered >= stats.binom.ppf(0.001, 1500, 0.95)


def test_hodges_lehmann_of_too_few() -> None:
    assert hodges_lehmann([]) == (None, None)
    assert hodges_lehmann([1.0, math.inf]) == (None, None)
    assert hodges_lehmann([1.0, 2.0, 3.0, 4.0, 5.0]) == (3.0, None)
    assert hodges_lehmann([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == (3.5, (1.0, 6.0))


def test_accuracy_difference_by_hand() -> None:
    """10 pairs only released right, 2 only withheld, 18 alike: Agresti and Min's formula."""
    released = np.array([True] * 10 + [False] * 2 + [True] * 18)
    withheld = np.array([False] * 10 + [True] * 2 + [True] * 18)
    estimate, interval = accuracy_difference(released, withheld)
    assert estimate == pytest.approx(8 / 30)
    centre = (10.5 - 2.5) / 32
    reach = 1.959964 * math.sqrt(((10.5 + 2.5) / 32 - centre**2) / 32)
    assert interval == pytest.approx((centre - reach, centre + reach), abs=1e-6)
    assert accuracy_difference(np.array([], bool), np.array([], bool)) == (None, None)


@pytest.mark.parametrize(
    ("released", "withheld"),
    [([0.0], [1.5]), ([1], [0]), ([True], [True, False]), ([[True]], [[True]])],
)
def test_accuracy_difference_refuses(released: list, withheld: list) -> None:
    with pytest.raises(ParameterError):
        accuracy_difference(released, withheld)


def test_answers_are_sorted_by_twin_and_failed_pairs_dropped() -> None:
    answers = PairAnswers.from_queries(
        "scores",
        [(2, "b"), (2, "a"), (0, "a"), (0, "b"), (1, "b"), (1, "a")],
        [5.0, 1.0, 2.0, 4.0, math.nan, 3.0],
        [False, False, False, False, True, False],
    )
    assert answers == PairAnswers("scores", (2, 0, 1), (1.0, 2.0, 3.0), (5.0, 4.0, None))
    assert answers.failed.count(True) == answers.num_failed == 1
    assert np.array_equal(answers.compare({0: "b", 1: "a", 2: "a"}), [4.0, -2.0])
    assert PairAnswers.from_dict(answers.to_dict()) == answers


def test_answers_with_labels() -> None:
    answers = PairAnswers.from_queries(
        "labels", [(0, "a"), (0, "b"), (1, "b"), (1, "a")], [True, False, True, True]
    )
    released, withheld = answers.compare({0: "b", 1: "a"})
    assert released.tolist() == [False, True]
    assert withheld.tolist() == [True, True]


def test_no_answers_at_all() -> None:
    answers = PairAnswers.from_queries("scores", [(0, "a"), (0, "b")], [np.nan] * 2, [True] * 2)
    assert answers.failed == (True,)
    assert np.array_equal(answers.compare({0: "a"}), [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("votes", (0,), (1.0,), (1.0,)), "kind"),
        (("scores", (0,), (1.0, 2.0), (1.0,)), "one of each"),
        (("scores", (0, 0), (1.0, 2.0), (1.0, 2.0)), "twice"),
        (("scores", (0,), (math.nan,), (1.0,)), "Pair 0"),
        (("scores", (0,), (1.0,), (math.inf,)), "Pair 0"),
        (("scores", (0,), (True,), (1.0,)), "Pair 0"),
        (("labels", (0,), (1,), (True,)), "Pair 0"),
        (("labels", (0,), (1.5,), (1.0,)), "Pair 0"),
        (("labels", (0,), (True,), (1.0,)), "some are of one image"),
    ],
)
def test_answers_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        PairAnswers(*arguments)


@pytest.mark.parametrize(
    ("queries", "values"),
    [
        ([(0, "a")], [1.0]),
        ([(0, "a"), (0, "a")], [1.0, 1.0]),
        ([(0, "a"), (1, "b")], [1.0, 1.0]),
        ([(0, "a"), (0, "b")], [1.0]),
    ],
)
def test_half_pairs_refused(queries: list, values: list) -> None:
    with pytest.raises(ParameterError):
        PairAnswers.from_queries("scores", queries, values)


@pytest.mark.parametrize("values", [{}, [], {"kind": "scores", "pairs": [0.5], "a": [1.0]}])
def test_answers_from_other_values_refused(values: object) -> None:
    with pytest.raises(ParameterError):
        PairAnswers.from_dict(values)  # type: ignore[arg-type]


def test_the_tail_of_many_pairs_is_that_of_exact_integers_and_never_below_it() -> None:
    rng = np.random.default_rng(5)
    for num_pairs, step in ((54, 1), (61, 2), (130, 1)):
        differences = rng.normal(0.2, 1, num_pairs).round(step)
        tested = signed_rank_test(differences)
        signed = differences[differences != 0]
        ranks = np.rint(2 * stats.rankdata(np.abs(signed))).astype(int)
        counts = {0: 1}
        for rank in ranks.tolist():
            moved = {total + rank: count for total, count in counts.items()}
            counts = {k: counts.get(k, 0) + moved.get(k, 0) for k in counts.keys() | moved.keys()}
        least = int(ranks[signed > 0].sum())
        exact = Fraction(sum(n for k, n in counts.items() if k >= least), 2 ** len(ranks))
        assert exact <= Fraction(tested.p_value) <= exact * (1 + Fraction(1, 10**9))


def test_hundreds_of_pairs_fit_an_inversion_of_the_characteristic_function() -> None:
    """Its error is absolute, 1e-13 or so, so that it can be compared where p is not small."""
    ranks = np.arange(1, 601)
    signs = np.random.default_rng(3).random(600) < 0.52
    observed = int(ranks[signs].sum())
    length = 2**18  # more than there are sums
    angles = 2 * np.pi * np.arange(length // 2 + 1) / length
    spectrum = np.ones(len(angles), complex)
    for rank in ranks:
        spectrum *= (1 + np.exp(-1j * angles * rank)) / 2
    distribution = np.fft.irfft(spectrum, length)

    tested = signed_rank_test(np.where(signs, 1.0, -1.0) * ranks)
    assert tested.p_value == pytest.approx(distribution[observed:].sum(), rel=1e-8)
