"""How long the App's panels take to appear and to answer, in a real browser, and what they send to it.

Makes a dataset of 60,000 small images on a database of its own, with hardness, a marking of 600 pairs (1,200 HoneyImages),
three verifications and an evaluation of FiftyOne's own. Everything is written as a real run writes it; only the trainings
are left out: hardness is drawn at random, and the suspects' answers are. Then Chromium opens the panels: this project's
and, as the measure, FiftyOne's builtin Model Evaluation panel, on the same dataset in the same run.

    python -m benchmarks.panels [--images 60000] [--pairs 600] [--folder FOLDER]

A folder that is named is kept, and a dataset that lies there is measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from .overhead import SIZE, write_images
from .results_io import RESULTS, write_results

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from app_page import AppPage, launch_app, open_page
from browser import LAUNCH_ARGUMENTS, find_browser
from private_database import private_database

ROOT = Path(__file__).parents[1]

#: Numbers of images whose panels' bytes are compared, with markings of at most so many pairs
SIZES, BYTES_PAIRS = (600, 6_000, 60_000), 100
SEED = 0
SETTLE_MS = 2_000
TIMEOUT_MS = 180_000

#: Clicks of the builtin panel, with which this project's are compared
_EVALUATION, _ITS_SAMPLES = "an evaluation", "wrong predictions"

LABELS = "ground_truth"
PROTECT, VERIFY, BUILTIN = "HoneyImage protection", "HoneyImage verification", "Model Evaluation"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60_000, help="at most 100,000")
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the figures")
    options = parser.parse_args()

    with ExitStack() as stack:
        folder = options.folder
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(private_fiftyone(folder))
        figures = measure(
            folder, options.images, options.pairs, sizes=options.sizes, repeats=options.repeats
        )
    print(write_results("panels", figures, seeds=[SEED], folder=options.results))


@contextmanager
def private_fiftyone(folder: Path) -> Iterator[None]:
    """FiftyOne with nothing but this plugin, on a database in a folder; before FiftyOne is imported."""
    folder = folder.resolve()
    plugins = folder / "plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    link = plugins / "honeyimage"
    if not link.is_symlink():
        link.symlink_to(ROOT, target_is_directory=True)
    with private_database(folder / "db") as uri:
        os.environ.update(
            FIFTYONE_DATABASE_URI=uri,
            FIFTYONE_DEFAULT_DATASET_DIR=str(folder / "datasets"),
            FIFTYONE_DO_NOT_TRACK="true",
            FIFTYONE_PLUGINS_DIR=str(plugins),
            FIFTYONE_SHOW_PROGRESS_BARS="false",
        )
        yield


@dataclass(frozen=True)
class Click:
    """Something to click in a panel.

    Attributes:
        name: what it is called in the results
        act: clicks it
        answered: JavaScript that is true once the answer is painted
    """

    name: str
    act: Callable[[AppPage], None]
    answered: str


@dataclass(frozen=True)
class Scenario:
    """A panel, and what is clicked in it, one after the other.

    Attributes:
        panel: its label
        painted: JavaScript that is true once the panel shows its data
        clicks: see :class:`Click`
    """

    panel: str
    painted: str
    clicks: tuple[Click, ...] = ()


def _has(selector: str, text: str = "") -> str:
    """JavaScript: whether some element shows, with a text if there is one."""
    return (
        f"[...document.querySelectorAll({json.dumps(selector)})].some(e => e.getClientRects().length"
        f" && e.textContent.includes({json.dumps(text)}))"
    )


#: The grid shows another number of samples than before
_OTHER_SAMPLES = (
    "document.querySelector('[data-cy=entry-counts]')?.textContent !== window.counted && "
    + _has("[data-cy=looker]")
)


def _bar(window: AppPage) -> None:
    bars = window.plot("Hardness by class").locator(".bars path")
    window.click_plot(bars.first, "a bar")


def _point(label: str) -> Callable[[AppPage], None]:
    return lambda window: window.click_plot(
        window.plot(label).locator("path.point").first, "a point"
    )


def _picture(window: AppPage) -> None:
    window.page.get_by_alt_text("HoneyImage of sample").first.click()


def _button(label: str) -> Callable[[AppPage], None]:
    return lambda window: window.press(label)


def _form(label: str) -> Callable[[AppPage], None]:
    """Presses a button that opens a form, once the form before it is closed."""

    def act(window: AppPage) -> None:
        _close_form(window)
        window.press(label)

    return act


def _close_form(window: AppPage) -> None:
    if window.form.count():
        window.page.keyboard.press("Escape")
        window.form.wait_for(state="detached")


def _in_form(text: str) -> str:
    return _has("[role=dialog]", text)


def _wrong_predictions(window: AppPage) -> None:
    row = window.page.locator("tr").filter(has_text="Incorrect")
    row.locator("svg").last.click()


SCENARIOS = (
    Scenario(
        PROTECT,
        " && ".join(map(_has, (".bars path", "path.point", "img[src^='data:image']"))),
        (
            Click("a bar of the histogram", _bar, _OTHER_SAMPLES),
            Click("suspected label errors", _button("Show suspected label errors"), _OTHER_SAMPLES),
            Click("a HoneyImage and its original", _picture, _OTHER_SAMPLES),
            Click("all HoneyImages", _button("Show all HoneyImages"), _OTHER_SAMPLES),
            Click("form Compute hardness", _form("Compute hardness…"), _in_form("Hardness field")),
            Click(
                "form Generate HoneyImages",
                _form("Generate HoneyImages…"),
                _in_form("Name of the marking"),
            ),
            Click(
                "form Export release", _form("Export release…"), _in_form("Folder of the release")
            ),
            Click("form Verify a model", _form("Verify a model…"), _in_form("Model file")),
        ),
    ),
    Scenario(
        VERIFY,
        f"{_has('path.point')} && {_has('p', 'Not shown to be derived')}",
        (
            Click(
                "another verification",
                lambda window: window.choose_in_panel("Verification", "thief"),
                f"{_has('path.point')} && {_has('p', 'Derived from the release:')}",
            ),
            Click("a pair in the plot", _point("Loss on released"), _OTHER_SAMPLES),
            Click("section Pairs", _button("Pairs"), _has("th", "Withheld")),
            Click(
                "section Loss gap",
                _button("Loss gap"),
                f"{_has('*', 'never decide')} && {_has('.bars path')}",
            ),
            Click("section Compare", _button("Compare"), _has("th", "Holm")),
            Click("section Record", _button("Record"), _has("th", "Provenance")),
            # The next opening may show what this one showed last
            Click(
                "the first verification again",
                lambda window: window.choose_in_panel("Verification", "innocent"),
                f"{_has('path.point')} && {_has('p', 'Not shown to be derived')}",
            ),
            Click("form Export evidence", _form("Export evidence…"), _in_form("File")),
        ),
    ),
    # What the App's own panel takes: its list, one evaluation with its plots, and samples from a click
    Scenario(
        BUILTIN,
        _has("p", "1 Model Evaluations"),
        (
            Click(
                _EVALUATION,
                lambda window: window.page.get_by_text("evaluation", exact=True).last.click(),
                " && ".join((_has(".bars path"), _has("td", "Incorrect"))),
            ),
            Click(_ITS_SAMPLES, _wrong_predictions, _OTHER_SAMPLES),
        ),
    ),
)


def measure(
    folder: Path, num_images: int, num_pairs: int, *, sizes: Sequence[int], repeats: int
) -> dict[str, Any]:
    """Builds the datasets, opens the App and measures.

    Args:
        folder: where media, markings and the database lie
        num_images, num_pairs: of the dataset that is timed
        sizes: numbers of images of the datasets whose panels' bytes are compared
        repeats: how often each panel is opened, each time in a fresh page

    Returns:
        the figures; times are in seconds
    """
    import fiftyone as fo
    from playwright.sync_api import sync_playwright

    paths, labels = _media(folder, max(num_images, *sizes))
    name = build(f"panels-{num_images}-{num_pairs}", paths, labels, num_images, num_pairs)
    few = min(num_pairs, BYTES_PAIRS)
    small = {size: build(f"panels-{size}-{few}", paths, labels, size, few) for size in sizes}
    with launch_app(fo) as address, sync_playwright() as playwright:
        playwright.selectors.set_test_id_attribute("data-cy")
        browser = playwright.chromium.launch(executable_path=find_browser(), args=LAUNCH_ARGUMENTS)
        timings: dict[str, Any] = {}
        for scenario in SCENARIOS:
            timings[scenario.panel] = _time(browser, address, name, scenario, repeats)
            print(scenario.panel, json.dumps(timings[scenario.panel], indent=2), flush=True)
        sent: dict[str, dict[int, int]] = {
            scenario.panel: {
                size: _bytes_sent(browser, address, dataset, scenario)
                for size, dataset in small.items()
            }
            for scenario in SCENARIOS
        }
        print(sent, flush=True)
        browser.close()
    return {
        "num_images": num_images,
        "num_pairs": num_pairs,
        "repeats": repeats,
        # Beside it stands what else the machine did
        "load_average_of_five_minutes": round(os.getloadavg()[1], 1),
        "seconds": timings,
        "ratios": _ratios(timings),
        "bytes_sent": {
            panel: {str(n): count for n, count in of.items()} for panel, of in sent.items()
        },
        "bytes_pairs": few,
    }


def _ratios(timings: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Medians of this project's panels by those of the builtin panel: first paint, and samples from a click.

    The builtin panel opens with a list of names; its figures and plots come with a second click.
    """
    names = ("first_paint", _EVALUATION, _ITS_SAMPLES)
    listed, evaluation, samples = (timings[BUILTIN][name]["median"] for name in names)
    found: dict[str, dict[str, float]] = {}
    for scenario in SCENARIOS:
        if scenario.panel == BUILTIN:
            continue
        times = timings[scenario.panel]
        paint = times["first_paint"]["median"]
        found[scenario.panel] = {
            "first paint by its list": round(paint / listed, 2),
            "first paint by its list and an evaluation": round(paint / (listed + evaluation), 2),
            **{
                f"{click.name} by {_ITS_SAMPLES}": round(times[click.name]["median"] / samples, 2)
                for click in scenario.clicks
                if click.answered == _OTHER_SAMPLES
            },
        }
    return found


