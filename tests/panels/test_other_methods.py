"""Both panels with markings of other methods than HoneyImages."""

from __future__ import annotations

from typing import Any

import pytest

from fiftyone_honeyimage.core.methods import METHODS

PROTECT = "@honeyimage/ownership/protect_panel"
VERIFICATION = "@honeyimage/ownership/verification_panel"


@pytest.fixture(params=["crop", "adv"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def panel_uri(request: pytest.FixtureRequest) -> str:
    return VERIFICATION if "verdict" in request.node.name else PROTECT


def test_a_marking_and_its_pictures_are_shown(make_marked: Any, send: Any, method: str) -> None:
    dataset = make_marked(num_pairs=14, method=method)
    shown = send("on_load", dataset).text()
    assert METHODS[method].title in shown
    assert "nan" not in shown.lower().split()
    honey = dataset.match_tags("honeyimage").first().id
    beside = send("on_load", dataset, current_sample=honey)
    assert beside.asked("patch_panel_data"), "pictures were sent"


def test_a_verdict_is_shown(make_marked: Any, verify: Any, send: Any, method: str) -> None:
    dataset = make_marked(num_pairs=14, method=method)
    verify(dataset, "thief", released=0.9, withheld=0.2)
    text = send("on_load", dataset).text()
    assert "Derived" in text
