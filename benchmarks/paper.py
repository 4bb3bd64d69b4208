"""Every method on the same work: the HoneyImage paper's measures beside the exact verdict.

A seed splits images into public, private (2:1, as the paper does) and held-out ones. Each method marks the private set; one
suspect is trained on public images and its release, and is judged beside innocent ones, trained on public images alone
or on those and as many unmarked others (stronger). Hardness, innocent suspects, reference models and the unprotected
model, which gives the accuracy that a release costs, are trained once a seed. A cell is one method and seed, and
is not computed again where its file is there.

    python -m benchmarks.paper --scale smoke
    python -m benchmarks.paper --scale small --seeds 0 1 2 --cells build/paper
    python -m benchmarks.paper --join build/paper --name paper_small

Other architectures, budgets and causes of what is found are rows of the same table:

    python -m benchmarks.paper --scale small --rows honeyimage --suspect densenet121 --cells build/paper
    python -m benchmarks.paper --scale small --rows honeyimage --set epsilon=7 --cells build/paper
    python -m benchmarks.paper --scale small --rows honeyimage --weight-decay 0.05 --cells build/paper
"""

from __future__ import annotations

import argparse
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.datasets import load_images, to_tensor
from benchmarks.paper_table import format_table, summarise
from benchmarks.results_io import environment, write_results
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.published import score_known_models
from fiftyone_honeyimage.core.evidence.verdict import judge
from fiftyone_honeyimage.core.files import write_json_atomic
from fiftyone_honeyimage.core.hardness import compute_hardness
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.request import CraftRequest, CraftResult
from fiftyone_honeyimage.core.methods.selection import Candidates
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.pipeline.reference_models import train_references
from fiftyone_honeyimage.core.scores import SCORES, References
from fiftyone_honeyimage.core.seeds import derive_seed
from fiftyone_honeyimage.core.training import (
    TrainingConfig,
    cross_entropy,
    predict_logits,
    train_models,
)


@dataclass(frozen=True)
class Scale:
    """How much is trained. A method marks 1 % of public and private images together, as the paper does."""

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
    weight_decay: float = 5e-4
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_images(self) -> int:
        """So many are loaded, those that make the stronger innocent suspect too."""
        return self.num_public + 2 * self.num_private + self.num_test

    @property
    def num_marked(self) -> int:
        """Released marked images: 1 %, and as many for each key."""
        return max(1, (self.num_public + self.num_private) // 100 // self.num_keys) * self.num_keys


SCALES = {
    "smoke": Scale(800, 400, 400, 3, "resnet_tiny", "resnet_tiny", 64, 4, options={"num_steps": 2}),
    "small": Scale(4000, 2000, 4000, 40, "resnet_tiny", "resnet_tiny"),
    "middle": Scale(8000, 4000, 4000, 40, "wrn28_2", "wrn28_2"),
    "paper": Scale(33_333, 16_667, 1000, 150, "wrn28_2", "wrn28_2", num_references=16),
}

#: Row of the table → method and its options. Scores with reference models are taken on the unmarked images.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "honeyimage": ("honeyimage", {"smoothing": 0.0, "inner": "warm"}),
    "honeyimage_smooth": ("honeyimage", {}),
    "unperturbed": ("unperturbed", {}),
    "random": ("unperturbed", {"selection": "random"}),
    **{name: (name, {}) for name in METHODS if name not in ("honeyimage", "unperturbed")},
}


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
        order, ends = _kept_together(order, ends, shown)
        public, private, test, others = np.split(order, ends)
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