def _media(folder: Path, count: int) -> tuple[list[str], list[str]]:
    """Image files and their labels; those that an earlier run left are taken again."""
    listed = folder / "media.json"
    if not listed.exists():
        paths, labels, _ = write_images(folder / "media", count)
        listed.write_text(json.dumps([paths, labels]))
    paths, labels = json.loads(listed.read_text())
    if len(paths) < count:
        raise SystemExit(f"{folder} holds {len(paths):,} images; name another folder")
    return paths, labels


def _time(
    browser: Any, address: str, dataset: str, scenario: Scenario, repeats: int
) -> dict[str, Any]:
    """Opens a panel again and again and clicks; the very first opening is told apart.

    It is the first time that the server hears of the panel: it imports what the panel needs.
    """
    runs: list[dict[str, dict[str, float]]] = []
    for _ in range(1 + repeats):
        window = _open(browser, address, dataset)
        found = {"first_paint": _opening(window, scenario)}
        for click in scenario.clicks:
            found[click.name] = _answer_time(window, partial(click.act, window), click.answered)
        runs.append(found)
        print(scenario.panel, {name: times["total"] for name, times in found.items()}, flush=True)
        _close(window, scenario)
    cold, *warm = runs
    return {
        "first_opening_of_a_server": cold["first_paint"]["total"],
        **{
            name: {
                "median": round(statistics.median(run[name]["total"] for run in warm), 3),
                "largest": max(run[name]["total"] for run in warm),
                "answer_of_the_panel": round(
                    statistics.median(run[name]["panel"] for run in warm), 3
                ),
                "after_data_arrived": round(
                    statistics.median(run[name]["after_data"] for run in warm), 3
                ),
            }
            for name in cold
        },
    }


