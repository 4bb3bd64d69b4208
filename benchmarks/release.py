"""How fast a release is written and checked, beside FiftyOne's plain export of the same files.

Marks EuroSAT's 27,000 JPEG files (from $HONEYIMAGE_DATA; short trainings, since only the files matter here) on a
database of its own. Then writes the same set by ``dataset.export`` and by ``export_release`` with
``reencode="marked"`` and ``reencode="all"``, in turns, and compares files per second within the run.

    python -m benchmarks.release [--rounds 2] [--per-class N]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from .datasets import dataset_of_folders, unpack_eurosat
from .private_fiftyone import private_fiftyone
from .results_io import write_results

#: As many as the paper marks, one in a hundred, and the default number of twins
SHARE, PAIRS = 100, 36


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-class", type=int, help="at most so many files of a class")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is written")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        stack.enter_context(private_fiftyone(folder))
        figures = measure(folder, options.per_class, options.rounds)
    print(write_results("release", figures, seeds=[51]))


def measure(folder: Path, per_class: int | None, rounds: int) -> dict[str, Any]:
    """Marks the files, writes them each way, and prints the rates."""
    import fiftyone as fo

    import fiftyone_honeyimage as fhi

    paths = unpack_eurosat(folder / "media", per_class)
    dataset = dataset_of_folders("release", paths)
    quick: dict[str, Any] = {
        "proxy": "resnet_tiny",
        "training": {"epochs": 1},
        "device": "cpu",
        "progress": False,
    }
    fhi.compute_hardness(dataset, "ground_truth", **quick)
    fhi.generate_honeyimages(
        dataset,
        "ground_truth",
        "honey",
        num_honeyimages=max(PAIRS, len(paths) // SHARE),
        num_pairs=PAIRS,
        num_steps=4,
        step_size=1,
        **quick,
    )
    originals = dataset.match_tags("honeyimage", bool=False)

    made: list[Path] = []
    seconds: dict[str, list[float]] = {"plain export": [], "marked": [], "all": []}
    for number in range(rounds):
        for name in seconds:
            target = folder / f"{name}-{number}"
            start = time.perf_counter()
            if name == "plain export":
                originals.export(
                    export_dir=str(target),
                    dataset_type=fo.types.ImageClassificationDirectoryTree,
                    label_field="ground_truth",
                )
            else:
                fhi.export_release(
                    dataset, "honey", target, reencode=name, unpublished=made, progress=False
                )
                made.append(target)
            seconds[name].append(round(time.perf_counter() - start, 3))
            count = sum(len(files) for _, _, files in os.walk(target))
            rate = count / seconds[name][-1]
            print(
                f"{name:<14}{count:>8,} files{seconds[name][-1]:>9.1f} s{rate:>9.0f} files/s",
                flush=True,
            )
            shutil.rmtree(target)

    rates = {name: len(paths) / median(found) for name, found in seconds.items()}
    ratios = {name: rates[name] / rates["plain export"] for name in ("marked", "all")}
    for name, ratio in ratios.items():
        print(f"reencode='{name}': {ratio:.2f} of the plain export's files per second")
    dataset.delete()
    return {
        "num_images": len(paths),
        "seconds": seconds,
        "files_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "ratio_to_plain_export": {name: round(ratio, 3) for name, ratio in ratios.items()},
    }


if __name__ == "__main__":
    main()
