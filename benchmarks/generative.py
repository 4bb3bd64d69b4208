"""Generative suspects: whether a diffusion model shows that it was trained on a release.

The HoneyImage paper leaves generative models open. A seed splits images into private ones and as many others. The private part
is marked, coins are tossed, and a small diffusion model is trained on the release; an innocent one on the others. Both are asked for
one denoising loss an image (:class:`fiftyone_honeyimage.core.suspects.DenoisingSuspect`) and judged by the exact test. Beside
the verdict: the same test on the infringing model's loss over the innocent one's, which would have to be committed before the
coins, and is not offered; and the AUROC of the loss between the release and others (membership as published). A cell is a
method and a seed, and is not computed again where its file is there.

    python -m benchmarks.generative --data digits --scale smoke
    python -m benchmarks.generative --data digits --scale small --seeds 0 1 2 --cells build/generative
    python -m benchmarks.generative --join build/generative
"""

from __future__ import annotations

import argparse
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.datasets import load_images
from benchmarks.diffusion import DenseDenoiser, TinyUNet, linear_schedule, train_diffusion
from benchmarks.power import Setting, mark
from benchmarks.results_io import environment, write_results
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.published import score_known_models
from fiftyone_honeyimage.core.evidence.verdict import judge
from fiftyone_honeyimage.core.files import write_json_atomic
from fiftyone_honeyimage.core.seeds import derive_seed
from fiftyone_honeyimage.core.suspects import DenoisingSuspect
from fiftyone_honeyimage.core.training import TrainingConfig

MARKINGS = ("unperturbed", "honeyimage")


@dataclass(frozen=True)
class Scale:
    """How much is trained.

    Attributes:
        num_part: images of each of the two parts
        num_pairs: as many private images are withheld
        epochs: of a diffusion model
        model: "dense" or "unet", of :mod:`benchmarks.diffusion`
        width: of its layers
        patch: of a U-Net
        learning_rate: the largest
        proxy_epochs: of the classifiers that marking takes
    """

    num_part: int
    num_pairs: int
    epochs: int
    model: str = "dense"
    width: int = 512
    patch: int = 1
    learning_rate: float = 2e-3
    proxy_epochs: int = 20

    def build(self, size: int) -> torch.nn.Module:
        """A new model for images of so many pixels a side."""
        if self.model == "unet":
            return TinyUNet(self.width, self.patch)
        return DenseDenoiser(size, linear_schedule(), self.width)


SCALES = {
    ("digits", "smoke"): Scale(120, 12, 4, width=64, proxy_epochs=2),
    ("digits", "small"): Scale(599, 40, 600),
    ("digits", "unet"): Scale(300, 40, 600, "unet", 32),
    ("cifar10", "smoke"): Scale(120, 12, 1, "unet", 16, 4, proxy_epochs=1),
    ("cifar10", "small"): Scale(500, 40, 200, learning_rate=1e-3),
    ("cifar10", "unet"): Scale(300, 40, 300, "unet", 64, 4),
}


#: A diffusion model and its final loss
Trained = tuple[torch.nn.Module, float]


class World:
    """One seed's images, and the model that no coin touches, kept in ``folder`` if one is given."""

    def __init__(self, data: str, scale: Scale, seed: int, folder: Path | None) -> None:
        self.scale, self.seed, self.folder = scale, seed, folder
        images, labels, self.classes, _ = load_images(data, 2 * scale.num_part)
        order = np.random.default_rng(derive_seed(seed, "images")).permutation(len(images))
        private, others = np.split(order[: 2 * scale.num_part], 2)
        self.private, self.others = images[private], images[others]
        self.labels = labels[private]
        self._innocent: Trained | None = None

    def train(self, name: str, images: np.ndarray) -> Trained:
        """A diffusion model and its final loss."""
        return train_diffusion(
            images,
            lambda: self.scale.build(images.shape[1]),
            linear_schedule(),
            epochs=self.scale.epochs,
            seed=derive_seed(self.seed, name),
            learning_rate=self.scale.learning_rate,
            dtype=torch.bfloat16,
        )

    def innocent(self) -> Trained:
        """The model of the others, trained once a seed."""
        if self._innocent is None:
            self._innocent = self._found() or self._kept()
        return self._innocent

    def _found(self) -> Trained | None:
        path = self._path()
        if path is None or not path.exists():
            return None
        held = torch.load(path, weights_only=True)
        model = self.scale.build(self.others.shape[1])
        model.load_state_dict(held["state"])
        return model.eval(), held["final_loss"]

    def _kept(self) -> Trained:
        model, final_loss = self.train("innocent", self.others)
        if path := self._path():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            torch.save({"state": model.state_dict(), "final_loss": final_loss}, part)
            part.replace(path)
        return model, final_loss

    def _path(self) -> Path | None:
        return self.folder and self.folder / f"innocent-{self.seed}.pt"


