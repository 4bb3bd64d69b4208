"""The figures of the protection panel, from plain values."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fiftyone_honeyimage.panels import protect_figures as figures

CONFIG = {
    "num_honeyimages": 1200,
    "num_pairs": 600,
    "epsilon": 4.0,
    "step_size": 0.4,
    "num_steps": 20,
    "method": "honeyimage",
    "commitment": "ab" * 32,
}


def point(source: str, **changes: Any) -> dict[str, Any]:
    return {
        "source": source,
        "pair": 0,
        "linf": 4.0,
        "psnr": 41.25,
        "ssim": 0.98765,
        "lpips": None,
        "proxy_loss": 3.5,
        **changes,
    }


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


def test_a_marking_in_figures() -> None:
    metrics = {"linf": 4.0, "psnr": 40.0, "ssim": 0.99, "lpips": 0.001, "stl": 0.99}
    results = {"metrics": metrics, "excluded": {"duplicates": 3, "label_errors": 0}}

    rows = dict(figures.marking_rows(CONFIG, results))

    assert rows["HoneyImages in a release"] == "**1,200**"
    assert rows["budget"] == "ε = 4 of 255, step α = 0.4, T = 20 steps"
    assert rows["left out of the choice"] == "3 duplicates"
    assert rows["mean of visibility"] == (
        "L∞ 4.00, PSNR 40.0 dB, SSIM 0.9900, LPIPS 0.0010, STL 0.990"
    )
    assert "mean loss of the proxies" not in rows


def test_a_marking_without_pairs_warns() -> None:
    rows = dict(figures.marking_rows({**CONFIG, "num_pairs": 0}, {}))

    assert "no verdict can rest" in rows["pairs of twins"]
    assert rows["mean of visibility"] == "LPIPS and STL not measured"


def test_losses_of_the_proxies_are_told() -> None:
    metrics = {"original_loss": 1.0, "proxy_loss": 9.5, "in_loss": None}
    assert figures.loss_gap_text(metrics) == "1.00 → 9.50 nats under the out-model"
    told = figures.loss_gap_text({**metrics, "in_loss": 0.25})
    assert told == "1.00 → 9.50 nats under the out-model, 0.25 nats under the in-model"


def test_survival_in_words() -> None:
    survival = {"none": {"gap": 8.0, "kept": 1.0}, "new_one": {"gap": 2.5, "kept": 0.5}}

    assert figures.survival_rows(survival) == [
        ("nothing: the file as it is", "100% keep their effect, mean loss gap 8.00 nats"),
        ("new one", "50% keep their effect, mean loss gap 2.50 nats"),
    ]


def test_every_transform_has_a_name() -> None:
    from fiftyone_honeyimage.core.marking.transforms import TRANSFORMS

    rows = figures.survival_rows({t.name: {"gap": 1.0, "kept": 1.0} for t in TRANSFORMS})
    assert [name for name, _ in rows if name in {t.name for t in TRANSFORMS}] == []


def test_points_carry_their_source() -> None:
    points = [point("a"), point("b", pair=None), point("c", psnr=None), point("d", proxy_loss=None)]

    traces = figures.visibility_traces(points)

    assert [trace["ids"] for trace in traces] == [["a"], ["b"]]
    assert traces[0]["x"] == [41.25]
    assert traces[0]["text"] == [
        "pair 0<br>L∞ 4<br>PSNR 41.2 dB<br>SSIM 0.9877<br>proxy loss 3.5 nats"
    ]
    assert figures.visibility_traces([point("c", psnr=None)]) == []


def test_no_more_points_are_sent_than_can_be_seen() -> None:
    points = [point(str(number)) for number in range(10 * figures.MAX_POINTS)]

    thinned = figures.thin(points)

    assert len(thinned) == figures.MAX_POINTS
    assert (thinned[0]["source"], thinned[-1]["source"]) == ("0", "19990")
    assert figures.thin(points[:5]) == points[:5]


def test_differences_are_amplified_around_grey() -> None:
    original = np.array([[[100, 0, 255]]], dtype=np.uint8)
    marked = np.array([[[102, 4, 250]]], dtype=np.uint8)

    assert figures.difference(original, marked, 10).tolist() == [[[148, 168, 78]]]
    assert figures.difference(original, marked, 50).tolist() == [[[228, 255, 0]]]
    assert (figures.difference(original, original, 50) == 128).all()


@pytest.mark.parametrize(
    ("shape", "fitted"),
    [
        ((8, 8), (512, 512)),
        ((32, 20), (512, 320)),
        ((512, 9), (512, 9)),
        ((1100, 2000), (275, 500)),
    ],
)
def test_images_are_brought_to_a_bounded_size(
    shape: tuple[int, int], fitted: tuple[int, int]
) -> None:
    image = np.random.default_rng(51).integers(0, 256, (*shape, 3), dtype=np.uint8)

    found = figures.fit(image)

    assert found.shape == (*fitted, 3)
    assert set(map(tuple, found.reshape(-1, 3))) <= set(map(tuple, image.reshape(-1, 3)))


def test_pictures_lose_nothing() -> None:
    image = np.random.default_rng(51).integers(0, 256, (7, 5, 3), dtype=np.uint8)

    pictures = figures.comparison(image, image)

    assert list(pictures) == ["original", "honeyimage", "difference_10", "difference_50"]
    data = base64.b64decode(pictures["original"].removeprefix("data:image/png;base64,"))
    shown = np.asarray(Image.open(io.BytesIO(data)))
    assert (shown == figures.fit(image)).all()
