"""compute_hardness: a float field with every image's hardness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import fiftyone as fo
import numpy as np

from .. import __version__
from ..core.device import choose_device
from ..core.errors import ParameterError
from ..core.hardness import compute_hardness as score
from ..core.hardness import find_label_errors
from ..core.models import Proxy, proxy_name
from ..core.training import TrainingConfig
from .checks import check_key, whole_number
from .loading import load_images
from .progress import Progress, StageBar
from .runs import HARDNESS, MADE_BY, catch_up, list_keys, made_by, root_dataset, save_run
from .samples import proxy_input_size, read_labels
from .workspace import group_in_sidebar


@dataclass(frozen=True)
class HardnessSummary:
    """What :func:`fiftyone_honeyimage.compute_hardness` found.

    Attributes:
        hardness_field: the field with the scores
        label_error_field: the boolean field with the suspected label errors
        num_images: images scored
        num_skipped: images that could not be read
        num_label_errors: images that look mislabelled
        accuracy: out-of-fold accuracy of the two proxies, 0 to 1
        mean: mean hardness in nats
    """

    hardness_field: str
    label_error_field: str
    num_images: int
    num_skipped: int
    num_label_errors: int
    accuracy: float
    mean: float


def compute_hardness(
    samples: fo.core.collections.SampleCollection,
    label_field: str,
    hardness_field: str,
    *,
    proxy: Proxy,
    input_size: int | None,
    training: TrainingConfig | Mapping[str, Any] | None,
    seed: int,
    device: str | None,
    skip_failures: bool,
    progress: Progress,
) -> HardnessSummary:
    """See :func:`fiftyone_honeyimage.compute_hardness`."""
    config = training_config(training)
    chosen = choose_device(device)
    name = proxy_name(proxy)
    seed = whole_number(seed, "seed", 0)
    labeled = read_labels(samples, label_field)
    catch_up(root_dataset(samples))
    check_hardness_field(samples, hardness_field)
    size = proxy_input_size(labeled, input_size)

    stages = {"Reading images": 5, "Training the two half proxies": 90, "Scoring": 4, "Writing": 1}
    with StageBar(stages, progress) as bar:
        loaded = load_images(labeled, size, skip_failures=skip_failures, report=bar.report)
        labeled = loaded.samples
        result = score(
            loaded.images,
            labeled.labels,
            len(labeled.classes),
            proxy=proxy,
            config=config,
            seed=seed,
            device=chosen,
            report=bar.report,
        )
        errors = find_label_errors(result.logits, labeled.labels)
        summary = HardnessSummary(
            hardness_field=hardness_field,
            label_error_field=label_error_field(hardness_field),
            num_images=len(labeled),
            num_skipped=len(loaded.failures),
            num_label_errors=int(errors.sum()),
            accuracy=float((result.predictions == labeled.labels).mean()),
            mean=float(result.hardness.mean()),
        )
        bar.report("Writing", 0, 1)
        _write_fields(samples, labeled.ids, hardness_field, result.hardness, errors)
        save_run(
            samples,
            hardness_field,
            HARDNESS,
            {
                "label_field": label_field,
                "hardness_field": hardness_field,
                "proxy": name,
                "input_size": size,
                "training": asdict(config),
                "seed": seed,
                "device": str(chosen),
                "classes": labeled.classes,
                "version": __version__,
            },
            {**asdict(summary), "failures": loaded.failures},
            overwrite=True,
        )
    return summary


def label_error_field(hardness_field: str) -> str:
    """The boolean field that goes with a hardness field."""
    return f"{hardness_field}_label_error"


def check_hardness_field(
    samples: fo.core.collections.SampleCollection, hardness_field: str
) -> None:
    """Checks that the field is new, or holds the scores of an earlier hardness run.

    Raises:
        ParameterError: if it holds something else
    """
    check_key(hardness_field, "hardness_field")
    dataset = root_dataset(samples)
    if hardness_field in list_keys(samples, HARDNESS):
        return
    for name in (hardness_field, label_error_field(hardness_field)):
        # A field of a run that was killed before it was registered is written again
        if dataset.has_field(name) and not made_by(dataset, name, HARDNESS):
            raise ParameterError(
                f"the dataset has a field '{name}' that no hardness run wrote; "
                "pass another hardness_field"
            )
    if hardness_field in dataset.list_runs():
        raise ParameterError(
            f"the dataset has another run named '{hardness_field}'; pass another hardness_field"
        )


def training_config(training: TrainingConfig | Mapping[str, Any] | None) -> TrainingConfig:
    """The trainer's settings from a config, a mapping of changes to the default, or None.

    Raises:
        ParameterError: if a name is unknown or a value is out of range
    """
    if training is None:
        return TrainingConfig()
    if isinstance(training, Mapping):
        known = set(TrainingConfig.__dataclass_fields__)
        unknown = sorted(set(training) - known)
        if unknown:
            raise ParameterError(f"training has no setting {unknown[0]!r}; it has {sorted(known)}")
        return replace(TrainingConfig(), **training)
    # Compared by name: a plugin and a script hold two copies of this class.
    if type(training).__name__ == TrainingConfig.__name__:
        return TrainingConfig(**asdict(training))
    raise ParameterError(f"training must be a TrainingConfig or a mapping; found {training!r}")


def _write_fields(
    samples: fo.core.collections.SampleCollection,
    ids: list[str],
    hardness_field: str,
    hardness: np.ndarray,
    errors: np.ndarray,
) -> None:
    dataset = root_dataset(samples)
    is_new = not dataset.has_field(hardness_field)
    for name, kind, values, description in (
        (
            hardness_field,
            fo.FloatField,
            hardness,
            "HoneyImage hardness: cross-entropy (nats) under a proxy that has not seen the image",
        ),
        (
            label_error_field(hardness_field),
            fo.BooleanField,
            errors,
            "Looks mislabelled: confident learning on the proxies' out-of-fold predictions",
        ),
    ):
        by_id: dict[str, Any] = {}
        if dataset.has_field(name):
            # Scores of an earlier run come from other proxies: a field holds those of one run
            by_id = dict.fromkeys(dataset.exists(name).values("id"))
        else:
            dataset.add_sample_field(name, kind, description=description, info={MADE_BY: HARDNESS})
        by_id.update(zip(ids, values.tolist(), strict=True))
        dataset.set_values(name, by_id, key_field="id", progress=False)
    if is_new:
        group_in_sidebar(dataset, [hardness_field, label_error_field(hardness_field)])