def run_cell(world: World, marking: str) -> dict[str, Any]:
    """One marking on one seed: marks, coins, models, figures; JSON-serialisable."""
    start = time.perf_counter()
    scale = world.scale
    setting = replace(
        Setting(),
        method=marking,
        num_pairs=scale.num_pairs,
        proxy_config=TrainingConfig(epochs=scale.proxy_epochs),
    )
    candidates, result, _, _ = mark(
        world.private, world.labels, len(world.classes), setting, world.seed
    )
    protected = world.private.copy()
    protected[candidates.rows] = np.stack(list(result.images))
    pairs = candidates.pairs
    coins = np.array([secrets.randbits(1) for _ in pairs])
    withheld = pairs[np.arange(len(pairs)), 1 - coins]
    release = protected[np.setdiff1d(np.arange(len(protected)), withheld)]

    models = {
        "infringing": world.train(f"infringing {marking}", release),
        "innocent": world.innocent(),
    }
    suspects = {
        who: DenoisingSuspect(model, linear_schedule()) for who, (model, _) in models.items()
    }
    answers = {
        who: _losses(suspect, protected[pairs.ravel()]).reshape(pairs.shape)
        for who, suspect in suspects.items()
    }
    own = _losses(suspects["infringing"], release)
    others = _losses(suspects["infringing"], world.others[: len(release)])
    return {
        "marking": marking,
        "seed": world.seed,
        "num_pairs": len(pairs),
        "num_released": len(release),
        "final_loss": {who: final_loss for who, (_, final_loss) in models.items()},
        "p": {who: _p_value(losses, coins) for who, losses in answers.items()},
        "p_over_innocent": _p_value(answers["infringing"] / answers["innocent"], coins),
        "auroc_of_members": score_known_models(-own, -others).auroc,
        "loss": {"released": float(own.mean()), "others": float(others.mean())},
        "way": suspects["infringing"].way,
        "answers": {who: _short(losses) for who, losses in answers.items()},
        "released": ["ab"[coin] for coin in coins],
        "seconds": time.perf_counter() - start,
    }


def _losses(suspect: DenoisingSuspect, images: np.ndarray) -> np.ndarray:
    batches = [images[start : start + 64] for start in range(0, len(images), 64)]
    return np.concatenate([suspect.answer(list(batch), [""] * len(batch)) for batch in batches])


def _p_value(losses: np.ndarray, coins: np.ndarray) -> float:
    """The way of every verdict: the exact test over the coins, of losses (pairs, 2) of sides a and b."""
    released = {pair: "ab"[coin] for pair, coin in enumerate(coins)}
    a, b = (tuple(side.tolist()) for side in losses.T)
    nothing = dict.fromkeys(released, ({}, {}))
    answers = PairAnswers("scores", tuple(released), a, b)
    return judge(Plan(), answers, released, nothing, num_left=0).p_value


def _short(losses: np.ndarray) -> list[list[float]]:
    return [[float(f"{value:.6g}") for value in row] for row in losses]


def summarise(cells: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By data, model and marking, what each seed gave."""
    summary: dict[str, dict[str, Any]] = {}
    order = sorted(cells, key=lambda cell: (cell["data"], cell["marking"], cell["seed"]))
    for cell in order:
        name = f"{cell['data']}, {cell['scale']['model']}, {cell['marking']}"
        row = summary.setdefault(name, {})
        figures = {
            "seed": cell["seed"],
            "num_pairs": cell["num_pairs"],
            **{f"p {who}": p for who, p in cell["p"].items()},
            "p_over_innocent": cell["p_over_innocent"],
            "auroc_of_members": cell["auroc_of_members"],
            **{f"final loss {who}": loss for who, loss in cell["final_loss"].items()},
        }
        for figure, value in figures.items():
            row.setdefault(figure, []).append(value)
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["digits", "cifar10"], default="digits")
    parser.add_argument("--scale", choices=["smoke", "small", "unet"], default="smoke")
    parser.add_argument("--markings", nargs="+", choices=MARKINGS, default=list(MARKINGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--cells", type=Path, help="a folder for each cell's figures, and for models"
    )
    parser.add_argument("--join", type=Path, help="only sum up the cells that lie in this folder")
    parser.add_argument("--name", default="generative")
    args = parser.parse_args()

    cells = [] if args.join is None else _read(args.join)
    scale = SCALES[args.data, args.scale]
    for seed in () if args.join else args.seeds:
        world: World | None = None
        for marking in args.markings:
            name = f"{args.data}-{args.scale}"
            path = args.cells and args.cells / f"{name}-{marking}-{seed}.json"
            if path and path.exists():
                cells.append(json.loads(path.read_text(encoding="utf-8")))
                continue
            world = world or World(args.data, scale, seed, args.cells and args.cells / name)
            cell = {
                "data": args.data,
                "scale": {"name": args.scale, **asdict(scale)},
                **run_cell(world, marking),
                "environment": environment(torch.device("cpu")),
            }
            cells.append(cell)
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json_atomic(path, cell)
            shown = ("p", "p_over_innocent", "auroc_of_members", "final_loss", "seconds")
            print(args.data, marking, seed, {key: cell[key] for key in shown}, flush=True)
    summary = summarise(cells)
    for row, figures in summary.items():
        print(row)
        for figure, values in figures.items():
            print("   ", figure, ", ".join(f"{value:.3g}" for value in values))
    if args.join or not args.cells:
        write_results(
            args.name,
            {"summary": summary, "cells": cells},
            seeds=sorted({cell["seed"] for cell in cells}),
            measured=cells[0]["environment"],
        )


def _read(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("*.json"))
    if not files:
        raise SystemExit(f"no cells lie in {folder}")
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


if __name__ == "__main__":
    main()
