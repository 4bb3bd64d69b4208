"""Which images, marked how, carry how much evidence a pair, and what dropping the hardest images leaves of it.

CIFAR-10, public and private 2:1. Six kinds of pairs lie in one release, so that every suspect judges all of them
alike: among the hardest images unchanged ones, smooth HoneyImages and the paper's; images around the 75th percentile
of hardness, unchanged; images drawn over all hardness, unchanged and as smooth HoneyImages. The three kinds of hard
pairs are drawn from one list. Suspects: trained on public and release for some numbers of epochs; the same by a thief
who first drops the hardest 2 % by his own out-of-fold loss; an innocent one, trained on public images alone.

The effect of a kind is the mean of its pairs' score differences over their standard deviation; the pairs needed for
α = 0.001 at power 0.9 fall with its square. "Adjusted" differences are those less β times the difference of reference
models that never saw the coins (β by least squares through the origin, exact under sign flips; see DESIGN).

    python -m benchmarks.mark_choice --seeds 0 1 2 --device cuda
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks.datasets import load_cifar10, to_tensor
from benchmarks.results_io import write_results
from fiftyone_honeyimage.core.evidence.twins import sign_test, signed_rank_test
from fiftyone_honeyimage.core.hardness import compute_hardness
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.honeyimage import HoneyImageOptions
from fiftyone_honeyimage.core.methods.request import CraftRequest
from fiftyone_honeyimage.core.methods.selection import select_candidates
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.seeds import derive_seed
from fiftyone_honeyimage.core.training import (
    TrainingConfig,
    cross_entropy,
    predict_logits,
    train_models,
)

#: Kind → (where its images come from, how they are marked: None or the smoothing of their HoneyImages)
KINDS: dict[str, tuple[str, float | None]] = {
    "hardest, unchanged": ("hardest", None),
    "hardest, HoneyImages": ("hardest", 1.0),
    "hardest, the paper's HoneyImages": ("hardest", 0.0),
    "75th percentile, unchanged": ("upper", None),
    "any, unchanged": ("any", None),
    "any, HoneyImages": ("any", 1.0),
}
SCORES = ("loss", "loss adjusted", "phi", "phi adjusted", "labels")
ALPHA, POWER = 0.001, 0.9


@dataclass(frozen=True)
class Setting:
    """Sizes and trainings of one experiment."""

    num_public: int
    num_private: int
    num_test: int
    pairs_a_kind: int
    proxy: str
    suspect: str
    proxy_epochs: int
    suspect_epochs: tuple[int, ...]
    thief_epochs: int
    num_steps: int
    batch_size: int
    dropped: float = 0.02

    def training(self, epochs: int) -> TrainingConfig:
        """How a model is trained for so many epochs."""
        return TrainingConfig(epochs=epochs, batch_size=self.batch_size)


def run_seed(
    setting: Setting, seed: int, device: str | None, save: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Runs the whole experiment once; ``save`` gets the figures after every suspect."""
    start = time.perf_counter()
    total = setting.num_public + setting.num_private + setting.num_test
    images, labels, classes = load_cifar10(0, total)
    order = np.random.default_rng(derive_seed(seed, "images")).permutation(total)
    public, private, test = np.split(
        order, [setting.num_public, setting.num_public + setting.num_private]
    )
    own, own_labels = images[private], labels[private]

    hardness = compute_hardness(
        to_tensor(own),
        own_labels,
        len(classes),
        proxy=setting.proxy,
        config=setting.training(setting.proxy_epochs),
        seed=seed,
        device=device,
    ).hardness
    pairs = choose_pairs(hardness, own_labels, setting.pairs_a_kind, seed)
    protected, references = mark(own, own_labels, pairs, len(classes), setting, seed, device)

    rng = np.random.default_rng(derive_seed(seed, "coins"))
    coins = {kind: rng.integers(0, 2, len(rows)) for kind, rows in pairs.items()}
    released = {kind: rows[np.arange(len(rows)), coins[kind]] for kind, rows in pairs.items()}
    withheld = {kind: rows[np.arange(len(rows)), 1 - coins[kind]] for kind, rows in pairs.items()}
    release = np.setdiff1d(np.arange(len(own)), np.concatenate(list(withheld.values())))
    shown = np.concatenate([images[public], protected[release]])
    truth = np.concatenate([labels[public], own_labels[release]])

    figures: dict[str, Any] = {
        "seed": seed,
        "hardness": {kind: float(np.mean(hardness[rows])) for kind, rows in pairs.items()},
        "seconds_to_mark": time.perf_counter() - start,
        "suspects": {},
    }

    def train(name: str, rows: np.ndarray, targets: np.ndarray, epochs: int) -> torch.nn.Module:
        own_seed = derive_seed(seed, name)
        model = build_model(setting.suspect, len(classes), input_size=32, seed=own_seed)
        train_models(
            [model],
            to_tensor(rows),
            torch.from_numpy(targets),
            config=setting.training(epochs),
            seeds=[own_seed],
            device=device,
        )
        return model

    def judge(name: str, model: torch.nn.Module, **more: Any) -> None:
        logits = predict_logits(model, to_tensor(images[test]), device=device)
        figures["suspects"][name] = {
            "test_accuracy": float((logits.argmax(1).numpy() == labels[test]).mean()),
            **more,
            "kinds": judge_kinds(
                [model], references, protected, own_labels, released, withheld, device
            ),
        }
        figures["seconds"] = time.perf_counter() - start
        save(figures)

    judge(
        "innocent",
        train("innocent", images[public], labels[public], setting.suspect_epochs[0]),
    )
    first, *longer = setting.suspect_epochs
    judge(f"{first} epochs", train(f"infringing {first}", shown, truth, first))
    kept, lost = drop_hardest(shown, truth, len(public), release, released, setting, seed, device)
    judge(
        f"{first} epochs, hardest {setting.dropped:.0%} dropped",
        train(f"infringing {first}", shown[kept], truth[kept], first),
        released_dropped=lost,
    )
    for epochs in longer:
        judge(f"{epochs} epochs", train(f"infringing {epochs}", shown, truth, epochs))
    return figures


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
        ("upper", (rank > 0.7) & (rank < 0.8)),
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


