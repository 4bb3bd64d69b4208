"""The buttons above the grid."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent

PLACED = {
    "compute_hardness": "HoneyImage: compute hardness",
    "generate_honeyimages": "HoneyImage: generate HoneyImages",
    "export_release": "HoneyImage: export release",
    "verify_model": "HoneyImage: verify a model",
    "open_workspace": "HoneyImage: open workspace",
}


def buttons(dataset: Any) -> dict[str, dict[str, Any]]:
    """Operator → its button above the grid, as the App gets it."""
    operators = importlib.import_module("fiftyone.operators")
    executor = importlib.import_module("fiftyone.operators.executor")
    found = {}
    for operator in operators.list_operators(enabled=True, builtin=False):
        request = {"dataset_name": dataset.name, "params": {}}
        ctx = executor.ExecutionContext(request, operator_uri=operator.uri)
        placement = operator.resolve_placement(ctx)
        if placement is not None:
            found[operator.name] = placement.to_json()["view"]
    return found


def test_buttons_say_why_they_cannot_be_used(
    fo: Any, make_digits_dataset: Callable[..., Any], make_marked: Callable[..., Any]
) -> None:
    dataset = make_digits_dataset(num=12, size=8)
    found = buttons(dataset)
    assert sorted(found) == sorted(PLACED)
    assert found["compute_hardness"]["label"] == "HoneyImage: compute hardness"
    assert not found["compute_hardness"]["disabled"]
    assert found["generate_honeyimages"]["label"].endswith("(compute hardness first)")
    for name in ("export_release", "verify_model"):
        assert found[name]["label"].endswith("(generate HoneyImages first)")
        assert found[name]["disabled"]

    found = buttons(make_marked())
    assert {name: button["label"] for name, button in found.items()} == PLACED
    assert not any(button["disabled"] for button in found.values())

    unlabeled, video = fo.Dataset(), fo.Dataset()
    unlabeled.add_sample(fo.Sample(filepath="/nowhere/a.png"))
    video.add_sample(fo.Sample(filepath="/nowhere/video.mp4"))
    assert "no field of type Classification" in buttons(unlabeled)["export_release"]["label"]
    assert "media type 'video'" in buttons(video)["compute_hardness"]["label"]
    for made in (unlabeled, video):
        made.delete()


def test_every_button_has_its_icons(make_digits_dataset: Callable[..., Any]) -> None:
    for button in buttons(make_digits_dataset(num=6)).values():
        for name in ("icon", "darkIcon"):
            assert (ROOT / button[name].lstrip("/")).is_file()


def test_buttons_follow_what_changes_in_the_dataset(
    fo: Any, make_digits_dataset: Callable[..., Any]
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = fo.Dataset()
    assert "is empty" in buttons(dataset)["compute_hardness"]["label"]
    dataset.add_sample(fo.Sample(filepath="/nowhere/a.png"))
    assert "no field of type Classification" in buttons(dataset)["compute_hardness"]["label"]
    dataset.add_sample_field("truth", fo.EmbeddedDocumentField, fo.Classification)
    assert not buttons(dataset)["compute_hardness"]["disabled"]
    dataset.clear()
    assert "is empty" in buttons(dataset)["compute_hardness"]["label"]
    dataset.delete()

    dataset = make_digits_dataset(num=72, size=8)
    assert buttons(dataset)["generate_honeyimages"]["disabled"]
    fhi.compute_hardness(
        dataset,
        "ground_truth",
        proxy="resnet_tiny",
        training={"epochs": 1},
        device="cpu",
        progress=False,
    )
    assert not buttons(dataset)["generate_honeyimages"]["disabled"]
    dataset.name = f"{dataset.name}-renamed"
    assert not buttons(dataset)["generate_honeyimages"]["disabled"]
    dataset.delete_run("honey_hardness")
    assert buttons(dataset)["generate_honeyimages"]["disabled"]
