"""One seed of :mod:`benchmarks.thieves`: a release with several kinds of pairs in it, and what a suspect shows of each.

The hard pairs of all kinds are drawn from one list, so that they differ by their marks alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks.attacks.base import Answers, Stolen, Thief
from benchmarks.datasets import load_images, to_tensor
from fiftyone_honeyimage.core.evidence.twins import sign_test, signed_rank_test
from fiftyone_honeyimage.core.hardness import compute_hardness
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.request import CraftRequest
from fiftyone_honeyimage.core.methods.selection import select_candidates
from fiftyone_honeyimage.core.scores.confidence import phi
from fiftyone_honeyimage.core.seeds import derive_seed
from fiftyone_honeyimage.core.training import TrainingConfig, cross_entropy, predict_logits

#: Kind → (where its images come from, how they are marked: None or the smoothing of their HoneyImages)
KINDS: dict[str, tuple[str, float | None]] = {
    "hardest, unchanged": ("hardest", None),
    "hardest, HoneyImages": ("hardest", 1.0),
    "hardest, the paper's HoneyImages": ("hardest", 0.0),
    "75th percentile, unchanged": ("upper", None),
    "any, unchanged": ("any", None),
}
SCORES = ("loss", "loss adjusted", "phi", "phi adjusted", "labels")


@dataclass(frozen=True)
class Scale:
    """Sizes and trainings; ``num_others`` is more data that a thief could get."""

    num_public: int
    num_private: int
    num_test: int
    num_others: int
    pairs_a_kind: int
    epochs: int
    proxy: str
    suspect: str
    batch_size: int = 128
    size: int | None = None
    num_steps: int = 20
    weight_decay: float = 5e-4


class World:
    """One seed's images, release and thief; see :class:`.cells.Benchmark` for the arguments."""

    def __init__(
        self,
        data: str,
        scale: Scale,
        seed: int,
        device: str | None,
        trained: Path | None,
        asked: Mapping[str, Any],
    ) -> None:
        self.scale, self.seed, self.device = scale, seed, device
        parts = (scale.num_public, scale.num_private, scale.num_test, scale.num_others)
        images, labels, classes, _ = load_images(data, sum(parts), scale.size)
        if sum(parts) > len(images):
            raise SystemExit(f"{data} has {len(images)} images, and this scale needs {sum(parts)}")
        order = np.random.default_rng(derive_seed(seed, "images")).permutation(len(images))
        public, private, test, others = np.split(order[: sum(parts)], np.cumsum(parts[:3]))
        self.test, self.test_labels = images[test], labels[test]
        own, self.labels = images[private], labels[private]
        self.num_classes = len(classes)
        self.config = TrainingConfig(
            epochs=scale.epochs, batch_size=scale.batch_size, weight_decay=scale.weight_decay
        )
        hardness = compute_hardness(
            to_tensor(own),
            self.labels,
            self.num_classes,
            proxy=scale.proxy,
            config=self.config,
            seed=seed,
            device=device,
        ).hardness
        pairs = choose_pairs(hardness, self.labels, scale.pairs_a_kind, seed)
        self.protected, self.references = self._mark(own, pairs, asked)

        rng = np.random.default_rng(derive_seed(seed, "coins"))
        coins = {kind: rng.integers(0, 2, len(rows)) for kind, rows in pairs.items()}
        self.released, withheld = (
            {kind: rows[np.arange(len(rows)), coins[kind] ^ other] for kind, rows in pairs.items()}
            for other in (0, 1)
        )
        self.withheld = withheld
        self.release = np.setdiff1d(np.arange(len(own)), np.concatenate(list(withheld.values())))
        self.thief = Thief(
            np.concatenate([images[public], self.protected[self.release]]),
            np.concatenate([labels[public], self.labels[self.release]]),
            len(public),
            images[others],
            labels[others],
            self.num_classes,
            scale.suspect,
            self.config,
            seed,
            device,
            derive_seed(seed, "thief's first"),
        )

    def _mark(
        self, images: np.ndarray, pairs: Mapping[str, np.ndarray], asked: Mapping[str, Any]
    ) -> tuple[np.ndarray, list[Answers]]:
        """The private images with HoneyImages in place, and what models say that saw none of the pairs."""
        protected = images.copy()
        every = np.concatenate([rows.reshape(-1) for rows in pairs.values()])
        rest = np.setdiff1d(np.arange(len(images)), every)
        method, references = METHODS["honeyimage"], []
        for smoothing in sorted({how for _, how in KINDS.values() if how is not None}):
            kinds = [kind for kind, (_, how) in KINDS.items() if how == smoothing]
            rows = np.concatenate([pairs[kind].reshape(-1) for kind in kinds])
            result = method.craft(
                CraftRequest(
                    candidates=list(images[rows]),
                    candidate_labels=self.labels[rows],
                    rest=to_tensor(images[rest]),
                    rest_labels=self.labels[rest],
                    num_classes=self.num_classes,
                    proxy=self.scale.proxy,
                    config=self.config,
                    seed=derive_seed(self.seed, f"smoothing {smoothing}"),
                    device=self.device,
                    options=method.Options(
                        **{"num_steps": self.scale.num_steps, **asked, "smoothing": smoothing}
                    ),
                )
            )
            protected[rows] = np.stack(list(result.images))
            model = result.out_model
            references.append(
                lambda shown, model=model: predict_logits(model, shown, device=self.device)
            )
        return protected, references

    def judge(self, stolen: Stolen) -> dict[str, Any]:
        """Accuracy, what of each kind was lost, and what is shown of it by each score."""
        logits = stolen.answers(to_tensor(self.test))
        gone = self.release[~stolen.kept[self.thief.num_own :]]
        return {
            "test_accuracy": float((logits.argmax(1).numpy() == self.test_labels).mean()),
            "dropped": {
                kind: float(np.isin(rows, gone).mean()) for kind, rows in self.released.items()
            },
            "kinds": {kind: self._shown_of(kind, stolen) for kind in KINDS},
        }

    def _shown_of(self, kind: str, stolen: Stolen) -> dict[str, Any]:
        seen, known = (
            self._differences(kind, answers) for answers in ([stolen.answers], self.references)
        )
        values = {name: seen[name] for name in ("loss", "phi", "labels")}
        for name in ("loss", "phi"):
            values[f"{name} adjusted"] = adjusted(seen[name], known[name])
        if stolen.labels_alone:
            values = dict.fromkeys(SCORES, seen["labels"])
        found = {}
        for name in SCORES:
            spread = float(values[name].std(ddof=1))
            test = sign_test if name == "labels" or stolen.labels_alone else signed_rank_test
            found[name] = {
                "effect": float(values[name].mean()) / spread if spread else 0.0,
                "p": test(values[name]).p_value,
            }
        return found

    def _differences(self, kind: str, said_by: Sequence[Answers]) -> dict[str, np.ndarray]:
        """Withheld less released, averaged over models: positive where the released side is known better."""
        both = []
        for rows in (self.withheld[kind], self.released[kind]):
            truth = torch.from_numpy(self.labels[rows])
            logits = [answers(to_tensor(self.protected[rows])) for answers in said_by]
            loss = np.array([cross_entropy(one, truth) for one in logits])
            wrong = np.array([(one.argmax(1) != truth).numpy() for one in logits], np.float64)
            both.append({"loss": loss, "phi": -phi(loss), "labels": wrong})
        withheld, released = both
        return {name: (withheld[name] - released[name]).mean(axis=0) for name in withheld}


