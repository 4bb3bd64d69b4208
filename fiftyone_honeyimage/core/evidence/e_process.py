"""An e-process on pairs of twins: look after every pair, and stop as soon as it suffices.

A gambler starts with 1 and bets, before each coin is shown, that the released twin has the lower
loss. Under the null hypothesis the coins are fair and the capital is a martingale whatever the
bets, as long as each is fixed before its coin: ``E[1 + bet * sign] = 1``. By Ville's inequality the
capital ever reaches ``1/alpha`` with probability at most alpha, so that one may look after each
pair, stop at any time for any reason, and ``1 / max e`` is a p-value.

Two families of bets are played side by side, each spread evenly over the fractions ``f`` of a grid:

- "sign": ``bet = f`` on every pair;
- "rank": ``bet = f * w_i``, where ``w_i`` in (0, 1] grows with the rank of ``|d_i|`` among the
  magnitudes so far. A pair whose twins hardly differ says little, and little is bet on it.

A pair with a failed query loses the largest bet of each fraction, and its magnitude is unknown: a
later pair that wins gets the smallest weight that any magnitude of the failed ones would give it,
one that loses the largest. So the capital is at most what the answers would have given, whichever
pairs fail and whoever chose them knowing the coins.

``|d_i|`` does not depend on the coin of pair ``i`` (see :mod:`.twins`), so that it may be known when
the bet is made. An average of martingales is a martingale: no fraction has to be chosen after the
fact, and the capital grows nearly as fast as with the best one. All signs alike reach 1,000 after
13 pairs where the magnitudes are equal, after 14 at the latest. Simulated infringing models with
larger differences where the released twin wins took about 30 pairs with both families, and 38 with
the signs alone.

Source: Ville, Etude critique de la notion de collectif, 1939; Waudby-Smith and Ramdas, Journal of
the Royal Statistical Society B 86(1), 2024, for betting; Shafer and Vovk, Game-Theoretic
Foundations for Probability and Finance, 2019.
"""

from __future__ import annotations

import bisect
import math

import numpy as np
import numpy.typing as npt

from ..errors import ParameterError

_NUM_FRACTIONS = 64
# Midpoints, all below 1: a lost bet never takes the whole capital
_FRACTIONS = (np.arange(_NUM_FRACTIONS) + 0.5) / _NUM_FRACTIONS
# Far more than the rounding of many thousand pairs, taken off the capital
_ROUNDING = 1e-9
_LARGEST_LOG = 700.0


class EProcess:
    """The capital after each pair, in the committed order of the queries.

    Attributes:
        e_values: the capital after each pair so far
        num_failed: how many of them had a failed query
    """

    def __init__(self) -> None:
        self.e_values: list[float] = []
        self.num_failed = 0
        self._log_capital = np.zeros((2, _NUM_FRACTIONS))
        self._magnitudes: list[float] = []
        self._largest = 1.0

    def update(self, difference: float) -> float:
        """Plays one pair and returns the capital.

        Args:
            difference: ``d_i``, positive where the released twin has the lower loss. Nothing is won
                or lost on zero

        Raises:
            ParameterError: if the difference is NaN
        """
        if math.isnan(difference):
            raise ParameterError(
                f"The difference of pair {len(self.e_values)} is NaN; call fail() for a pair "
                "with a failed query"
            )
        if difference != 0:
            sign = math.copysign(1.0, difference)
            weight = self._weight(abs(difference), is_won=sign > 0)
            bets = np.stack([_FRACTIONS, _FRACTIONS * weight])
            self._log_capital += np.log1p(sign * bets)
        return self._played()

    def fail(self) -> float:
        """Plays a pair with a failed query, which is lost, and returns the capital."""
        self.num_failed += 1
        self._log_capital += np.log1p(-_FRACTIONS)
        return self._played()

    def _played(self) -> float:
        self.e_values.append(self._capital())
        self._largest = max(self._largest, self.e_values[-1])
        return self.e_values[-1]

    @property
    def p_value(self) -> float:
        """``1 / max e``, at most 1: valid whenever one stops."""
        return min(1.0, 1.0 / self._largest)

    def _weight(self, magnitude: float, is_won: bool) -> float:
        """Twice the midrank of the magnitude over (number so far + 1), at most 1; 1 if all tie.

        Failed pairs count as larger ones for a pair that is won, as smaller ones for one that is lost.
        """
        below = bisect.bisect_left(self._magnitudes, magnitude)
        equal = bisect.bisect_right(self._magnitudes, magnitude) - below
        bisect.insort(self._magnitudes, magnitude)
        midrank = below + equal / 2 + 1 + (0 if is_won else self.num_failed)
        return min(1.0, 2 * midrank / (len(self._magnitudes) + self.num_failed + 1))

    def _capital(self) -> float:
        peak = float(self._log_capital.max())
        mean = float(np.exp(self._log_capital - peak).mean())
        return math.exp(min(peak + math.log(mean), _LARGEST_LOG)) * (1 - _ROUNDING)


def e_process(differences: npt.ArrayLike, failed: npt.ArrayLike | None = None) -> EProcess:
    """Plays all pairs in the order given and returns the process.

    Args:
        differences: ``d`` of the answered pairs in the committed order of the queries, shape (n,)
        failed (None): whether each pair has a failed query, bool of shape (n + number failed,);
            None if none has

    Raises:
        ParameterError: if a difference is NaN, or the numbers do not fit
    """
    values = np.asarray(differences, np.float64)
    lost = np.zeros(len(values), bool) if failed is None else np.asarray(failed, bool)
    if int((~lost).sum()) != len(values):
        raise ParameterError(
            f"There are {len(values)} differences, but {int((~lost).sum())} pairs that did not fail"
        )
    process = EProcess()
    answered = iter(values)
    for is_lost in lost:
        if is_lost:
            process.fail()
        else:
            process.update(float(next(answered)))
    return process
