"""The trade-off of a marking: stored with the run, and without a part in it."""

from __future__ import annotations

from typing import Any

import pytest

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.pipeline.run_cost import marking_cost
from fiftyone_honeyimage.dataset.hardness import training_config
from fiftyone_honeyimage.dataset.samples import read_labels


def test_it_is_stored_and_changes_no_file(make_dataset: Any, mark: Any) -> None:
    dataset = make_dataset(60, hardness=True)
    training = {"epochs": 80}
    without = mark(dataset, "without", training=training, step_size=2, trade_off=0)
    fhi.delete_run(dataset, "without")  # else its images are not chosen again
    with_curve = mark(dataset, "with_curve", training=training, step_size=2)

    loaded = fhi.load_marking(dataset, "with_curve")
    curve = loaded.trade_off
    assert [point["epsilon"] for point in curve["points"]] == [1, 2, 4, 8, 16]
    assert 0 < curve["num_images"] <= 7
    assert without.trade_off == {}
    assert with_curve.trade_off == curve

    values = dataset.match_tags("with_curve").values("with_curve.psnr")
    assert loaded.worst["psnr"] == pytest.approx(min(values))
    assert loaded.worst["linf"] == max(dataset.match_tags("with_curve").values("with_curve.linf"))
    assert loaded.worst["lpips"] is None

    files = [
        {image.sample_id: image.marked_sha256 for image in _images(marking)}
        for marking in (with_curve, without)
    ]
    assert files[0] == files[1]

    def passes(trade_off: int) -> int:
        return marking_cost(
            read_labels(dataset, "ground_truth"),
            8,
            training_config(training),
            method=METHODS["honeyimage"],
            options=METHODS["honeyimage"].Options(num_steps=2),
            num_honeyimages=4,
            num_pairs=3,
            trade_off=trade_off,
        ).num_passes

    assert passes(0) < passes(16) < 1.1 * passes(0)


def _images(marking: Any) -> list[Any]:
    ledger = marking.load_ledger()
    return [*ledger.released_images(), *ledger.withheld_images()]


@pytest.mark.parametrize("value", [-1, 1.5, "many"])
def test_what_is_no_number_is_refused(make_dataset: Any, mark: Any, value: Any) -> None:
    dataset = make_dataset(30, hardness=True)
    with pytest.raises(fhi.ParameterError, match="trade_off must be an integer"):
        mark(dataset, trade_off=value)


def test_a_marking_stands_without_it(
    make_dataset: Any, mark: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    from fiftyone_honeyimage.core.pipeline import crafting as module

    def fail(*args: Any, **kwargs: Any) -> None:
        raise fhi.ImageError("no file of this budget can be written")

    monkeypatch.setattr(module, "measure_trade_off", fail)
    marking = mark(make_dataset(30, hardness=True))

    assert marking.trade_off == {}
    assert "The trade-off of 'honey' was not measured: no file of this budget" in caplog.text
