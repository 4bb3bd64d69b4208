"""Training of proxies: on this machine, or as tasks that any worker takes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import torch
from torch import nn

from .device import autocast_dtype, choose_device
from .errors import ParameterError
from .fleet import check_folder, train_by_tasks
from .prediction import cross_entropy, predict_logits
from .progress import Report, silent
from .trainer import train_here
from .training_config import TrainingConfig, TrainingSummary
from .training_data import check_data, check_subset

__all__ = ["TrainingConfig", "TrainingSummary", "cross_entropy", "predict_logits", "train_models"]


def train_models(
    models: Sequence[nn.Module],
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    subsets: Sequence[torch.Tensor | None] | None = None,
    config: TrainingConfig | None = None,
    seeds: Sequence[int],
    device: str | torch.device | None = None,
    report: Report | None = None,
    stage: str = "Training",
    executor: Executor | None = None,
    checkpoint_dir: str | Path | None = None,
    traced: bool = False,
) -> list[TrainingSummary]:
    """Trains models in place, each on its own rows of one set of images.

    The images go to the device once, as bytes, and are cropped, mirrored and converted there a
    batch at a time. The same seeds on the same device and number of threads give the same weights,
    byte for byte, whether models are trained in one call or in several. Torch's global generators
    are left as they were. The models end on the device, in eval mode.

    Args:
        models: the models, which take float images in [0, 1] and return logits
        images: uint8 tensor (N, 3, S, S), RGB
        labels: int64 tensor (N,); only those of a model's own rows are looked at
        subsets (None): for each model the rows it is trained on (int64 tensor, without repetition),
            or None for all rows
        config (None): a :class:`TrainingConfig`; by default one with its defaults
        seeds: for each model the seed of its batches, augmentation and dropout
        device (None): see :func:`.device.choose_device`; with an executor each worker chooses, if it is None
        report (None): called after every epoch with the epochs done, over all models; with an executor after every
            model
        stage ("Training"): the stage named to ``report``
        executor (None): trains the models wherever it has workers, at once; see :mod:`.fleet`
        checkpoint_dir (None): a folder in which every finished training leaves its weights, under a name made of
            all that decides them; what lies there is not trained again. An executor needs one that its
            workers reach
        traced (False): whether each summary holds its images' losses in every epoch, which takes no pass more

    Returns:
        a :class:`TrainingSummary` for each model

    Raises:
        ParameterError: if the data, a subset or a number of seeds is wrong, or the loss of a model
            becomes infinite or not a number
    """
    config = config or TrainingConfig()
    target = choose_device(device)
    autocast_dtype(target, config.precision)  # which checks it
    report = report or silent
    check_data(images, labels)
    if len(seeds) != len(models):
        raise ParameterError(f"{len(models)} models need as many seeds, not {len(seeds)}")

    if subsets is not None and len(subsets) != len(models):
        raise ParameterError(f"{len(models)} models need as many subsets, not {len(subsets)}")

    rows = [check_subset(subset, len(images)) for subset in subsets or [None] * len(models)]
    total = len(models) * config.epochs

    def epochs_done(done: int) -> None:
        report(stage, done, total)

    given = (models, images, labels, rows, config, seeds)
    if executor is None and checkpoint_dir is None:
        return train_here(*given, target, epochs_done, traced)
    folder = check_folder(checkpoint_dir)
    return train_by_tasks(
        *given, device, epochs_done, executor=executor, folder=folder, traced=traced
    )
