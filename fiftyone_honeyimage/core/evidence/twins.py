"""Exact one-sided tests on pairs of twins, of which a fair coin released one.

Why they are exact. Under the null hypothesis the suspect does not depend on the coins. Its answers
for the two twins of pair ``i`` are then the same whichever of them was released, and the coin
decides only the sign of ``d_i = loss(withheld_i) - loss(released_i)``. Given all ``|d_i|``, the
signs are independent fair coins, whatever the suspect's architecture, data or quality, and however
the magnitudes are distributed or depend on each other. Every p-value here is a count over the
sign patterns, so that ``P(p <= alpha) <= alpha`` holds for every number of pairs.

- Ties and zeros. A zero difference carries no sign; it is set aside. Whether it is zero does not
  depend on the coin. Equal magnitudes get equal midranks, and the count runs over these ranks.
- Float noise. IEEE subtraction is antisymmetric (``a - b == -(b - a)`` exactly), so that losses are
  compared exactly and need no tolerance: should rounding decide between two losses, it decides
  before the coin is looked at. A tolerance would be one more number to choose after the answers.
- Failed queries. Whoever makes queries fail may know the coins. So a pair with a failed query counts
  against the owner: as the largest difference in favour of the withheld twin. Whichever pairs
  fail, a small p-value is then at least the one that their answers would have given, and
  ``P(p <= alpha) <= alpha`` holds for every choice of failures.
- Clipped losses. Clipping changes both twins by the same rule. Infinite losses are equal to each
  other and larger than finite ones.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..errors import ParameterError

KINDS = ("scores", "labels")

FloatArray = npt.NDArray[np.float64]

#: Among what was committed of a side, and no loss: 1.0 where the pair was left as it is, 0.0 where it was crafted. It
#: stands in markings of both kinds, tells a pair's stratum, and is compared with nothing
UNCHANGED = "unchanged"


@dataclass(frozen=True)
class TwinTest:
    """The outcome of one test.

    Attributes:
        name: "signed_rank", "stratified_signed_rank" or "sign"
        p_value: one-sided, ``2**-num_pairs <= p_value <= 1``
        statistic: the sum of the ranks (signed-rank) or the number (sign) of the pairs in which the
            released twin has the lower loss
        num_pairs: pairs with a difference other than zero, and failed ones, on which the test rests
        num_zeros: pairs without a difference, set aside
    """

    name: str
    p_value: float
    statistic: float
    num_pairs: int
    num_zeros: int


def loss_differences(released: npt.ArrayLike, withheld: npt.ArrayLike) -> FloatArray:
    """Returns ``d = loss(withheld) - loss(released)``, shape (n,), float64.

    Two infinite losses are equal: their difference is zero.

    Args:
        released: the suspect's losses on the released twins, in nats, shape (n,)
        withheld: the suspect's losses on the withheld twins, in nats, shape (n,)

    Raises:
        ParameterError: if the shapes differ or a loss is NaN
    """
    released = _losses(released, "released")
    withheld = _losses(withheld, "withheld")
    if released.shape != withheld.shape:
        raise ParameterError(
            f"There are {released.size} losses of released and {withheld.size} of withheld twins; "
            "give one of each for every pair"
        )
    equal = released == withheld
    # inf - inf would be NaN; equal losses differ by zero in any case
    return np.subtract(withheld, released, out=np.zeros_like(withheld), where=~equal)


@dataclass(frozen=True)
class Strata:
    """Groups of pairs that were fixed before the coins, and what each counts.

    Attributes:
        of_pairs: int64 (n,), each pair's group, failed ones included, in the committed order
        weights: of each group, whole numbers of at least 1
    """

    of_pairs: npt.NDArray[np.int64]
    weights: tuple[int, ...]


def signed_rank_test(differences: npt.ArrayLike, num_failed: int = 0) -> TwinTest:
    """Wilcoxon's signed-rank test, exact also with ties and zeros.

    The midranks of ``|d|`` are doubled to integers, and the distribution of their sum over the
    ``2**n`` equally likely sign patterns is built by convolution, pair after pair. Up to 53 pairs
    every number is a multiple of ``2**-53`` and the p-value has no rounding at all; beyond, it is
    rounded up, by less than 1e-8 of itself up to 2,000 pairs. Equals
    ``scipy.stats.wilcoxon(d, alternative="greater", method="exact")`` where that is exact, without ties. Time grows with
    ``n**3``: a millisecond for 50 pairs, half a second for 2,000, twice that with ties.

    Failed pairs get the largest ranks, above those of all differences, and the negative sign. Had
    they been answered, the same ranks would have been given out, those above theirs to other pairs
    in part, so that the sum can only be smaller and the p-value larger. Where magnitudes tie, the
    ranks themselves change a little; the p-value is then larger too wherever it is small (tested
    on every pattern of up to 5 pairs and on random ones, up to 0.05, the weakest level).

    Args:
        differences: ``d``, shape (n,), infinities allowed
        num_failed (0): further pairs, of which a query failed

    Raises:
        ParameterError: if a difference is NaN

    Source: Wilcoxon, Biometrics Bulletin 1(6), 1945; Hollander, Wolfe and Chicken, Nonparametric
    Statistical Methods, 2014, section 3.1, for the conditional null distribution with ties.
    """
    return _rank_sum("signed_rank", [(checked_differences(differences), num_failed, 1)])


def stratified_signed_rank_test(
    differences: npt.ArrayLike, failed: npt.NDArray[np.bool_], strata: Strata
) -> TwinTest:
    """Pairs are ranked within their stratum; the weighted sum of the strata's rank sums is tested, exactly.

    Where one stratum's differences are much larger, or say more, its ranks do not drown in those of others. Strata and
    weights are fixed before the coins. Of equal magnitudes the pair that comes first in the committed order gets the
    smaller rank: then a stratum's ranks are 1 to its number of pairs whoever fails, a failed pair can only lower the
    sum, and no choice of failures makes p smaller. Midranks do not have that: their sums' steps differ.
    One stratum alone is :func:`signed_rank_test`, midranks and all.

    Args:
        differences: ``d``, of the answered pairs, shape (n,)
        failed: whether each pair has a failed query, shape (n + number failed,)
        strata: of all these pairs

    Raises:
        ParameterError: if a difference is NaN, or the numbers differ

    Source: van Elteren's stratified rank test, Bulletin de l'Institut International de Statistique 37, 1960.
    """
    values = checked_differences(differences)
    if strata.of_pairs.shape != failed.shape or values.size != int((~failed).sum()):
        raise ParameterError(
            f"{failed.size} pairs, {int(failed.sum())} of which failed, have {strata.of_pairs.size} strata and "
            f"{values.size} differences"
        )
    own = strata.of_pairs[~failed]
    return _rank_sum(
        "stratified_signed_rank",
        [
            (values[own == number], int((strata.of_pairs[failed] == number).sum()), weight)
            for number, weight in enumerate(strata.weights)
        ],
    )


def _rank_sum(name: str, groups: Sequence[tuple[FloatArray, int, int]]) -> TwinTest:
    """Tests the weighted sum of the groups' rank sums; a group is its differences, failed pairs and weight."""
    ranks, observed, num_zeros = [], 0, 0
    for differences, num_failed, weight in groups:
        signed, zeros = _nonzero(differences)
        ranked = stats.rankdata(np.abs(signed), method="average" if len(groups) == 1 else "ordinal")
        own = weight * np.rint(2 * ranked).astype(np.int64)
        observed += int(own[signed > 0].sum())
        num_zeros += zeros
        last = signed.size + 1 + np.arange(num_failed, dtype=np.int64)
        ranks += [own, 2 * weight * last]
    doubled = np.concatenate(ranks)
    return TwinTest(
        name=name,
        p_value=_upper_tail(doubled, observed),
        statistic=observed / 2,
        num_pairs=doubled.size,
        num_zeros=num_zeros,
    )


