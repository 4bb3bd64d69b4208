"""The figures of the verification panel, from plain values."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from fiftyone_honeyimage.app.words import VERDICTS
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.verdict import Verdict, decide
from fiftyone_honeyimage.panels import verification_data as data
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


def verdict(**kwargs: Any) -> Verdict:
    differences = [0.5 + 0.01 * number for number in range(14)]
    failed = [False] * 14 + [True]
    arguments = {"kind": "scores", "failed": failed, "num_left": 3, "position": 2, **kwargs}
    return decide(Plan(), differences, **arguments)


def test_rows_hold_every_figure() -> None:
    given = verdict()
    config = {"test": "signed_rank", "score": "confidence", "adjustment": "references"}
    rows = dict(figures.summary_rows(given, config))

    assert rows["p-value"] == (
        f"**{2 * 3 * given.p_value:.2g}**, as verification number 2 with this ledger; uncorrected "
        f"{given.p_value:.2g}"
    )
    assert rows["significance level α"] == "0.001"
    assert rows["pairs of twins"].startswith("14 used, 1 with a failed query, 3 not used")
    low, high = given.effect_interval
    assert rows["effect"].startswith(f"**{given.effect_size:+.2g}** ({low:+.2g} to {high:+.2g})")
    assert rows["how answers are compared"].endswith("on a scale that tells sure answers apart")
    assert rows["images that are harder than their twins"].startswith("Allows for how hard")
    assert rows["test"] == "exact signed-rank test: Asks about all pairs and tests once"


def test_of_labels_alone_neither_score_nor_adjustment_was_used() -> None:
    given = replace(verdict(), kind="labels", test="sign")
    config = {"test": "signed_rank", "score": "confidence", "adjustment": "references"}
    rows = dict(figures.summary_rows(given, config))

    assert rows["how answers are compared"].startswith("By whether the class is right")
    assert "labels alone" in rows["images that are harder than their twins"]
    assert rows["test"].startswith("exact sign test on labels")
    # The marking was deleted: what is left is the test, which the verdict tells
    assert "how answers are compared" not in dict(figures.summary_rows(given, {}))


def test_the_secret_of_a_verdict_is_that_of_its_method() -> None:
    given = SimpleNamespace(verdict=verdict(), pairs=[{}] * 15)

    assert "which of the two patches" in data.exactness({"marking_method": "badnets"}, given)
    assert "which of the two images" in data.exactness({}, given)


def test_an_undefined_effect_is_said() -> None:
    given = replace(verdict(), effect_size=None, effect_interval=None)

    assert figures.effect(given) == "undefined"


def test_losses_are_paired_and_carry_their_pair() -> None:
    pairs = [pair(7, 0.2, 1.5), pair(3, 1.0, 0.4), pair(5, None, None, failed=True)]
    diagonal, points = figures.loss_traces(pairs)

    assert points["x"] == [1.5, 0.4]
    assert points["y"] == [0.2, 1.0]
    assert points["ids"] == ["7", "3"]
    assert diagonal["x"] == diagonal["y"] == [0.2, 1.5]
    assert figures.loss_layout(pairs)["xaxis"]["type"] == "linear"


def test_a_loss_of_zero_has_a_place_on_logarithmic_axes() -> None:
    pairs = [pair(0, 0.0, 5.0), pair(1, 0.001, 0.002), pair(2, 0.003, 0.004)]
    _, points = figures.loss_traces(pairs)

    assert figures.loss_layout(pairs)["yaxis"]["type"] == "log"
    assert all(value > 0 for value in points["x"] + points["y"])
    assert "released 0<" in points["text"][0] + "<"


def test_accuracies_are_stacked_from_their_pairs() -> None:
    right = {"released_loss": None, "withheld_loss": None}
    pairs = [
        pair(0, None, None, released_correct=True, withheld_correct=True),
        pair(1, None, None, released_correct=True, withheld_correct=False),
        pair(2, None, None, released_correct=True, withheld_correct=False),
        pair(3, None, None, released_correct=False, withheld_correct=True),
        pair(4, None, None, released_correct=False, withheld_correct=False),
        pair(5, None, None, released_correct=True, withheld_correct=False, failed=True) | right,
    ]
    traces = figures.accuracy_traces(pairs)

    released, withheld = (sum(trace["y"][bar] for trace in traces) for bar in (0, 1))
    assert math.isclose(released, 3 / 5)
    assert math.isclose(withheld, 2 / 5)
    ids = [point for trace in traces for point in trace["ids"]]
    assert len(set(ids)) == len(ids), "Plotly draws one bar for each different id"
    assert figures.pairs_of(traces[1]["ids"][0], pairs) == [1, 2]
    assert figures.pairs_of(traces[0]["ids"][1], pairs) == [0]


def test_clicks_on_nothing_choose_nothing() -> None:
    pairs = [pair(4, 0.1, 0.2)]

    assert figures.pairs_of("4", pairs) == [4]
    assert figures.pairs_of("5", pairs) == []
    assert figures.pairs_of("equal losses", pairs) == []


def test_the_line_of_e_values_is_where_this_verification_accuses() -> None:
    given = decide(
        Plan(test="e_process"),
        [1.0] * 14,
        kind="scores",
        num_left=0,
        position=3,
    )
    curve, line = figures.e_value_traces(given)

    assert curve["y"] == list(given.e_values)
    assert line["y"][0] == pytest.approx(12 / 0.001)
    # The curve is above the line exactly where the verdict accuses
    assert (max(curve["y"]) >= line["y"][0]) == (given.verdict == "derived")


@pytest.mark.parametrize("name", ["derived", "not shown", "inconclusive"])
def test_every_verdict_has_a_headline(name: str) -> None:
    headline, severity = VERDICTS[name]

    assert headline
    assert severity in ("info", "warning", "error")


def test_the_papers_figures_come_with_a_warning() -> None:
    assert figures.paper_markdown({}) is None

    plain = figures.paper_markdown({"mean_loss_gap": 1.234, "num_images": 20, "num_references": 0})
    assert "**1.23 nats**" in plain
    assert (
        "an innocent model has a positive gap too" in plain
    )  # the heading says that they never decide

    text = figures.paper_markdown(
        {
            "mean_loss_gap": 5.0,
            "num_images": 20,
            "num_references": 2,
            "reference_mean_loss_gaps": [1.0, 2.0],
            "threshold": 2.0,
            "threshold_false_positive_rate": 1 / 3,
            "exceeds_threshold": True,
        }
    )
    assert "exceeds the threshold τ = 2.00" in text
    assert "2 innocent models (false-positive rate 0.33" in text


def test_provenance_names_the_suspect() -> None:
    rows = dict(
        figures.provenance_rows(
            SimpleNamespace(
                suspect_name="theirs",
                suspect_digest=None,
                honey_key="honey",
                timestamp=None,
                config={"version": "9"},
            )
        )
    )
    assert rows["suspect"] == "theirs"
    assert rows["SHA-256 of the suspect"] == "`none`"
    assert rows["version"] == "9"


def test_what_random_images_are_is_said() -> None:
    assert "2 unmarked images" in figures.random_text({"ids": ["a", "b"], "gaps": [0.1, 0.2]})
    group = {"p_value": 0.3, "share": 0.5, "num_marked": 12, "num_unmarked": 50}
    compared = {"compared": {"released": group, "withheld": group}}
    said = figures.random_text({"ids": ["a"], "gaps": [0.1], **compared})
    assert "random unmarked ones (p = 0.3" in said
    assert "labels alone" in figures.random_text({"note": "labels alone"})
    assert "Verify again" in figures.random_text({})


def test_the_table_of_pairs_has_pages() -> None:
    pairs = [pair(number, 0.5, 1.5) for number in range(45)]
    assert figures.num_pages(pairs) == 3
    assert figures.num_pages([]) == 1
    assert [row["pair"] for row in figures.pair_rows(pairs, 2)] == ["40", "41", "42", "43", "44"]
    first = figures.pair_rows(pairs, 0)[0]
    assert first["released"] == "0.5 ✓"
    assert first["difference"] == "+1"
    failed = figures.pair_rows([pair(3, None, None, failed=True)], 0)[0]
    assert (failed["released"], failed["difference"]) == ("no answer", "")
    labels = figures.pair_rows([pair(3, None, None, withheld_correct=False)], 0)[0]
    assert (labels["released"], labels["withheld"], labels["difference"]) == (
        "✓ right",
        "✗ wrong",
        "",
    )


def test_provenance_tells_who_with_what_and_on_which_ledger() -> None:
    config = {
        "user": "Ada",
        "commitment": "c" * 64,
        "ledger_head": "d" * 64,
        "verification_id": "e" * 16,
        "seed": 51,
        "version": "0.1.0",
        "versions": {"python": "3.11", "torch": None},
    }
    given = SimpleNamespace(
        suspect_name="theirs", suspect_digest=None, honey_key="honey", timestamp=None, config=config
    )
    rows = dict(figures.provenance_rows(given))

    assert rows["run by"] == "Ada"
    assert rows["seed of the marking"] == "51"
    assert rows["commitment, made before the release"] == f"`{'c' * 32}` `{'c' * 32}`"
    assert rows["digest of the ledger, this verification included"] == f"`{'d' * 32}` `{'d' * 32}`"
    assert rows["with"] == "python 3.11, torch unknown"
    old = SimpleNamespace(**{**vars(given), "config": {}})
    assert "run by" not in dict(figures.provenance_rows(old))


def test_published_decisions_are_shown_with_their_warning():
    from fiftyone_honeyimage.core.evidence.decisions import PublishedDecision, with_decisions

    one = PublishedDecision("Paired t-test", True, 0.4, 0.2, 0.01, "0.40 above 0.20, p = 0.01")
    other = PublishedDecision("Threshold", False, 0.1, 0.2, None, "0.10, not above 0.20")

    shown = figures.decisions_markdown(with_decisions({}, [one, other]))

    assert "| Paired t-test | **would accuse**: 0.40 above 0.20, p = 0.01 |" in shown
    assert "| Threshold | would not accuse: 0.10, not above 0.20 |" in shown
    assert "never decide" in shown
    assert figures.decisions_markdown({"mean_loss_gap": 1.0}) is None
