"""The figures of a hardness run, from plain values."""

from __future__ import annotations

from typing import Any

import pytest

from fiftyone_honeyimage.app.words import weakness_text
from fiftyone_honeyimage.panels import hardness_figures as figures


def test_every_image_is_in_one_bar_that_names_its_class() -> None:
    counts = {("b", 0): 3, ("a", 0): 2, ("a", figures.NUM_BINS - 1): 1}

    traces = figures.histogram_traces(counts, 0.5, 6.5)

    assert [trace["name"] for trace in traces] == ["a", "b"]
    assert [trace["y"] for trace in traces] == [[2, 1], [3]]
    assert traces[0]["x"] == pytest.approx([0.6, 6.4])
    assert [figures.parse_bar(bar) for bar in traces[0]["ids"]] == [(0, 0), (29, 0)]
    assert figures.parse_bar(traces[1]["ids"][0]) == (0, 1)
    assert traces[0]["marker"] != traces[1]["marker"]


def test_small_classes_share_a_colour() -> None:
    counts = {(f"class {number:03d}", number % 30): 1 + number for number in range(100)}

    traces = figures.histogram_traces(counts, 0.0, 3.0)

    assert [trace["name"] for trace in traces[:2]] == ["class 092", "class 093"]
    assert [trace["name"] for trace in traces[-2:]] == ["class 099", figures.OTHER]
    assert len(traces) == figures.MAX_CLASSES + 1
    assert sum(sum(trace["y"]) for trace in traces) == 5050
    assert figures.parse_bar(traces[-1]["ids"][3]) == (3, None)


def test_classes_may_be_called_anything() -> None:
    traces = figures.histogram_traces({(figures.OTHER, 1): 2, ("1/other", 1): 1}, 0.0, 1.0)

    found = [figures.parse_bar(trace["ids"][0]) for trace in traces]
    assert [(trace["name"], bar) for trace, bar in zip(traces, found, strict=True)] == [
        ("1/other", (1, 0)),
        (figures.OTHER, (1, 1)),
    ]


def test_equal_scores_fill_one_bar() -> None:
    assert figures.bin_width(2.0, 2.0) > 0
    (trace,) = figures.histogram_traces({("a", 0): 5}, 2.0, 2.0)
    assert trace["y"] == [5]


@pytest.mark.parametrize("bar", [None, "", "x", "3", "3/x", "30/0", "-1/0"])
def test_what_is_no_bar_is_told(bar: Any) -> None:
    assert figures.parse_bar(bar) is None


def test_label_errors_are_counted_in_words() -> None:
    assert figures.label_error_text(0, 0, 6) == "**No label looks wrong.**"
    assert figures.label_error_text(1, 1, 6).startswith("**1 label looks wrong**, 1 of them among")
    text = figures.label_error_text(1234, 99, 6000)
    assert text.startswith("**1,234 labels look wrong**, 99 of them among the 6,000 hardest")


def test_weak_proxies_are_called_weak() -> None:
    results = {"accuracy": 0.44, "chance": 0.1, "reliable": False, "labels_judged": False}
    text = weakness_text(results)
    assert text.startswith("**This hardness is unreliable**")
    assert "44% of unseen images, where guessing gets 10%" in text
    fair = weakness_text({**results, "accuracy": 0.7, "reliable": True})
    assert fair.startswith("**No label is called wrong**")
    assert "unreliable" not in fair
    assert not weakness_text({**results, "reliable": True, "labels_judged": True})
