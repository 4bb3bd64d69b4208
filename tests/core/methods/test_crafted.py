"""What a method returns is checked before anything is trained on it, by pair and in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.methods import changed_images
from fiftyone_honeyimage.core.methods.crafted import check_result
from fiftyone_honeyimage.core.methods.request import CraftRequest, Probe

NUM_PAIRS = 4
IMAGE = np.zeros((8, 8, 3), np.uint8)
SECRETS = [({"corner": [1, 2.5]}, {"corner": [3, 4.5]})] * NUM_PAIRS
PROBES = [([Probe(0, IMAGE, 1)], [Probe(0, IMAGE, 1)])] * NUM_PAIRS


@pytest.fixture
def request_() -> CraftRequest:
    return CraftRequest(
        candidates=[IMAGE] * 2 * NUM_PAIRS,
        candidate_labels=np.zeros(2 * NUM_PAIRS, np.int64),
        rest=torch.zeros(3, 3, 8, 8, dtype=torch.uint8),
        rest_labels=np.arange(3),
        num_classes=3,
        options=None,
        sides=np.arange(2 * NUM_PAIRS).reshape(-1, 2, 1),
        probe_sources=[IMAGE],
        probe_labels=np.zeros(1, np.int64),
    )


def _first(instead: Any, of: list[Any]) -> list[Any]:
    return [instead, *of[1:]]


def _secret(value: Any) -> dict[str, Any]:
    return {"secrets": _first(({"x": value}, {"x": 1}), SECRETS)}


def _probe(**changes: Any) -> dict[str, Any]:
    fine: dict[str, Any] = {"source": 0, "image": IMAGE, "label": 1}
    return {"probes": _first(([Probe(**{**fine, **changes})], PROBES[0][1]), PROBES)}


WRONG = {
    r"secret of pair 0 cannot be written .* larger ones as texts": [
        _secret(2**60 + 1),
        _secret(np.int64(3)),
        _secret(np.zeros(2)),
        _secret(float("nan")),
        _secret("\ud800"),
        _secret({1: 2}),
    ],
    r"secret of pair 0 is no mapping": [{"secrets": _first((5, {}), SECRETS)}],
    r"secrets for 3 pairs, and there are 4": [{"secrets": SECRETS[:3]}],
    r"probes for 3 pairs, and there are 4": [{"probes": PROBES[:3]}],
    r"pair 0 are of 1 sides": [{"probes": _first(PROBES[0][:1], PROBES)}],
    r"give both sides of a pair as many": [
        {"probes": [*PROBES[:3], ([], [])]},
        {"probes": [*PROBES[:3], (PROBES[3][0], [])]},
        {"probes": [*PROBES[:3], (PROBES[3][0], [Probe(0, IMAGE, 2)])]},
    ],
    r"probe of pair 0 has the class 3, and classes are 0 to 2": [_probe(label=3)],
    r"made of source 1, and there are 1": [_probe(source=1)],
    r"no uint8 image": [_probe(image=IMAGE[:, :, 0]), _probe(image=IMAGE.astype(float))],
    r"gives an image the class 7, and classes are 0 to 2": [{"labels": np.full(8, 7)}],
    r"labels have shape \(7,\)": [{"labels": np.zeros(7, int)}],
    r"type float64": [{"labels": np.zeros(8)}],
    r"side a of pair 0 the labels \[1\] and side b \[0\]": [{"labels": np.arange(1, 9) % 2}],
}


@pytest.mark.parametrize(
    ("match", "changes"), [(match, each) for match, all_ in WRONG.items() for each in all_]
)
def test_before_anything_is_trained(
    match: str, changes: dict[str, Any], request_: CraftRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(request: CraftRequest) -> torch.nn.Module:
        raise AssertionError("trained")

    monkeypatch.setattr(changed_images, "train_out_model", train)
    images = [IMAGE] * 2 * NUM_PAIRS
    given = {"labels": np.ones(8, int), "secrets": SECRETS, "probes": PROBES}
    with pytest.raises(ParameterError, match=match):
        changed_images.finish_changed(request_, images, **{**given, **changes})
    more = {"probes": [*PROBES[:3], tuple(2 * own for own in PROBES[3])]}  # of another pair
    for fine in ({}, more):
        with pytest.raises(AssertionError, match="trained"):
            changed_images.finish_changed(request_, images, **{**given, **fine})


def test_what_a_method_returns_by_itself(request_: CraftRequest) -> None:
    fine: dict[str, Any] = {
        "images": [IMAGE] * 8,
        "encoded": None,
        "labels": None,
        "secrets": (),
        "probes": (),
        **dict.fromkeys(("proxy_losses", "original_losses", "in_losses"), np.ones(8)),
    }
    check_result(request_, SimpleNamespace(**fine))  # type: ignore[arg-type]
    for changes, match in (
        ({"images": [IMAGE]}, "returns 1 images"),
        ({"proxy_losses": np.full(8, np.nan)}, "proxy_losses are not all finite"),
        ({"original_losses": np.ones((8, 1))}, "returns 0 original_losses"),
        ({"labels": np.full(8, 3)}, "class 3"),
    ):
        with pytest.raises(ParameterError, match=match):
            check_result(request_, SimpleNamespace(**{**fine, **changes}))  # type: ignore[arg-type]
