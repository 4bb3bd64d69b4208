"""How surely a verdict finds a model that trained on a release, and what the release costs.

6,000 CIFAR-10 images, 4,000 public and 2,000 private, at most 1 % of the private set withheld. For
every seed: hardness, HoneyImages, coins; an infringing model trained on public and release, an
innocent one on public alone, and one on public and the unprotected private set, which gives the
accuracy that the release costs. Clean accuracy is measured on training images of CIFAR-10 that no
model saw. The answers are kept, so that every plan (score, views, adjustment) is compared on the same ones.

    python -m benchmarks.power --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks.datasets import load_cifar10, to_tensor
from benchmarks.results_io import write_results
from fiftyone_honeyimage.core.evidence.adjustment import ADJUSTMENTS
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.published import score_known_models
from fiftyone_honeyimage.core.evidence.verdict import judge
from fiftyone_honeyimage.core.hardness import compute_hardness
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.request import CraftRequest, CraftResult
from fiftyone_honeyimage.core.methods.selection import Candidates, select_candidates
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.seeds import derive_seed
from fiftyone_honeyimage.core.training import (
    TrainingConfig,
    cross_entropy,
    predict_logits,
    train_models,
)

#: Mirror image, and shifts by two pixels with the edge repeated
VIEWS = ("image", "mirror", "left", "right", "up", "down")
#: What losses are compared as
COMPARED = ("loss", "confidence")
#: The covariates that a marking writes down; the others were tried
REFERENCES = ("original", "hardness")


@dataclass(frozen=True)
class Setting:
    """One experiment: sizes, marking and how suspects are trained."""

    num_public: int = 4000
    num_private: int = 2000
    num_pairs: int = 20
    num_test: int = 20_000
    method: str = "honeyimage"
    inner: str = "warm"
    epsilon: float = 4.0
    smoothing: float = 1.0
    proxy: str = "resnet_tiny"
    suspect: str = "resnet_tiny"
    proxy_config: TrainingConfig = TrainingConfig()
    suspect_config: TrainingConfig = TrainingConfig()


def run_seed(
    setting: Setting,
    seed: int,
    *,
    with_innocent: bool = True,
    with_clean: bool = True,
    coins: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Runs the whole experiment once.

    Args:
        setting: what to run
        seed: decides the images and all training
        with_innocent (True): whether to train the innocent model too
        with_clean (True): whether to train the model on the unprotected set too
        coins (None): which side of each pair is released, 0 or 1; None draws them from the operating system

    Returns:
        a dict of figures, JSON-serialisable
    """
    start = time.perf_counter()
    images, labels, classes = load_cifar10()
    order = np.random.default_rng(derive_seed(seed, "images")).permutation(len(images))
    public, order = np.split(order, [setting.num_public])
    private, order = np.split(order, [setting.num_private])
    test = order[: setting.num_test]
    num_classes = len(classes)

    candidates, result, covariates, seconds = mark(
        images[private], labels[private], num_classes, setting, seed
    )
    marked, gaps = np.stack(result.images), result.proxy_losses
    drawn = np.array(coins or [secrets.randbits(1) for _ in candidates.pairs])
    released = candidates.pairs[np.arange(len(drawn)), drawn]
    withheld = candidates.pairs[np.arange(len(drawn)), 1 - drawn]

    protected = images[private].copy()
    protected[candidates.rows] = marked
    release = np.setdiff1d(np.arange(len(private)), withheld)

    def suspect(name: str, rows: np.ndarray, targets: np.ndarray) -> torch.nn.Module:
        own = derive_seed(seed, name)
        model = build_model(setting.suspect, num_classes, input_size=32, seed=own)
        train_models(
            [model],
            to_tensor(rows),
            torch.from_numpy(targets),
            config=setting.suspect_config,
            seeds=[own],
        )
        return model

    models = {
        "infringing": suspect(
            "infringing",
            np.concatenate([images[public], protected[release]]),
            np.concatenate([labels[public], labels[private][release]]),
        )
    }
    if with_innocent:
        models["innocent"] = suspect("innocent", images[public], labels[public])
    if with_clean:
        models["unprotected"] = suspect(
            "infringing",  # the same seed: the two differ by the release alone
            np.concatenate([images[public], images[private]]),
            np.concatenate([labels[public], labels[private]]),
        )

    def losses(model: torch.nn.Module, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        targets = torch.from_numpy(labels[private][rows])
        logits = predict_logits(model, to_tensor(protected[rows]))
        return cross_entropy(logits, targets), (logits.argmax(1) == targets).numpy()

    figures: dict[str, Any] = {"seed": seed, "pairs": len(drawn), "craft_seconds": seconds}
    for name in ("infringing", "innocent")[: 1 + with_innocent]:
        loss_released, right_released = losses(models[name], released)
        loss_withheld, right_withheld = losses(models[name], withheld)
        recorded = record(models[name], protected, labels[private], candidates, covariates, drawn)
        compared = compare(recorded)
        figures[name] = {
            "p_scores": compared["loss, none"],
            "p_labels": compared["labels"],
            "p": compared,
            "answers": recorded,
            "accuracy_released": float(right_released.mean()),
            "accuracy_withheld": float(right_withheld.mean()),
            "loss_released": float(np.median(loss_released)),
            "loss_withheld": float(np.median(loss_withheld)),
        }
        marked_released = np.setdiff1d(candidates.rows, withheld)
        own, _ = losses(models[name], marked_released)
        proxy = dict(zip(candidates.rows.tolist(), gaps, strict=True))
        figures[name]["gaps"] = [
            proxy[row] - value for row, value in zip(marked_released.tolist(), own, strict=True)
        ]
    if with_innocent:
        gap_scores = score_known_models(figures["infringing"]["gaps"], figures["innocent"]["gaps"])
        figures["gap_auroc"] = gap_scores.auroc
    for name, model in models.items():
        logits = predict_logits(model, to_tensor(images[test]))
        accuracy = float((logits.argmax(1).numpy() == labels[test]).mean())
        figures.setdefault(name, {})["test_accuracy"] = accuracy
    figures["seconds"] = time.perf_counter() - start
    return figures


def record(
    model: torch.nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    candidates: Candidates,
    covariates: Mapping[str, np.ndarray],
    coins: np.ndarray,
) -> dict[str, Any]:
    """What a model answers on both sides of every pair, and what is known of them without it."""
    pairs = candidates.pairs
    place = {row: number for number, row in enumerate(candidates.rows.tolist())}
    rows = np.array([[place[row] for row in pair] for pair in pairs.tolist()])
    targets = torch.from_numpy(labels[pairs.ravel()])
    logits = [predict_logits(model, to_tensor(view)) for view in views(images[pairs.ravel()])]
    each = np.stack([cross_entropy(view, targets) for view in logits], axis=1)
    return {
        "losses": each.reshape(*pairs.shape, len(VIEWS)).tolist(),
        "correct": (logits[0].argmax(1) == targets).numpy().reshape(pairs.shape).tolist(),
        "covariates": {
            name: values[rows].tolist()
            for name, values in covariates.items()
            if np.isfinite(values).all()
        },
        "released": ["ab"[coin] for coin in coins],
    }


def compare(recorded: Mapping[str, Any]) -> dict[str, float]:
    """The p-value of every plan, by its name, on the same answers: the way of every verdict."""
    losses, correct = np.array(recorded["losses"]), np.array(recorded["correct"])
    released = dict(enumerate(recorded["released"]))
    covariates = {
        pair: tuple(
            {name: recorded["covariates"][name][pair][side] for name in REFERENCES}
            for side in (0, 1)
        )
        for pair in released
    }

    def p_value(plan: Plan, kind: str, values: np.ndarray) -> float:
        a, b = (tuple(side.tolist()) for side in values.T)
        answers = PairAnswers(kind, tuple(released), a, b)
        return judge(plan, answers, released, covariates, num_left=0).p_value

    found = {"labels": p_value(Plan(), "labels", correct)}
    for score in COMPARED:
        for adjustment in ADJUSTMENTS:
            plan = Plan(score=score, adjustment=adjustment)
            found[f"{score}, {adjustment}"] = p_value(plan, "scores", losses[:, :, 0])
            found[f"{score}, {adjustment}, views"] = p_value(plan, "scores", losses.mean(axis=2))
    return found


def views(images: np.ndarray) -> Iterator[np.ndarray]:
    """Each of :data:`VIEWS` of images (N, H, W, 3)."""
    yield images
    yield images[:, :, ::-1]
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    height, width = images.shape[1:3]
    for top, left in ((2, 4), (2, 0), (4, 2), (0, 2)):
        yield padded[:, top : top + height, left : left + width]


def mark(
    images: np.ndarray, labels: np.ndarray, num_classes: int, setting: Setting, seed: int
) -> tuple[Candidates, CraftResult, dict[str, np.ndarray], float]:
    """Candidates, marks, what the proxies say of each, and the seconds that the crafting took."""
    hardness = compute_hardness(
        to_tensor(images),
        labels,
        num_classes,
        proxy=setting.proxy,
        config=setting.proxy_config,
        seed=seed,
    ).hardness
    candidates = select_candidates(
        hardness, labels, num_honeyimages=setting.num_pairs, num_pairs=setting.num_pairs
    )
    rest = np.setdiff1d(np.arange(len(images)), candidates.rows)
    start = time.perf_counter()
    result = METHODS[setting.method].craft(
        CraftRequest(
            candidates=list(images[candidates.rows]),
            candidate_labels=labels[candidates.rows],
            rest=to_tensor(images[rest]),
            rest_labels=labels[rest],
            num_classes=num_classes,
            proxy=setting.proxy,
            config=setting.proxy_config,
            seed=seed,
            options=METHODS[setting.method].Options.read(vars(setting)),
        )
    )
    seconds = time.perf_counter() - start
    covariates = {
        "out": result.proxy_losses,
        "in": result.in_losses,
        "original": result.original_losses,
        "hardness": hardness[candidates.rows],
    }
    return candidates, result, covariates, seconds


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Worst p-values over the seeds, and the accuracy cost with its 95 % interval."""
    summary: dict[str, Any] = {
        "largest_p_scores": max(run["infringing"]["p_scores"] for run in runs),
        "largest_p_labels": max(run["infringing"]["p_labels"] for run in runs),
        "smallest_innocent_p_scores": min(run["innocent"]["p_scores"] for run in runs),
        "p": {
            plan: {
                name: [run[name]["p"][plan] for run in runs] for name in ("infringing", "innocent")
            }
            for plan in runs[0]["infringing"]["p"]
        },
    }
    if "unprotected" in runs[0]:
        costs = 100 * np.array(
            [
                run["unprotected"]["test_accuracy"] - run["infringing"]["test_accuracy"]
                for run in runs
            ]
        )
        summary["accuracy_cost_points"] = float(costs.mean())
        if len(costs) > 1:
            half = stats.t.ppf(0.975, len(costs) - 1) * costs.std(ddof=1) / np.sqrt(len(costs))
            summary["accuracy_cost_interval"] = [costs.mean() - half, costs.mean() + half]
    return summary


def _short(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if name not in ("gaps", "answers")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=60, help="of every suspect")
    parser.add_argument("--proxy-epochs", type=int, default=30, help="of every proxy")
    parser.add_argument("--method", choices=sorted(METHODS), default="honeyimage")
    parser.add_argument("--inner", choices=["warm", "retrain"], default="warm")
    parser.add_argument("--proxy", default="resnet_tiny")
    parser.add_argument("--suspect", default="resnet_tiny")
    parser.add_argument("--smoothing", type=float, default=1.0)
    parser.add_argument("--no-clean", action="store_true")
    parser.add_argument("--name", default="power")
    args = parser.parse_args()

    setting = replace(
        Setting(),
        method=args.method,
        proxy=args.proxy,
        suspect=args.suspect,
        proxy_config=TrainingConfig(epochs=args.proxy_epochs),
        suspect_config=TrainingConfig(epochs=args.epochs),
        inner=args.inner,
        smoothing=args.smoothing,
    )
    runs = []
    for seed in args.seeds:
        run = run_seed(setting, seed, with_clean=not args.no_clean)
        runs.append(run)
        print({k: v for k, v in run.items() if not isinstance(v, dict)}, flush=True)
        for name in ("infringing", "innocent", "unprotected"):
            print("  ", name, _short(run.get(name, {})), flush=True)
    summary = summarise(runs)
    print(summary)
    write_results(
        args.name, {"setting": asdict(setting), "runs": runs, "summary": summary}, seeds=args.seeds
    )


if __name__ == "__main__":
    main()