def sign_test(differences: npt.ArrayLike, num_failed: int = 0) -> TwinTest:
    """The exact sign test; on differences of correct answers it is McNemar's exact test.

    Args:
        differences: ``d``, or for labels ``correct(released) - correct(withheld)``, shape (n,)
        num_failed (0): further pairs, of which a query failed: each is lost

    Raises:
        ParameterError: if a difference is NaN
    """
    signed, num_zeros = _nonzero(differences)
    wins = int((signed > 0).sum())
    num_pairs = signed.size + num_failed
    p_value = 1.0
    if num_pairs:
        p_value = stats.binomtest(wins, num_pairs, 0.5, alternative="greater").pvalue
    return TwinTest(
        name="sign",
        p_value=_never_zero(float(p_value), num_pairs),
        statistic=float(wins),
        num_pairs=num_pairs,
        num_zeros=num_zeros,
    )


def min_attainable_p(num_pairs: int) -> float:
    """Returns the smallest p-value that a test on so many pairs can give: all signs alike."""
    return _never_zero(0.0, num_pairs)


def correctness_differences(
    released_correct: npt.ArrayLike, withheld_correct: npt.ArrayLike
) -> FloatArray:
    """Returns ``correct(released) - correct(withheld)`` from -1 to 1, shape (n,), float64.

    Args:
        released_correct: whether each was right, bool, or of several images the share, float, 0 to 1; shape (n,)
        withheld_correct: likewise

    Raises:
        ParameterError: if the values are something else or their numbers differ
    """
    released = np.asarray(released_correct)
    withheld = np.asarray(withheld_correct)
    for values in (released, withheld):
        is_share = values.dtype == np.float64 and bool(((values >= 0) & (values <= 1)).all())
        if values.ndim != 1 or (values.size and values.dtype != np.bool_ and not is_share):
            raise ParameterError(
                "Correct answers must be booleans, or shares from 0 to 1, one for each pair, but have dtype "
                f"{values.dtype} and shape {values.shape}"
            )
    if released.size != withheld.size:
        raise ParameterError(
            f"There are {released.size} answers on released and {withheld.size} on withheld twins; "
            "give one of each for every pair"
        )
    return released.astype(np.float64) - withheld.astype(np.float64)