def _open(browser: Any, address: str, dataset: str) -> AppPage:
    # The server remembers the view that was shown last; this one has its own number of samples
    window = open_page(browser, address, f"{dataset}?view=honey")
    window.page.set_default_timeout(TIMEOUT_MS)
    window.page.get_by_test_id("looker").first.wait_for()
    # The grid goes on loading for a moment, which is not the panel's doing
    window.page.wait_for_timeout(SETTLE_MS)
    return window


def _close(window: AppPage, scenario: Scenario) -> None:
    """Closes the panel too: the server would open it in the next page."""
    _close_form(window)
    window.close_tab(scenario.panel)
    window.page.wait_for_timeout(SETTLE_MS)
    window.page.context.close()


def _opening(window: AppPage, scenario: Scenario) -> dict[str, float]:
    window.page.get_by_test_id("new-panel-btn").first.click()
    entry = window.page.get_by_text(scenario.panel, exact=True).first
    return _answer_time(window, entry.click, scenario.painted)


#: Notes what the grid shows, and when the mouse goes down, in the page's own clock
_WATCH = """() => {
    performance.clearResourceTimings();
    window.pressed = null;
    window.counted = document.querySelector("[data-cy=entry-counts]").textContent;
    window.pressed = performance.now();  // a menu may keep the mouse's events to itself
    for (const kind of ["pointerdown", "mousedown"])
        addEventListener(kind, () => { window.pressed = performance.now() }, {capture: true});
}"""

