"""Marked images against random unmarked ones: by ranks, whatever the groups' spread."""

from __future__ import annotations

import numpy as np
import pytest

from fiftyone_honeyimage.core.evidence.controls import (
    ControlComparison,
    advances,
    compare_with_controls,
    read_comparisons,
)
from fiftyone_honeyimage.core.evidence.statement import word_controls


def test_groups_that_differ_in_spread_alone_are_alike() -> None:
    rng = np.random.default_rng(0)
    p_values = [
        compare_with_controls(rng.normal(0, 4, 20), rng.normal(0, 0.5, 60)).p_value  # type: ignore[union-attr]
        for _ in range(1000)
    ]
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.025)


def test_who_knows_more_is_told() -> None:
    rng = np.random.default_rng(1)
    worse = compare_with_controls(rng.normal(-2, 1, 20), rng.normal(0, 1, 50))
    assert worse is not None
    assert worse.p_value < 1e-6
    assert worse.share < 0.2
    apart = compare_with_controls(np.arange(10) + 100.0, np.arange(10))
    assert apart == ControlComparison(pytest.approx(2 / 184756), 1.0, 10, 10)
    equal = compare_with_controls(np.zeros(12), np.zeros(30))
    assert equal == ControlComparison(1.0, 0.5, 12, 30)
    assert compare_with_controls(np.arange(9), np.arange(30)) is None
    assert compare_with_controls(np.arange(30), np.arange(9)) is None
    assert read_comparisons({"released": worse.to_dict()}) == {"released": worse}


def test_advances_are_positive_where_the_suspect_does_better() -> None:
    found = advances([2.0, 1.0, 1e-3], [1.0, 2.0, 1e-5])
    assert (np.sign(found) == [1, -1, 1]).all()
    # Sure answers differ by as much as unsure ones
    assert found[2] == pytest.approx(np.log(100), abs=0.01)


def _words(released: tuple[float, float], withheld: tuple[float, float]) -> str:
    return word_controls(
        {
            name: ControlComparison(p, share, 20, 50)
            for name, (p, share) in (("released", released), ("withheld", withheld))
        }
    )


def test_words_say_what_was_found_and_that_it_decides_nothing() -> None:
    alike, learned = (0.4, 0.55), (1e-5, 0.9)
    missed = (1e-5, 0.1)
    said = {
        "No difference is shown between what the model knows": _words(alike, alike),
        "it knows less than both": _words(alike, missed),
        "leaves out what looks marked": _words(missed, missed),
        "cannot have seen": _words(learned, learned),
        "by heart": _words(learned, alike),
    }
    assert len(set(said.values())) == len(said)
    for part, text in said.items():
        assert part in text
        assert "It decides nothing" in text
    assert word_controls({}) == ""
