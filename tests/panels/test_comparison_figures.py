"""Several suspects side by side, from plain values."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest

from fiftyone_honeyimage.core.evidence.alpha_spending import adjusted_p, holm
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.verdict import decide
from fiftyone_honeyimage.panels import comparison_figures as figures


def suspect(position: int, p_value: float, **kwargs: Any) -> figures.ComparedSuspect:
    derived = adjusted_p(p_value, position) <= 0.001
    return figures.ComparedSuspect(
        **{
            "key": f"run_{position}",
            "name": f"model {position}",
            "verdict": "derived" if derived else "not shown",
            "p_value": p_value,
            "alpha": 0.001,
            "position": position,
            "num_pairs": 20,
            "kind": "scores",
            "effect_size": 1.5,
            "effect_interval": (1.0, 2.25),
            **kwargs,
        }
    )


def test_rows_hold_p_level_and_holm() -> None:
    suspects = [suspect(1, 4e-4), suspect(2, 1e-5), suspect(3, 0.4, num_failed=2)]
    rows = figures.table_rows(suspects)

    corrected = holm([4e-4, 1e-5, 0.4])
    assert [row["holm"] for row in rows] == [f"{value:.2g}" for value in corrected]
    assert [row["level"] for row in rows] == ["0.0005", "0.00017", "8.3e-05"]
    assert [row["verdict"] for row in rows] == ["derived", "derived", "not shown"]
    assert rows[0]["effect"] == "+1.5 (+1 to +2.2) nats"
    assert rows[2]["pairs"] == "20 (+2 failed)"
    assert rows[1]["run"] == rows[1]["id"] == "run_2"


def test_effects_of_labels_are_points() -> None:
    labels = suspect(1, 1e-5, kind="labels", effect_size=0.5, effect_interval=(0.25, 0.75))
    assert figures.effect_text(labels) == "+50 (+25 to +75) points"
    assert figures.effect_text(suspect(1, 1.0, effect_size=None)) == "undefined"


def test_losses_of_a_suspects_own_are_in_no_plot_with_others() -> None:
    verdict = decide(Plan(), [0.01] * 14, kind="scores", num_left=0, unit=figures.OWN_UNIT)
    own = figures.from_verdict("theirs", "diffusion", verdict, "losses")
    assert figures.effect_text(own) == "+0.01 (+0.01 to +0.01)"
    suspects = [suspect(1, 1e-5), own]
    assert figures.effect_kinds(suspects) == ["scores", "losses"]
    assert figures.with_effect(suspects, "losses") == [own]
    assert "nats" not in figures.effect_layout("losses")["xaxis"]["title"]["text"]
    assert "in the suspect's own unit" in verdict.effect_name


def test_a_verdict_becomes_a_suspect() -> None:
    verdict = decide(
        Plan(),
        [0.5 + 0.01 * number for number in range(14)],
        kind="scores",
        failed=[False] * 14 + [True],
        num_left=3,
        position=2,
    )
    found = figures.from_verdict("theirs", "their model", verdict)

    assert found.p_adjusted == verdict.p_adjusted
    assert (found.key, found.verdict, found.num_failed) == ("theirs", verdict.verdict, 1)
    assert found.effect_interval == verdict.effect_interval


def test_both_rules_are_said_and_no_verdict_is_contradicted() -> None:
    plain = figures.explanation([suspect(1, 1e-6), suspect(2, 0.4)], True)
    assert "α/(j(j+1))" in plain
    assert "Holm's correction" in plain
    assert "decides nothing" in plain
    assert "The verdict stands" not in plain
    assert "cannot be read" not in plain

    # Derived as the first, with p = 0.0004 <= α/2; as one of five Holm asks for α/5
    five = [suspect(1, 4e-4), *(suspect(number, 0.9) for number in (2, 3, 4, 5))]
    text = figures.explanation(five, True)
    assert "*model 1*: the verdict is *derived*, though Holm's value 0.002 exceeds α" in text
    # Not shown as the third, with p = 0.0002 > α/12; Holm would let it pass
    later = [suspect(1, 0.9), suspect(2, 0.9), suspect(3, 2e-4)]
    text = figures.explanation(later, False)
    assert "*model 3*: the verdict is *not shown*, though Holm's value 0.0006 is at most α" in text
    assert "The ledger cannot be read" in text


def test_the_plot_of_the_evidence_has_the_line_of_alpha() -> None:
    suspects = [suspect(1, 1e-6), suspect(2, 1.0, verdict="not shown")]
    (points,) = figures.evidence_traces(suspects)
    layout = figures.evidence_layout(suspects)

    # From bottom to top
    assert points["ids"] == ["run_2", "run_1"]
    assert points["x"] == pytest.approx([0.0, -math.log10(2e-6)])
    assert layout["shapes"][0]["x0"] == pytest.approx(3.0)
    assert layout["annotations"][0]["text"] == "α = 0.001"
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)", "either theme's"
    low, high = layout["xaxis"]["range"]
    assert low < 0 < points["x"][1] < high


def test_effects_have_their_intervals() -> None:
    suspects = [suspect(1, 1e-6), suspect(2, 1.0, effect_size=None), suspect(3, 0.5, kind="labels")]
    (points,) = figures.effect_traces(suspects, "scores")

    assert points["ids"] == ["run_1"]
    assert points["x"] == [1.5]
    assert points["error_x"]["array"] == [0.75]
    assert points["error_x"]["arrayminus"] == [0.5]
    assert figures.effect_kinds(suspects) == ["scores", "labels"]
    assert "accuracy" in figures.effect_layout("labels")["xaxis"]["title"]["text"]


def test_long_names_are_shortened_in_plots_only() -> None:
    first, second = suspect(1, 0.5, name="x" * 60), suspect(2, 0.5, name="x" * 60, key=None)
    assert figures.labels([first]) == ["x" * 19 + "…"]
    # A category axis would draw two suspects of one name on one line
    assert figures.labels([first, second]) == ["x" * 19 + "… (run_1)", "x" * 19 + "… (no. 2)"]
    assert figures.table_rows([first])[0]["suspect"] == "x" * 60


def test_the_ledger_adds_what_the_dataset_does_not_hold() -> None:
    class Entry:
        suspect_name = "gone"
        verdict = None
        p_value = 1.0
        alpha = 0.001
        position = 2
        result = None
        protocol: ClassVar[dict[str, Any]] = {}

    entries = {"known": Entry(), "unknown": Entry()}
    (found,) = figures.from_ledger(entries, ["known"])

    assert (found.key, found.verdict, found.position) == (None, figures.UNFINISHED, 2)
    row = figures.table_rows([found])[0]
    assert row["run"] == "not on the dataset"
    assert row["effect"] == "undefined"
