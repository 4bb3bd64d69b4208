"""What a portfolio's strata count: fixed from the owner's own proxies, before the coins.

The strata are kind x hardness: crafted and unchanged pairs, each in groups of about as many from the easiest to the
hardest. A stratum's rank sum is weighed by how surely it tells a model that has seen one side of each pair, as the
in-model tells it from the out-model, over its number of pairs and one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from ..evidence.exact_tests import TESTS
from ..evidence.plan import MAX_WEIGHT, Plan
from ..evidence.twins import UNCHANGED
from .side_files import read_sides

#: Groups of hardness of a kind at most, and pairs in each at least
_GROUPS = 3
_LEAST = 6


def weigh_strata(plan: Plan, manifest: Mapping[str, Any], num_pairs: int | None = None) -> Plan:
    """The plan with strata and weights for the marking's crafted and unchanged pairs.

    The in-model has seen both sides of every pair and knows no coin, so that neither do the weights.

    Args:
        plan: of a marking
        manifest: of its images, before the coins
        num_pairs (None): so many pairs show ownership, the first ones; by default all

    Returns:
        the plan itself if its test has no strata, or no pair was left as it is

    Source: weights proportional to a stratum's effect over its size and one are van Elteren's (Bulletin de l'Institut
    International de Statistique 37, 1960) where the strata's effects are alike, and locally most powerful where not.
    """
    pairs = read_sides(manifest)[1][:num_pairs]
    covariates = {number: (a.covariates, b.covariates) for number, (a, b) in enumerate(pairs)}
    unchanged = sum(a.covariates.get(UNCHANGED, 0.0) > 0 for a, _ in pairs)
    if not TESTS[plan.test].stratified or not unchanged:
        return plan
    counts = [_num_groups(number) for number in (len(pairs) - unchanged, unchanged)]
    plan = dataclasses.replace(
        plan,
        stratum_weights=(1,) * counts[0],
        stratum_edges=(),
        unchanged_weights=(1,) * counts[1],
        unchanged_edges=(),
    ).with_strata(covariates)
    strata = plan.strata(range(len(pairs)), covariates)
    assert strata is not None  # its test has some
    shown = _shown(manifest)[: len(pairs)]
    effects = [_effect(shown[strata.of_pairs == number]) for number in range(sum(counts))]
    most = max(effects)
    weights = [max(1, round(MAX_WEIGHT * effect / most)) if most > 0 else 1 for effect in effects]
    return dataclasses.replace(
        plan,
        stratum_weights=tuple(weights[: counts[0]]),
        unchanged_weights=tuple(weights[counts[0] :]),
    )


def _num_groups(num_pairs: int) -> int:
    return max(1, min(_GROUPS, num_pairs // _LEAST))


def _shown(manifest: Mapping[str, Any]) -> np.ndarray:
    """What the proxies show of each pair if side a is released, and if side b is: nats, float64 (M, 2)."""
    rows = [row for row in manifest["images"] if row["pair"] is not None]
    number = 1 + max(row["pair"] for row in rows)
    losses = np.array([[row["proxy_loss"], row["in_loss"]] for row in rows], np.float64)
    # Twins stand one after the other, pair by pair; a method of one image a side made them
    a, b = losses.reshape(number, 2, 2).transpose(1, 0, 2)
    return np.stack([b[:, 0] - a[:, 1], a[:, 0] - b[:, 1]], axis=1)


def _effect(shown: np.ndarray) -> float:
    """How far a stratum's rank sum lies from chance on average, -1 to 1, over its number of pairs and one."""
    differences = shown.ravel()
    ranks = stats.rankdata(np.abs(differences))
    if not ranks.size:
        return 0.0
    signed = float((np.sign(differences) * ranks).sum() / ranks.sum())
    return signed / (len(shown) + 1)
