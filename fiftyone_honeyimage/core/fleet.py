"""Trainings as tasks that any worker can take, in this process or on another machine.

A task is a function of the data's digest, the model and its initial weights, the rows, the configuration and the
seed. It leaves its weights in a folder that all workers reach, under a name made of all of these, so that a fleet
that was cut off goes on where it was, and nothing is trained twice. Whatever is read back is compared with its
digest: what a disk has damaged is made anew.

Workers come from any ``concurrent.futures.Executor``; docs/fleets.md has examples for Ray, Dask and submitit.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..version import __version__
from .checkpoints import digest_of, load_checkpoint, save_checkpoint
from .device import check_name, choose_device
from .errors import ParameterError
from .limits import check_path
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


def check_folder(folder: Any) -> Path | None:
    """``checkpoint_dir`` as a path, before anything is trained; None stays None.

    Raises:
        ParameterError: if it can be no folder, such as an empty text or a file's path
    """
    if folder is None:
        return None
    path = check_path("checkpoint_dir", folder)
    if path.exists() and not path.is_dir():
        raise ParameterError(f"checkpoint_dir '{path}' is a file; give a folder")
    return path


def train_by_tasks(
    models: Sequence[nn.Module],
    images: torch.Tensor,
    labels: torch.Tensor,
    rows: Sequence[torch.Tensor],
    config: TrainingConfig,
    seeds: Sequence[int],
    device: str | torch.device | None,
    report: Callable[[int], None],
    *,
    executor: Executor | None,
    folder: Path | None,
    traced: bool = False,
) -> list[TrainingSummary]:
    """See :func:`.training.train_models`, whose arguments were checked.

    Args:
        rows: the rows of each model
        device: as it was named; None leaves the choice to each worker
        report: is called with the epochs that are done, over all models

    Raises:
        ParameterError: if there is no folder, a model cannot be sent to a worker, or a worker failed
    """
    check_workers(executor, folder)
    assert folder is not None  # or this was not called
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"checkpoint_dir '{folder}' cannot be made: {error}") from error
    data = _write_data(images, labels, folder)
    tasks = [
        _task(data, model.cpu(), own, config, seed, device, traced)
        for model, own, seed in zip(models, rows, seeds, strict=True)
    ]
    # Equal tasks are one: two workers would train it at once
    unique = {task["checkpoint"]: task for task in tasks}
    jobs = {
        name: None if executor is None else _submit(executor, task) for name, task in unique.items()
    }
    sent = [jobs[task["checkpoint"]] for task in tasks]
    here = choose_device(device)
    summaries = []
    for number, (model, job, task) in enumerate(zip(models, sent, tasks, strict=True)):
        before = number * config.epochs

        def epoch_done(epoch: int, before: int = before) -> None:
            report(before + epoch)

        if job is None:
            train_one(**task, report=epoch_done)
        else:
            _wait_for(job, task["seed"])
        found = _finished(Path(task["checkpoint"]))
        if found is None:
            raise ParameterError(
                f"A worker has trained the model of seed {task['seed']}, but '{task['checkpoint']}' is not "
                "here: checkpoint_dir must be a folder that this machine and all workers reach by the same name"
            )
        model.load_state_dict(found["weights"])
        model.to(here, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        summary = {**found["summary"], "losses": tuple(found["summary"]["losses"])}
        summaries.append(TrainingSummary(**summary, trace=found.get("trace")))
        report(before + config.epochs)
    return summaries


def train_one(
    data: str,
    model: bytes,
    rows: list[int],
    config: dict[str, Any],
    seed: int,
    device: str | None,
    checkpoint: str,
    report: Callable[[int], None] | None = None,
    traced: bool = False,
) -> None:
    """One task: trains a model, and leaves its weights and summary in the checkpoint, whole or not at all.

    Args:
        data: the file with images and labels
        model: pickled, with its initial weights
        rows: of the images, that it is trained on
        config: of the training
        seed: of the training
        device: where to train; None for the best that the worker has
        checkpoint: the file that it leaves; nothing is done if it is there
        report (None): is called with the epochs that are done
        traced (False): whether it leaves its images' losses in every epoch

    Raises:
        ParameterError: if the data are damaged, or :func:`.trainer.train_here` raises it
    """
    if is_finished(checkpoint):
        return
    content = read_data(data)
    module = pickle.loads(model)
    with _TURN:
        (summary,) = train_here(
            [module],
            content["images"],
            content["labels"],
            [torch.tensor(rows, dtype=torch.int64)],
            TrainingConfig(**config),
            [seed],
            choose_device(device),
            report or (lambda done: None),
            traced,
        )
    leave(checkpoint, module, summary)


def is_finished(checkpoint: str) -> bool:
    """Whether a task was done before, and what it left is whole."""
    return _finished(Path(checkpoint)) is not None


def read_data(data: str) -> Any:
    """The images and labels of a task, by these names.

    Raises:
        ParameterError: if their file is damaged
    """
    content = _read_data(Path(data))
    if content is None:
        raise ParameterError(f"'{data}' is damaged: make the call again, which writes it anew")
    return content


def leave(checkpoint: str, module: nn.Module, summary: TrainingSummary) -> None:
    """Writes what a task leaves."""
    weights = {name: value.cpu().contiguous() for name, value in module.state_dict().items()}
    told = {**asdict(replace(summary, trace=None)), "losses": list(summary.losses)}
    del told["trace"]  # beside the other tensors, and only where there is one
    left = {"task": Path(checkpoint).stem, "weights": weights, "summary": told}
    if summary.trace is not None:
        left["trace"] = summary.trace.contiguous()
    save_checkpoint(Path(checkpoint), {**left, "sha256": _digest_of_left(left)})


def _submit(executor: Executor, task: dict[str, Any]) -> Any:
    try:
        return executor.submit(train_one, **task)
    except RuntimeError as error:  # shut down, or its workers are gone
        raise ParameterError(
            f"The executor takes no training: {error}. Pass one that is open, and close it after this call"
        ) from error


def _wait_for(job: Any, seed: int) -> None:
    try:
        job.result()
    except Exception as error:
        raise ParameterError(
            f"Training the model of seed {seed} failed on a worker: {type(error).__name__}: {error}. "
            "What the others finished is kept; the same call goes on from there"
        ) from error


def _task(
    data: Path,
    model: nn.Module,
    rows: torch.Tensor,
    config: TrainingConfig,
    seed: int,
    device: str | torch.device | None,
    traced: bool,
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
        "code": sorted({code for module in model.modules() for code in _code_of(type(module))}),  # type: ignore[arg-type]
        "initial": _digest_of_module(model),
        "rows": hashlib.sha256(json.dumps(own).encode()).hexdigest(),
        "config": asdict(config),
        "seed": seed,
        # Other arithmetic, other weights
        "device": None if device is None else check_name(device).type,
        "versions": [__version__, torch.__version__],
        **({"traced": True} if traced else {}),
    }
    name = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return {
        "data": str(data),
        "model": pickled,
        "rows": own,
        "config": asdict(config),
        "seed": seed,
        "device": None if device is None else str(device),
        "checkpoint": str(data.parent / f"{name}.pt"),
        **({"traced": True} if traced else {}),
    }


def _write_data(images: torch.Tensor, labels: torch.Tensor, folder: Path) -> Path:
    """Images and labels once in a file that is named by what they are."""
    content = {"images": images.cpu().contiguous(), "labels": labels.cpu().contiguous()}
    path = folder.resolve() / f"{digest_of(content)}.data"
    if _read_data(path) is None:
        save_checkpoint(path, content)
    return path


def _read_data(path: Path) -> Any:
    """Images and labels; None if they are not there, or not what the file's name says."""
    return _read(path, lambda content: digest_of(content) == path.stem)


