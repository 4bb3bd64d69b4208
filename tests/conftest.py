"""What the tests share: a private FiftyOne on a database of its own, small real images, a browser.

Tests of ``core/`` use none of it: the database starts when FiftyOne is first imported, and not before.
"""

from __future__ import annotations

import atexit
import importlib
import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_page import launch_app, open_browser, open_page
from browser import IN_CI, find_browser
from PIL import Image
from private_database import private_database

ROOT = Path(__file__).resolve().parent.parent

# FiftyOne cleans up at exit. What is registered before it is imported runs after it: last of all the database stops.
_RESOURCES = ExitStack()
atexit.register(_RESOURCES.close)
_PRIVATE = Path(
    _RESOURCES.enter_context(
        tempfile.TemporaryDirectory(prefix="honeyimage-tests-", ignore_cleanup_errors=True)
    )
)


def _isolate_fiftyone() -> None:
    """Keeps the user's own FiftyOne out of the tests, and the tests out of it; subprocesses inherit this."""
    for name in [name for name in os.environ if name.startswith("FIFTYONE_")]:
        del os.environ[name]
    os.environ.update(
        {
            # Nothing listens there until the private database has started
            "FIFTYONE_DATABASE_URI": "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=2000",
            "FIFTYONE_DATABASE_DIR": str(_PRIVATE / "db"),
            "FIFTYONE_CONFIG_PATH": str(_PRIVATE / "config.json"),
            "FIFTYONE_APP_CONFIG_PATH": str(_PRIVATE / "app_config.json"),
            "FIFTYONE_DEFAULT_DATASET_DIR": str(_PRIVATE / "media"),
            "FIFTYONE_DATASET_ZOO_DIR": str(_PRIVATE / "media"),
            "FIFTYONE_MODEL_ZOO_DIR": str(_PRIVATE / "models"),
            "FIFTYONE_PLUGINS_DIR": str(_PRIVATE / "plugins"),
            "FIFTYONE_DO_NOT_TRACK": "true",
            "FIFTYONE_SHOW_PROGRESS_BARS": "false",
        }
    )
    plugins = _PRIVATE / "plugins"
    plugins.mkdir()
    (plugins / "honeyimage").symlink_to(ROOT, target_is_directory=True)


