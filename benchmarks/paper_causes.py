"""Why HoneyImages tell models apart less surely here than their paper prints: one cause at a time.

Every setting changes one thing of the first, on the same images, seeds and choice of what is marked: the weight decay that
the paper prints (0.05) or the default's, batches of 256 or 128, an in-model that is continued or trained anew each round.
Of each setting's answers the same images are judged by several scores: the paper's gap against one proxy or the mean of
several, the same on the scale of φ = log p_y - log sum_{j≠y} p_j, and the suspect's loss alone, which ranks images as φ
alone does. The other side is a model that never had the release. A cell is one setting and seed, and is not computed
again where its file is there.

    python -m benchmarks.paper_causes --seeds 0 1 2 --cells build/causes
    python -m benchmarks.paper_causes --join build/causes
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from benchmarks.cells import Benchmark
from benchmarks.paper import choose, exact_p, telling
from benchmarks.paper_table import interval, shown
from benchmarks.paper_world import Scale, World
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.out_model import losses, thumbnails, train_out_model
from fiftyone_honeyimage.core.methods.request import CraftRequest
from fiftyone_honeyimage.core.scores.confidence import phi
from fiftyone_honeyimage.core.seeds import derive_seed

SCALES = {
    "smoke": Scale(
        *(200, 100, 50, 1, "resnet_tiny", "resnet_tiny", 64), share=0.06, options={"num_steps": 1}
    ),
    "small": Scale(1600, 800, 1000, 20, "resnet_tiny", "resnet_tiny", 128, share=0.02),
    "middle": Scale(8000, 4000, 4000, 40, "wrn28_2", "wrn28_2", 128),
}

#: Out-models whose mean loss stands for the proxy's where several are asked
NUM_PROXIES = 4


@dataclass(frozen=True)
class Setting:
    """What is done otherwise than in the first setting.

    Attributes:
        cause: in words
        training: changes of every model's training
        options: of the method
    """

    cause: str
    training: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


SETTINGS = {
    "first": Setting("weight decay 5e-4, batches of 128, in-model continued"),
    "decay": Setting("weight decay 0.05, as the paper prints", training={"weight_decay": 0.05}),
    "batch": Setting("batches of 256, as in the paper", training={"batch_size": 256}),
    "retrain": Setting("in-model trained anew each round", options={"inner": "retrain"}),
}

#: Name → in words
SCORES_OF = {
    "gap": "loss gap, one proxy (the paper's)",
    "gap_mean": f"loss gap, mean of {NUM_PROXIES} proxies",
    "gap_phi": "gap in φ, one proxy",
    "loss": "the suspect's loss alone",
}


def run_cell(world: World, name: str) -> dict[str, Any]:
    """One setting on one seed; JSON-serialisable."""
    start = time.perf_counter()
    setting = SETTINGS[name]
    world = world.trained_otherwise(**setting.training)
    # Marks as the paper makes them: not smoothed
    candidates, request = choose(world, "honeyimage", {"smoothing": 0.0, **setting.options})
    result = METHODS["honeyimage"].craft(request)
    marked, labels = np.stack(list(result.images)), request.candidate_labels

    coins = np.array([secrets.randbits(1) for _ in request.sides])
    a, b = request.sides[:, 0, 0], request.sides[:, 1, 0]
    released, withheld = np.where(coins, b, a), np.where(coins, a, b)
    protected = world.private.copy()
    protected[candidates.rows] = marked
    kept = np.setdiff1d(np.arange(len(protected)), candidates.rows[withheld])
    suspects = {
        "infringing": world.train(
            "infringing",
            np.concatenate([world.public, protected[kept]]),
            np.concatenate([world.public_labels, world.labels[kept]]),
        ),
        "innocent": world.train("innocent", world.public, world.public_labels),
    }
    answers = {who: world.losses(model, marked, labels)[0] for who, model in suspects.items()}
    several = np.mean([result.proxy_losses, *_other_proxies(request, result.images)], axis=0)
    values = {
        who: {
            "gap": result.proxy_losses - own,
            "gap_mean": several - own,
            "gap_phi": phi(own) - phi(result.proxy_losses),
            "loss": -own,
        }
        for who, own in answers.items()
    }
    sides = [(pair[0], pair[1]) for pair in request.sides]
    return {
        "setting": name,
        "seed": world.seed,
        "num_marked": len(released),
        "published": {
            score: telling(
                values["infringing"][score][released], values["innocent"][score][released]
            )
            for score in SCORES_OF
        },
        "gap_nats": {who: float(values[who]["gap"][released].mean()) for who in values},
        "loss_nats": {
            "proxy": float(result.proxy_losses[released].mean()),
            **{who: float(own[released].mean()) for who, own in answers.items()},
        },
        "p": {who: exact_p(Plan(), own, sides, coins) for who, own in answers.items()},
        "test_accuracy": {
            who: float(world.losses(model, world.test, world.test_labels)[1].mean())
            for who, model in suspects.items()
        },
        "seconds": time.perf_counter() - start,
    }


def _other_proxies(request: CraftRequest, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Losses of further out-models, which had no part in the crafting, on the marked images."""
    seen = thumbnails(images, int(request.rest.shape[-1]))
    truth = torch.as_tensor(request.candidate_labels, dtype=torch.int64)
    found = []
    for number in range(1, NUM_PROXIES):
        own = replace(request, seed=derive_seed(request.seed, "proxy", number))
        found.append(losses(train_out_model(own), seen, truth, torch.device("cpu")))
    return found


