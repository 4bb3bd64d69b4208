"""Windows of the real App, a worker for delegated runs, and datasets to look at."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_page import AppPage, open_page
from PIL import Image

PROTECT, VERIFY = "HoneyImage protection", "HoneyImage verification"

#: A machine that does other work too takes its time
TIMEOUT_MS = 120_000


@pytest.fixture
def open_window(
    browser: Any, app_address: str, screens: Callable[[AppPage, str], None]
) -> Iterator[Callable[..., AppPage]]:
    """Opens a dataset in a window of its own: ``window = open_window(dataset)``, 1280×720.

    When the test ends, no window may have seen an error that comes from the plugin.
    """
    windows: list[AppPage] = []

    def open_dataset(dataset: Any, **options: Any) -> AppPage:
        window = open_page(browser, app_address, dataset.name, **options)
        windows.append(window)
        window.page.set_default_timeout(TIMEOUT_MS)
        window.page.get_by_test_id("looker" if len(dataset) else "fo-grid").first.wait_for()
        return window

    yield open_dataset
    errors = [error for window in windows for error in window.errors]
    for number, window in enumerate(windows):
        screens(window, f"end-{number}")
        window.page.context.close()
    assert not errors, "\n".join(errors)


@pytest.fixture
def screens(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[AppPage, str], None]:
    """Saves what a window shows, step by step, below ``$HONEYIMAGE_SCREENSHOTS`` if it is set.

    Else only what it shows in the end, with the test's files: a screenshot takes a quarter of a second and more.
    """
    name = request.node.name
    wanted = os.environ.get("HONEYIMAGE_SCREENSHOTS")
    folder = Path(wanted or tmp_path / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    taken: list[str] = []

    def save(window: AppPage, step: str) -> None:
        taken.append(step)
        if wanted or step.startswith("end-"):
            window.page.screenshot(path=folder / f"{name}-{len(taken):02d}-{step}.png")

    return save


#: Scrolls the panel, and not the page as well
_SCROLL = """element => {
    let box = element.parentElement;
    while (box.scrollHeight <= box.clientHeight || getComputedStyle(box).overflowY === "visible") {
        box = box.parentElement;
    }
    box.scrollTop += element.getBoundingClientRect().top - box.getBoundingClientRect().top - 12;
}"""


@pytest.fixture
def picture() -> Callable[..., None]:
    """Saves a picture for the README below ``$HONEYIMAGE_PICTURES``, where `make screenshots` sets it.

    ``picture(window, "verdict", below="Verification")`` shows the grid and the panel from a text on, in a
    larger window and without what is the same in every picture.
    """

    def save(window: AppPage, name: str, below: str) -> None:
        folder = os.environ.get("HONEYIMAGE_PICTURES")
        if not folder:
            return
        page, usual = window.page, window.page.viewport_size
        page.set_viewport_size({"width": 1600, "height": 1000})
        page.wait_for_timeout(1000)  # plots are drawn anew
        title = page.get_by_text(below, exact=below != "Hardness by class").first
        title.evaluate(_SCROLL)
        page.mouse.move(400, 980)
        page.wait_for_timeout(1000)
        clip = {"x": 300, "y": 76, "width": 1300, "height": 924}
        page.screenshot(path=Path(folder) / f"{name}.png", clip=clip)
        page.set_viewport_size(usual)

    return save


@pytest.fixture
def worker(fo: Any, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A service that executes delegated runs, as a user starts it in a terminal."""
    command = [str(Path(sys.executable).parent / "fiftyone"), "delegated", "launch"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        # LPIPS fetches 233 MB where it can
        "TORCH_HOME": str(tmp_path / "torch"),
        "https_proxy": "http://127.0.0.1:9",
    }
    log = tmp_path / "worker.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
        )
        yield process
        alive = process.poll() is None
        process.terminate()
        process.wait(30)
    assert alive, f"the worker ended: {log.read_text(encoding='utf-8')}"


@pytest.fixture
def noisy_digits(fo: Any, digits: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> Iterator[Any]:
    """300 digits of 16 pixels, one in eight with a wrong label: these are hard, and only a model that saw them knows."""
    images, labels = digits
    dataset = fo.Dataset("digits", persistent=True)
    samples = []
    for index in range(300):
        path = tmp_path / "media" / f"{index:04d}.png"
        path.parent.mkdir(exist_ok=True)
        image = Image.fromarray(images[index]).convert("RGB")
        image.resize((16, 16), Image.Resampling.BICUBIC).save(path)
        wrong = 1 + index % 7 if index % 8 == 0 else 0
        label = str((labels[index] + wrong) % 10)
        samples.append(fo.Sample(filepath=str(path), ground_truth=fo.Classification(label=label)))
    dataset.add_samples(samples)
    yield dataset
    if fo.dataset_exists(dataset.name):
        fo.delete_dataset(dataset.name)