def mark(
    images: np.ndarray,
    labels: np.ndarray,
    pairs: dict[str, np.ndarray],
    num_classes: int,
    setting: Setting,
    seed: int,
    device: str | None,
) -> tuple[np.ndarray, list[torch.nn.Module]]:
    """The private images with HoneyImages in place, and models that saw none of the pairs."""
    protected = images.copy()
    every = np.concatenate([rows.reshape(-1) for rows in pairs.values()])
    rest = np.setdiff1d(np.arange(len(images)), every)
    references: list[torch.nn.Module] = []
    for smoothing in sorted({how for _, how in KINDS.values() if how is not None}):
        kinds = [kind for kind, (_, how) in KINDS.items() if how == smoothing]
        rows = np.concatenate([pairs[kind].reshape(-1) for kind in kinds])
        result = METHODS["honeyimage"].craft(
            CraftRequest(
                candidates=list(images[rows]),
                candidate_labels=labels[rows],
                rest=to_tensor(images[rest]),
                rest_labels=labels[rest],
                num_classes=num_classes,
                proxy=setting.proxy,
                config=setting.training(setting.proxy_epochs),
                seed=derive_seed(seed, f"smoothing {smoothing}"),
                device=device,
                options=HoneyImageOptions(num_steps=setting.num_steps, smoothing=smoothing),
            )
        )
        protected[rows] = np.stack(list(result.images))
        references.append(result.out_model)
    return protected, references


def drop_hardest(
    shown: np.ndarray,
    truth: np.ndarray,
    num_public: int,
    release: np.ndarray,
    released: dict[str, np.ndarray],
    setting: Setting,
    seed: int,
    device: str | None,
) -> tuple[np.ndarray, dict[str, float]]:
    """What a thief keeps who drops the hardest by his own out-of-fold loss; the share lost of each kind."""
    loss = compute_hardness(
        to_tensor(shown),
        truth,
        int(truth.max()) + 1,
        proxy=setting.suspect,
        config=setting.training(setting.thief_epochs),
        seed=derive_seed(seed, "thief"),
        device=device,
    ).hardness
    gone = np.argsort(-loss, kind="stable")[: int(setting.dropped * len(loss))]
    kept = np.setdiff1d(np.arange(len(loss)), gone)
    gone_rows = release[gone[gone >= num_public] - num_public]
    return kept, {kind: float(np.isin(rows, gone_rows).mean()) for kind, rows in released.items()}


def judge_kinds(
    suspect: list[torch.nn.Module],
    references: list[torch.nn.Module],
    images: np.ndarray,
    labels: np.ndarray,
    released: dict[str, np.ndarray],
    withheld: dict[str, np.ndarray],
    device: str | None,
) -> dict[str, Any]:
    """Effect, p-value and differences of every kind and of all together, by score."""
    differences: dict[str, dict[str, np.ndarray]] = {score: {} for score in SCORES}
    for kind, rows in released.items():
        seen = both(suspect, images, labels, rows, withheld[kind], device)
        known = both(references, images, labels, rows, withheld[kind], device)
        for score in ("loss", "phi"):
            differences[score][kind] = seen[score]
            differences[f"{score} adjusted"][kind] = adjust(seen[score], known[score])
        differences["labels"][kind] = seen["labels"]
    result: dict[str, Any] = {}
    for score, by_kind in differences.items():
        for kind, values in {
            **by_kind,
            "all kinds": np.concatenate(list(by_kind.values())),
        }.items():
            spread = float(values.std(ddof=1))
            test = sign_test if score == "labels" else signed_rank_test
            result.setdefault(kind, {})[score] = {
                "effect": float(values.mean()) / spread if spread else 0.0,
                "p_value": test(values).p_value,
                "differences": [round(float(value), 4) for value in values]
                if kind != "all kinds"
                else None,
            }
    return result