def choose_pairs(
    hardness: np.ndarray, labels: np.ndarray, count: int, seed: int
) -> dict[str, np.ndarray]:
    """For each kind its pairs, int64 (count, 2): rows of one label and neighbouring hardness."""
    rng = np.random.default_rng(derive_seed(seed, "pairs"))
    taken = np.zeros(len(labels), dtype=bool)
    chosen: dict[str, np.ndarray] = {}

    def take(allowed: np.ndarray, number: int) -> np.ndarray:
        found = select_candidates(
            hardness,
            labels,
            num_honeyimages=number,
            num_pairs=number,
            excluded={"not asked for": ~allowed | taken},
        ).pairs
        taken[found.reshape(-1)] = True
        return rng.permutation(found)

    everything = np.ones(len(labels), dtype=bool)
    rank = stats.rankdata(hardness) / len(labels)
    for place, allowed in (
        ("hardest", everything),
        ("upper", (rank > 0.65) & (rank < 0.85)),
        ("any", everything),
    ):
        kinds = [kind for kind, (where, _) in KINDS.items() if where == place]
        number = count * len(kinds)
        if place != "any":
            found = take(allowed, number)
        else:  # every pair of neighbours that is left, and of those some at random
            left = int((~taken).sum() // 2 - len(np.unique(labels)))
            found = take(allowed, left)[:number]
        chosen.update(zip(kinds, np.split(found, len(kinds)), strict=True))
    return chosen


def adjusted(differences: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """Differences less β times the covariates, β by least squares through the origin."""
    scale = float((covariates**2).sum())
    beta = float((covariates * differences).sum()) / scale if scale else 0.0
    return differences - beta * covariates
