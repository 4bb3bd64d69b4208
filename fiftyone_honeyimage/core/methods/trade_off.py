"""What other budgets ε would give: loss gap against visibility.

A few candidates are crafted anew at each budget, with the run's finished proxies, which stay as they
are. The HoneyImages of the run, its coins and its proxies have no part in it: nothing of them changes.

The proxies have learnt the HoneyImages of the run's own ε. A run at another ε would train proxies of its
own, so the curve is an estimate of what it would give.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
import torch

from ..device import choose_device
from ..metrics import LpipsMetric, compare_images
from ..progress import Report, silent
from ..seeds import derive_seed
from ..training import cross_entropy, predict_logits
from .ascent import PASSES
from .crafting import Crafting
from .in_model import in_model_epochs
from .out_model import thumbnails
from .request import CraftRequest, CraftResult

#: Budgets that are measured, 0–255 units; the run's own is added.
BUDGETS = (1.0, 2.0, 4.0, 8.0, 16.0)

#: At most this share of the crafting is spent on it.
MAX_SHARE = 0.1

#: Rounds at each budget with fixed proxies; with fewer than the least, a curve would say little.
_MAX_STEPS, _MIN_STEPS = 8, 3

#: A round moves a value by ε times this over the number of rounds (Madry et al., 2018).
_REACH = 2.5

#: Encoding, decoding and comparing an image at the end costs about as much as so many rounds.
_FINISHING = 4

_MEASURES = ("linf", "psnr", "ssim", "lpips")


@dataclass(frozen=True)
class TradeOffPlan:
    """How much is measured.

    Attributes:
        num_images: candidates that are crafted anew at each budget; 0 for none
        num_steps: rounds at each budget
        num_passes: what that takes, in passes of an image forward and back through a proxy
    """

    num_images: int
    num_steps: int
    num_passes: int


@dataclass(frozen=True)
class TradeOff:
    """Loss gap and visibility at several budgets.

    Attributes:
        num_images: candidates that were crafted at each budget
        num_steps: rounds at each
        points: one dict a budget, in order: ``epsilon`` (0–255 units), ``gap`` (mean of
            ``L_out − L_in``, nats), ``gap_error`` (its standard error, None for one image), and the means
            of ``linf``, ``psnr`` (dB), ``ssim``, ``lpips``, None where they cannot be measured
        produced: the same of the run's own HoneyImages of these candidates
    """

    num_images: int
    num_steps: int
    points: Sequence[Mapping[str, float | None]]
    produced: Mapping[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """As it is stored: JSON-safe."""
        return {
            "num_images": self.num_images,
            "num_steps": self.num_steps,
            "points": [dict(point) for point in self.points],
            "produced": dict(self.produced),
        }


def plan_trade_off(
    wanted: int,
    *,
    num_candidates: int,
    num_rest: int,
    epochs: int,
    options: Any,
    relative_size: float,
) -> TradeOffPlan:
    """How many candidates and rounds fit into a tenth of the time of the crafting.

    Args:
        wanted: candidates at most
        num_candidates, num_rest, epochs, options: of the run
        relative_size: pixels of a candidate over pixels of the proxy's input: a round works on each
    """
    num_steps, epsilon = options.num_steps, options.epsilon
    rounds = in_model_epochs(options, epochs)
    # A round passes an image through the proxies, and works on its pixels at native size
    unit = PASSES + relative_size
    crafting = (num_candidates + num_rest) * rounds + num_candidates * num_steps * unit
    left = MAX_SHARE * crafting / (unit * len(budgets(epsilon)))
    for steps in range(_MAX_STEPS, _MIN_STEPS - 1, -1):
        count = min(wanted, num_candidates, int(left / (steps + _FINISHING)))
        # More images before more rounds: the curve is a mean over images
        if count >= min(wanted, num_candidates) or (steps == _MIN_STEPS and count > 0):
            passes = count * (steps + _FINISHING) * unit * len(budgets(epsilon))
            return TradeOffPlan(count, steps, math.ceil(passes))
    return TradeOffPlan(0, 0, 0)


def budgets(epsilon: float) -> list[float]:
    """The budgets that are measured beside a run's own, smallest first."""
    return sorted({*BUDGETS, float(epsilon)})


def measure_trade_off(
    request: CraftRequest,
    result: CraftResult,
    plan: TradeOffPlan,
    *,
    lpips_metric: LpipsMetric | None = None,
    report: Report | None = None,
) -> TradeOff | None:
    """Crafts a few candidates at each budget and measures their loss gap and visibility.

    Args:
        request: of the run
        result: of the run
        plan: see :func:`plan_trade_off`
        lpips_metric (None): None leaves LPIPS out
        report (None): called with the stage "Measuring the trade-off"

    Returns:
        a :class:`TradeOff`, or None if the plan is to measure nothing or the method trains no in-model
    """
    if result.in_model is None or not plan.num_images:
        return None
    report = report or silent
    device = choose_device(request.device)
    rng = np.random.default_rng(derive_seed(request.seed, "trade_off"))
    order = rng.permutation(len(request.candidates))
    rows = np.sort(order[~np.isin(order, list(result.unchanged))][: plan.num_images])
    if not len(rows):
        return None
    labels = torch.as_tensor(request.candidate_labels, dtype=torch.int64)[rows]
    originals = _Picked(request.candidates, rows)
    codecs = None if request.codecs is None else _Picked(request.codecs, rows)
    size = int(request.rest.shape[-1])

    def gaps(seen: torch.Tensor) -> np.ndarray:
        losses = (
            cross_entropy(predict_logits(model, seen, device=device), labels)
            for model in (result.out_model, result.in_model)
            if model is not None
        )
        return next(losses) - next(losses)

    def point(epsilon: float, images: Sequence[np.ndarray]) -> dict[str, float | None]:
        found = gaps(thumbnails(images, size))
        measures = [
            compare_images(original, image, lpips_metric)
            for original, image in zip(originals, images, strict=True)
        ]
        error = float(found.std(ddof=1) / math.sqrt(len(found))) if len(found) > 1 else None
        means = {name: _mean([row[name] for row in measures]) for name in _MEASURES}
        return {"epsilon": epsilon, "gap": float(found.mean()), "gap_error": error, **means}

    points = []
    try:
        for number, epsilon in enumerate(budgets(request.options.epsilon)):
            crafting = Crafting(
                replace(
                    request,
                    candidates=originals,
                    candidate_labels=labels.numpy(),
                    codecs=codecs,
                    checkpoint_dir=None,
                    report=silent,
                ).with_options(
                    epsilon=epsilon,
                    step_size=min(epsilon, _REACH * epsilon / plan.num_steps),
                    num_steps=plan.num_steps,
                    robust=False,
                ),
                device,
            )
            seen = crafting.see_all()
            for step in range(plan.num_steps):
                crafting.ascend(seen, labels, result.out_model, result.in_model, step)
            images, *_ = crafting.finish_all()
            points.append(point(epsilon, images))
            report("Measuring the trade-off", number + 1, len(budgets(request.options.epsilon)))
    finally:
        result.out_model.cpu()
        result.in_model.cpu()
    produced = point(float(request.options.epsilon), _Picked(result.images, rows))
    return TradeOff(len(rows), plan.num_steps, points, produced)


class _Picked(Sequence):
    """Some rows of a sequence, each read when it is asked for."""

    def __init__(self, items: Sequence, rows: Sequence[int] | np.ndarray) -> None:
        self._items = items
        self._rows = [int(row) for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> _Picked: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return _Picked(self._items, self._rows[index])
        return self._items[self._rows[index]]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