def both(
    models: list[torch.nn.Module],
    images: np.ndarray,
    labels: np.ndarray,
    released: np.ndarray,
    withheld: np.ndarray,
    device: str | None,
) -> dict[str, np.ndarray]:
    """Withheld less released of each score, averaged over models: positive where released is known better."""
    sums = {"loss": 0.0, "phi": 0.0, "labels": 0.0}
    for model in models:
        for sign, rows in ((1.0, withheld), (-1.0, released)):
            logits = predict_logits(model, to_tensor(images[rows]), device=device)
            truth = labels[rows]
            loss = cross_entropy(logits, torch.from_numpy(truth))
            others = logits.double().numpy().copy()
            own = others[np.arange(len(rows)), truth].copy()
            others[np.arange(len(rows)), truth] = -np.inf
            top = others.max(axis=1)
            phi = own - top - np.log(np.exp(others - top[:, None]).sum(axis=1))
            wrong = (logits.argmax(1).numpy() != truth).astype(float)
            sums["loss"] = sums["loss"] + sign * loss / len(models)
            sums["phi"] = sums["phi"] - sign * phi / len(models)
            sums["labels"] = sums["labels"] + sign * wrong / len(models)
    return {score: np.asarray(value) for score, value in sums.items()}


def adjust(differences: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """Differences less β times the covariates, β by least squares through the origin."""
    scale = float((covariates**2).sum())
    beta = float((covariates * differences).sum()) / scale if scale else 0.0
    return differences - beta * covariates


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean effect of each suspect, kind and score over the seeds, with a 95 % interval, and pairs needed."""
    needed = (stats.norm.isf(ALPHA) + stats.norm.isf(1 - POWER)) ** 2
    summary: dict[str, Any] = {}
    for suspect in runs[0]["suspects"]:
        found = [run["suspects"][suspect] for run in runs if suspect in run["suspects"]]
        entry: dict[str, Any] = {
            "test_accuracy": float(np.mean([one["test_accuracy"] for one in found]))
        }
        for kind in (*KINDS, "all kinds"):
            for score in SCORES:
                effects = np.array([one["kinds"][kind][score]["effect"] for one in found])
                mean = float(effects.mean())
                cell: dict[str, Any] = {"effect": mean}
                if len(effects) > 1:
                    half = stats.t.ppf(0.975, len(effects) - 1) * stats.sem(effects)
                    cell["interval"] = [mean - float(half), mean + float(half)]
                cell["pairs_needed"] = int(np.ceil(needed / mean**2)) if mean > 0 else None
                cell["p_values"] = [one["kinds"][kind][score]["p_value"] for one in found]
                entry.setdefault(kind, {})[score] = cell
        if "released_dropped" in found[0]:
            entry["released_dropped"] = {
                kind: float(np.mean([one["released_dropped"][kind] for one in found]))
                for kind in KINDS
            }
        summary[suspect] = entry
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device")
    parser.add_argument("--public", type=int, default=16_000)
    parser.add_argument("--private", type=int, default=8_000)
    parser.add_argument("--test", type=int, default=4_000)
    parser.add_argument("--pairs", type=int, default=40, help="of each kind")
    parser.add_argument("--proxy", default="resnet18")
    parser.add_argument("--suspect", default="resnet18")
    parser.add_argument("--proxy-epochs", type=int, default=30)
    parser.add_argument("--epochs", type=int, nargs="+", default=[20, 40])
    parser.add_argument("--thief-epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument(
        "--batch-size", type=int, default=256, help="the paper's; of every training"
    )
    parser.add_argument("--partial", type=Path, help="a folder for each seed's figures so far")
    parser.add_argument("--join", type=Path, help="only sum up the figures that lie in this folder")
    args = parser.parse_args()

    setting = Setting(
        num_public=args.public,
        num_private=args.private,
        num_test=args.test,
        pairs_a_kind=args.pairs,
        proxy=args.proxy,
        suspect=args.suspect,
        proxy_epochs=args.proxy_epochs,
        suspect_epochs=tuple(args.epochs),
        thief_epochs=args.thief_epochs,
        num_steps=args.steps,
        batch_size=args.batch_size,
    )

    def save(figures: dict[str, Any]) -> None:
        print(figures["seed"], list(figures["suspects"]), round(figures["seconds"]), flush=True)
        if args.partial:
            path = args.partial / f"seed{figures['seed']}.json"
            path.write_text(json.dumps(figures), encoding="utf-8")

    if args.join:
        files = sorted(args.join.glob("seed*.json"))
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    else:
        runs = [run_seed(setting, seed, args.device, save) for seed in args.seeds]
    summary = summarise(runs)
    for suspect, entry in summary.items():
        print(f"\n{suspect}: accuracy {entry['test_accuracy']:.3f}", entry.get("released_dropped"))
        for kind in (*KINDS, "all kinds"):
            cells = {score: entry[kind][score] for score in SCORES}
            print(f"  {kind:34}", {s: round(cell["effect"], 2) for s, cell in cells.items()})
    write_results(
        "mark_choice",
        {"setting": asdict(setting), "summary": summary, "runs": runs},
        device=args.device or "cpu",
        seeds=[run["seed"] for run in runs],
    )


if __name__ == "__main__":
    main()
