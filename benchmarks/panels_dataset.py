"""The dataset on which the panels are timed: a marking, verifications and an evaluation, without any training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from .datasets import CIFAR_SIZE, write_small_images
from .untrained import without_training

SEED = 0
LABELS = "ground_truth"

_QUICK: dict[str, Any] = {"proxy": "resnet_tiny", "input_size": CIFAR_SIZE, "device": "cpu"}


def media(folder: Path, count: int) -> tuple[list[str], list[str]]:
    """Image files and their labels; those that an earlier run left are taken again."""
    listed = folder / "media.json"
    if not listed.exists():
        paths, labels, _ = write_small_images(folder / "media", count)
        listed.write_text(json.dumps([paths, labels]), encoding="utf-8")
    paths, labels = json.loads(listed.read_text(encoding="utf-8"))
    if len(paths) < count:
        raise SystemExit(f"{folder} holds {len(paths):,} images; name another folder")
    return paths, labels


def build(
    name: str, paths: Sequence[str], labels: Sequence[str], num_images: int, num_pairs: int
) -> str:
    """Makes a marked dataset as real runs make it, but without any training, unless it is there already.

    Returns:
        its name
    """
    import fiftyone as fo

    import fiftyone_honeyimage as fhi

    if fo.dataset_exists(name):
        dataset = fo.load_dataset(name)
        if dataset.info.get("complete"):
            return name
        dataset.delete()
    dataset = _scored(paths[:num_images], labels[:num_images]).clone(name, persistent=True)
    with without_training():
        fhi.generate_honeyimages(
            dataset,
            LABELS,
            "honey",
            num_honeyimages=num_pairs,
            num_pairs=num_pairs,
            exclude=(),
            num_steps=1,
            progress=False,
            **_QUICK,
        )
    rng = np.random.default_rng(SEED)
    for key, released in (("thief", 2.0), ("innocent", 0.0)):
        _answer(dataset, f"{key}_logits", released, rng)
        fhi.verify_model(dataset, "honey", f"{key}_logits", key, progress=False)
    dataset.info["complete"] = True
    dataset.save()
    return name


def _scored(paths: Sequence[str], labels: Sequence[str]) -> Any:
    """A dataset with predictions, FiftyOne's evaluation of them, and hardness that was drawn at random."""
    import fiftyone as fo

    import fiftyone_honeyimage as fhi
    from fiftyone_honeyimage.core.hardness import HardnessResult
    from fiftyone_honeyimage.dataset import hardness

    name = f"scored-{len(paths)}"
    if fo.dataset_exists(name):
        dataset = fo.load_dataset(name)
        if dataset.list_runs():
            return dataset
        dataset.delete()
    rng, classes = np.random.default_rng(SEED), sorted(set(labels))

    def score(images: Any, labels: np.ndarray, num_classes: int, **settings: Any) -> HardnessResult:
        logits = rng.normal(size=(len(labels), num_classes)).astype(np.float32)
        halves = np.zeros(len(labels), np.int8)
        return HardnessResult(
            hardness=rng.exponential(size=len(labels)),
            logits=logits,
            seen=rng.exponential(size=len(labels)),
            seen_right=rng.random(len(labels)) < 0.9,
            half=halves,
        )

    dataset = fo.Dataset(name, persistent=True)
    guesses = [label if rng.random() < 0.9 else str(rng.choice(classes)) for label in labels]
    dataset.add_samples(
        fo.Sample(
            filepath=path,
            **{LABELS: fo.Classification(label=label)},
            predictions=fo.Classification(label=guess),
        )
        for path, label, guess in zip(paths, labels, guesses, strict=True)
    )
    dataset.evaluate_classifications("predictions", gt_field=LABELS, eval_key="evaluation")
    with patch.object(hardness, "score", score):
        fhi.compute_hardness(dataset, LABELS, progress=False, **_QUICK)
    return dataset


def _answer(dataset: Any, field: str, released: float, rng: np.random.Generator) -> None:
    """Writes a suspect's logits on the HoneyImages; those of released twins' own classes are raised."""
    import fiftyone as fo

    import fiftyone_honeyimage as fhi

    marking = fhi.load_marking(dataset, "honey")
    known = {image.sample_id for image in marking.load_ledger().released_images()}
    classes = sorted(marking.config["classes"])
    honey = dataset.match_tags("honeyimage")
    rows = {}
    for id_, source, label in zip(
        *honey.values(["id", "honey.source", f"{LABELS}.label"]), strict=True
    ):
        row = rng.normal(size=len(classes))
        row[classes.index(label)] += released if source in known else 0.0
        rows[id_] = row.tolist()
    dataset.add_sample_field(field, fo.ListField, subfield=fo.FloatField)
    dataset.set_values(field, rows, key_field="id")
