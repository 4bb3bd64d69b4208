"""Which images are alike to the owner's proxies: twins within a ranking, and pairs that are unlike each other.

It looks at hardness and features alone, which no coin has seen, and treats both twins alike.
"""

from __future__ import annotations

import numpy as np

#: Neighbours in a ranking among which twins are looked for
WINDOW = 16

#: So many times the pairs that are wanted are looked at, where they are to be unlike each other
POOL = 4


def pair_in_windows(
    ranked: np.ndarray, hardness: np.ndarray, embedding: np.ndarray | None
) -> np.ndarray:
    """Pairs images with such that stand near in a ranking and are as hard, or also as alike to the proxies.

    Args:
        ranked: int64 (n,), rows of one class, first those that are taken first
        hardness: float64 (K,), nats
        embedding: float (K, E), or None for hardness alone

    Returns:
        int64 (n // 2, 2), in the ranking's order as far as windows go; of an odd number the last one has no twin
    """
    even = ranked[: len(ranked) // 2 * 2]
    spread = float(np.std(hardness[even])) if len(even) else 1.0
    pairs = []
    for start in range(0, len(even), WINDOW):
        block = even[start : start + WINDOW]
        if embedding is None:
            places = np.argsort(-hardness[block], kind="stable").reshape(-1, 2)
        else:
            places = _match(_unlikeness(hardness[block] / (spread or 1.0), embedding[block]))
        pairs.append(block[np.sort(places, axis=1)])
    return np.concatenate(pairs) if pairs else np.empty((0, 2), dtype=np.int64)


def _unlikeness(hardness: np.ndarray, embedding: np.ndarray) -> np.ndarray:
    """Squared distances (n, n), the features' and the hardness' in units of their own variance."""
    features = embedding.astype(np.float64)
    apart = ((features[:, None] - features[None]) ** 2).mean(axis=2)
    return np.asarray(apart + (hardness[:, None] - hardness[None]) ** 2)


def _match(cost: np.ndarray) -> np.ndarray:
    """Pairs of an even number of things with a small sum of costs, int64 (n / 2, 2): the nearest first, then pairs
    change partners as long as that helps."""
    upper = np.triu_indices(len(cost), 1)
    free, pairs = set(range(len(cost))), []
    for place in np.argsort(cost[upper], kind="stable"):
        a, b = int(upper[0][place]), int(upper[1][place])
        if a in free and b in free:
            free -= {a, b}
            pairs.append((a, b))
    better = True
    while better:
        better = False
        for i in range(len(pairs)):
            for j in range(i):
                (a, b), (c, d) = pairs[i], pairs[j]
                now = cost[a, b] + cost[c, d]
                for one, other in (((a, c), (b, d)), ((a, d), (b, c))):
                    # By more than rounding, so that this ends
                    if cost[one] + cost[other] < now * (1 - 1e-9):
                        pairs[i], pairs[j] = one, other
                        better = True
                        break
    return np.array(sorted(pairs), dtype=np.int64)


def unlike_each_other(embedding: np.ndarray, groups: list[np.ndarray], wanted: int) -> np.ndarray:
    """Takes things that lie far from all that were taken before: farthest-point sampling (Gonzalez, 1985).

    Args:
        embedding: float (n, E)
        groups: places to choose from, in turn one of each group, or all of one group
        wanted: how many; the groups hold enough

    Returns:
        int64 (wanted,), ascending
    """
    points = embedding.astype(np.float64)
    squares = (points**2).sum(axis=1)
    nearest = np.full(len(points), np.inf)
    taken: list[int] = []
    for turn in range(wanted):
        group = groups[turn % len(groups)]
        best = int(
            group[np.argmax(nearest[group])]
        )  # the first of the ranking where all are as far
        taken.append(best)
        nearest = np.minimum(nearest, squares - 2 * points @ points[best] + squares[best])
        nearest[best] = -np.inf  # below what rounding makes of 0
    return np.sort(np.array(taken, dtype=np.int64))
