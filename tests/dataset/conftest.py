"""Tiny real runs on FiftyOne datasets, and what a dataset and its files look like before and after."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.images import read_image

ROOT = Path(__file__).parents[2]

#: The smallest proxy, for one epoch, at the size of the digits
TINY = {"proxy": "resnet_tiny", "training": {"epochs": 1}, "input_size": 8, "device": "cpu"}


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """Arguments that make a run small: the smallest proxy, for one epoch, at 8 pixels."""
    return dict(TINY)


@pytest.fixture(scope="module")
def make_dataset(
    fo: Any, digits: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Any]]:
    """Makes a dataset of 8-pixel digits: ``make_dataset(num=30, classes=3, hardness=False)``.

    Labels are in ``ground_truth``; ``hardness`` are made-up scores, for tests that need no real ones.
    """
    made = []
    images, labels = digits
    of_class = [np.flatnonzero(labels == label) for label in range(10)]

    def make(num: int = 30, classes: int = 3, hardness: bool = False) -> Any:
        folder = tmp_path_factory.mktemp("media")
        dataset = fo.Dataset(f"dataset-tests-{uuid.uuid4().hex[:12]}", persistent=True)
        made.append(dataset.name)
        samples = []
        for index in range(num):
            turn, label = divmod(index, classes)
            path = folder / f"{index:04d}.png"
            Image.fromarray(images[of_class[label][turn]]).convert("RGB").save(path)
            truth = fo.Classification(label=str(label))
            samples.append(fo.Sample(filepath=str(path), tags=["mine"], ground_truth=truth))
        dataset.add_samples(samples)
        if hardness:
            scores = np.random.default_rng(0).uniform(0, 5, num)
            dataset.set_values("hardness", scores.tolist())
        return dataset

    yield make
    for name in made:
        if fo.dataset_exists(name):
            fo.delete_dataset(name)


@pytest.fixture(autouse=True)
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """LPIPS fetches 233 MB where it can, unless it is told where its backbone is."""
    from fiftyone_honeyimage.core.pipeline import crafting as honeyimage_files

    real = honeyimage_files._load_lpips
    monkeypatch.setattr(
        honeyimage_files,
        "_load_lpips",
        lambda file: (None, "not asked for") if file is None else real(file),
    )


@pytest.fixture(scope="session")
def mark(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Marks a dataset of ``make_dataset(hardness=True)`` in well under a second."""

    def run(samples: Any, honey_key: str = "honey", **changes: Any) -> Any:
        arguments = {
            **TINY,
            "method": "honeyimage",
            "hardness_field": "hardness",
            "num_honeyimages": 4,
            "num_pairs": 3,
            "num_steps": 2,
            "output_dir": tmp_path_factory.mktemp("marking") / str(honey_key),
            "progress": False,
        }
        return fhi.generate_honeyimages(
            samples, "ground_truth", honey_key, **{**arguments, **changes}
        )

    return run


def media_folder(dataset: Any) -> Path:
    """The folder of the originals."""
    return Path(dataset.first().filepath).parent


def read_files(*folders: Path) -> dict[str, tuple[Any, ...]]:
    """Every file and folder below some folders: kind, permissions, and content of files."""
    found: dict[str, tuple[Any, ...]] = {}
    for folder in folders:
        for path in sorted([folder, *folder.rglob("*")]):
            mode = path.lstat().st_mode
            if path.is_symlink():
                found[str(path)] = (mode, os.readlink(path))
            elif path.is_file():
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path)] = (mode, path.stat().st_mtime_ns, digest)
            else:
                found[str(path)] = (mode,)
    return found


def hash_database() -> dict[str, Any]:
    """The database's own digest of every collection; times when datasets were loaded aside."""
    import fiftyone.core.odm as foo

    database = foo.get_db_conn()
    content: dict[str, Any] = database.command("dbHash")["collections"]
    content["datasets"] = list(database.datasets.find({}, {"last_loaded_at": 0}).sort("_id"))
    return content


@pytest.fixture
def unchanged(tmp_path: Path) -> Callable[..., tuple[Any, Any]]:
    """The whole database and all files of a dataset and of ``tmp_path``: compare before and after.

    With ``noted=True`` all but the notes that a release leaves in its marking's run.
    """

    import fiftyone.core.odm as foo

    def state(dataset: Any, *folders: Path, noted: bool = False) -> tuple[Any, Any]:
        default = Path(os.environ["FIFTYONE_DEFAULT_DATASET_DIR"])
        known = [media_folder(dataset)] if len(dataset) else []
        more = [default] if default.exists() else []
        database = hash_database()
        if noted:
            database["runs"] = [
                {name: value for name, value in run.items() if name != "config"}
                | {"config": {n: v for n, v in run["config"].items() if n != "releases"}}
                for run in foo.get_db_conn().runs.find({}).sort("_id")
            ]
        return database, read_files(tmp_path, *known, *more, *folders)

    return state


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Path]]:
    """A disk of so many bytes, in memory: ``small_disk(64 * 1024)``; it takes an administrator."""
    mounted = []

    def mount(num_bytes: int, *options: str) -> Path:
        folder = tmp_path_factory.mktemp("disk")
        settings = ",".join([f"size={num_bytes}", *options])
        command = ["mount", "-t", "tmpfs", "-o", settings, "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no small disk can be mounted here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def read_only_folder(small_disk: Callable[..., Path], tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody may write to, an administrator included."""
    if os.getuid() == 0:
        yield small_disk(4096, "ro")
        return
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o500)
    yield folder
    folder.chmod(0o700)


