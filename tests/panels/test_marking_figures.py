"""The figures of a marking, from plain values."""

from __future__ import annotations

from typing import Any

from fiftyone_honeyimage.panels import marking_figures as figures

CONFIG = {
    "num_honeyimages": 1200,
    "num_pairs": 600,
    "epsilon": 4.0,
    "step_size": 0.4,
    "num_steps": 20,
    "marking_method": "honeyimage",
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


def test_a_marking_in_figures() -> None:
    metrics = {"linf": 4.0, "psnr": 40.0, "ssim": 0.99, "lpips": 0.001, "stl": 0.99}
    results = {
        "metrics": metrics,
        "excluded": {"duplicates": 3, "label_errors": 0},
        "images": [{}] * 1800,
    }

    rows = dict(figures.marking_rows(CONFIG, results))

    assert rows["HoneyImages in a release"] == "**1,200**"
    assert rows["method"] == "HoneyImages, largest change ε 4"
    assert rows["left out of the choice"] == "3 duplicates"
    assert rows["candidates"].startswith("**1,800**")
    assert "mean loss of the proxies" not in rows


def test_a_marking_without_pairs_warns() -> None:
    rows = dict(figures.marking_rows({**CONFIG, "num_pairs": 0}, {"images": [{}] * 1200}))

    assert "no verdict can rest" in rows["pairs of twins"]
    assert "test" not in rows


def test_what_a_verdict_will_rest_on_is_told_in_words() -> None:
    images = {"images": [{}] * 1800}
    committed = {"test": "e_process", "score": "lira_online", "adjustment": "references"}
    rows = dict(figures.marking_rows({**CONFIG, **committed}, images))

    assert rows["how answers are compared"].startswith("LiRA online: models that have seen")
    assert rows["images that are harder than their twins"].startswith("Allows for how hard")
    assert rows["test"].startswith("sequential betting test: Asks pair by pair")
    # Runs of earlier versions name neither score nor adjustment; what they name may be of none today
    old = dict(figures.marking_rows({**CONFIG, "test": "of_old"}, images))
    assert (
        old["how answers are compared"] == "By how surprised the model is by the class asked about"
    )
    assert old["images that are harder than their twins"] == "Compares the answers as they are"
    assert old["test"] == "of_old"


def test_sides_of_several_images_withhold_as_many() -> None:
    config = {**CONFIG, "num_honeyimages": 96, "num_pairs": 16}
    rows = dict(figures.marking_rows(config, {"images": [{}] * 192}))

    assert rows["pairs of twins"] == "**16**, so that 96 images are withheld from a release"


def test_losses_of_the_proxies_are_told() -> None:
    metrics = {"original_loss": 1.0, "proxy_loss": 9.5, "in_loss": None}
    assert figures.loss_gap_text(metrics) == "1.00 → 9.50 nats for a model that has not seen them"
    told = figures.loss_gap_text({**metrics, "in_loss": 0.25})
    assert told == "1.00 → 9.50 nats for a model that has not seen them, 0.25 for one that has"


def test_survival_in_words() -> None:
    survival = {"none": {"gap": 8.0, "kept": 1.0}, "new_one": {"gap": 2.5, "kept": 0.5}}

    assert figures.survival_rows(survival) == [
        ("nothing: the file as it is", "100% keep their effect, mean loss gap 8.00 nats"),
        ("new one", "50% keep their effect, mean loss gap 2.50 nats"),
    ]


def test_every_transform_has_a_name() -> None:
    from fiftyone_honeyimage.core.methods.transforms import TRANSFORMS

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


def test_visibility_has_a_mean_and_a_worst() -> None:
    metrics = {"linf": 3.5, "psnr": 40.0, "ssim": 0.99, "lpips": None}
    table = figures.visibility_table(metrics, {"linf": 4.0, "psnr": 31.5})

    assert "| L∞, 0 to 255 | 3.5 | 4 |" in table
    assert "| PSNR, dB | 40.0 | 31.5 |" in table
    assert "| SSIM | 0.9900 | not measured |" in table
    assert "| LPIPS | not measured | not measured |" in table


def budget(epsilon: float, gap: float, psnr: float | None) -> dict[str, Any]:
    return {
        "epsilon": epsilon,
        "gap": gap,
        "gap_error": 0.5,
        "linf": epsilon,
        "psnr": psnr,
        "ssim": None,
        "lpips": None,
    }


def test_the_trade_off_marks_the_budget_that_was_chosen() -> None:
    trade_off = {
        "num_images": 9,
        "num_steps": 8,
        "points": [budget(1, 1.0, 50.0), budget(4, 3.0, 38.0), budget(8, 5.0, None)],
        "produced": budget(4, 3.5, 37.5),
    }

    assert figures.trade_off_measures(trade_off) == {"psnr": "PSNR, dB"}
    curve, own = figures.trade_off_traces(trade_off, "psnr")
    assert (curve["x"], curve["y"]) == ([50.0, 38.0], [1.0, 3.0])
    assert curve["text"] == ["ε = 1", "ε = 4"]
    assert curve["error_y"]["array"] == [0.98, 0.98]
    assert (own["x"], own["y"]) == ([37.5], [3.5])
    assert "loss gap 3.50 nats" in own["hovertext"][0]
    assert own["marker"]["symbol"] == "star"
    # More visible is to the right, for every measure
    assert figures.trade_off_layout("psnr")["xaxis"]["autorange"] == "reversed"
    assert "autorange" not in figures.trade_off_layout("lpips")["xaxis"]
    assert "Mean over 9 of the candidates" in figures.trade_off_text(trade_off)


def test_one_image_has_no_interval() -> None:
    point = {**budget(4, 3.0, 38.0), "gap_error": None}
    trade_off = {"num_images": 1, "num_steps": 3, "points": [point], "produced": point}
    assert figures.trade_off_traces(trade_off, "psnr")[0]["error_y"]["array"] == [0]
    assert figures.trade_off_text(trade_off).startswith("One candidate, so there is no interval")
