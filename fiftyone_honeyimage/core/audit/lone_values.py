"""Values that HoneyImages alone have, named even where a single file has one.

No test could tell so few files from chance. But where no other file has a value of its own, whoever looks at the
folder sees it at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Sequence

import numpy as np

from .container import describe
from .features import NUMBER, Feature
from .report import NUM_EXAMPLES, Leak

#: What an export sets alike for all files; of images that nobody marked, none has another value by nature
_SET_BY_EXPORT = (
    "allocated blocks",
    "extended attributes",
    "kind of file",
    "labels: fields",
    "labels: form of",
    "labels: order of fields",
    "links",
    "owner",
    "permissions",
    "time: fraction",
    "time: modified",
)


def lone_values(
    features: Sequence[Feature],
    names: Sequence[str],
    marked: np.ndarray,
    inherited: Collection[str],
) -> tuple[list[Leak], list[Leak]]:
    """Looks for values that no unmarked file has.

    Features in which any unmarked file has a value of its own are passed over: one more of them is no news.

    Args:
        features: of all files
        names: N files
        marked: bool (N,)
        inherited: features that all marked files have from their originals

    Returns:
        leaks: what an export sets, and all other files have in common; and what is named and fails nothing, as the
        original may have had it
    """
    leaks: list[Leak] = []
    named: list[Leak] = []
    for feature in features:
        if feature.kind == NUMBER or feature.name in inherited or feature.is_constant:
            continue
        lone, shared = _lone(feature, marked)
        if not lone:
            continue
        values = {feature.values[row] for row in lone}
        text = (
            f"{len(lone)} HoneyImage{'s have' if len(lone) > 1 else ' has'} "
            f"{'values' if len(values) > 1 else 'the value'} that no other file has: "
            + ", ".join(f"'{describe(value)}'" for value in sorted(values, key=str)[:3])
        )
        leak = Leak(feature.name, text, tuple(names[row] for row in lone[:NUM_EXAMPLES]))
        certain = shared == 1 and feature.name.startswith(_SET_BY_EXPORT)
        (leaks if certain else named).append(leak)
    return leaks, named


def _lone(feature: Feature, marked: np.ndarray) -> tuple[list[int], int]:
    """Rows of marked files with a value that no unmarked one has, and how many values those have."""
    counts: Counter[Hashable] = Counter()
    for value, is_marked in zip(feature.values, marked, strict=True):
        if not is_marked and not (feature.is_partial and value is None):
            counts[value] += 1
    if not counts or min(counts.values()) < 2:
        return [], 0
    rows = [
        row
        for row in np.flatnonzero(marked).tolist()
        if feature.values[row] not in counts
        and not (feature.is_partial and feature.values[row] is None)
    ]
    return rows, len(counts)