#: Two frames later at the latest, what is true now is on the screen
_PAINTED = """() => (%s) && new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
    const ends = performance.getEntriesByType("resource")
        .filter(entry => entry.name.includes("/operators/execute")).map(entry => entry.responseEnd)
        .filter(end => end >= window.pressed);
    const end = performance.now();  // a builtin panel may ask no operator
    done({start: window.pressed, first: Math.min(end, ...ends), data: ends.length ? Math.max(...ends) : 0, end});
})))"""


def _answer_time(window: AppPage, act: Callable[[], None], answered: str) -> dict[str, float]:
    """Seconds from a click to its painted answer, to the panel's own answer, and from the last data to the paint.

    The panel's own answer tells the App which samples to show; the App then loads them by itself.
    """
    window.page.evaluate(_WATCH)
    act()
    times = window.page.wait_for_function(_PAINTED % answered, polling="raf").json_value()
    total, after = times["end"] - times["start"], times["end"] - (times["data"] or times["start"])
    first = times["first"] - times["start"]
    return {
        "total": round(total / 1000, 3),
        "panel": round(first / 1000, 3),
        "after_data": round(after / 1000, 3),
    }


def _bytes_sent(browser: Any, address: str, dataset: str, scenario: Scenario) -> int:
    """Bytes that the server sends for a panel until it is painted, before compression."""
    window, sent = _open(browser, address, dataset), []

    def count(response: Any) -> None:
        if "/operators/execute" in response.url:
            sent.append(response)

    window.page.on("response", count)
    _opening(window, scenario)
    window.page.wait_for_timeout(SETTLE_MS)
    total = sum(len(response.body()) for response in sent)
    _close(window, scenario)
    return total


