"""The package's table of thieves holds what was measured."""

from __future__ import annotations

import math

import pytest

from benchmarks.thief_table import derive, read_summary
from fiftyone_honeyimage.core.pipeline.thieves import THIEVES, Thief


@pytest.mark.parametrize("thief", THIEVES.values(), ids=list(THIEVES))
def test_the_table_is_what_the_committed_results_say(thief: Thief) -> None:
    name = thief.attack
    if name is None:
        assert thief == THIEVES["none"]
        return
    found = (thief.kept_hardest, thief.kept_others, thief.effect)
    assert found == pytest.approx(derive(read_summary(), name), abs=0.011), (
        "python -m benchmarks.thief_table prints the table anew"
    )


def _found(effect: float, dropped: float = 0.0) -> dict[str, object]:
    return {"dropped": dropped, "loss": {"effect": {"mean": effect}}}


def test_a_factor_is_what_is_left_beside_what_was_dropped() -> None:
    kinds = ("hardest, unchanged", "largest out − in, unchanged", "any, unchanged")

    def effect(
        told: float,
    ) -> float:  # the mean over the root mean square, as one over the deviation
        return told / math.sqrt(1 - told**2)

    summary = {
        "nothing": {"title": "", "test_accuracy": {}, **{k: _found(effect(0.6)) for k in kinds}},
        "drops": {k: _found(effect(0.6 * 0.75), 0.25) for k in kinds},
        "weaker": {k: _found(effect(0.6 * 0.5 * 0.6), 0.5) for k in kinds},
        "backwards": {k: _found(effect(-0.2)) for k in kinds},
        "stronger": {k: _found(effect(0.8)) for k in kinds},
    }
    assert derive(summary, "drops") == (0.75, 0.75, 1.0)
    assert derive(summary, "weaker") == (0.5, 0.5, 0.6)
    assert derive(summary, "backwards") == (1, 1, 0)
    assert derive(summary, "stronger") == (1, 1, 1)
