"""Trainings as tasks that any worker can take, in this process or on another machine.

A task is a function of the data's digest, the model and its initial weights, the rows, the configuration and the
seed. It leaves its weights in a folder that all workers reach, under a name made of all of these, so that a fleet
that was cut off goes on where it was, and nothing is trained twice.

Workers come from any ``concurrent.futures.Executor``; docs/fleets.md has examples for Ray, Dask and submitit.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .checkpoints import digest_of, load_checkpoint, save_checkpoint
from .errors import HoneyImageError, ParameterError
from .trainer import train_here
from .training_config import TrainingConfig, TrainingSummary

#: Workers that are threads of one process share torch's generators, and take turns
_TURN = threading.Lock()


def check_workers(executor: Any, folder: Path | None) -> None:
    """Checks who is to train, before anything is.

    Raises:
        ParameterError: if it is no executor, or has no folder to leave anything in
    """
    if executor is None:
        return
    if not callable(getattr(executor, "submit", None)):
        raise ParameterError(
            f"executor must be a concurrent.futures.Executor, not a {type(executor).__name__}"
        )
    if folder is None:
        raise ParameterError("executor needs checkpoint_dir: a folder that its workers reach")


def train_by_tasks(
    models: Sequence[nn.Module],
    images: torch.Tensor,
    labels: torch.Tensor,
    rows: Sequence[torch.Tensor],
    config: TrainingConfig,
    seeds: Sequence[int],
    device: torch.device,
    report: Callable[[int], None],
    *,
    executor: Executor | None,
    folder: Path | None,
) -> list[TrainingSummary]:
    """See :func:`.training.train_models`, whose arguments were checked.

    Args:
        rows: the rows of each model
        report: is called with the epochs that are done, over all models

    Raises:
        ParameterError: if there is no folder, or a model cannot be sent to a worker
    """
    check_workers(executor, folder)
    assert folder is not None  # or this was not called
    folder.mkdir(parents=True, exist_ok=True)
    data = _write_data(images, labels, folder)
    tasks = [
        _task(data, model.cpu(), own, config, seed, device)
        for model, own, seed in zip(models, rows, seeds, strict=True)
    ]
    waiting = [
        partial(train_one, **task)
        if executor is None
        else executor.submit(train_one, **task).result
        for task in tasks
    ]
    summaries = []
    for done, (model, result, task) in enumerate(zip(models, waiting, tasks, strict=True), start=1):
        try:
            result()
        except HoneyImageError:
            raise
        except Exception as error:
            raise ParameterError(
                f"Training the model of seed {task['seed']} failed on a worker: {type(error).__name__}: {error}. "
                "What the others finished is kept; the same call goes on from there"
            ) from error
        found = _finished(Path(task["checkpoint"]))
        if found is None:
            raise ParameterError(
                f"A worker has trained the model of seed {task['seed']}, but '{task['checkpoint']}' is not "
                "here: checkpoint_dir must be a folder that this machine and all workers reach by the same name"
            )
        model.load_state_dict(found["weights"])
        model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        summaries.append(
            TrainingSummary(**{**found["summary"], "losses": tuple(found["summary"]["losses"])})
        )
        report(done * config.epochs)
    return summaries


def train_one(
    data: str,
    model: bytes,
    rows: list[int],
    config: dict[str, Any],
    seed: int,
    device: str,
    checkpoint: str,
) -> None:
    """One task: trains a model, and leaves its weights and summary in the checkpoint, whole or not at all.

    Args:
        data: the file with images and labels
        model: pickled, with its initial weights
        rows: of the images, that it is trained on
        config: of the training
        seed: of the training
        device: where to train
        checkpoint: the file that it leaves; nothing is done if it is there
    """
    if _finished(Path(checkpoint)) is not None:
        return
    content = load_checkpoint(Path(data))
    module = pickle.loads(model)
    own = [torch.tensor(rows, dtype=torch.int64)]
    images, labels, where = content["images"], content["labels"], torch.device(device)
    with _TURN:
        (summary,) = train_here(
            [module],
            images,
            labels,
            own,
            TrainingConfig(**config),
            [seed],
            where,
            lambda done: None,
        )
    weights = {name: value.cpu().contiguous() for name, value in module.state_dict().items()}
    save_checkpoint(
        Path(checkpoint),
        {"weights": weights, "summary": {**asdict(summary), "losses": list(summary.losses)}},
    )


def _task(
    data: Path,
    model: nn.Module,
    rows: torch.Tensor,
    config: TrainingConfig,
    seed: int,
    device: torch.device,
) -> dict[str, Any]:
    try:
        pickled = pickle.dumps(model)
    except Exception as error:
        raise ParameterError(
            f"A {type(model).__name__} cannot be sent to a worker ({type(error).__name__}: {error}); define it at "
            "the top of a module that the workers can import"
        ) from error
    own = rows.tolist()
    decides = {
        "data": data.stem,
        "model": repr(model),
        "initial": digest_of(model.state_dict()),
        "rows": hashlib.sha256(json.dumps(own).encode()).hexdigest(),
        "config": asdict(config),
        "seed": seed,
        # Other arithmetic, other weights
        "device": device.type,
        "torch": torch.__version__,
    }
    name = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return {
        "data": str(data),
        "model": pickled,
        "rows": own,
        "config": asdict(config),
        "seed": seed,
        "device": str(device),
        "checkpoint": str(data.parent / f"{name}.pt"),
    }


def _write_data(images: torch.Tensor, labels: torch.Tensor, folder: Path) -> Path:
    """Images and labels once in a file that is named by what they are."""
    content = {"images": images.cpu().contiguous(), "labels": labels.cpu().contiguous()}
    path = folder.resolve() / f"{digest_of(content)}.data"
    if not path.exists():
        save_checkpoint(path, content)
    return path


def _finished(checkpoint: Path) -> Any:
    """What a task left; None if there is nothing, or it is damaged and has to be made again."""
    try:
        return load_checkpoint(checkpoint)
    except FileNotFoundError:
        return None
    except Exception:  # whatever a damaged file does to the one that reads it
        return None
