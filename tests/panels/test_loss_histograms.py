"""Histograms of losses and of loss gaps, from plain values."""

from __future__ import annotations

from typing import Any

import pytest

from fiftyone_honeyimage.panels import loss_histograms as histograms
from fiftyone_honeyimage.panels import verification_figures as figures


def pair(number: int, released: float | None, withheld: float | None, **kwargs: Any) -> Any:
    return {
        "pair": number,
        "failed": False,
        "released_loss": released,
        "withheld_loss": withheld,
        "released_correct": True,
        "withheld_correct": True,
        **kwargs,
    }


def test_the_histogram_counts_every_twin_and_finds_its_pairs() -> None:
    pairs = [pair(number, 0.1 * number, 2.0 + 0.1 * number) for number in range(9)]
    pairs.append(pair(9, None, None, failed=True))
    released, withheld = histograms.histogram_traces(pairs)

    assert sum(released["y"]) == sum(withheld["y"]) == 9
    assert len(released["ids"]) == len(set(released["ids"])) == 20
    found = [number for bar in released["ids"] for number in histograms.bar_pairs(bar, pairs)]
    assert sorted(found) == list(range(9))
    last = withheld["ids"][-1]
    assert histograms.bar_pairs(last, pairs) == [7, 8]
    layout = histograms.histogram_layout(pairs)
    assert layout["xaxis"]["ticktext"][0] == "0"
    assert layout["xaxis"]["ticktext"][-1] == "2.8"
    for wrong in ("bin:released:99", "bin:other:1", "bin:released", "bin:released:x"):
        assert histograms.bar_pairs(wrong, pairs) == []


def test_losses_of_all_sizes_get_logarithmic_bins() -> None:
    pairs = [pair(0, 0.0, 1e-6), pair(1, 1e-3, 1e-2), pair(2, 0.1, 10.0)]
    assert figures.needs_logarithm(pairs)
    released, withheld = histograms.histogram_traces(pairs)

    assert sum(released["y"]) == sum(withheld["y"]) == 3
    assert max(released["y"]) == 1


def test_equal_losses_still_make_a_histogram() -> None:
    pairs = [pair(number, 1.0, 1.0) for number in range(3)]
    released, _ = histograms.histogram_traces(pairs)
    assert sum(released["y"]) == 3


def test_labels_have_no_histogram_bar() -> None:
    assert histograms.bar_pairs("bin:released:0", [pair(0, None, None)]) == []


def test_gaps_are_shares_of_each_group() -> None:
    honey, random = [5.0, 6.0, 7.0, 8.0], [0.0, 0.5, 1.0, 5.5, 2.0]
    first, second = histograms.gap_traces(honey, random)

    assert sum(first["y"]) == pytest.approx(1.0)
    assert sum(second["y"]) == pytest.approx(1.0)
    members = [
        member
        for bar in second["ids"]
        for member in (histograms.gap_members(bar, honey, random) or ("", []))[1]
    ]
    assert sorted(members) == [0, 1, 2, 3, 4]
    assert histograms.gap_members("gap:honey:19", honey, random) == ("honey", [3])
    assert histograms.gap_members("gap:other:1", honey, random) is None
    assert histograms.gap_members("gap:honey:99", honey, random) is None
    alone, none = histograms.gap_traces(honey, [])
    assert sum(alone["y"]) == pytest.approx(1.0)
    assert sum(none["y"]) == 0