def build(
    name: str, paths: Sequence[str], labels: Sequence[str], num_images: int, num_pairs: int
) -> str:
    """Makes a marked dataset as real runs make it, but without any training, unless it is there already.

    Returns:
        its name
    """
    import fiftyone as fo

    import fiftyone_honeyimage as fhi
    from fiftyone_honeyimage.core.marking import honeyimage
    from fiftyone_honeyimage.dataset import honeyimage_files

    if fo.dataset_exists(name):
        dataset = fo.load_dataset(name)
        if dataset.info.get("complete"):
            return name
        dataset.delete()
    dataset = _scored(paths[:num_images], labels[:num_images]).clone(name, persistent=True)
    # Proxies keep the weights that they were drawn with
    with (
        patch.object(honeyimage, "train_models", lambda *args, **settings: []),
        patch.object(honeyimage_files, "_load_lpips", lambda file: (None, "not measured")),
    ):
        fhi.generate_honeyimages(
            dataset,
            LABELS,
            "honey",
            num_honeyimages=num_pairs,
            num_pairs=num_pairs,
            exclude=(),
            num_steps=1,
            progress=False,
            **_QUICK,
        )
    rng = np.random.default_rng(SEED)
    for key, released in (("thief", 2.0), ("innocent", 0.0)):
        _answer(dataset, f"{key}_logits", released, rng)
        fhi.verify_model(dataset, "honey", f"{key}_logits", key, progress=False)
    dataset.info["complete"] = True
    dataset.save()
    return name


_QUICK: dict[str, Any] = {"proxy": "resnet_tiny", "input_size": SIZE, "device": "cpu"}


def _scored(paths: Sequence[str], labels: Sequence[str]) -> Any:
    """A dataset with predictions, FiftyOne's evaluation of them, and hardness that was drawn at random."""
    import fiftyone as fo

    import fiftyone_honeyimage as fhi
    from fiftyone_honeyimage.core.hardness import HardnessResult
    from fiftyone_honeyimage.dataset import hardness

    name = f"scored-{len(paths)}"
    if fo.dataset_exists(name):
        dataset = fo.load_dataset(name)
        if dataset.list_runs():
            return dataset
        dataset.delete()
    rng, classes = np.random.default_rng(SEED), sorted(set(labels))

    def score(images: Any, labels: np.ndarray, num_classes: int, **settings: Any) -> HardnessResult:
        logits = rng.normal(size=(len(labels), num_classes)).astype(np.float32)
        halves = np.zeros(len(labels), np.int8)
        return HardnessResult(rng.exponential(size=len(labels)), logits, halves)

    dataset = fo.Dataset(name, persistent=True)
    guesses = [label if rng.random() < 0.9 else str(rng.choice(classes)) for label in labels]
    dataset.add_samples(
        fo.Sample(
            filepath=path,
            **{LABELS: fo.Classification(label=label)},
            predictions=fo.Classification(label=guess),
        )
        for path, label, guess in zip(paths, labels, guesses, strict=True)
    )
    dataset.evaluate_classifications("predictions", gt_field=LABELS, eval_key="evaluation")
    with patch.object(hardness, "score", score):
        fhi.compute_hardness(dataset, LABELS, progress=False, **_QUICK)
    return dataset


def _answer(dataset: Any, field: str, released: float, rng: np.random.Generator) -> None:
    """Writes a suspect's logits on the HoneyImages; those of released twins' own classes are raised."""
    import fiftyone as fo

    import fiftyone_honeyimage as fhi

    marking = fhi.load_marking(dataset, "honey")
    known = {image.sample_id for image in marking.load_ledger().released_images()}
    classes = sorted(marking.config["classes"])
    honey = dataset.match_tags("honeyimage")
    rows = {}
    for id_, source, label in zip(
        *honey.values(["id", "honey.source", f"{LABELS}.label"]), strict=True
    ):
        row = rng.normal(size=len(classes))
        row[classes.index(label)] += released if source in known else 0.0
        rows[id_] = row.tolist()
    dataset.add_sample_field(field, fo.ListField, subfield=fo.FloatField)
    dataset.set_values(field, rows, key_field="id")


if __name__ == "__main__":
    main()
