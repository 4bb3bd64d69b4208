"""compute_hardness: a float field with every image's hardness."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import fiftyone as fo

from ..core.device import choose_device
from ..core.errors import ParameterError, SamplesError
from ..core.fleet import check_folder, check_workers
from ..core.hardness import compute_hardness as score
from ..core.hardness import find_label_errors, measure_skill
from ..core.limits import SEED, check_choice, check_flag, shown
from ..core.methods.selection import RULES
from ..core.models import Proxy, check_proxy, proxy_name
from ..core.pipeline.loading import load_images
from ..core.pipeline.planning import Pilot, pilot
from ..core.training import TrainingConfig
from ..version import __version__
from .hardness_fields import check_hardness_field, label_error_field, write_hardness
from .hardness_measures import pack_measures
from .progress import Progress, StageBar
from .runs import HARDNESS, catch_up, changing, list_keys, root_dataset, run_results, save_run
from .samples import proxy_input_size, read_labels

#: Where a run keeps what plans take, by what a suspect answers with
_PILOTS = {"scores": "pilots", "labels": "label_pilots"}


@dataclass(frozen=True)
class HardnessSummary:
    """What :func:`fiftyone_honeyimage.compute_hardness` found.

    Attributes:
        hardness_field: the field with the scores
        label_error_field: the boolean field with the suspected label errors
        num_images: images scored
        num_skipped: images that could not be read
        num_label_errors: images that look mislabelled; 0 if the proxies are too weak to judge
        accuracy: out-of-fold accuracy of the two proxies, 0 to 1
        chance: the accuracy of always naming the largest class
        reliable: whether the proxies are good enough for their hardness to mean much, see
            :class:`~..core.hardness.ProxySkill`
        labels_judged: whether they are good enough to call a label wrong
        mean: mean hardness in nats
    """

    hardness_field: str
    label_error_field: str
    num_images: int
    num_skipped: int
    num_label_errors: int
    accuracy: float
    chance: float
    reliable: bool
    labels_judged: bool
    mean: float

    def __str__(self) -> str:
        skipped = f", {self.num_skipped:,} could not be read" if self.num_skipped else ""
        lines = [
            f"{self.num_images:,} images scored{skipped}: mean hardness {self.mean:.2f} nats, the more the harder",
            f"Models that had not seen an image got {self.accuracy:.0%} of them right; always naming the largest class "
            f"gets {self.chance:.0%}",
        ]
        if self.labels_judged:
            lines.append(
                f"Labels that look wrong: {self.num_label_errors:,}, see the field '{self.label_error_field}'"
            )
        elif self.reliable:
            lines.append("That is too few to call a label wrong")
        else:
            lines.append(
                "That is too few for this hardness to mean much, or to call a label wrong: train for more epochs, or "
                "take a stronger proxy or more images"
            )
        return "\n".join(lines)


def compute_hardness(
    samples: fo.core.collections.SampleCollection,
    label_field: str,
    hardness_field: str,
    *,
    proxy: Proxy,
    input_size: int | None,
    training: TrainingConfig | Mapping[str, Any] | str | None,
    seed: int,
    device: str | None,
    skip_failures: bool,
    progress: Progress,
    executor: Executor | None = None,
    checkpoint_dir: str | Path | None = None,
) -> HardnessSummary:
    """See :func:`fiftyone_honeyimage.compute_hardness`."""
    kept = check_folder(checkpoint_dir)
    check_workers(executor, kept)
    config = training_config(training)
    chosen = choose_device(device)
    name = proxy_name(proxy)
    check_proxy(proxy)
    seed = SEED.check("seed", seed)
    check_flag("skip_failures", skip_failures)
    labeled = read_labels(samples, label_field)
    dataset = root_dataset(samples)
    catch_up(dataset)
    check_hardness_field(dataset, hardness_field)
    size = proxy_input_size(labeled, input_size)
    check_proxy(proxy, len(labeled.classes), size)

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
            device=device,
            report=bar.report,
            executor=executor,
            checkpoint_dir=kept,
        )
        errors = find_label_errors(result.logits, labeled.labels)
        skill = measure_skill(result.predictions, labeled.labels)
        summary = HardnessSummary(
            hardness_field=hardness_field,
            label_error_field=label_error_field(hardness_field),
            num_images=len(labeled),
            num_skipped=len(loaded.failures),
            num_label_errors=int(errors.sum()),
            accuracy=skill.accuracy,
            chance=skill.chance,
            reliable=skill.is_reliable,
            labels_judged=skill.judges_labels,
            mean=float(result.hardness.mean()),
        )
        bar.report("Writing", 0, 1)
        with changing(dataset):
            write_hardness(dataset, labeled.ids, hardness_field, result.hardness, errors)
            save_run(
                dataset,
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
                {
                    **asdict(summary),
                    "failures": loaded.failures,
                    **{
                        name: {
                            rule: pilot(
                                result.hardness,
                                result.seen,
                                labeled.labels,
                                rule,
                                seed,
                                result.measures,
                                right,
                            ).differences
                            for rule in RULES
                        }
                        for name, right in (
                            (_PILOTS["scores"], None),
                            (
                                _PILOTS["labels"],
                                (result.predictions == labeled.labels, result.seen_right),
                            ),
                        )
                    },
                    "measures": pack_measures(labeled.ids, result.measures),
                },
                overwrite=True,
            )
    return summary


def read_pilot(
    samples: fo.core.collections.SampleCollection,
    hardness_field: str,
    rule: str,
    answers: str = "scores",
) -> Pilot:
    """What the proxies of a hardness run would show of pairs.

    Raises:
        ParameterError: if there is no such rule or kind of answers
        SamplesError: if there is no such run, or an older version made it
    """
    check_choice("selection", rule, RULES)
    check_choice("answers", answers, _PILOTS)
    dataset = root_dataset(samples)
    if hardness_field not in list_keys(dataset, HARDNESS):
        raise SamplesError(
            f"there is no hardness run '{hardness_field}': run compute_hardness first"
        )
    results = run_results(dataset, hardness_field)
    found = results.get(_PILOTS[answers], {}).get(rule)
    if found is None:
        raise SamplesError(
            f"the run '{hardness_field}' does not hold what plans for {answers} take, as an older version made it: "
            "compute hardness again"
        )
    return Pilot(rule, tuple((float(a), float(b)) for a, b in found), answers)


def training_config(training: TrainingConfig | Mapping[str, Any] | str | None) -> TrainingConfig:
    """The trainer's settings from a config, a recipe's name, a mapping of changes to the default or to a named
    ``recipe``, or None.

    Raises:
        ParameterError: if a name is unknown or a value is out of range
    """
    if training is None:
        return TrainingConfig()
    if isinstance(training, str):
        return TrainingConfig.named(training)
    if isinstance(training, Mapping):
        training = {str(name): value for name, value in training.items()}
        known = set(TrainingConfig.__dataclass_fields__)
        config = TrainingConfig.named(training.pop("recipe", "default"))
        unknown = sorted(set(training) - known)
        if unknown:
            raise ParameterError(
                f"training has no setting {unknown[0]!r}; it has {sorted({*known, 'recipe'})}"
            )
        return replace(config, **training)
    # Compared by name: a plugin and a script hold two copies of this class.
    if type(training).__name__ == TrainingConfig.__name__:
        return TrainingConfig(**asdict(training))
    raise ParameterError(
        f"training must be a TrainingConfig, a mapping or a recipe's name; found {shown(training)}"
    )
