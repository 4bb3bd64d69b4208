"""Diffusion models as suspects: one loss an image, how well the noise in it is told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..errors import ParameterError, SuspectError
from ..limits import Whole, shown
from ..seeds import derive_seed
from .base import Preprocessing
from .callable_suspect import CallableSuspect, evaluation_mode

#: Time steps unless said otherwise, as shares of the schedule: there seen images were told best (benchmarks/generative.py,
#: on images of other seeds than those reported)
_SHARES = (0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12, 0.14, 0.16)

_NUM_NOISES = Whole(1, 1000)
_SEED = Whole(0, 2**31 - 1)


class DenoisingSuspect(CallableSuspect):
    """A diffusion model that predicts noise. Its loss on an image x is the mean over time steps t and noises ε of

    ``‖ε − model(√ᾱ_t · x + √(1 − ᾱ_t) · ε, t)‖² / numel(x)``

    Lower on images that it was trained on. The noises follow from ``seed``, the time step and the image's size alone, so
    that every image of one size meets the same ones, whatever its side, its batch and its place there.

    Models that predict something else, are conditioned, or work on latents are given as a function that returns the
    noise; any other function with one loss an image needs no class: pass it with ``outputs="losses"``.

    Args:
        model: a ``torch.nn.Module`` or a callable, from a batch (B, 3, H, W) and int64 time steps (B,) to the predicted
            noise of the batch's shape, or to an object or tuple that holds it as ``sample`` or first
        alphas_cumprod: ᾱ, (T,), falling, in [0, 1]: what the model was trained with
        timesteps (None): which of the T, from 0; None takes ten, from 4 % to 16 % of the schedule
        num_noises (4): noises a time step
        seed (51): of the noises
        preprocessing (mean and std of 0.5, pixels in [-1, 1]): how images become the model's input
        device (None), name (None): see :class:`.CallableSuspect`

    Raises:
        ParameterError: if the schedule, a time step or a number is out of range
        SuspectError: if the model is none

    Source: Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020, eq. 14; as evidence of training, the
    loss-based attack of Carlini et al., Extracting Training Data from Diffusion Models, USENIX Security 2023, section 5.2.
    """

    outputs = "losses"
    #: Of a model that always answers with zero, as noise has a variance of 1
    blank_loss = 1.0

    def __init__(
        self,
        model: nn.Module | Callable[[Tensor, Tensor], Any],
        alphas_cumprod: npt.ArrayLike | Tensor,
        *,
        timesteps: Sequence[int] | None = None,
        num_noises: int = 4,
        seed: int = 51,
        preprocessing: Preprocessing | None = None,
        device: torch.device | None = None,
        name: str | None = None,
    ) -> None:
        self.schedule = _checked_schedule(alphas_cumprod)
        self.timesteps = _checked_timesteps(timesteps, len(self.schedule))
        self.num_noises = _NUM_NOISES.check("num_noises", num_noises)
        self.seed = _SEED.check("seed", seed)
        centred = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        super().__init__(model, preprocessing or centred, device=device, name=name)

    @property
    def way(self) -> str:
        schedule = hashlib.sha256(self.schedule.astype("<f8").tobytes()).hexdigest()[:16]
        steps = ", ".join(map(str, self.timesteps))
        return (
            f"DenoisingSuspect(timesteps=[{steps}], num_noises={self.num_noises}, seed={self.seed}, "
            f"schedule {schedule})"
        )

    def answer(self, images: Sequence[np.ndarray], keys: Sequence[str]) -> np.ndarray:
        x = self.preprocessing(images)
        total = np.zeros(len(images))
        with torch.no_grad(), evaluation_mode(self.model):
            for step, noise in self._noises(x.shape[1:]):
                share = float(self.schedule[step])
                noisy = share**0.5 * x + (1 - share) ** 0.5 * noise
                steps = torch.full((len(x),), step, device=self.device)
                predicted = _prediction(self.model(noisy.to(self.device, self.dtype), steps), x)
                total += (predicted - noise).square().flatten(1).mean(1).double().numpy()
        return total / (len(self.timesteps) * self.num_noises)

    def _noises(self, shape: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        for step in self.timesteps:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "noise", step))
            for _ in range(self.num_noises):
                yield step, torch.randn(tuple(shape), generator=generator)


def _prediction(output: Any, x: Tensor) -> Tensor:
    """What a model returned as float32 on the CPU.

    Raises:
        SuspectError: if it is no tensor of the input's shape
    """
    output = getattr(output, "sample", output)
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor) or output.shape != x.shape:
        what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else shown(output)
        raise SuspectError(
            f"it answered with {what}, and noise of the images' shape {tuple(x.shape)} is needed"
        )
    return output.detach().float().cpu()


def _checked_schedule(values: npt.ArrayLike | Tensor) -> npt.NDArray[np.float64]:
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    try:
        schedule = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        schedule = np.empty(0)
    falls = schedule.ndim == 1 and schedule.size > 0 and bool((np.diff(schedule) <= 0).all())
    # Written so that NaN fails
    if not (falls and schedule[-1] >= 0 and schedule[0] <= 1):
        raise ParameterError(
            "alphas_cumprod is a falling row of numbers from 0 to 1, one a time step, as diffusers' schedulers hold; "
            f"found {shown(values)}"
        )
    return schedule


def _checked_timesteps(timesteps: Sequence[int] | None, length: int) -> tuple[int, ...]:
    if timesteps is None:
        return tuple(sorted({int(share * length) for share in _SHARES}))
    inside = Whole(0, length - 1)
    checked = tuple(inside.check("a time step", step) for step in timesteps)
    if not checked or len(set(checked)) < len(checked):
        raise ParameterError(
            f"timesteps are one or more different time steps; found {list(checked)}"
        )
    return checked
