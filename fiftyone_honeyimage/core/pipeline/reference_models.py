"""Reference models of a marking: each is trained on the rest and a random half of all candidates, before any coin.

They stand for models that could have been trained on a release: both sides of a pair are drawn alike, by a seed that
knows nothing of coins, so that what they say of a side cannot tell which side is released.

Source: Carlini et al., IEEE S&P 2022, algorithm 1 (shadow models); each candidate lies in half of them, as in the code
published with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..checkpoints import load_checkpoint, save_checkpoint
from ..device import choose_device
from ..errors import ParameterError
from ..limits import NUM_REFERENCES
from ..methods.out_model import losses, thumbnails
from ..methods.request import CraftRequest, CraftResult
from ..models import build_model
from ..progress import Report
from ..scores import SCORES, SideReferences
from ..seeds import derive_seed
from ..training import train_models

_STAGE = "Training reference models"


def check_num_references(number: Any, score: str) -> int:
    """Checks how many reference models are asked for, before anything is trained.

    Args:
        number: as given
        score: the name of the score that a marking is committed to

    Raises:
        ParameterError: if it is no such number, one alone, or fewer than the score needs
    """
    number = NUM_REFERENCES.check("num_references", number)
    SCORES[score].check_references(number)
    if number == 1:
        raise ParameterError(
            "num_references is 1, and an image needs a model that has seen it and one that has not; pass 2 or "
            "more, or 0 for none"
        )
    return int(number)


def draw_members(num_models: int, num_units: int, seed: int) -> np.ndarray:
    """Which units each model is trained on: a random half, and the next model on the other half.

    Every unit is then in half of the models, and models have as many images, so that they can be trained side by side.

    Args:
        num_models: 2 or more; of an odd number the last has a half of its own
        num_units: sides, and candidates without a twin
        seed: of the run

    Returns:
        bool (num_models, num_units)
    """
    rng = np.random.default_rng(derive_seed(seed, "reference members"))
    members = np.zeros((num_models, num_units), dtype=bool)
    for model in range(num_models):
        if model % 2:
            members[model] = ~members[model - 1]
        else:
            members[model, rng.permutation(num_units)[: num_units // 2]] = True
    return members


def train_references(
    request: CraftRequest, result: CraftResult, number: int
) -> list[tuple[SideReferences, SideReferences]]:
    """Trains the reference models, and asks each about every side.

    Args:
        request: what was crafted; its rest is what all of them are trained on
        result: the finished candidates
        number: of models; 0 for none

    Returns:
        for each pair what the models say of sides a and b; empty without models or pairs. Models that were asked
        before an interruption are not trained again
    """
    if not number or not len(request.sides):
        return []
    units = _units(request.sides, len(request.candidates))
    members = draw_members(number, len(units), request.seed)
    answers = _Answers(request, result)
    found: dict[int, np.ndarray] = {}
    for model in range(number):
        path = _checkpoint(request, model)
        if path is not None and path.exists():
            found[model] = load_checkpoint(path).numpy()
    missing = [model for model in range(number) if model not in found]
    # One after the other, so that little is lost and one is held at a time; workers take all at once
    turns = [missing] if request.executor is not None else [[model] for model in missing]
    for turn in filter(None, turns):
        rows = [
            answers.rows_of([unit for unit, seen in zip(units, members[m], strict=True) if seen])
            for m in turn
        ]
        for model, losses_of_sides in zip(turn, answers.train(turn, rows, number), strict=True):
            found[model] = losses_of_sides
            path = _checkpoint(request, model)
            if path is not None:
                save_checkpoint(path, torch.from_numpy(losses_of_sides))
    table = np.stack([found[model] for model in range(number)])
    sides = [
        SideReferences(tuple(table[:, side].tolist()), tuple(members[:, side].tolist()))
        for side in range(2 * len(request.sides))
    ]
    return list(zip(sides[0::2], sides[1::2], strict=True))


class _Answers:
    """The rest and the finished candidates as models see them, and what is asked of each side."""

    def __init__(self, request: CraftRequest, result: CraftResult) -> None:
        self._request = request
        size = int(request.rest.shape[-1])
        marks = thumbnails(result.images, size)
        labels = request.candidate_labels if result.labels is None else result.labels
        self._images = torch.cat([request.rest, marks])
        self._labels = torch.cat(
            [
                torch.as_tensor(each, dtype=torch.int64)
                for each in (np.asarray(request.rest_labels), np.asarray(labels))
            ]
        )
        asked: list[np.ndarray] = []
        truth: list[int] = []
        self._place: list[np.ndarray] = []
        if result.probes:
            for side in (side for both in result.probes for side in both):
                self._place.append(np.arange(len(truth), len(truth) + len(side)))
                asked += [probe.image for probe in side]
                truth += [probe.label for probe in side]
            self._asked = thumbnails(asked, size)
            self._truth = torch.tensor(truth, dtype=torch.int64)
        else:
            self._asked, self._truth = marks, self._labels[len(request.rest) :]
            self._place = [np.asarray(side) for both in request.sides for side in both]

    def rows_of(self, units: Sequence[np.ndarray]) -> torch.Tensor:
        """The rows that a model is trained on: all of the rest, and some units of candidates."""
        rest = np.arange(len(self._request.rest))
        return torch.from_numpy(np.sort(np.concatenate([rest, *(len(rest) + u for u in units)])))

    def train(
        self, models: Sequence[int], rows: Sequence[torch.Tensor], number: int
    ) -> list[np.ndarray]:
        """Trains some of the models; the mean loss of each on every side, float64 (2M,), nats."""
        request = self._request
        size = int(request.rest.shape[-1])
        seeds = [derive_seed(request.seed, "reference", model) for model in models]
        built = [
            build_model(request.proxy, request.num_classes, input_size=size, seed=seed)
            for seed in seeds
        ]
        train_models(
            built,
            self._images,
            self._labels,
            subsets=rows,
            config=request.config,
            seeds=seeds,
            device=request.device,
            report=_among_all(request.report, models[0], len(models), number),
            stage=_STAGE,
            executor=request.executor,
            checkpoint_dir=request.trained_dir,
        )
        device = choose_device(request.device)
        answers = []
        for model in built:
            values = losses(model.to(device).eval(), self._asked, self._truth, device)
            answers.append(np.array([values[place].mean() for place in self._place], np.float64))
        return answers


def _units(sides: np.ndarray, num_candidates: int) -> list[np.ndarray]:
    """What is drawn together: a side's candidates, a and b of each pair in turn, then those without a twin."""
    in_pairs = [np.asarray(side) for both in sides for side in both]
    single = np.setdiff1d(np.arange(num_candidates), sides)
    return [*in_pairs, *(np.array([candidate]) for candidate in single)]


def _checkpoint(request: CraftRequest, model: int) -> Any:
    return request.checkpoint_dir / f"reference_{model}.pt" if request.checkpoint_dir else None


def _among_all(report: Report, first: int, turn: int, number: int) -> Callable[..., None]:
    """Progress over all models, from that of one turn."""

    def forward(stage: str, done: int, total: int) -> None:
        epochs = total // turn
        report(stage, first * epochs + done, number * epochs)

    return forward
