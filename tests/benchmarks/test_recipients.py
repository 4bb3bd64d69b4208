"""The benchmark of colluding recipients, at a small scale, and what its committed figures say."""

from __future__ import annotations

import json

import pytest
from scipy import stats

from benchmarks import recipients
from benchmarks.results_io import RESULTS


def test_no_innocent_recipient_is_named_more_often_than_alpha() -> None:
    rows = recipients.simulate(500, fair_pairs=30, biased_pairs=40, draws=1999)
    assert len(rows) == 25
    found = recipients.sum_up(rows)
    # What chance allows once in 100,000
    assert stats.binom.sf(found["innocent_named"] - 1, found["cases"], found["level"]) > 1e-5
    alone = [row for row in rows if row["colluders"] == 1]
    assert all(row["colluder_named"] >= 0.8 * row["cases"] for row in alone)


def test_the_same_seed_is_the_same_case() -> None:
    one, other = (recipients.play("minority", 3, 40, 0.9, 999, 5) for _ in "ab")
    assert one == other
    assert one[1] == {"r0", "r1", "r2"}


def test_the_committed_figures_are_of_ten_thousand_cases() -> None:
    text = (RESULTS / "recipients_cpu.json").read_text(encoding="utf-8")
    figures = json.loads(text)["figures"]
    assert figures["summary"]["cases"] == 10_000
    assert figures["summary"]["share"] <= figures["summary"]["level"]
    assert figures["summary"]["share"] == pytest.approx(
        sum(row["innocent_named"] for row in figures["rows"]) / 10_000
    )
