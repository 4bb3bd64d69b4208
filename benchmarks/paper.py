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

import importlib.util
import secrets
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from benchmarks.cells import Benchmark
from benchmarks.datasets import data_root, to_tensor
from benchmarks.paper_table import format_table, summarise
from benchmarks.paper_world import SCALES, World
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.published import score_known_models
from fiftyone_honeyimage.core.evidence.verdict import judge
from fiftyone_honeyimage.core.methods import METHODS
from fiftyone_honeyimage.core.methods.request import CraftRequest, CraftResult
from fiftyone_honeyimage.core.methods.selection import Candidates
from fiftyone_honeyimage.core.metrics import LpipsMetric, stealthiness
from fiftyone_honeyimage.core.pipeline.reference_models import train_references
from fiftyone_honeyimage.core.scores import SCORES, References

#: Row of the table → method and its options. Scores with reference models are taken on the unmarked images.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "honeyimage": ("honeyimage", {"smoothing": 0.0, "inner": "warm"}),
    "honeyimage_smooth": ("honeyimage", {}),
    "unperturbed": ("unperturbed", {"selection": "hardest"}),
    "random": ("unperturbed", {"selection": "random"}),
    **{name: (name, {}) for name in METHODS if name not in ("honeyimage", "unperturbed")},
}


def run_cell(world: World, row: str) -> dict[str, Any]:
    """One method on one seed: marks, coins, suspects, figures; JSON-serialisable."""
    start = time.perf_counter()
    name, given = ROWS[row]
    method = METHODS[name]
    candidates, request = choose(world, name, given)
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
            who: exact_p(plan, losses, sides, coins)
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


def choose(world: World, name: str, given: Mapping[str, Any]) -> tuple[Candidates, CraftRequest]:
    """A method's images and what it is asked for, under a row's options."""
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
        partners=list(world.private[candidates.partners]),
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


def exact_p(
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
    figures = telling(values["infringing"], values["innocent"])
    if not result.probes:  # the confidence φ falls with the loss, so that it ranks images alike
        plain = {who: -losses[released] for who, losses in answers.items()}
        figures["auroc_of_loss"] = telling(plain["infringing"], plain["innocent"])["auroc"]
    return figures


def telling(infringing: np.ndarray, innocent: np.ndarray) -> dict[str, float]:
    """How well values, larger for a model that used the release, tell the two models apart, image by image."""
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
        cell = telling(-values["infringing"][is_released], -values["innocent"][is_released])
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
    metric = _lpips()
    if metric is None:
        return None
    distances = metric.distances(to_tensor(originals), to_tensor(marked))
    return float(np.mean([stealthiness(value) for value in distances]))


@cache
def _lpips() -> LpipsMetric | None:
    root = data_root()
    file = None if root is None else root / "lpips" / "alexnet_features.safetensors"
    if file is None or not file.is_file() or importlib.util.find_spec("lpips") is None:
        return None
    return LpipsMetric(backbone_file=file)


BENCHMARK = Benchmark(
    name="paper",
    about=__doc__.splitlines()[0],
    kind="row",
    kinds=list(ROWS),
    scales=SCALES,
    default_scale="smoke",
    world=World,
    run_cell=run_cell,
    summarise=summarise,
    format_table=format_table,
)


if __name__ == "__main__":
    BENCHMARK.main()
