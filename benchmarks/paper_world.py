"""One seed's images in :mod:`benchmarks.paper`, split as the paper does, and the models that every method shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.datasets import load_images, to_tensor
from fiftyone_honeyimage.core.hardness import compute_hardness
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.seeds import derive_seed
from fiftyone_honeyimage.core.training import (
    TrainingConfig,
    cross_entropy,
    predict_logits,
    train_models,
)


@dataclass(frozen=True)
class Scale:
    """How much is trained. A method marks 1 % of public and private images together, as the paper does, or another share."""

    num_public: int
    num_private: int
    num_test: int
    epochs: int
    proxy: str
    suspect: str
    batch_size: int = 256
    size: int | None = None
    num_references: int = 8
    num_keys: int = 16
    share: float = 0.01
    weight_decay: float = 5e-4
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_images(self) -> int:
        """So many are loaded, those that make the stronger innocent suspect too."""
        return self.num_public + 2 * self.num_private + self.num_test

    @property
    def num_marked(self) -> int:
        """Released marked images: the share, and as many for each key."""
        wanted = round(self.share * (self.num_public + self.num_private))
        return max(1, wanted // self.num_keys) * self.num_keys


SCALES = {
    "smoke": Scale(
        *(400, 200, 100, 2, "resnet_tiny", "resnet_tiny", 64),
        num_references=4,
        options={"num_steps": 2, "num_sources": 16, "num_probes": 12},
    ),
    "small": Scale(4000, 2000, 4000, 40, "resnet_tiny", "resnet_tiny"),
    "middle": Scale(8000, 4000, 4000, 40, "wrn28_2", "wrn28_2"),
    "paper": Scale(33_333, 16_667, 1000, 150, "wrn28_2", "wrn28_2", num_references=16),
}


#: Images of a class that the private part must have
_LEAST_OF_A_CLASS = 8


class World:
    """One seed's images, and what every method shares."""

    def __init__(
        self,
        data: str,
        scale: Scale,
        seed: int,
        device: str | None,
        trained: Path | None,
        asked: Mapping[str, Any],
    ) -> None:
        self.scale, self.seed, self.device, self.trained = scale, seed, device, trained
        self.asked = asked
        images, labels, self.classes, shown = load_images(data, scale.num_images, scale.size)
        order = np.random.default_rng(derive_seed(seed, "images")).permutation(len(images))
        ends = np.cumsum([scale.num_public, scale.num_private, scale.num_test])
        if ends[-1] > len(order):
            raise SystemExit(f"{data} has {len(order)} images, and this scale needs {ends[-1]}")
        order, ends = kept_together(order, ends, shown)
        parts = np.split(order, ends)
        labels, self.classes, parts = without_rare_classes(labels, self.classes, parts)
        public, private, test, others = parts
        self.public, self.public_labels = images[public], labels[public]
        self.private, self.labels = images[private], labels[private]
        self.test, self.test_labels = images[test], labels[test]
        others = others[: scale.num_private]
        self.others, self.others_labels = images[others], labels[others]
        self.size = images.shape[1]
        self.config = TrainingConfig(
            epochs=scale.epochs, batch_size=scale.batch_size, weight_decay=scale.weight_decay
        )
        self.hardness = compute_hardness(
            to_tensor(self.private),
            self.labels,
            len(self.classes),
            proxy=scale.proxy,
            config=self.config,
            seed=seed,
            device=device,
            checkpoint_dir=trained,
        ).hardness
        self._innocent: dict[str, torch.nn.Module] = {}

    def trained_otherwise(self, **changes: Any) -> World:
        """The same images and hardness, with other settings of every training that follows."""
        other = copy(self)
        other.config = replace(self.config, **changes)
        other._innocent = {}
        return other

    def train(self, name: str, images: np.ndarray, labels: np.ndarray) -> torch.nn.Module:
        """A suspect."""
        own = derive_seed(self.seed, name)
        model = build_model(self.scale.suspect, len(self.classes), input_size=self.size, seed=own)
        train_models(
            [model],
            to_tensor(images),
            torch.from_numpy(labels),
            config=self.config,
            seeds=[own],
            device=self.device,
            checkpoint_dir=self.trained,
        )
        return model

    def known(self) -> dict[str, torch.nn.Module]:
        """Suspects that used no release, and the one trained on the unprotected set."""
        if not self._innocent:
            self._innocent["innocent"] = self.train("innocent", self.public, self.public_labels)
            if len(self.others):
                self._innocent["stronger"] = self.train(
                    "stronger",
                    np.concatenate([self.public, self.others]),
                    np.concatenate([self.public_labels, self.others_labels]),
                )
            self._innocent["unprotected"] = self.train(
                "infringing",  # the same seed: the two differ by the release alone
                np.concatenate([self.public, self.private]),
                np.concatenate([self.public_labels, self.labels]),
            )
        return self._innocent

    def losses(
        self, model: torch.nn.Module, images: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The loss on every image, and whether its class is right."""
        logits = predict_logits(model, to_tensor(images), device=self.device)
        truth = torch.from_numpy(np.asarray(labels, np.int64))
        return cross_entropy(logits, truth), (logits.argmax(1) == truth).numpy()


def without_rare_classes(
    labels: np.ndarray, classes: list[str], parts: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[str], list[np.ndarray]]:
    """Leaves out classes of which the private part, the second, has too few images for twins and for both halves.

    Args:
        labels: int64 (N,), of all images
        classes: their names
        parts: rows
    """
    counts = np.bincount(labels[parts[1]], minlength=len(classes))
    kept = np.flatnonzero(counts >= _LEAST_OF_A_CLASS)
    number = np.full(len(classes), -1)
    number[kept] = np.arange(len(kept))
    own = [part[number[labels[part]] >= 0] for part in parts]
    return number[labels], [classes[label] for label in kept], own


def kept_together(
    order: np.ndarray, ends: np.ndarray, shown: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """An order in which pictures of one thing follow each other, and ends moved so that they are not split."""
    found, first = np.unique(shown[order], return_index=True)
    place = np.empty(shown.max() + 1, dtype=np.int64)
    place[found] = first
    order = order[np.argsort(place[shown[order]], kind="stable")]
    things = shown[order]
    starts = np.flatnonzero(np.r_[True, things[1:] != things[:-1], True])
    return order, starts[np.searchsorted(starts, ends)]
