"""Whether many small proxies are faster trained in one go than one after the other.

Three ways to take the same optimiser steps with K models: one after the other, as the package does; all as one network whose
convolutions have K groups; and ``torch.func.vmap`` over stacked weights (without running statistics of batch norm, which it
cannot keep). In float32, as vmap takes no gradients in bfloat16 on a CPU. Step times of all three in one run, as ratios; images and
labels are drawn at random, as their content does not matter.

    python -m benchmarks.grouped_training
    python -m benchmarks.grouped_training --device cuda --models 1 8 32
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from benchmarks.results_io import write_results
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.side_by_side import put_side_by_side

STEPS = 12
WARM_UP = 3


def one_after_the_other(models: list[nn.Module], images: torch.Tensor, labels: torch.Tensor) -> Any:
    optimizers = [torch.optim.SGD(model.parameters(), 0.01, momentum=0.9) for model in models]

    def step() -> torch.Tensor:
        losses = []
        for number, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            loss = F.cross_entropy(model(images[number]), labels[number])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
        return torch.stack(losses)

    return step


def in_groups(models: list[nn.Module], images: torch.Tensor, labels: torch.Tensor) -> Any:
    shown = images[0, :4].mul(255).byte().cpu()
    whole = put_side_by_side([model.cpu() for model in models], shown)
    assert whole is not None
    whole.to(images.device).train()
    optimizer = torch.optim.SGD(whole.parameters(), 0.01, momentum=0.9)
    side_by_side = images.transpose(0, 1).flatten(1, 2).contiguous()

    def step() -> torch.Tensor:
        logits = whole(side_by_side).transpose(0, 1).flatten(0, 1)
        losses = F.cross_entropy(logits, labels.flatten(), reduction="none")
        losses = losses.view_as(labels).mean(dim=1)
        losses.sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        return losses.detach()

    return step


def by_vmap(models: list[nn.Module], images: torch.Tensor, labels: torch.Tensor) -> Any:
    for model in models:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats = False
                module.running_mean = module.running_var = module.num_batches_tracked = None
    params, buffers = stack_module_state(models)
    params = {name: value.detach() for name, value in params.items()}
    base = copy.deepcopy(models[0]).to("meta")

    def loss(own: Any, fixed: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(functional_call(base, (own, fixed), (x,)), y)

    gradients = vmap(grad_and_value(loss))
    velocity = {name: torch.zeros_like(value) for name, value in params.items()}

    def step() -> torch.Tensor:
        found, losses = gradients(params, buffers, images, labels)
        for name, value in found.items():
            velocity[name].mul_(0.9).add_(value)
            params[name].sub_(velocity[name], alpha=0.01)
        return losses

    return step


WAYS: dict[str, Callable[..., Any]] = {
    "one after the other": one_after_the_other,
    "in groups": in_groups,
    "by vmap": by_vmap,
}


def seconds_a_step(step: Callable[[], torch.Tensor], device: torch.device) -> float:
    """The median time of a step."""
    found = []
    for number in range(WARM_UP + STEPS):
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= WARM_UP:
            found.append(time.perf_counter() - start)
    return statistics.median(found)


def measure(proxy: str, number: int, args: argparse.Namespace) -> dict[str, Any]:
    """The step times of ``number`` models in each way, and how many times as fast as one after the other."""
    device = torch.device(args.device)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for repeat in range(args.repeats):
        generator = torch.Generator().manual_seed(repeat)
        shape = (number, args.batch_size, 3, args.size, args.size)
        images = torch.rand(shape, generator=generator).to(device)
        labels = torch.randint(0, 10, shape[:2], generator=generator).to(device)
        for name, way in WAYS.items():
            models = [
                build_model(proxy, 10, input_size=args.size, seed=seed).to(device).train()
                for seed in range(number)
            ]
            seconds[name].append(seconds_a_step(way(models, images, labels), device))
    first = seconds["one after the other"]
    faster = {
        name: [round(a / b, 3) for a, b in zip(first, own, strict=True)]
        for name, own in seconds.items()
    }
    medians = {name: statistics.median(own) for name, own in faster.items()}
    print(proxy, number, medians, flush=True)
    return {
        "proxy": proxy,
        "models": number,
        "seconds_a_step": seconds,
        "times_as_fast": faster,
        "median": medians,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--models", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--proxies", nargs="+", default=["resnet_tiny", "wrn28_2"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()

    rows = [measure(proxy, number, args) for proxy in args.proxies for number in args.models]
    setting = {key: getattr(args, key) for key in ("batch_size", "size", "repeats")}
    setting |= {"steps": STEPS, "warm_up": WARM_UP, "load": os.getloadavg()}
    write_results(
        "grouped_training",
        {"setting": setting, "rows": rows},
        device=args.device,
        seeds=range(args.repeats),
    )


if __name__ == "__main__":
    main()
