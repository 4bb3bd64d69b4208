"""What plans promise against what suspects showed."""

from __future__ import annotations

import pytest

from benchmarks import pilots
from fiftyone_honeyimage.core.pipeline.planning import Pilot


def test_shares_scale_what_signs_tell() -> None:
    found = Pilot("random", ((3.0, 1.0), (1.0, -1.0)))
    whole = pilots._predicted(found, 1.0)
    assert whole == pytest.approx(found.effect)
    assert pilots._told(pilots._predicted(found, 0.5)) == pytest.approx(pilots._told(whole) / 2)
    runs = [
        {"seed": 0, "a, b, c": {"predicted": whole, "observed": observed}}
        for observed in (0.1, 0.3)
    ]
    (one,) = pilots.summarise(runs).values()
    assert one["observed"] == pytest.approx(0.2)
    assert one["left"] == pytest.approx(pilots._told(0.2) / pilots._told(whole))