def _kept_together(
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


def run_cell(world: World, row: str) -> dict[str, Any]:
    """One method on one seed: marks, coins, suspects, figures; JSON-serialisable."""
    start = time.perf_counter()
    name, given = ROWS[row]
    method = METHODS[name]
    candidates, request = _choose(world, name, given)
    result = method.craft(request)
    craft_seconds = time.perf_counter() - start

    num_pairs = len(request.sides)
    coins = np.array([secrets.randbits(1) for _ in range(num_pairs)])
    withheld = np.concatenate(
        [side[1 - coin].ravel() for side, coin in zip(request.sides, coins, strict=True)]
    )
    marked = np.stack(list(result.images))
    labels = request.candidate_labels if result.labels is None else result.labels
    protected, protected_labels = world.private.copy(), world.labels.copy()
    protected[candidates.rows], protected_labels[candidates.rows] = marked, labels
    left_out = np.concatenate([candidates.rows[withheld], candidates.probes])
    kept = np.setdiff1d(np.arange(len(world.private)), left_out)
    infringing = world.train(
        "infringing",
        np.concatenate([world.public, protected[kept]]),
        np.concatenate([world.public_labels, protected_labels[kept]]),
    )
    suspects = {"infringing": infringing, **world.known()}

    released = np.setdiff1d(np.arange(len(candidates.rows)), withheld)
    asked, asked_labels, sides = _questions(request, result, marked, labels)
    answers = {who: world.losses(model, asked, asked_labels)[0] for who, model in suspects.items()}
    plan = Plan(score=method.score, direction=method.direction)
    figures: dict[str, Any] = {
        "row": row,
        "seed": world.seed,
        "num_pairs": num_pairs,
        "num_marked": len(released),
        "queries": len(asked),
        "craft_seconds": craft_seconds,
        "p": {
            who: _p_value(plan, losses, sides, coins)
            for who, losses in answers.items()
            if who != "unprotected"
        },
    }
    figures["published"] = _published(request, result, answers, sides, coins, released, method)
    if row == "unperturbed":
        figures["membership"] = _membership(world, request, result, answers, sides, coins)
    _, right = world.losses(infringing, protected[kept], protected_labels[kept])
    figures["hl"] = float(right.mean())
    for who in ("infringing", "unprotected"):
        _, right = world.losses(suspects[who], world.test, world.test_labels)
        figures[f"test_accuracy_{who}"] = float(right.mean())
    figures["stl"] = _stealth(world.private[candidates.rows[released]], marked[released])
    figures["seconds"] = time.perf_counter() - start
    return figures


def _choose(world: World, name: str, given: Mapping[str, Any]) -> tuple[Candidates, CraftRequest]:
    method, scale = METHODS[name], world.scale
    known = {question.name for question in method.Options.questions()}
    # What a row is made of goes before what all rows have, and what was asked for before both
    wanted = {**scale.options, **given, **world.asked}
    options = method.Options(**{k: v for k, v in wanted.items() if k in known})
    candidates = method.choose(
        world.hardness,
        world.labels,
        options=options,
        num_honeyimages=scale.num_marked,
        num_pairs=scale.num_keys if method.shares_secrets else scale.num_marked,
        excluded={},
        seed=world.seed,
    )
    rest = np.setdiff1d(np.arange(len(world.private)), candidates.rows)
    return candidates, CraftRequest(
        candidates=list(world.private[candidates.rows]),
        candidate_labels=world.labels[candidates.rows],
        sides=candidates.sides,
        probe_sources=list(world.private[candidates.probes]),
        probe_labels=world.labels[candidates.probes],
        rest=to_tensor(world.private[rest]),
        rest_labels=world.labels[rest],
        num_classes=len(world.classes),
        proxy=scale.proxy,
        config=world.config,
        seed=world.seed,
        options=options,
        device=world.device,
        trained_dir=world.trained,
    )


def _questions(
    request: CraftRequest, result: CraftResult, marked: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """What a suspect is asked, the classes, and which of the questions are of sides a and b of each pair."""
    if not result.probes:
        return marked, np.asarray(labels), [(both[0], both[1]) for both in request.sides]
    images, truth, sides = [], [], []
    for both in result.probes:
        places = []
        for side in both:
            places.append(np.arange(len(truth), len(truth) + len(side)))
            images += [probe.image for probe in side]
            truth += [probe.label for probe in side]
        sides.append((places[0], places[1]))
    return np.stack(images), np.array(truth), sides


def _p_value(
    plan: Plan,
    losses: np.ndarray,
    sides: Sequence[tuple[np.ndarray, np.ndarray]],
    coins: np.ndarray,
) -> float:
    """The way of every verdict: the mean loss of each side, then the exact test over the coins."""
    a, b = (tuple(float(losses[pair[side]].mean()) for pair in sides) for side in (0, 1))
    released = {pair: "ab"[coin] for pair, coin in enumerate(coins)}
    answers = PairAnswers("scores", tuple(released), a, b)
    nothing = dict.fromkeys(released, ({}, {}))
    return judge(plan, answers, released, nothing, num_left=0).p_value


def _published(
    request: CraftRequest,
    result: CraftResult,
    answers: Mapping[str, np.ndarray],
    sides: Sequence[tuple[np.ndarray, np.ndarray]],
    coins: np.ndarray,
    released: np.ndarray,
    method: Any,
) -> dict[str, float]:
    """How well the method's own score tells the infringing model from the innocent one, image by image.

    Images: loss of the proxy less the suspect's. Keys: the loss on the test images with a released key in them.
    """
    if result.probes:
        rows = np.concatenate([pair[coin] for pair, coin in zip(sides, coins, strict=True)])
        sign = 1.0 if method.direction == "lower" else -1.0
        values = {who: -sign * losses[rows] for who, losses in answers.items()}
    else:
        values = {
            who: result.proxy_losses[released] - losses[released] for who, losses in answers.items()
        }
    figures = _telling(values["infringing"], values["innocent"])
    if not result.probes:  # the confidence φ falls with the loss, so that it ranks images alike
        plain = {who: -losses[released] for who, losses in answers.items()}
        figures["auroc_of_loss"] = _telling(plain["infringing"], plain["innocent"])["auroc"]
    return figures


def _telling(infringing: np.ndarray, innocent: np.ndarray) -> dict[str, float]:
    found = score_known_models(infringing, innocent)
    figures = {"auroc": found.auroc, "tpr": found.tpr, "tnr": found.tnr}
    for rate in (0.01, 0.001):
        threshold = np.quantile(innocent, 1 - rate, method="higher")
        figures[f"tpr_at_{rate:g}"] = float((infringing > threshold).mean())
    return figures


def _membership(
    world: World,
    request: CraftRequest,
    result: CraftResult,
    answers: Mapping[str, np.ndarray],
    sides: Sequence[tuple[np.ndarray, np.ndarray]],
    coins: np.ndarray,
) -> dict[str, dict[str, float]]:
    """Every score with reference models on the unmarked images: image by image, and the exact p-value."""
    pairs = train_references(request, result, world.scale.num_references)
    references = References.of_sides([side for both in pairs for side in both])
    a, b = (np.concatenate([pair[side] for pair in sides]) for side in (0, 1))
    order = np.stack([a, b], axis=1).ravel()
    is_released = np.stack([coins == 0, coins == 1], axis=1).ravel()
    found = {}
    for name, score in SCORES.items():
        if not 0 < score.least_references <= references.num_models:
            continue
        fitted = references.with_fitted(score.fit(references))
        values = {who: score.of(losses[order], fitted) for who, losses in answers.items()}
        cell = _telling(-values["infringing"][is_released], -values["innocent"][is_released])
        for who in ("infringing", "innocent"):
            difference = np.where(coins == 0, 1, -1) * (values[who][1::2] - values[who][0::2])
            cell[f"p_{who}"] = _signed_rank(difference)
        found[name] = cell
    return found


def _signed_rank(differences: np.ndarray) -> float:
    from fiftyone_honeyimage.core.evidence.exact_tests import TESTS

    return TESTS["signed_rank"].run(differences, np.zeros(len(differences), bool), None).p_value


def _stealth(originals: np.ndarray, marked: np.ndarray) -> float | None:
    """The paper's STL, mean over the released images; None where LPIPS is not at hand."""
    from benchmarks.datasets import data_root
    from fiftyone_honeyimage.core.metrics import LpipsMetric, stealthiness

    root = data_root()
    file = None if root is None else root / "lpips" / "alexnet_features.safetensors"
    try:
        import lpips  # noqa: F401
    except ImportError:
        return None
    if file is None or not file.is_file():
        return None
    metric = LpipsMetric(backbone_file=file)
    distances = metric.distances(to_tensor(originals), to_tensor(marked))
    return float(np.mean([stealthiness(value) for value in distances]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10", choices=["cifar10", "eurosat", "ham10000"])
    parser.add_argument("--scale", choices=sorted(SCALES), default="smoke")
    parser.add_argument("--rows", nargs="+", choices=sorted(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="in place of the scale's")
    for name, kind, what in (
        ("size", int, "side of the images"),
        ("proxy", str, "the proxies' architecture"),
        ("suspect", str, "the suspects' architecture"),
        ("batch-size", int, "images a step"),
        ("weight-decay", float, "of every training"),
        ("num-references", int, "reference models"),
    ):
        parser.add_argument(f"--{name}", type=kind, help=f"{what}, in place of the scale's")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="OPTION=VALUE",
        help="options of the methods, such as epsilon=7 or inner=retrain",
    )
    parser.add_argument("--device")
    parser.add_argument("--cells", type=Path, help="a folder for each cell's figures")
    parser.add_argument("--trained", type=Path, help="a folder for trained models")
    parser.add_argument("--join", type=Path, help="only sum up the cells that lie in this folder")
    parser.add_argument("--name", default="paper")
    args = parser.parse_args()

    scale = SCALES[args.scale]
    names = ("epochs", "size", "proxy", "suspect", "batch_size", "weight_decay", "num_references")
    changes = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    scale = replace(scale, **changes)
    asked = {name: _read_value(value) for name, value in (text.split("=", 1) for text in args.set)}
    # Epochs and size are those of the scale's machine; what else differs makes another row of the table
    varied = {k: v for k, v in {**changes, **asked}.items() if k not in ("epochs", "size")}
    variant = "".join(f" {name}={value}" for name, value in sorted(varied.items()))
    cells = [] if args.join is None else _read(args.join)
    for seed in () if args.join else args.seeds:
        world: World | None = None
        for row in args.rows:
            name = f"{args.data}-{args.scale}-{row}{variant.replace(' ', '-')}-{seed}.json"
            path = args.cells and args.cells / name
            if path and path.exists():
                cells.append(json.loads(path.read_text(encoding="utf-8")))
                continue
            world = world or World(args.data, scale, seed, args.device, args.trained, asked)
            cell = {
                "data": args.data,
                "scale": {"name": args.scale, **asdict(scale)},
                **run_cell(world, row),
                "row": f"{row}{variant}",
                "environment": environment(torch.device(args.device or "cpu")),
            }
            cells.append(cell)
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json_atomic(path, cell)
            print(row, seed, {k: cell[k] for k in ("p", "published", "seconds")}, flush=True)
    summary = summarise(cells)
    print(format_table(summary))
    if args.join or not args.cells:
        measured = cells[0]["environment"]
        write_results(
            args.name,
            {"summary": summary, "cells": cells},
            device=measured["device"]["type"],
            seeds=sorted({cell["seed"] for cell in cells}),
            measured=measured,
        )


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("*.json"))
    if not files:
        raise SystemExit(f"no cells lie in {folder}")
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


if __name__ == "__main__":
    main()