def _finished(checkpoint: Path) -> Any:
    """What a task left; None if there is nothing, or it is damaged and has to be made again."""

    def is_whole(content: Any) -> bool:
        # Another task's, under this name, would be other weights
        own = content["task"] == checkpoint.stem
        return bool(own and _digest_of_left(content) == content["sha256"])

    return _read(checkpoint, is_whole)


def _read(path: Path, is_whole: Callable[[Any], bool]) -> Any:
    # torch.load takes a file whose tensors have a flipped bit
    try:
        content = load_checkpoint(path)
        return content if is_whole(content) else None
    except Exception:  # whatever a damaged file does to the one that reads it
        return None


def _digest_of_left(content: Any) -> str:
    weights = digest_of(content["weights"])
    told = {"summary": content["summary"], "task": content["task"], "weights": weights}
    return digest_of({**told, **{name: content[name] for name in ("trace",) if name in content}})


class _Described(pickle.Pickler):
    """Everything of a module: attributes that neither its weights nor its ``repr`` show, and what is frozen."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, torch.Tensor):
            # Its own pickle holds addresses
            held = digest_of({"": obj.detach().cpu().contiguous()})
            return str, (f"{held} {obj.dtype} {obj.requires_grad}",)
        return NotImplemented


def _digest_of_module(model: nn.Module) -> str:
    buffer = io.BytesIO()
    pickler = _Described(buffer)
    # Without memory of what it wrote: equal texts count alike, whether or not they are one object
    pickler.fast = True
    try:
        pickler.dump(model)
    except (ValueError, RecursionError):  # it holds itself
        buffer = io.BytesIO()
        _Described(buffer).dump(model)
    return hashlib.sha256(buffer.getvalue()).hexdigest()


@cache
def _code_of(kind: type) -> tuple[str, ...]:
    """The source of the files of a class and of what it inherits from, helpers and constants too, so that a proxy
    whose code was changed is trained again. Torch's stands in a task by its version."""
    found = []
    for each in kind.__mro__:
        if each.__module__.partition(".")[0] in (
            "torch",
            "torchvision",
            "builtins",
            "abc",
            "typing",
        ):
            continue
        try:
            found.append(Path(inspect.getfile(each)).read_text(encoding="utf-8"))
        except (OSError, TypeError, UnicodeDecodeError):  # written at a prompt
            found.append(each.__qualname__)
    return tuple(found)
