"""What FiftyOne and files cost, without any training: reading, writing a field, adding HoneyImages, export.

Makes a dataset of small PNG files (CIFAR-10 from $HONEYIMAGE_DATA, mirrored once it is used up, else random
pixels) on a database of its own, and times each step once. A further process measures how far its memory grows while it
reads all images, beside the size of their pixels.

    python -m benchmarks.overhead [--images 60000]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from .datasets import CIFAR_SIZE, write_small_images
from .private_fiftyone import private_fiftyone
from .results_io import RESULTS, write_results
from .untrained import without_training

#: As many as the paper marks, one in a hundred, and the default number of twins
SHARE, PAIRS = 100, 36
#: FiftyOne's slow way, sample by sample, is timed on at most so many
SAVED_ONE_BY_ONE = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60_000, help="at most 100,000")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the figures")
    parser.add_argument("--memory", metavar="DATASET", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(measure_memory(options.memory))
        return

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        stack.enter_context(private_fiftyone(folder))
        figures = measure(folder, options.images)
    print(write_results("overhead", figures, seeds=[0], folder=options.results))


def measure(folder: Path, num_images: int) -> dict[str, Any]:
    """Times every step and prints it."""
    import fiftyone as fo

    import fiftyone_honeyimage as fhi
    from fiftyone_honeyimage.core.pipeline.loading import load_images
    from fiftyone_honeyimage.dataset.hardness_fields import write_hardness
    from fiftyone_honeyimage.dataset.samples import read_labels

    steps: dict[str, float] = {}

    def timed(name: str, function: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = function()
        steps[name] = round(time.perf_counter() - start, 3)
        print(f"{name:<58}{steps[name]:>9.2f} s", flush=True)
        return result

    paths, labels, source = write_small_images(folder / "media", num_images)
    dataset = fo.Dataset("overhead")
    samples = (
        fo.Sample(filepath=path, ground_truth=fo.Classification(label=label))
        for path, label in zip(paths, labels, strict=True)
    )
    timed("(FiftyOne itself: add the samples)", lambda: dataset.add_samples(samples))

    labeled = timed("read ids, paths and labels", lambda: read_labels(dataset, "ground_truth"))
    timed("read and decode the images", lambda: load_images(labeled, CIFAR_SIZE))
    scores = np.random.default_rng(0).exponential(size=num_images)
    write = lambda: write_hardness(dataset, labeled.ids, "honey_hardness", scores, scores > 4)  # noqa: E731
    timed("write two fields to every sample", write)
    timed("write them again", write)

    num_honeyimages = max(PAIRS, num_images // SHARE)
    stages: dict[str, float] = {}
    with without_training():
        timed(
            f"mark {num_honeyimages + PAIRS} images, all but the training",
            lambda: fhi.generate_honeyimages(
                dataset,
                "ground_truth",
                "honey",
                method="unperturbed",  # candidates are written as they are
                num_honeyimages=num_honeyimages,
                num_pairs=PAIRS,
                proxy="resnet_tiny",
                input_size=CIFAR_SIZE,
                device="cpu",
                progress=stopwatch(stages),
            ),
        )
    entered = fhi.load_marking(dataset, "honey")
    assert len(entered.view()) == 2 * (num_honeyimages + PAIRS)
    report = timed(
        "export the release and check it",
        lambda: fhi.export_release(dataset, "honey", folder / "release", progress=False),
    )
    assert report.num_images == num_images - PAIRS
    timed("delete the marking", lambda: fhi.delete_run(dataset, "honey", delete_files=True))

    num_saved = min(SAVED_ONE_BY_ONE, num_images)

    def one_by_one() -> None:
        for sample in dataset.limit(num_saved):
            sample["honey_hardness"] = 0.0
            sample.save()

    timed(f"(FiftyOne's slow way: save {num_saved:,} samples one by one)", one_by_one)

    command = [sys.executable, "-m", "benchmarks.overhead", "--memory", dataset.name]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    half_growth, half_pixels, growth, pixels = map(int, answer.split()[-4:])
    # What is taken once, however many images there are, drops out of the difference
    slope = (growth - half_growth) / (pixels - half_pixels)
    print(f"memory grows by {growth / 1e6:.1f} MB; the pixels take {pixels / 1e6:.1f} MB")
    print(f"each further byte of pixels takes {slope:.4f} bytes")
    dataset.delete()
    return {
        "num_images": num_images,
        "image_size": CIFAR_SIZE,
        "source": source,
        "num_honeyimages": num_honeyimages,
        "num_pairs": PAIRS,
        "seconds": steps,
        "seconds_of_marking_by_stage": {name: round(value, 3) for name, value in stages.items()},
        "memory_growth_bytes": growth,
        "uint8_bytes": pixels,
        "memory_growth_bytes_of_half": half_growth,
        "memory_growth_per_uint8_byte": round(slope, 4),
    }


def stopwatch(stages: dict[str, float]) -> Callable[[Any], None]:
    """A progress callback that adds up the time of each stage."""
    last = [time.perf_counter(), ""]

    def look(bar: Any) -> None:
        now = time.perf_counter()
        stages[bar.stage] = stages.get(bar.stage, 0.0) + now - last[0]  # type: ignore[operator]
        last[0] = now

    return look


def measure_memory(name: str) -> str:
    """In a process of its own (on Linux): how far memory grows while images are read, and their size.

    Both in bytes, for half of the images and for all of them.
    """
    import fiftyone as fo

    from fiftyone_honeyimage.core.pipeline.loading import load_images
    from fiftyone_honeyimage.dataset.samples import read_labels

    labeled = read_labels(fo.load_dataset(name), "ground_truth")
    few = labeled.keep(range(min(2_000, len(labeled))))
    load_images(few, CIFAR_SIZE)  # decoders and threads take theirs once
    figures = []
    for part in (labeled.keep(range(len(labeled) // 2)), labeled):
        before = resident_bytes()
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forgets earlier peaks
        loaded = load_images(part, CIFAR_SIZE)
        figures += [resident_bytes(peak=True) - before, loaded.images.nbytes]
        del loaded
    return " ".join(map(str, figures))


def resident_bytes(peak: bool = False) -> int:
    """What the process holds in memory now, or at most has held."""
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
