"""Operators through FiftyOne's real registry: forms, immediate runs, delegated runs."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image

PLUGIN = "@honeyimage/ownership"

#: Tiny trainings that still go through every step
TRAINING = {"epochs": 1, "batch_size": 32}
TINY = {"proxy": "resnet_tiny", "training": TRAINING, "device": "cpu"}


@dataclass(frozen=True)
class Form:
    """A resolved form.

    Attributes:
        schema: its JSON, as the App gets it
    """

    schema: dict[str, Any]

    @property
    def properties(self) -> dict[str, Any]:
        return self.schema["type"]["properties"]

    def errors(self) -> dict[str, str]:
        """Path of every invalid property → what it says."""
        return dict(_errors(self.properties))

    def text(self, name: str) -> str:
        """The label and description of a property."""
        view = self.properties[name]["view"]
        return f"{view.get('label')}\n{view.get('description')}"

    def values(self, name: str) -> list[Any]:
        """The choices of a property."""
        return self.properties[name]["type"]["values"]


def _errors(properties: dict[str, Any], prefix: str = "") -> Any:
    for name, prop in properties.items():
        if prop["invalid"]:
            yield prefix + name, prop["error_message"]
        yield from _errors(prop["type"].get("properties") or {}, f"{prefix}{name}.")


@pytest.fixture(autouse=True)
def cached_plugins(fo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """FiftyOne reads every plugin's files anew for every call, unless it is told to look only whether they changed.

    The tests of the App, in processes of their own, go without.
    """
    monkeypatch.setattr(fo.config, "plugins_cache_enabled", True)


@pytest.fixture(autouse=True)
def no_download(fo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """LPIPS fetches 233 MB where it can. The plugin and the package are two copies of the code."""
    operators = importlib.import_module("fiftyone.operators")
    plugin = type(operators.get_operator(f"{PLUGIN}/list_runs")).__module__
    for package in (plugin.rpartition(".operators.")[0], "fiftyone_honeyimage"):
        module = importlib.import_module(f"{package}.core.pipeline.crafting")
        monkeypatch.setattr(module, "_load_lpips", lambda file: (None, "not asked for"))


@pytest.fixture
def resolve(fo: Any) -> Callable[..., Form]:
    """Resolves a form as the App does: ``resolve("compute_hardness", samples, seed=1)``.

    ``prompt=True`` pretends that somebody has it open.
    """
    executor = importlib.import_module("fiftyone.operators.executor")
    operators = importlib.import_module("fiftyone.operators")

    def run(
        name: str, samples: Any, /, *, prompt: bool = False, selected: Any = (), **params: Any
    ) -> Form:
        uri = f"{PLUGIN}/{name}"
        request: dict[str, Any] = {"params": params, "selected": list(selected)}
        if samples is not None:
            request["dataset_name"] = samples._root_dataset.name
            request["view"] = samples.view()._serialize()
        if prompt:
            request.update(prompt_id="prompt", target="inputs")
        ctx = executor.ExecutionContext(request, operator_uri=uri)
        return Form(operators.get_operator(uri).resolve_type(ctx, "inputs").to_json())

    return run


@pytest.fixture
def execute(fo: Any) -> Callable[..., Any]:
    """Executes immediately: ``execute("compute_hardness", samples, seed=1)``."""
    operators = importlib.import_module("fiftyone.operators")

    def run(name: str, samples: Any, /, **params: Any) -> Any:
        view = samples if isinstance(samples, fo.DatasetView) else None
        dataset = samples._root_dataset
        return operators.execute_operator(
            f"{PLUGIN}/{name}", dataset=dataset, view=view, params=params
        )

    return run


@dataclass(frozen=True)
class Delegated:
    """A delegated run that has ended.

    Attributes:
        document: its document in the database
        result: what it returned
        outputs: what it shows, as JSON
        progress: (share, stage) of every report
    """

    document: Any
    result: Any
    outputs: dict[str, Any]
    progress: list[tuple[float, str]]


@pytest.fixture
def delegate(fo: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Delegated]:
    """Queues a run and lets a worker in this process execute it."""
    operators = importlib.import_module("fiftyone.operators")
    service_type = importlib.import_module("fiftyone.operators.delegated").DelegatedOperationService
    reports: list[tuple[float, str]] = []

    def run(name: str, samples: Any, /, **params: Any) -> Delegated:
        view = samples if isinstance(samples, fo.DatasetView) else None
        uri = f"{PLUGIN}/{name}"
        queued = operators.execute_operator(
            uri,
            dataset=samples._root_dataset,
            view=view,
            params=params,
            request_delegation=True,
        )
        assert queued.delegated
        service = service_type()
        set_progress = service.set_progress

        def record(doc_id: Any, progress: Any) -> Any:
            reports.append((progress.progress, progress.label))
            return set_progress(doc_id, progress)

        monkeypatch.setattr(service, "set_progress", record)
        (result,) = service.execute_queued_operations(operator=uri)
        document = service.get(queued.result["id"])
        return Delegated(document, result.result, result.outputs_schema, list(reports))

    return run


@pytest.fixture
def triggered() -> Callable[[Any], dict[str, Any]]:
    """What an immediate run asks the App to do: operator → its parameters."""

    def read(result: Any) -> dict[str, Any]:
        return {
            request.operator_uri.rpartition("/")[2]: request.params
            for request in result.executor._requests
        }

    return read


@pytest.fixture
def make_hard(make_digits_dataset: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a dataset of digits with hardness scores."""
    fhi = importlib.import_module("fiftyone_honeyimage")

    def make(num: int = 72, classes: int = 3, size: int = 8) -> Any:
        dataset = make_digits_dataset(num=num, classes=classes, size=size)
        fhi.compute_hardness(dataset, "ground_truth", progress=False, **TINY)
        return dataset

    return make


