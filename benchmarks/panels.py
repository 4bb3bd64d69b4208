"""How long the App's panels take to appear and to answer, in a real browser, and what they send to it.

Makes a dataset of 60,000 small images on a database of its own, with hardness, a marking of 600 pairs (1,200 HoneyImages),
two verifications and an evaluation of FiftyOne's own. Everything is written as a real run writes it; only the trainings
are left out: hardness is drawn at random, and the suspects' answers are. Then Chromium opens the panels: this project's
and, as the measure, FiftyOne's builtin Model Evaluation panel, on the same dataset in the same run.

    python -m benchmarks.panels [--images 60000] [--pairs 600] [--folder FOLDER]

A folder that is named is kept, and a dataset that lies there is measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from app_page import launch_app, open_browser
from browser import find_browser

from .panels_clicks import BUILTIN, EVALUATION, ITS_SAMPLES, OTHER_SAMPLES, SCENARIOS
from .panels_dataset import SEED, build, media
from .panels_timing import bytes_sent, time_panel
from .private_fiftyone import private_fiftyone
from .results_io import RESULTS, write_results

#: Numbers of images whose panels' bytes are compared, with markings of at most so many pairs
SIZES, BYTES_PAIRS = (600, 6_000, 60_000), 100


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

    paths, labels = media(folder, max(num_images, *sizes))
    name = build(f"panels-{num_images}-{num_pairs}", paths, labels, num_images, num_pairs)
    few = min(num_pairs, BYTES_PAIRS)
    small = {size: build(f"panels-{size}-{few}", paths, labels, size, few) for size in sizes}
    with launch_app(fo) as address, open_browser(find_browser()) as browser:
        timings: dict[str, Any] = {}
        for scenario in SCENARIOS:
            timings[scenario.panel] = time_panel(browser, address, name, scenario, repeats)
            print(scenario.panel, json.dumps(timings[scenario.panel], indent=2), flush=True)
        sent: dict[str, dict[int, int]] = {
            scenario.panel: {
                size: bytes_sent(browser, address, dataset, scenario)
                for size, dataset in small.items()
            }
            for scenario in SCENARIOS
        }
        print(sent, flush=True)
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
    names = ("first_paint", EVALUATION, ITS_SAMPLES)
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
                f"{click.name} by {ITS_SAMPLES}": round(times[click.name]["median"] / samples, 2)
                for click in scenario.clicks
                if click.answered == OTHER_SAMPLES
            },
        }
    return found


if __name__ == "__main__":
    main()
