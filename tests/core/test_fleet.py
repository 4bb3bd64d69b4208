"""Trainings as tasks: the same weights wherever they run, and nothing trained twice."""

from __future__ import annotations

import copy
import importlib.util
import io
import multiprocessing
import sys
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from fiftyone_honeyimage.core import fleet
from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.hardness import compute_hardness
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.training import TrainingConfig, train_models

CONFIG = TrainingConfig(epochs=2, batch_size=16)
SEEDS = [3, 4, 5]
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 256, (48, 3, 8, 8), generator=GENERATOR).byte()
LABELS = torch.randint(0, 3, (48,), generator=GENERATOR)


class Here(Executor):
    """Runs a task at once, in this process; from the ``fail``-th on it does not come back."""

    def __init__(self, fail: int | None = None) -> None:
        self.calls: list[str] = []
        self._fail = fail

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.append(kwargs["checkpoint"])
        if self._fail is not None and len(self.calls) >= self._fail:
            future.set_exception(ConnectionError("the worker is gone"))
        else:
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)
        return future


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds that were really trained, in this process."""
    seeds: list[int] = []
    real = fleet.train_here

    def counting(*arguments: Any) -> Any:
        seeds.extend(arguments[5])
        return real(*arguments)

    monkeypatch.setattr(fleet, "train_here", counting)
    return seeds


def _train(folder: Path | None = None, executor: Executor | None = None, **changes: Any) -> Any:
    seeds = changes.pop("seeds", SEEDS)
    models = [build_model("resnet_tiny", 3, input_size=8, seed=seed) for seed in seeds]
    subsets = changes.pop("subsets", [torch.arange(40), torch.arange(8, 48), None])[: len(seeds)]
    summaries = train_models(
        models,
        changes.pop("images", IMAGES),
        LABELS,
        subsets=subsets,
        config=changes.pop("config", CONFIG),
        seeds=seeds,
        device=changes.pop("device", "cpu"),
        executor=executor,
        checkpoint_dir=folder,
        **changes,
    )
    return models, summaries


def _assert_same(found: Any, expected: Any) -> None:
    for model, other in zip(found[0], expected[0], strict=True):
        assert not model.training
        for name, value in model.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name
    for one, other in zip(found[1], expected[1], strict=True):
        assert (one.seed, one.losses, one.accuracy) == (other.seed, other.losses, other.accuracy)


@pytest.mark.parametrize("kind", ["none", "here", "threads", "processes"])
def test_the_same_weights_wherever_they_are_trained(kind: str, tmp_path: Path) -> None:
    expected = _train()
    reports: list[tuple[int, int]] = []
    spawn = multiprocessing.get_context("spawn")
    executor: Executor | None = {
        "none": lambda: None,
        "here": Here,
        "threads": lambda: ThreadPoolExecutor(2),
        "processes": lambda: ProcessPoolExecutor(2, spawn),
    }[kind]()
    found = _train(
        tmp_path, executor, report=lambda stage, done, total: reports.append((done, total))
    )
    if executor is not None:
        executor.shutdown()
    _assert_same(found, expected)
    every_epoch = [(done, 6) for done in range(1, 7)]
    assert sorted(set(reports)) == (every_epoch if executor is None else every_epoch[1::2])
    assert len(list(tmp_path.glob("*.pt"))) == 3
    assert len(list(tmp_path.glob("*.data"))) == 1


def test_a_fleet_that_is_cut_off_goes_on(tmp_path: Path, trained: list[int]) -> None:
    with pytest.raises(
        ParameterError, match=r"seed 4 failed .*ConnectionError: the worker is gone"
    ):
        _train(tmp_path, Here(fail=2))
    assert trained == [3]
    found = _train(tmp_path, Here())
    assert trained == [3, 4, 5]
    _assert_same(found, _train())
    # Another caller, without any worker, finds all of them too
    _assert_same(_train(tmp_path), found)
    assert trained == [3, 4, 5]


def test_what_decides_the_weights_decides_the_name(tmp_path: Path, trained: list[int]) -> None:
    _train(tmp_path, seeds=[3])
    other = IMAGES.clone()
    other[0, 0, 0, 0] += 1
    changes: list[dict[str, Any]] = [
        {"config": TrainingConfig(epochs=2, batch_size=15)},
        {"subsets": [torch.arange(41)]},
        {"images": other},
        {"device": None},
    ]
    for number, change in enumerate(changes, start=2):
        _train(tmp_path, seeds=[3], **change)
        assert len(trained) == number, change
    _train(tmp_path, seeds=[3])
    assert len(trained) == 5


def test_a_damaged_checkpoint_is_trained_anew(tmp_path: Path, trained: list[int]) -> None:
    expected = _train(tmp_path, seeds=[3])
    (path,) = tmp_path.glob("*.pt")
    whole = path.read_bytes()
    flipped, other = bytearray(whole), io.BytesIO()
    *_, last = expected[0][0].parameters()
    flipped[whole.index(last.detach().numpy().tobytes())] ^= 1
    torch.save({"weights": {}}, other)
    for damaged in (b"", whole[: len(whole) // 2], b"\0" * len(whole), flipped, other.getvalue()):
        path.write_bytes(damaged)
        _assert_same(_train(tmp_path, seeds=[3]), expected)
        assert path.stat().st_size == len(whole)
    assert trained == [3] * 6


def test_damaged_data_are_written_anew(tmp_path: Path) -> None:
    _train(tmp_path, seeds=[3])
    (path,) = tmp_path.glob("*.data")
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(IMAGES[7].numpy().tobytes())] ^= 1

    class Damaging(Here):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            path.write_bytes(damaged)
            return super().submit(fn, *args, **kwargs)

    # A worker never trains on them; the next call finds them damaged, and what it trains is what it would have been
    with pytest.raises(ParameterError, match=r"seed 4 .*\.data' is damaged"):
        _train(tmp_path, Damaging())
    _assert_same(_train(tmp_path, Here()), _train())


def test_a_proxy_whose_code_changed_is_trained_again(tmp_path: Path, trained: list[int]) -> None:
    codes = [("relu", 1), ("tanh", 1), ("relu", 1), ("relu", 2)]
    for activation, factor in codes:
        # What it inherits and a constant beside it count as well
        (tmp_path / "own.py").write_text(
            f"import torch\n\nFACTOR = {factor}\n\nclass Base(torch.nn.Linear):\n    def forward(self, x):\n"
            f"        return FACTOR * torch.{activation}(super().forward(x.flatten(1)))\n\n"
            "class Own(Base):\n    pass\n",
            encoding="utf-8",
        )
        spec = importlib.util.spec_from_file_location("own", tmp_path / "own.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        torch.manual_seed(0)
        model = module.Own(192, 3)
        train_models([model], IMAGES, LABELS, seeds=[0], config=CONFIG, checkpoint_dir=tmp_path)
    assert len(trained) == 3


class Scaled(torch.nn.Linear):
    """Has an attribute that neither its weights nor its ``repr`` show."""

    def __init__(self, factor: float) -> None:
        torch.manual_seed(0)
        super().__init__(192, 3)
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1)) * self.factor


def test_what_no_weight_shows_decides_the_name_too(tmp_path: Path, trained: list[int]) -> None:
    frozen = Scaled(1.0)
    frozen.weight.requires_grad_(False)
    holds_a_tensor = Scaled(1.0)
    holds_a_tensor.extra = [torch.ones(2)]
    kinds = [Scaled(1.0), Scaled(2.0), frozen, holds_a_tensor]
    again = copy.deepcopy(kinds)
    for model in (*kinds, *again):
        train_models(
            [model], IMAGES, LABELS, seeds=[0], config=CONFIG, checkpoint_dir=str(tmp_path)
        )
    assert len(trained) == len(kinds), "each once"
    plain = Scaled(2.0)
    train_models([plain], IMAGES, LABELS, seeds=[0], config=CONFIG)
    assert torch.equal(plain.weight.cpu(), again[1].weight.cpu())


def test_equal_tasks_are_trained_once(tmp_path: Path, trained: list[int]) -> None:
    workers = Here()
    _train(tmp_path, workers, seeds=[3, 3], subsets=[None, None])
    assert len(workers.calls) == 1
    assert trained == [3]


def test_what_cannot_work_is_said_first(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="executor needs checkpoint_dir"):
        _train(None, Here())
    with pytest.raises(ParameterError, match=r"concurrent\.futures\.Executor, not a str"):
        _train(tmp_path, "ray")  # type: ignore[arg-type]

    class Local(torch.nn.Sequential):
        """Nobody can import it."""

    model = Local(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    with pytest.raises(ParameterError, match="Local cannot be sent to a worker"):
        train_models(
            [model],
            IMAGES,
            LABELS,
            seeds=[0],
            config=CONFIG,
            executor=Here(),
            checkpoint_dir=tmp_path,
        )


def test_what_a_worker_refuses_names_the_seed(tmp_path: Path) -> None:
    models = [build_model("resnet_tiny", classes, input_size=8, seed=0) for classes in (3, 2)]
    with pytest.raises(ParameterError, match=r"seed 4 failed on a worker.*the model has 2 classes"):
        train_models(
            models,
            IMAGES,
            LABELS,
            seeds=[3, 4],
            config=CONFIG,
            executor=Here(),
            checkpoint_dir=tmp_path,
        )


def test_a_worker_chooses_its_device_unless_it_is_named(tmp_path: Path, trained: list[int]) -> None:
    class Noting(Here):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            devices.append(kwargs["device"])
            return super().submit(fn, *args, **kwargs)

    devices: list[str | None] = []
    _train(tmp_path, Noting(), seeds=[3])
    _train(tmp_path, Noting(), seeds=[3], device=None)
    assert devices == ["cpu", None]
    assert trained == [3, 3]


def test_a_worker_elsewhere_is_told_from_one_that_trained(tmp_path: Path) -> None:
    class Nowhere(Here):
        """Says that it is done, and leaves its checkpoint where nobody sees it."""

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result(None)
            return future

    with pytest.raises(ParameterError, match="reach by the same name"):
        _train(tmp_path, Nowhere())


def test_hardness_is_the_same(tmp_path: Path, trained: list[int]) -> None:
    def score(**more: Any) -> Any:
        return compute_hardness(
            IMAGES, LABELS.numpy(), 3, proxy="resnet_tiny", config=CONFIG, device="cpu", **more
        ).hardness

    expected = score()
    assert (score(executor=Here(), checkpoint_dir=tmp_path) == expected).all()
    assert (score(checkpoint_dir=tmp_path) == expected).all()
    assert len(trained) == 2


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_ray_trains_on_two_workers(tmp_path: Path) -> None:
    """The executor of docs/fleets.md, with workers of a real Ray."""
    import ray

    text = (Path(__file__).parents[2] / "docs" / "fleets.md").read_text(encoding="utf-8")
    namespace: dict[str, Any] = {}
    exec(text.split("<!-- ray -->\n```python\n")[1].split("```")[0], namespace)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        _assert_same(_train(tmp_path, namespace["RayExecutor"]()), _train())
    finally:
        ray.shutdown()


def test_exchanged_checkpoints_are_trained_anew(tmp_path: Path, trained: list[int]) -> None:
    _train(tmp_path, seeds=[3, 4])
    one, other = sorted(tmp_path.glob("*.pt"))
    content = one.read_bytes(), other.read_bytes()
    one.write_bytes(content[1])
    other.write_bytes(content[0])
    trained.clear()
    found = _train(tmp_path, seeds=[3, 4])
    assert sorted(trained) == [3, 4], "another model's weights are not taken for its own"
    _assert_same(found, _train(seeds=[3, 4]))


def test_what_cannot_train_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    closed = ThreadPoolExecutor(1)
    closed.shutdown()
    with pytest.raises(ParameterError, match="The executor takes no training: cannot schedule"):
        _train(tmp_path / "kept", closed)
    (tmp_path / "file").touch()
    with pytest.raises(ParameterError, match=r"checkpoint_dir '.*file' is a file"):
        _train(tmp_path / "file")
    with pytest.raises(ParameterError, match=r"checkpoint_dir .* cannot be made"):
        _train(tmp_path / "file" / "below")
    with pytest.raises(ParameterError, match="checkpoint_dir must be a path; found ''"):
        _train("")  # type: ignore[arg-type]
    assert {path.name for path in tmp_path.iterdir()} == {"file", "kept"}, (
        "no private image elsewhere"
    )