@pytest.fixture
def make_marked(make_marked: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a marked dataset of fewer pairs: ``make_marked(num_pairs=12)``, marking ``honey``."""
    return partial(make_marked, num_pairs=12)


@pytest.fixture
def suspect_file(tmp_path: Any, digits: Any) -> str:
    """A TorchScript classifier of 8-pixel digits with three classes, trained on digits of its own."""
    torch = importlib.import_module("torch")
    images, labels = digits
    rows = (labels < 3).nonzero()[0][200:]
    x = torch.from_numpy(images[rows]).float().div(255).unsqueeze(1).expand(-1, 3, -1, -1)
    y = torch.from_numpy(labels[rows])
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 3))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    path = tmp_path / "suspect.pt"
    with warnings.catch_warnings():
        # torch announces that TorchScript will go; suspects still come as such files
        warnings.simplefilter("ignore")
        torch.jit.trace(network, torch.zeros(2, 3, 8, 8)).save(str(path))
    return str(path)


@pytest.fixture(scope="session")
def workshop(
    fo: Any, digits: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, dict[str, str]]]:
    """A dataset with a run of every kind, and paths that parameters may name; none of the tests edits it."""
    fhi = importlib.import_module("fiftyone_honeyimage")
    torch = importlib.import_module("torch")
    folder = tmp_path_factory.mktemp("forms")
    (folder / "images").mkdir()
    dataset = fo.Dataset(f"forms-{folder.name}")
    images, labels = digits
    for number, row in enumerate(np.flatnonzero(labels < 3)[:90]):
        path = folder / "images" / f"{number:04d}.png"
        Image.fromarray(images[row]).convert("RGB").save(path)
        truth = fo.Classification(label=str(labels[row]))
        dataset.add_sample(fo.Sample(filepath=str(path), ground_truth=truth, guess=truth.copy()))
    tiny = {"proxy": "resnet_tiny", "training": {"epochs": 1}, "device": "cpu", "progress": False}
    fhi.compute_hardness(dataset, "ground_truth", **tiny)
    files = importlib.import_module("fiftyone_honeyimage.core.pipeline.crafting")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_load_lpips", lambda file: (None, "not asked for"))
        marking = fhi.generate_honeyimages(
            dataset,
            "ground_truth",
            "honey",
            method="honeyimage",
            num_pairs=14,
            num_steps=1,
            exclude=(),
            output_dir=folder / "honey",
            **tiny,
        )
    fhi.export_release(dataset, "honey", folder / "release", progress=False)
    honey = dataset.match_tags("honeyimage")
    guesses = [fo.Classification(label=label) for label in honey.values("ground_truth.label")]
    honey.set_values("guess", guesses)
    dataset.add_sample_field("rows", fo.ListField, subfield=fo.FloatField)
    honey.set_values("rows", [[0.5, 0.25, 0.25]] * len(honey))
    fhi.verify_model(dataset, "honey", "guess", "theirs", num_random=0, progress=False)
    network = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 3)
    )
    torch.jit.script(network).save(str(folder / "suspect.pt"))
    yield (
        dataset,
        {
            "<release>": str(folder / "release"),
            "<originals>": str(folder / "images"),
            "<marking>": str(folder / "honey"),
            "<ledger>": str(marking.ledger_path),
            "<suspect>": str(folder / "suspect.pt"),
            "<image>": str(folder / "images" / "0000.png"),
        },
    )
    dataset.delete()