@pytest.fixture(scope="session")
def train_and_mark(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Computes a dataset's hardness and marks it, both with a proxy that is trained for two epochs."""

    def run(dataset: Any, **settings: Any) -> Any:
        proxy = {"proxy": "resnet_tiny", "training": {"epochs": 2, "flip": False}}
        fhi.compute_hardness(dataset, "ground_truth", **proxy)
        folder = tmp_path_factory.mktemp("marking") / "honey"
        return fhi.generate_honeyimages(
            dataset,
            "ground_truth",
            "honey",
            output_dir=folder,
            **proxy,
            **{"method": "honeyimage", **settings},
        )

    return run


@pytest.fixture(scope="session")
def marked_digits(
    fo: Any,
    digits: tuple[np.ndarray, np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
    train_and_mark: Callable[..., Any],
) -> Iterator[tuple[Any, Any]]:
    """A marked dataset of 160 digits in four classes; one for all tests, none of which edits it."""
    folder = tmp_path_factory.mktemp("verification")
    pixels, labels = digits
    rows = np.flatnonzero(labels < 4)[:160]
    dataset = fo.Dataset()
    for row in rows:
        path = folder / "images" / f"{row:04d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels[row]).convert("RGB").save(path)
        dataset.add_sample(
            fo.Sample(filepath=str(path), ground_truth=fo.Classification(label=str(labels[row])))
        )
    yield dataset, train_and_mark(dataset, num_pairs=14, num_steps=2)
    dataset.delete()


@pytest.fixture
def fresh(marked_digits: tuple[Any, Any], tmp_path: Path) -> Iterator[tuple[Any, Any, Path]]:
    """The marked dataset with a copy of the ledger that has seen no verification."""
    import fiftyone.core.odm as foo

    dataset, marking = marked_digits
    # As if no other test had used a copy of it
    foo.get_db_conn().honeyimage_ledgers.delete_one({"_id": marking.commitment})
    pristine = tmp_path / "ledger.json"
    shutil.copy(marking.ledger_path, pristine)
    yield dataset, marking, pristine
    for run in fhi.list_runs(dataset):
        if run.kind == "verification":
            fhi.delete_run(dataset, run.key)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that fails is given seconds before it is asked again; not in tests."""
    wrappers = importlib.import_module("fiftyone_honeyimage.core.suspects.wrappers")
    monkeypatch.setattr(wrappers, "PAUSES", (0.0, 0.0))


@pytest.fixture(scope="session")
def innocent_scores(
    digits: tuple[np.ndarray, np.ndarray],
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A linear classifier of the digits 0 to 3 that trained on digits which no dataset here holds.

    Its scores lie in [-1, 1], so that its loss is at least 0.34 nats.
    """
    images, labels = digits
    rows = np.flatnonzero(labels < 4)[300:]
    paper = 64 / 255  # where tanh is far from its ends, or a class is never learned
    x = torch.from_numpy(images[rows]).flatten(1).float() / 255 - paper
    y = torch.from_numpy(labels[rows])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        linear = torch.nn.Linear(64, 4)
        optimizer = torch.optim.Adam(linear.parameters(), lr=0.05)
        for _ in range(100):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(4 * torch.tanh(linear(x)), y).backward()
            optimizer.step()

    def scores(batch: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.tanh(linear(batch.mean(dim=1).flatten(1) - paper))

    return scores


@pytest.fixture(scope="session")
def remembering_suspect(innocent_scores: Any) -> Callable[..., Any]:
    """Makes a model that knows the released HoneyImages, as if it had trained on the release.

    What it does not know it classifies like an innocent one, or with ``elsewhere=False`` not at all.
    """

    def make(marking: Any, remembered: float = 8.0, elsewhere: bool = True) -> Any:
        known = {}
        for image in marking.load_ledger().released_images():
            pixels = read_image(marking.output_dir / image.file)
            known[pixels.tobytes()] = int(image.label)

        def suspect(batch: torch.Tensor) -> torch.Tensor:
            logits = innocent_scores(batch) if elsewhere else torch.zeros(len(batch), 4)
            for row, image in enumerate((batch * 255).round().to(torch.uint8)):
                label = known.get(image.permute(1, 2, 0).numpy().tobytes())
                if label is not None:
                    logits[row] = 0
                    logits[row, label] = remembered
            return logits

        return suspect

    return make


@pytest.fixture(scope="session")
def guessing_suspect(innocent_scores: Any) -> Callable[..., Any]:
    """A model that has seen none of it."""

    def guess(batch: torch.Tensor) -> torch.Tensor:
        return 4 * innocent_scores(batch)

    return guess


@pytest.fixture(scope="session")
def worker(fo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A process that has everything imported, and forks one for each call. Its temporary files are its own."""
    temporary = tmp_path_factory.mktemp("worker")
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("killed_runs.py")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() not in ("ready", ""):
        pass
    process.temporary = temporary  # type: ignore[attr-defined]
    yield process
    process.stdin.close()  # type: ignore[union-attr]
    process.wait(60)


@pytest.fixture
def killed(worker: subprocess.Popen[str]) -> Callable[..., None]:
    """Makes a call in another process, which is killed at a point: ``killed(dataset, name, arguments, stage=…)``."""

    def run(dataset: Any, function: str, arguments: dict[str, Any], **point: Any) -> None:
        order = {"dataset": dataset.name, "function": function, "arguments": arguments, **point}
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(json.dumps(order) + "\n")
        worker.stdin.flush()
        assert int(worker.stdout.readline()) == -signal.SIGKILL, f"not killed at {point}"

    return run
