"""How fast proxies are trained, against a textbook PyTorch loop.

Both sides train the same architecture from the same weights on the same images of CIFAR-10, for
the same number of epochs, with the same optimiser, hyperparameters and schedule, and are tested on
the same held-out training images. The textbook side is the loop of the usual tutorials: PIL
images, per-image torchvision transforms, a `DataLoader` with workers, float32. Reading the images
from disk and testing are not timed on either side.

    python -m benchmarks.training --proxy resnet_tiny --epochs 30 --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.datasets import load_cifar10
from benchmarks.results_io import write_results
from fiftyone_honeyimage.core.device import choose_device
from fiftyone_honeyimage.core.models import Normalized, build_model
from fiftyone_honeyimage.core.training import (
    TrainingConfig,
    make_scheduler,
    predict_logits,
    train_models,
)


class PILImages(Dataset):
    """Decoded PIL images with their labels, each transformed when it is drawn."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform) -> None:
        self.images = [Image.fromarray(image) for image in images]
        self.labels = labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def train_textbook(
    network: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    config: TrainingConfig,
    seed: int,
    device: torch.device,
    num_workers: int,
) -> float:
    """Trains as the tutorials do and returns the seconds that it took."""
    torch.manual_seed(seed)
    size = images.shape[1]
    dataset = PILImages(
        images,
        labels,
        transforms.Compose(
            [
                transforms.RandomCrop(size, padding=size // 8),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.25,) * 3),
            ]
        ),
    )
    start = time.perf_counter()
    loader = DataLoader(
        dataset,
        batch_size=config.batch_size,
        shuffle=True,
        num_workers=num_workers,
        pin_memory=device.type == "cuda",
        persistent_workers=num_workers > 0,
    )
    network.to(device).train()
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=True,
    )
    scheduler = make_scheduler(optimizer, config, config.epochs * len(loader))
    for _ in range(config.epochs):
        for batch, truth in loader:
            batch, truth = batch.to(device, non_blocking=True), truth.to(device, non_blocking=True)
            loss = F.cross_entropy(network(batch), truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()

    if device.type == "cuda":
        torch.cuda.synchronize(device)

    return time.perf_counter() - start


def accuracy(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, device: torch.device
) -> float:
    """The share of images that a model gets right, in float32."""
    return (predict_logits(model, images, device=device).argmax(1) == labels).double().mean().item()


def cpu_seconds() -> float:
    """CPU time of this process and of the workers that it has ended: tells a disturbed run."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--proxy", default="resnet_tiny")
    parser.add_argument("--images", type=int, default=4000, help="training images")
    parser.add_argument("--test-images", type=int, default=4000, help="held-out training images")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default=None)
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1))
    parser.add_argument("--threads", type=int, default=None, help="CPU threads, torch's by default")
    parser.add_argument("--name", default="training", help="name of the result file")
    args = parser.parse_args()

    if args.threads:
        torch.set_num_threads(args.threads)

    device = choose_device(args.device)
    config = TrainingConfig(epochs=args.epochs)
    images, labels, classes = load_cifar10(0, args.images + args.test_images)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    truth = torch.from_numpy(labels)
    train_rows, test_rows = slice(0, args.images), slice(args.images, None)

    def build(seed: int) -> Normalized:
        model = build_model(args.proxy, len(classes), input_size=images.shape[1], seed=seed)
        if not isinstance(model, Normalized):
            raise SystemExit(f"{args.proxy} normalises in its own way: name a built-in proxy")
        return model

    # Neither side pays for what the libraries set up on first use
    warm_up = TrainingConfig(epochs=1)
    train_models([build(0)], tensor[:256], truth[:256], config=warm_up, seeds=[0], device=device)
    train_textbook(build(0).network, images[:256], labels[:256], warm_up, 0, device, args.workers)

    sides: dict[str, list[dict[str, float]]] = {"textbook": [], "honeyimage": []}
    for seed in args.seeds:
        for side, runs in sides.items():
            model = build(seed)
            cpu_before = cpu_seconds()
            if side == "textbook":
                seconds = train_textbook(
                    model.network,
                    images[train_rows],
                    labels[train_rows],
                    config,
                    seed,
                    device,
                    args.workers,
                )
            else:
                start = time.perf_counter()
                train_models(
                    [model],
                    tensor[train_rows],
                    truth[train_rows],
                    config=config,
                    seeds=[seed],
                    device=device,
                )
                seconds = time.perf_counter() - start

            run = {
                "seed": seed,
                "seconds": seconds,
                "cpu_seconds": cpu_seconds() - cpu_before,
                "images_per_second": args.images * args.epochs / seconds,
                "train_accuracy": accuracy(model, tensor[train_rows], truth[train_rows], device),
                "test_accuracy": accuracy(model, tensor[test_rows], truth[test_rows], device),
            }
            runs.append(run)
            print(
                f"{side:10s} seed {seed}: {seconds:7.1f} s ({run['cpu_seconds']:.1f} s of CPU), "
                f"{run['images_per_second']:8.0f} images/s, "
                f"train {run['train_accuracy']:.4f}, test {run['test_accuracy']:.4f}",
                flush=True,
            )

        # After every seed, so that an interrupted run keeps what it measured
        figures = {
            "proxy": args.proxy,
            "dataset": f"CIFAR-10 training images 0-{args.images - 1}, tested on the next "
            f"{args.test_images}",
            "epochs": args.epochs,
            "textbook_workers": args.workers,
            "runs": sides,
            **summarize(sides),
        }
        done = [int(run["seed"]) for run in sides["honeyimage"]]
        path = write_results(args.name, figures, device=device, seeds=done)

    test = {side: means["test_accuracy"] for side, means in figures["mean"].items()}
    print(
        f"{args.proxy} on {device}: {figures['speedup']:.2f} times as fast (lowest "
        f"{figures['speedup_lowest']:.2f}; in CPU time {figures['speedup_cpu']:.2f}), test "
        f"accuracy {test['honeyimage']:.4f} against {test['textbook']:.4f}; written to {path}"
    )


def summarize(sides: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """The means of both sides over the seeds, and how many times as fast the trainer is."""
    mean = {
        side: {key: statistics.fmean(run[key] for run in runs) for key in runs[0] if key != "seed"}
        for side, runs in sides.items()
    }
    slow, fast = mean["textbook"], mean["honeyimage"]
    return {
        "mean": mean,
        "speedup": slow["seconds"] / fast["seconds"],
        "speedup_lowest": min(
            one["seconds"] / other["seconds"]
            for one, other in zip(sides["textbook"], sides["honeyimage"], strict=True)
        ),
        "speedup_cpu": slow["cpu_seconds"] / fast["cpu_seconds"],
        "test_accuracy_gain": fast["test_accuracy"] - slow["test_accuracy"],
    }


if __name__ == "__main__":
    main()
