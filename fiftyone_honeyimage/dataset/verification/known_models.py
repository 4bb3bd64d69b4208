"""evaluate_known_models: the paper's measures, for models of which it is known who used a release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np

from ...core.errors import SuspectError
from ...core.evidence.published import GapScores, loss_gaps, release_accuracy, score_known_models
from ...core.images import read_image
from ...core.ledger.sides import MarkedImage
from ...core.pipeline.labeled import LabeledSamples
from ...core.suspects import Answers, Suspect, query
from .. import storage
from ..marking.marking import open_marking
from ..progress import Progress, StageBar
from ..runs import root_dataset
from ..samples import read_labels
from .suspects import open_suspect, suspect_classes


@dataclass(frozen=True)
class KnownModels:
    """The paper's measures of a marking (arXiv 2508.00892, section "Experiments").

    Attributes:
        gap: AUROC, TPR and TNR of the loss gap, image by image
        hl: HL, the infringing model's accuracy on the images of the release, 0 to 1
        hl_honeyimages: its accuracy on the release's HoneyImages alone
        stl: STL, mean of exp(−10·LPIPS) over the HoneyImages; None without LPIPS
    """

    gap: GapScores
    hl: float
    hl_honeyimages: float
    stl: float | None

    def __str__(self) -> str:
        gap, how = self.gap, "" if self.gap.threshold_source == "given" else ", the best for these"
        lines = [
            "The published measures, image by image; no verdict rests on them:",
            f"AUROC {gap.auroc:.3f}: how often an image's loss gap is larger for the model that used the release than for "
            "the one that did not (0.5: chance)",
            f"TPR {gap.tpr:.2f}, TNR {gap.tnr:.2f}: images on which the one is accused and the other is not, at a "
            f"threshold of {gap.threshold:.2f} nats{how}",
            f"HL {self.hl:.3f}: share of the release that the model which used it gets right; of its HoneyImages "
            f"{self.hl_honeyimages:.3f}",
        ]
        if self.stl is not None:
            lines.append(
                f"STL {self.stl:.3f}: how like their originals the HoneyImages are (1: no difference)"
            )
        return "\n".join(lines)


def evaluate_known_models(
    samples: fo.core.collections.SampleCollection,
    honey_key: str,
    infringing: Any,
    innocent: Any,
    *,
    threshold: float | None,
    classes: Sequence[str] | None,
    input_size: int | tuple[int, int] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    batch_size: int,
    ledger_path: str | Path | None,
    device: str | None,
    progress: Progress,
) -> KnownModels:
    """See :func:`fiftyone_honeyimage.evaluate_known_models`."""
    dataset = root_dataset(samples)
    opened = open_marking(dataset, honey_key, ledger_path)
    marking = opened.marking
    names = suspect_classes(marking, classes)
    load: Mapping[str, Any] = {
        "input_size": input_size,
        "mean": mean,
        "std": std,
        "device": device,
    }
    models = [open_suspect(dataset, marking, m, names, None, load) for m in (infringing, innocent)]
    for model in models:
        if model.outputs == "losses":
            raise SuspectError(
                f"'{model.name}' tells one loss an image; the loss gap needs logits or probabilities"
            )
    released = opened.ledger.released_images()
    here = opened.in_dataset
    labeled = read_labels(samples, marking.config["label_field"])
    gone = {image.sample_id for image in (*here.released_images(), *here.withheld_images())}
    rest = labeled.keep([row for row, i in enumerate(labeled.ids) if i not in gone])
    proxies = {
        image["source"]: image["proxy_loss"]
        for image in storage.read_manifest(marking.output_dir)["images"]
    }

    with StageBar({"Querying HoneyImages": 20, "Querying the release": 80}, progress) as bar:
        answers = []
        for number, model in enumerate(models):
            answers.append(_ask_honeyimages(model, released, marking.output_dir, names, batch_size))
            bar.report("Querying HoneyImages", number + 1, len(models))
        own = _ask_rest(models[0], rest, names, batch_size, answers[0].outputs, bar)

    losses = [proxies[image.sample_id] for image in released]
    gaps = [loss_gaps(losses, answer.losses) for answer in answers]
    return KnownModels(
        gap=score_known_models(gaps[0], gaps[1], threshold=threshold),
        hl=release_accuracy(np.concatenate([answers[0].correct, own.correct])),
        hl_honeyimages=release_accuracy(answers[0].correct),
        stl=marking.metrics.get("stl"),
    )


def _ask_honeyimages(
    model: Suspect,
    images: Sequence[MarkedImage],
    folder: Path,
    classes: Sequence[str],
    batch_size: int,
) -> Answers:
    answers = query(
        model,
        (read_image(folder / image.file) for image in images),
        [image.sample_id for image in images],
        np.array([classes.index(image.label) for image in images], dtype=np.int64),
        num_classes=len(classes),
        batch_size=batch_size,
    )
    if answers.kind != "scores":
        raise SuspectError(
            f"'{model.name}' gives labels alone; the loss gap needs logits or probabilities"
        )
    return answers


def _ask_rest(
    model: Suspect,
    labeled: LabeledSamples,
    classes: Sequence[str],
    batch_size: int,
    outputs: Any,
    bar: StageBar,
) -> Answers:
    own = [labeled.classes[label] for label in labeled.labels]
    return query(
        model,
        (read_image(path) for path in labeled.filepaths),
        labeled.ids,
        np.array([classes.index(name) for name in own], dtype=np.int64),
        num_classes=len(classes),
        batch_size=batch_size,
        outputs=outputs,
        report=lambda _, done, total: bar.report("Querying the release", done, total),
    )