class _DatabaseFirst(MetaPathFinder):
    """Starts the private database the moment before FiftyOne is imported: importing it connects to one."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname == "fiftyone":
            sys.meta_path.remove(self)
            uri = _RESOURCES.enter_context(private_database(_PRIVATE / "db"))
            os.environ["FIFTYONE_DATABASE_URI"] = uri


_isolate_fiftyone()
sys.meta_path.insert(0, _DatabaseFirst())


@pytest.fixture(scope="session")
def fo() -> Any:
    """FiftyOne on the private database, with this repository linked as a plugin."""
    return importlib.import_module("fiftyone")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real images, ``$HONEYIMAGE_DATA``."""
    folder = os.environ.get("HONEYIMAGE_DATA")
    if not folder:
        pytest.skip("HONEYIMAGE_DATA is not set: it names a folder of real images")
    if not Path(folder).is_dir():
        pytest.fail(f"HONEYIMAGE_DATA={folder} is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's handwritten digits: uint8 images (1797, 8, 8), int64 labels (1797,)."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    # Sixteen grey levels on grey paper: black and white areas have no room for a mark
    return (64 + loaded.images * 8).astype(np.uint8), loaded.target.astype(np.int64)


@pytest.fixture
def write_digits(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> Callable[..., list[tuple[Path, str]]]:
    """Writes real images as RGB PNG files: ``write_digits(num=60, classes=3, size=32)``.

    Classes take turns and the images are always the same ones. Returns ``(path, label)`` pairs, labels "0", "1", …
    """

    def write(
        num: int = 60, classes: int = 3, size: int = 32, folder: Path | None = None
    ) -> list[tuple[Path, str]]:
        folder = folder or tmp_path / f"digits-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        images, labels = digits
        of_class = [np.flatnonzero(labels == label) for label in range(classes)]
        files = []
        for index in range(num):
            turn, label = divmod(index, classes)
            image = Image.fromarray(images[of_class[label][turn]]).convert("RGB")
            path = folder / f"{index:04d}.png"
            image.resize((size, size), Image.Resampling.BICUBIC).save(path)
            files.append((path, str(label)))
        return files

    return write


@pytest.fixture
def make_digits_dataset(
    fo: Any, write_digits: Callable[..., list[tuple[Path, str]]]
) -> Iterator[Callable[..., Any]]:
    """Makes a classification dataset of digits: ``make_digits_dataset(num=60, classes=3, size=32)``.

    Labels are in the field ``ground_truth``, names are unique, and the datasets are deleted after the test.
    """
    made = []

    def make(
        num: int = 60, classes: int = 3, size: int = 32, label_field: str = "ground_truth"
    ) -> Any:
        dataset = fo.Dataset(f"digits-{uuid.uuid4().hex[:12]}")
        made.append(dataset.name)
        dataset.add_samples(
            [
                fo.Sample(filepath=str(path), **{label_field: fo.Classification(label=label)})
                for path, label in write_digits(num, classes, size)
            ]
        )
        return dataset

    yield make
    for name in made:
        if fo.dataset_exists(name):
            fo.delete_dataset(name)


@pytest.fixture
def make_marked(
    fo: Any,
    make_digits_dataset: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Any]:
    """Makes a marked dataset without much training: ``make_marked(num_pairs=14)``, marking ``honey``."""
    fhi = importlib.import_module("fiftyone_honeyimage")
    files = importlib.import_module("fiftyone_honeyimage.core.pipeline.crafting")
    monkeypatch.setattr(files, "_load_lpips", lambda file: (None, "not asked for"))

    def make(num_pairs: int = 14, **kwargs: Any) -> Any:
        dataset = make_digits_dataset(num=72, size=8)
        # After one epoch a class is the hardest as a whole, and all of it is marked
        tiny = {"proxy": "resnet_tiny", "training": {"epochs": 4}, "device": "cpu"}
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
            **{"method": "honeyimage", **kwargs},
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


@pytest.fixture(scope="session")
def digits_module(digits: tuple[np.ndarray, np.ndarray]) -> Any:
    """A linear classifier of 8-pixel digits in ten classes, trained on those after the first 900."""
    torch = importlib.import_module("torch")
    images, labels = digits
    x = torch.from_numpy(images[900:]).float().div(255).unsqueeze(1).expand(-1, 3, -1, -1)
    y = torch.from_numpy(labels[900:])
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()
        optimizer.step()
    return module.eval()


@pytest.fixture(scope="session")
def browser_path() -> str | None:
    """Where a browser is that works."""
    return find_browser()


@pytest.fixture
def browser(browser_path: str | None) -> Iterator[Any]:
    """A headless Chromium, for one test.

    Playwright runs an event loop in this thread as long as it is open, and FiftyOne's operators return
    tasks instead of results where one runs: so it is closed before the next test.
    """
    if browser_path is None:
        reason = "no browser that works was found; `make test` says how to get one"
        if IN_CI:
            pytest.fail(reason)
        pytest.skip(reason)

    with open_browser(browser_path) as chromium:
        yield chromium


@pytest.fixture(scope="session")
def app_address(fo: Any) -> Iterator[str]:
    """The address of a running FiftyOne App that can schedule runs, which its own process alone decides."""
    with ExitStack() as running:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS", "true")
            address = running.enter_context(launch_app(fo))
        yield address


@pytest.fixture
def open_app(browser: Any, app_address: str) -> Iterator[Callable[[Any], Any]]:
    """Opens a dataset in the App, ``page = open_app(dataset)``, and waits until its images show."""
    contexts = []

    def open_dataset(dataset: Any) -> Any:
        page = open_page(browser, app_address, dataset.name, width=1440, height=900).page
        contexts.append(page.context)
        page.set_default_timeout(120_000)
        page.get_by_test_id("looker" if len(dataset) else "fo-grid").first.wait_for()
        return page

    yield open_dataset
    for context in contexts:
        context.close()


@pytest.fixture
def screenshot() -> Callable[[Any, str], None]:
    """Saves a page as ``<name>.png`` under ``$HONEYIMAGE_SCREENSHOTS``, if it is set."""

    def save(page: Any, name: str) -> None:
        folder = os.environ.get("HONEYIMAGE_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"{name}.png")

    return save
