"""What crafting takes beside the passes through the models that it cannot do without.

600 images of CIFAR-10 are crafted in 20 rounds with a finished out-model, from the originals to the finished images. The
passes alone train the in-model and compute the gradients of as many images as often, and move nothing. Both are timed by
turns in one process, by the wall and, without what others on the machine take, by the process's own time.

    python -m benchmarks.crafting_speed [--device cuda --proxy wrn28_2]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from fiftyone_honeyimage.core.device import choose_device
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.ascent import gap_gradients, shift_origin
from fiftyone_honeyimage.core.methods.crafting import BATCH
from fiftyone_honeyimage.core.methods.honeyimage import HoneyImageOptions
from fiftyone_honeyimage.core.methods.in_model import train_in_model
from fiftyone_honeyimage.core.methods.request import CraftRequest
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.training import TrainingConfig

from .datasets import load_cifar10, to_tensor
from .results_io import write_results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--rest", type=int, default=1000, help="other images of the in-model")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=1, help="of the first in-model")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--proxy", default="resnet_tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = choose_device(args.device)
    request = make_request(args, device)
    run_passes(request, device, 1)  # what is set up once

    runs: list[dict[str, Any]] = []
    for _ in range(args.repeats):
        run: dict[str, Any] = {}
        run["passes"] = timed(lambda: run_passes(request, device, args.rounds), device)
        ends: dict[str, float] = {}

        def note(stage: str, done: int, total: int, ends: dict[str, float] = ends) -> None:
            if (stage, done) == ("Crafting HoneyImages", total):
                ends["wall"], ends["own"] = now(device)

        start = dict(zip(("wall", "own"), now(device), strict=True))
        run["crafting"] = timed(lambda note=note: craft(request, note), device)
        run["rounds"] = {name: ends[name] - start[name] for name in start}
        for name in ("crafting", "rounds"):
            run[f"{name}_over_passes"] = {
                clock: run[name][clock] / run["passes"][clock] for clock in ("wall", "own")
            }
        print(run, flush=True)
        runs.append(run)
    ratios = {
        f"{name}_{clock}": statistics.median(run[f"{name}_over_passes"][clock] for run in runs)
        for name in ("rounds", "crafting")
        for clock in ("wall", "own")
    }
    print(ratios)
    print(
        write_results(
            "crafting_speed",
            {"setting": vars(args), "runs": runs, "median_ratios_over_passes": ratios},
            device=device,
            seeds=[0],
        )
    )


def make_request(args: argparse.Namespace, device: torch.device) -> CraftRequest:
    """The first images as candidates, those that follow as the rest; an out-model that nobody trained costs as much."""
    images, labels, classes = load_cifar10(0, args.images + args.rest)
    return CraftRequest(
        candidates=list(images[: args.images]),
        candidate_labels=labels[: args.images],
        rest=to_tensor(images[args.images :]),
        rest_labels=labels[args.images :],
        num_classes=len(classes),
        proxy=args.proxy,
        config=TrainingConfig(epochs=args.epochs),
        seed=0,
        device=device,
        options=HoneyImageOptions(num_steps=args.rounds),
        out_model=build_model(args.proxy, len(classes), input_size=images.shape[1], seed=1),
    )


def run_passes(request: CraftRequest, device: torch.device, rounds: int) -> None:
    """Trains the in-model and computes every gradient, on the images as they are."""
    assert request.out_model is not None
    f_out = request.out_model.to(device).eval()
    f_in = None
    labels = torch.as_tensor(request.candidate_labels)
    seen = to_tensor(torch.stack([torch.from_numpy(x) for x in request.candidates]).numpy())
    every = torch.cat([request.rest, seen])
    every_labels = torch.cat([torch.as_tensor(request.rest_labels), labels])
    for step in range(rounds):
        f_in = train_in_model(request, f_in, every, every_labels, step)
        f_in.to(device).eval()
        for start in range(0, len(seen), BATCH):
            now_seen, now_labels = seen[start : start + BATCH], labels[start : start + BATCH]
            origin = shift_origin(request.seed, step)
            gap_gradients(now_seen.float(), now_labels, f_out, f_in, device, origin)


def craft(request: CraftRequest, note: Callable[[str, int, int], None]) -> None:
    """Every round, and the finished images."""
    METHODS["honeyimage"].craft(replace(request, report=note))


def now(device: torch.device) -> tuple[float, float]:
    """Seconds by the wall and of this process, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter(), time.process_time()


def timed(function: Callable[[], Any], device: torch.device) -> dict[str, float]:
    """Seconds by the wall and of this process."""
    wall, own = now(device)
    function()
    wall_end, own_end = now(device)
    return {"wall": wall_end - wall, "own": own_end - own}


if __name__ == "__main__":
    main()