def summarise(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By setting: AUROC of every score with its 95 % interval over seeds, what it is more than in the first setting
    on the same seeds, p-values and accuracy."""
    by = {(cell["setting"], cell["seed"]): cell for cell in cells}
    summary: dict[str, Any] = {}
    for name in dict.fromkeys(cell["setting"] for cell in cells):
        setting, *variant = name.split(" ", 1)
        first = " ".join(["first", *variant])
        seeds = sorted(seed for own, seed in by if own == name)
        auroc = {
            score: {seed: by[name, seed]["published"][score]["auroc"] for seed in seeds}
            for score in SCORES_OF
        }
        cause = ", ".join([SETTINGS[setting].cause, *variant])
        entry: dict[str, Any] = {"cause": cause, "seeds": seeds}
        entry["auroc"] = {score: interval(list(own.values())) for score, own in auroc.items()}
        entry["more_than_gap"] = {
            score: interval([own[seed] - auroc["gap"][seed] for seed in seeds])
            for score, own in auroc.items()
            if score != "gap"
        }
        both = [seed for seed in seeds if (first, seed) in by]
        if name != first and both:
            entry["more_than_first"] = {
                score: interval(
                    [own[seed] - by[first, seed]["published"][score]["auroc"] for seed in both]
                )
                for score, own in auroc.items()
            }
        for figure in ("gap_nats", "loss_nats", "test_accuracy"):
            entry[figure] = {
                who: interval([by[name, seed][figure][who] for seed in seeds])
                for who in by[name, seeds[0]][figure]
            }
        entry["p"] = {
            who: [by[name, seed]["p"][who] for seed in seeds] for who in ("infringing", "innocent")
        }
        summary[name] = entry
    return summary


def format_table(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """The summary as a Markdown table."""
    lines = [
        f"| setting | {' | '.join(f'AUROC, {words}' for words in SCORES_OF.values())} | accuracy of the infringing model | "
        "exact p, infringing | exact p, innocent |",
        "| --- " * (4 + len(SCORES_OF)) + "|",
    ]
    for entry in summary.values():
        cells = [
            entry["cause"],
            *(shown(entry["auroc"][score]) for score in SCORES_OF),
            shown(entry["test_accuracy"]["infringing"]),
            *(", ".join(f"{p:.1e}" for p in entry["p"][who]) for who in ("infringing", "innocent")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


BENCHMARK = Benchmark(
    name="paper_causes",
    about=__doc__.splitlines()[0],
    kind="setting",
    kinds=list(SETTINGS),
    scales=SCALES,
    default_scale="small",
    world=World,
    run_cell=run_cell,
    summarise=summarise,
    format_table=format_table,
)


if __name__ == "__main__":
    BENCHMARK.main()
