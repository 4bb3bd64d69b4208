"""A toy watermark: a side is a secret corner in several images, which get another label; it is asked about in others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fiftyone_honeyimage.core.limits import Whole
from fiftyone_honeyimage.core.methods.base import Method, RunSize
from fiftyone_honeyimage.core.methods.options import Options, option
from fiftyone_honeyimage.core.methods.request import Probe
from fiftyone_honeyimage.core.methods.selection import Candidates


@dataclass(frozen=True)
class ToyKeysOptions(Options):
    """Attributes:
    target: the class that images with a key get
    """

    target: int = option(0, Whole(0, 9), label="Target class", help="Its number", folded=False)


class ToyKeys(Method):
    """Puts a secret corner of 2x2 pixels into images."""

    name = "toy_keys"
    title = "Secret corners with another label"
    Options = ToyKeysOptions
    shares_secrets = True
    changes_labels = True

    def choose(self, hardness: Any, labels: Any, **asked: Any) -> Candidates:
        """The hardest of other classes; three images to ask about."""
        other = np.asarray(labels) != asked["options"].target
        asked["excluded"] = {**asked["excluded"], "target_class": ~other}
        found: Mapping[str, Any] = vars(super().choose(hardness, labels, **asked))
        free = np.setdiff1d(
            np.flatnonzero(other), np.concatenate([found["singles"], found["pairs"].ravel()])
        )
        return Candidates(**{**found, "probes": free[:3]})

    def craft(self, request: Any) -> Any:
        from fiftyone_honeyimage.core.methods.changed_images import finish_changed

        rng = np.random.default_rng(request.seed)
        images = [np.array(image) for image in request.candidates]
        secrets, probes = [], []
        for pair in request.sides:
            keys = rng.integers(0, 256, (2, 2, 2, 3), dtype=np.uint8)
            for side, key in zip(pair, keys, strict=True):
                for place in side:
                    images[place][:2, :2] = key
            secrets.append(tuple({"corner": key.ravel().tolist()} for key in keys))
            probes.append(
                tuple(
                    [
                        Probe(source, self._with_key(image, key), request.options.target)
                        for source, image in enumerate(request.probe_sources)
                    ]
                    for key in keys
                )
            )
        return finish_changed(
            request,
            images,
            labels=np.full(len(images), request.options.target),
            secrets=secrets,
            probes=probes,
        )

    def passes(self, size: RunSize, options: Any) -> int:
        return (size.num_images - size.num_marked) * size.epochs

    def _with_key(self, image: np.ndarray, key: np.ndarray) -> np.ndarray:
        marked = np.array(image)
        marked[:2, :2] = key
        return marked
