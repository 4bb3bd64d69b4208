"""Drops what a detector finds that learned from marks which the thief made with this very tool on other images."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.attacks.base import Filter, Thief
from benchmarks.datasets import to_tensor
from fiftyone_honeyimage.core.audit.practice import detector_features, learn_detector
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.request import CraftRequest

#: Images that he marks
_PRACTISED = 150


@dataclass(frozen=True)
class DropDetected(Filter):
    title = "drops what a detector of such marks finds"

    def suspicion(self, thief: Thief) -> np.ndarray:
        count = min(_PRACTISED, thief.num_own // 3)
        plain, rest = thief.images[:count], slice(count, thief.num_own)
        method = METHODS["honeyimage"]
        marked = method.craft(
            CraftRequest(
                candidates=list(plain),
                candidate_labels=thief.labels[:count],
                rest=to_tensor(thief.images[rest]),
                rest_labels=thief.labels[rest],
                num_classes=thief.num_classes,
                proxy=thief.model,
                config=thief.config,
                seed=thief.seed,
                device=thief.device,
                options=method.Options(),
            )
        ).images
        detector = learn_detector(_features(plain), _features(np.stack(list(marked))))
        found = detector.score(_features(thief.images[thief.num_own :]))
        return np.concatenate([np.full(thief.num_own, -np.inf), found])


def _features(images: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.png"
        rows = []
        for image in images:
            Image.fromarray(image).save(path)
            rows.append(detector_features(path, image))
    return np.array(rows)
