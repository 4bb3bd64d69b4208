"""Verified datasets whose suspects answer as a test wants, and panels through FiftyOne's real registry."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

PANEL = "@honeyimage/ownership/verification_panel"


@pytest.fixture
def make_marked(
    fo: Any,
    make_digits_dataset: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Any]:
    """Makes a marked dataset without much training: ``make_marked(num_pairs=14)``, marking ``honey``."""
    fhi = importlib.import_module("fiftyone_honeyimage")
    marking = importlib.import_module("fiftyone_honeyimage.dataset.marking")
    monkeypatch.setattr(marking, "_load_lpips", lambda file: (None, "not asked for"))

    def make(num_pairs: int = 14, **kwargs: Any) -> Any:
        dataset = make_digits_dataset(num=72, size=8)
        tiny = {"proxy": "resnet_tiny", "training": {"epochs": 1}, "device": "cpu"}
        fhi.compute_hardness(dataset, "ground_truth", progress=False, **tiny)
        fhi.generate_honeyimages(
            dataset,
            "ground_truth",
            "honey",
            num_pairs=num_pairs,
            num_steps=1,
            exclude=(),
            output_dir=tmp_path / f"{dataset.name}-honey",
            progress=False,
            **tiny,
            **kwargs,
        )
        return dataset

    return make


@pytest.fixture
def answer(fo: Any) -> Callable[..., str]:
    """Writes a suspect's answers into a field: ``answer(dataset, "thief", released=0.9, withheld=0.2)``.

    The numbers are the probabilities that it gives the true class of released and withheld twins; with
    ``labels=True`` it only tells the most probable class. It knows the coins, as a model that was
    trained on the release would.
    """
    fhi = importlib.import_module("fiftyone_honeyimage")

    def write(
        dataset: Any,
        field: str,
        released: float,
        withheld: float,
        labels: bool = False,
        skip: int = 0,
    ) -> str:
        ledger = fhi.load_marking(dataset, "honey").load_ledger()
        known = {image.sample_id for image in ledger.released_images()}
        honey = dataset.match_tags("honeyimage")
        values: list[Any] = []
        for number, (source, label) in enumerate(
            zip(*honey.values(["honey.source", "ground_truth.label"]), strict=True)
        ):
            # No two pairs alike, as with any real model
            right = (released if source in known else withheld) - 0.001 * number
            row = [(1 - right) / 2] * 3
            row[int(label)] = right
            guess = fo.Classification(label=str(max(range(3), key=row.__getitem__)))
            values.append(guess if labels else row)
        if not labels:
            dataset.add_sample_field(field, fo.ListField, subfield=fo.FloatField)
        values[:skip] = [None] * skip
        honey.set_values(field, values)
        return field

    return write


@pytest.fixture
def verify(answer: Callable[..., str]) -> Callable[..., Any]:
    """Verifies such a suspect: ``verify(dataset, "thief", released=0.9, withheld=0.2)``."""
    fhi = importlib.import_module("fiftyone_honeyimage")

    def run(dataset: Any, name: str, skip_failures: bool = False, **kwargs: Any) -> Any:
        return fhi.verify_model(
            dataset,
            "honey",
            answer(dataset, f"{name}_answers", **kwargs),
            name,
            skip_failures=skip_failures,
            progress=False,
        )

    return run


class Event:
    """What one event of a panel did.

    Attributes:
        requests: what the App is asked to do, (operator, parameters)
    """

    def __init__(self, result: Any) -> None:
        self.requests = [
            (request.operator_uri.rpartition("/")[2], request.params)
            for request in result.executor._requests
        ]

    def asked(self, operator: str) -> list[dict[str, Any]]:
        """The parameters of every request of one kind."""
        return [params for name, params in self.requests if name == operator]

    @property
    def state(self) -> dict[str, Any]:
        """The changes of the panel's state."""
        changes: dict[str, Any] = {}
        for params in self.asked("patch_panel_state"):
            changes.update(params["state"])
        return changes

    @property
    def output(self) -> dict[str, Any]:
        """The properties that are shown, by name."""
        (shown,) = self.asked("show_panel_output")
        return shown["output"]["type"]["properties"]

    def text(self) -> str:
        """Everything that is shown in words."""
        words = []
        for prop in self.output.values():
            view = prop["view"]
            words += [prop["default"], view.get("label"), view.get("description")]
        return "\n".join(str(word) for word in words if word)


@pytest.fixture
def panel_uri() -> str:
    """The panel that a module of tests is about."""
    return PANEL


@pytest.fixture
def send(fo: Any, panel_uri: str) -> Callable[..., Event]:
    """Sends an event to the panel: ``send("on_load", dataset)``."""
    operators = importlib.import_module("fiftyone.operators")

    def run(
        method: str,
        dataset: Any,
        state: dict[str, Any] | None = None,
        selected: Sequence[str] = (),
        current_sample: str | None = None,
        **params: Any,
    ) -> Event:
        result = operators.execute_operator(
            panel_uri,
            dataset=dataset,
            selected=list(selected),
            current_sample=current_sample,
            params={
                "panel_id": "panel",
                "__method__": method,
                "panel_state": dict(state or {}),
                **params,
            },
        )
        return Event(result)

    return run
