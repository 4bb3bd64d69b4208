"""What training costs on this machine: measured, never assumed.

Run as a program, it measures and prints one JSON object::

    python -m fiftyone_honeyimage.core.training_time '{"proxy": "wrn28_2", "num_classes": 10, "input_size": 32}'
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from threading import Lock

import torch

from .device import choose_device
from .errors import HoneyImageError, ParameterError
from .models import Proxy, build_model
from .training import TrainingConfig, train_models

#: Images of the first steps on a CPU. Small networks are faster by image in large batches, large ones are not
_FEW = 16

#: Seconds that whole batches may take; a CPU that would need more is measured by a few images
_PATIENCE = 10.0

#: Steps that are measured, after one that is not
_NUM_STEPS = 2

#: Seconds for all of it, with starting Python and importing torch
_TIMEOUT = 120

_ONE_AT_A_TIME = Lock()


def measure_training_seconds(
    proxy: Proxy,
    num_classes: int,
    input_size: int,
    batch_size: int = 128,
    precision: str = "auto",
    device: str | torch.device | None = None,
) -> float:
    """Measures how long a proxy takes to train on one image once.

    Trains a new model for two steps on blank images with the real trainer, after a step to warm up.

    Args:
        proxy: see :func:`.models.build_model`
        num_classes: the number of classes
        input_size: side of the images in pixels
        batch_size (128): images a batch; at most 16 on a CPU that would take long over whole ones
        precision ("auto"): see :func:`.device.autocast_dtype`
        device (None): see :func:`.device.choose_device`

    Returns:
        seconds per image and epoch

    Raises:
        ParameterError: if the proxy does not take images of this size, or a value is out of range
    """
    where = choose_device(device)
    model = build_model(proxy, num_classes, input_size=input_size, seed=0)

    def train(batch: int, num_steps: int) -> float:
        """Seconds per image."""
        count = batch * num_steps
        config = TrainingConfig(epochs=1, batch_size=batch, precision=precision)
        images = torch.zeros((count, 3, input_size, input_size), dtype=torch.uint8)
        labels = torch.arange(count) % num_classes
        (summary,) = train_models([model], images, labels, config=config, seeds=[0], device=where)
        return summary.seconds / count

    few = min(batch_size, _FEW)
    train(few, 1)
    if where.type == "cpu":
        seconds = train(few, _NUM_STEPS)
        if few == batch_size or seconds * batch_size * _NUM_STEPS > _PATIENCE:
            return seconds
    else:
        train(batch_size, 1)
    return train(batch_size, _NUM_STEPS)


def training_seconds(
    proxy: str,
    num_classes: int,
    input_size: int,
    batch_size: int = 128,
    precision: str = "auto",
    device: str | None = None,
) -> float:
    """:func:`measure_training_seconds` in a process of its own, once for each set of arguments.

    A process of its own, because a server that measures while another of its threads trains would
    disturb that training's random numbers, and would hold a GPU's memory afterwards. One at a time,
    because two that share the machine would both find it slow: the App asks twice for the same.

    Args:
        proxy: a proxy's name
        num_classes, input_size, batch_size, precision, device: see
            :func:`measure_training_seconds`

    Returns:
        seconds per image and epoch

    Raises:
        ParameterError: if the proxy cannot be measured, with the reason
    """
    request = {
        "proxy": proxy,
        "num_classes": num_classes,
        "input_size": input_size,
        "batch_size": batch_size,
        "precision": precision,
        "device": device,
    }
    with _ONE_AT_A_TIME:
        return _measure_apart(proxy, json.dumps(request))


@lru_cache(maxsize=256)
def _measure_apart(proxy: str, request: str) -> float:
    """What :func:`main` prints in a process of its own."""
    package = Path(__file__).resolve().parents[1]
    # Where the package lies need not be on the path: FiftyOne loads plugins from their files.
    paths = [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"{package.name}.core.training_time", request],
            capture_output=True,
            encoding="utf-8",
            timeout=_TIMEOUT,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(paths),
                "PYTHONIOENCODING": "utf-8",
            },
        )
    except subprocess.TimeoutExpired as error:
        raise ParameterError(
            f"a few training steps of {proxy} take over {_TIMEOUT // 60} minutes here; use a smaller "
            "proxy or a GPU"
        ) from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise ParameterError(f"the speed of {proxy} could not be measured: {lines[-1]}")
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def main(request: str) -> int:
    """Measures what a JSON object asks for and prints the result."""
    try:
        seconds = measure_training_seconds(**json.loads(request))
    except HoneyImageError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({"seconds": seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
