"""One seed of :mod:`benchmarks.thieves`: a release in which every private image is one of a pair, and what a suspect shows.

The hardest pairs are dealt at random to three kinds, which differ by their marks alone; all others are left as they are.
What a rule of choice would have got is read off the unchanged pairs that it would have taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from benchmarks.attacks.base import Answers, Stolen, Thief
from benchmarks.datasets import load_images, to_tensor
from benchmarks.marks import with_honeyimages
from fiftyone_honeyimage.core.evidence.adjustment import adjust
from fiftyone_honeyimage.core.evidence.twins import sign_test, signed_rank_test
from fiftyone_honeyimage.core.hardness import compute_hardness
from fiftyone_honeyimage.core.methods.selection import select_candidates
from fiftyone_honeyimage.core.scores.confidence import phi
from fiftyone_honeyimage.core.seeds import derive_seed
from fiftyone_honeyimage.core.training import TrainingConfig, cross_entropy, predict_logits

#: Kinds that are dealt the hardest pairs → how they are marked: not at all, or the smoothing of their HoneyImages
DEALT: dict[str, float | None] = {
    "hardest, unchanged": None,
    "hardest, HoneyImages": 1.0,
    "hardest, the paper's HoneyImages": 0.0,
}

#: Rules of choice among the unchanged pairs → what they rank by, and the share of the ranking that they take from, its
#: top first
RULES: dict[str, tuple[str, float, float]] = {
    "largest out − in, unchanged": ("gain", 0.0, 0.1),
    "hard, not the hardest, unchanged": ("hardness", 0.1, 0.25),
    "75th percentile, unchanged": ("hardness", 0.15, 0.35),
    "any, unchanged": ("hardness", 0.0, 1.0),
}
KINDS = (*DEALT, *RULES)

#: What sides are compared by. "Adjusted" takes off half of what models say that have not seen them, "less references"
#: all of it, as LiRA offline with one spread for all images does; "of views" is the mean over :data:`VIEWS`
SCORES = (
    "loss",
    "loss adjusted",
    "loss of views adjusted",
    "phi adjusted",
    "phi less references",
    "phi of views adjusted",
    "labels",
    "labels of views",
)

#: Ways an image is asked about: mirrored or not, and moved by pixels down and right
VIEWS = ((0, 0, 0), (1, 0, 0), (0, 2, 0), (0, -2, 0), (0, 0, 2), (0, 0, -2))

#: Scores of which releases are played through
PLAYED = ("loss", "loss adjusted", "labels of views")

#: Releases of so many pairs that are played through for the share of verdicts, and the level of a first verification
#: with a ledger at α = 0.001
SIZES, LEVEL = (40, 100, 200), 0.0005
_PLAYS = 300


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
        # Two splits: of each image two models that have not seen it
        runs = [
            compute_hardness(
                to_tensor(own),
                self.labels,
                self.num_classes,
                proxy=scale.proxy,
                config=self.config,
                seed=derive_seed(seed, f"split {number}"),
                device=device,
            )
            for number in range(2)
        ]
        unseen, seen = (
            np.mean([getattr(run, name) for run in runs], axis=0) for name in ("hardness", "seen")
        )
        self._unseen_by = [(run.models, run.half) for run in runs]
        pairs, groups = choose_pairs(unseen, unseen - seen, self.labels, scale.pairs_a_kind, seed)
        self.protected = self._mark(
            own, {kind: pairs[rows] for kind, rows in groups.items()}, asked
        )

        coins = np.random.default_rng(derive_seed(seed, "coins")).integers(0, 2, len(pairs))
        released, withheld = (pairs[np.arange(len(pairs)), coins ^ other] for other in (0, 1))
        self.released = {kind: released[rows] for kind, rows in groups.items()}
        self.withheld = {kind: withheld[rows] for kind, rows in groups.items()}
        self.release = np.setdiff1d(np.arange(len(own)), withheld)
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
        self._references = self._unseen_losses()

    def _mark(
        self, images: np.ndarray, pairs: Mapping[str, np.ndarray], asked: Mapping[str, Any]
    ) -> np.ndarray:
        """The private images with HoneyImages in place."""
        protected = images.copy()
        marked = {kind: how for kind, how in DEALT.items() if how is not None}
        rest = np.setdiff1d(
            np.arange(len(images)), np.concatenate([pairs[kind].reshape(-1) for kind in marked])
        )
        for kind, smoothing in marked.items():
            rows = pairs[kind].reshape(-1)
            protected[rows] = with_honeyimages(
                *(images, self.labels, rows, rest, self.num_classes),
                proxy=self.scale.proxy,
                config=self.config,
                seed=derive_seed(self.seed, f"smoothing {smoothing}"),
                device=self.device,
                **{"num_steps": self.scale.num_steps, **asked, "smoothing": smoothing},
            )[rows]
        return protected

    def _unseen_losses(self) -> np.ndarray:
        """Of every private image, as it is released, the mean loss of the models that have not seen it, float64 (N,)."""
        truth, shown = torch.from_numpy(self.labels), to_tensor(self.protected)
        found = []
        for models, half in self._unseen_by:
            losses = [
                cross_entropy(predict_logits(model, shown, device=self.device), truth)
                for model in models
            ]
            found.append(np.where(half == 0, losses[1], losses[0]))
        return np.mean(found, axis=0)

    def judge(self, stolen: Stolen) -> dict[str, Any]:
        """Accuracy, what of each kind was lost, and what is shown of it by each score."""
        logits = stolen.answers(to_tensor(self.test))
        gone = self.release[~stolen.kept[self.thief.num_own :]]
        values = self._values(stolen.answers)
        found = {}
        if stolen.suspicion is not None:
            found["auroc"] = {
                kind: self._found(stolen.suspicion, rows) for kind, rows in self.released.items()
            }
        return {
            **found,
            "test_accuracy": float((logits.argmax(1).numpy() == self.test_labels).mean()),
            "dropped": {
                kind: float(np.isin(rows, gone).mean()) for kind, rows in self.released.items()
            },
            "kinds": {kind: self._shown_of(kind, values, stolen.labels_alone) for kind in KINDS},
        }

    def _found(self, suspicion: np.ndarray, rows: np.ndarray) -> float:
        """AUROC of a filter between released images of a kind and those of no mark, all of the release."""
        of_release = suspicion[self.thief.num_own :]
        own = np.isin(self.release, rows)
        marked = [self.released[kind] for kind, how in DEALT.items() if how is not None]
        others = ~own & ~np.isin(self.release, np.concatenate(marked))
        if not others.any():
            return 0.5  # the kind is all of them
        return float(roc_auc_score(own[own | others], of_release[own | others]))

    def _values(self, answers: Answers) -> dict[str, np.ndarray]:
        """Of every private image what each score is made of: lower on what a model has seen, float64 (N,)."""
        truth = torch.from_numpy(self.labels)
        logits = [answers(seen_as(self.protected, *view)) for view in VIEWS]
        losses = np.array([cross_entropy(one, truth) for one in logits])
        wrong = np.array([(one.argmax(1) != truth).numpy() for one in logits], np.float64)
        return {
            "loss": losses[0],
            "loss of views": losses.mean(axis=0),
            "phi": -phi(losses[0]),
            "phi of views": -phi(losses).mean(axis=0),
            "labels": wrong[0],
            "labels of views": wrong.mean(axis=0),
        }

    def _shown_of(
        self, kind: str, values: Mapping[str, np.ndarray], labels_alone: bool
    ) -> dict[str, Any]:
        def differences(of: np.ndarray) -> np.ndarray:
            return of[self.withheld[kind]] - of[self.released[kind]]

        found = {}
        for name in SCORES:
            if labels_alone and not name.startswith("labels"):
                name_of = "labels of views" if "views" in name else "labels"
            else:
                name_of = name
            base = name_of.removesuffix(" adjusted").removesuffix(" less references")
            shown = differences(values[base])
            known = differences(
                -phi(self._references) if base.startswith("phi") else self._references
            )
            if name_of.endswith(" adjusted"):
                shown = adjust(shown, known)
            elif name_of.endswith(" less references"):
                shown = shown - known
            played = name in PLAYED and name_of != "labels"
            found[name] = evidence_of(shown, signs_alone=name_of == "labels", played=played)
        return found


def evidence_of(
    differences: np.ndarray, *, signs_alone: bool = False, played: bool = True
) -> dict[str, Any]:
    """Effect of a pair, exact p, and by number of pairs the share of verdicts.

    Args:
        differences: float64 (n,), positive where the released side is known better
        signs_alone: whether the sign test decides
        played: whether releases are played through for the share of verdicts
    """
    spread = float(differences.std(ddof=1))
    test = sign_test if signs_alone else signed_rank_test
    found: dict[str, Any] = {
        "effect": round(float(differences.mean()) / spread, 5) if spread else 0.0,
        "p": test(differences).p_value,
    }
    if played:
        found["verdicts"] = {str(size): share_derived(differences, size) for size in SIZES}
    return found


def share_derived(differences: np.ndarray, size: int) -> float:
    """Of releases of so many pairs, drawn from these with replacement, the share whose model is derived at :data:`LEVEL`."""
    rng = np.random.default_rng(size)
    drawn = rng.choice(differences, (_PLAYS, size))
    ranks = stats.rankdata(np.abs(drawn), axis=1)
    # Pairs without a difference tell nothing: half of their ranks
    sums = (ranks * ((drawn > 0) + 0.5 * (drawn == 0))).sum(axis=1)
    return float((sums >= least_rank_sum(size)).mean())


@cache
def least_rank_sum(size: int) -> int:
    """The least sum of the ranks of the positive pairs that is as rare as :data:`LEVEL`, exactly."""
    low, high = 0, size * (size + 1) // 2
    while low < high:
        middle = (low + high) // 2
        if signed_rank_test(_signed(size, middle)).p_value <= LEVEL:
            high = middle
        else:
            low = middle + 1
    return low


def _signed(size: int, rank_sum: int) -> np.ndarray:
    """Differences 1 to ``size`` of which the positive ones add up to a sum."""
    values = -np.arange(1.0, size + 1)
    for rank in range(size, 0, -1):
        if rank <= rank_sum:
            values[rank - 1] = rank
            rank_sum -= rank
    return values


def seen_as(images: np.ndarray, mirrored: int, down: int, right: int) -> torch.Tensor:
    """Images mirrored or not, and moved, their edges repeated: uint8 (N, 3, S, S)."""
    pixels = to_tensor(images)
    if mirrored:
        pixels = pixels.flip(3)
    if not down and not right:
        return pixels
    reach = max(abs(down), abs(right))
    wider = torch.nn.functional.pad(pixels.float(), (reach,) * 4, mode="replicate").to(torch.uint8)
    size = pixels.shape[-1]
    moved = wider.narrow(2, reach - down, size).narrow(3, reach - right, size)
    return moved.contiguous()


def choose_pairs(
    hardness: np.ndarray, gains: np.ndarray, labels: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """All pairs, int64 (P, 2), rows of one label and neighbouring hardness; and which of them are of each kind.

    Args:
        hardness, gains: float64 (N,), loss of models that have not seen an image, and what it is above those that have
        labels: int (N,)
        count: pairs of each kind that is dealt
        seed: of the dealing
    """
    number = int(sum((labels == label).sum() // 2 for label in np.unique(labels)))
    pairs = select_candidates(
        hardness, labels, num_honeyimages=number, num_pairs=number
    ).pairs  # the hardest first
    dealt = np.random.default_rng(derive_seed(seed, "pairs")).permutation(count * len(DEALT))
    groups = dict(zip(DEALT, np.split(dealt, len(DEALT)), strict=True))
    marked = np.concatenate([groups[kind] for kind, how in DEALT.items() if how is not None])
    unchanged = np.setdiff1d(np.arange(number), marked)
    for kind, (name, top, bottom) in RULES.items():
        # A pair's place among all, those with marks too
        by = (
            np.arange(number)
            if name == "hardness"
            else np.argsort(-gains[pairs].mean(axis=1), kind="stable")
        )
        taken = by[round(top * number) : round(bottom * number)]
        groups[kind] = taken[np.isin(taken, unchanged)]
    return pairs, groups