def checked_differences(differences: npt.ArrayLike) -> FloatArray:
    values = np.asarray(differences, np.float64)
    if values.ndim != 1:
        raise ParameterError(f"Differences must have shape (n,), not {values.shape}")
    if np.isnan(values).any():
        raise ParameterError(
            f"The difference of pair {int(np.isnan(values).argmax())} is NaN; leave out pairs "
            "with a failed query and count them"
        )
    return values


def _losses(values: npt.ArrayLike, name: str) -> FloatArray:
    losses = np.asarray(values, np.float64)
    if losses.ndim != 1:
        raise ParameterError(f"The {name} losses must have shape (n,), not {losses.shape}")
    if np.isnan(losses).any():
        raise ParameterError(
            f"The {name} loss of pair {int(np.isnan(losses).argmax())} is NaN; leave out pairs "
            "with a failed query and count them"
        )
    return losses


def _nonzero(differences: npt.ArrayLike) -> tuple[FloatArray, int]:
    values = checked_differences(differences)
    signed = values[values != 0]
    return signed, values.size - signed.size


def sign_flip_distribution(ranks: npt.NDArray[np.int64]) -> FloatArray:
    """The distribution of the sum of a fair random subset of the ranks.

    It is its own mirror image: the lower half is built in place, rank after rank, in pieces that stay in the cache.
    """
    total = int(ranks.sum())
    half = total // 2
    counts = np.zeros(half + 1)
    counts[0] = 1.0
    reached = 0
    for done, rank in enumerate(np.sort(ranks).tolist(), start=1):
        reached = min(reached + rank, half)
        for end in range(reached + 1, rank, -_PIECE):
            start = max(rank, end - _PIECE)
            counts[start:end] += counts[start - rank : end - rank]
        if done % _SCALED_AFTER == 0:
            np.ldexp(counts, -_SCALED_AFTER, out=counts)
    lower = np.ldexp(counts, -(len(ranks) % _SCALED_AFTER))
    return np.concatenate([lower, lower[: total - half][::-1]])


#: Sums that are added to at once: half a megabyte
_PIECE = 1 << 16
#: So many ranks double a count before it is scaled: 2**512 is far from the range of floats
_SCALED_AFTER = 512


def _upper_tail(ranks: npt.NDArray[np.int64], observed: int) -> float:
    """P(sum over the positive signs >= observed) under fair signs.

    Two halves of the ranks have distributions that are far shorter to build than that of all, and the tail is a sum over
    the first half's of the second's tails.
    """
    if not ranks.size:
        return 1.0
    step = int(np.gcd.reduce(ranks))
    ranks, observed = np.sort(ranks) // step, observed // step
    first, second = (sign_flip_distribution(half) for half in (ranks[::2], ranks[1::2]))
    # of the second half, P(at least k) for k from 0 on; 1 below and 0 above
    tails = np.append(np.cumsum(second[::-1])[::-1], 0.0)
    needed = np.clip(observed - np.arange(first.size), 0, second.size)
    tail = float(first @ tails[needed])
    if ranks.size > 53:
        # Each addition may have lost half an ulp: give back more than that
        tail *= 1 + 2 * (ranks.size + first.size + second.size) * sys.float_info.epsilon
    return _never_zero(min(tail, 1.0), ranks.size)


def _never_zero(p_value: float, num_pairs: int) -> float:
    """No p-value lies below ``2**-n``; beyond the range of floats, below their smallest."""
    return max(p_value, 2.0 ** -min(num_pairs, -sys.float_info.min_exp))
