"""What every marking method takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path

import numpy as np
import torch

from ..codecs.base import Codec
from ..errors import ParameterError
from ..limits import EPSILON, NUM_STEPS, SMOOTHING, check_choice, shown
from ..models import Proxy
from ..progress import Report, silent
from ..training import TrainingConfig


@dataclass(frozen=True)
class CraftRequest:
    """The input of a marking method.

    Attributes:
        candidates: uint8 (H, W, 3) arrays at native size, K of them; read one at a time, so that a
            sequence may decode each when it is asked for
        candidate_labels: int64 (K,)
        rest: uint8 (N, 3, S, S), the images that are not candidates, at the proxy's input size
        rest_labels: int64 (N,)
        num_classes: the number of classes
        proxy: a proxy's name or factory
        config: how the proxies are trained
        epsilon: largest change of any value, 0–255 units, an integer or a fraction
        step_size: α, the size of one ascent step, 0–255 units
        num_steps: T, the number of rounds
        inner: ``"retrain"`` trains the in-model anew each round, as the paper does; ``"warm"``
            continues it
        seed: the run's seed
        device: where to compute; None chooses
        codecs: for each candidate the codec of its file, or None for pixels without files
        robust: whether marks are optimised to survive JPEG 75 and 50, resizing, a median filter, crop
            and flip (expectation over these transforms)
        smoothing: pixels; with a value above 0 the three channels move together, along a gradient that
            is smoothed by a Gaussian of this standard deviation. 0 is the paper's method, whose noise a
            classifier tells from a camera's at once
        checkpoint_dir: where finished stages are kept so that an interrupted run resumes, or None
        report: progress
    """

    candidates: Sequence[np.ndarray]
    candidate_labels: np.ndarray
    rest: torch.Tensor
    rest_labels: np.ndarray
    num_classes: int
    proxy: Proxy = "wrn28_2"
    config: TrainingConfig = field(default_factory=TrainingConfig)
    epsilon: float = 4.0
    step_size: float = 0.4
    num_steps: int = 20
    inner: str = "warm"
    seed: int = 51
    device: str | torch.device | None = None
    codecs: Sequence[Codec] | None = None
    robust: bool = False
    smoothing: float = 1.0
    checkpoint_dir: Path | None = None
    report: Report = silent

    def __post_init__(self) -> None:
        check_budget(self.epsilon, self.step_size, self.num_steps, self.inner, self.smoothing)
        if self.codecs is not None and len(self.codecs) != len(self.candidates):
            raise ParameterError(
                f"{len(self.candidates)} candidates need as many codecs, not {len(self.codecs)}"
            )


@dataclass(frozen=True)
class CraftResult:
    """The output of a marking method.

    Attributes:
        images: uint8 (H, W, 3) arrays, as given but changed by at most ε; as decoded from their files
            where there are codecs, each when it is asked for
        encoded: the files, or None without codecs
        proxy_losses: float64 (K,), the out-model's loss on the changed images: the paper's
            ``L(f_proxy, x')``
        original_losses: float64 (K,), the out-model's loss on the originals
        in_losses: float64 (K,), the last in-model's loss on the changed images; NaN if none
        history: float64 (T,), mean of ``L_out − L_in`` before each round's step
        out_model: the out-model, on the CPU
        in_model: the last in-model, on the CPU; None if none
    """

    images: Sequence[np.ndarray]
    encoded: Sequence[bytes] | None
    proxy_losses: np.ndarray
    original_losses: np.ndarray
    in_losses: np.ndarray
    history: np.ndarray
    out_model: torch.nn.Module
    in_model: torch.nn.Module | None = None


MarkingMethod = Callable[[CraftRequest], CraftResult]


def check_budget(
    epsilon: float, step_size: float, num_steps: int, inner: str = "warm", smoothing: float = 0
) -> None:
    """Checks the attack parameters.

    Raises:
        ParameterError: if one is out of range
    """
    EPSILON.check("epsilon", epsilon)
    if not (_is_number(step_size) and 0 < step_size <= epsilon):
        raise ParameterError(
            f"step_size must be above 0 and at most epsilon={epsilon}; found {shown(step_size)}"
        )
    NUM_STEPS.check("num_steps", num_steps)
    check_choice("inner", inner, ("warm", "retrain"))
    SMOOTHING.check("smoothing", smoothing)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
