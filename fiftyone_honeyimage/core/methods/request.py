"""What the crafting of a marking takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..codecs.base import Codec
from ..errors import ParameterError
from ..models import Proxy
from ..progress import Report, silent
from ..training import TrainingConfig


@dataclass(frozen=True)
class CraftRequest:
    """The input of a method's crafting.

    Attributes:
        candidates: uint8 (H, W, 3) arrays at native size, K of them; read one at a time, so that a
            sequence may decode each when it is asked for
        candidate_labels: int64 (K,)
        sides: int64 (M, 2, F), which candidates sides a and b of each pair hold
        num_tracing_pairs: so many of these, the last ones, tell recipients apart; the others show ownership
        probe_sources: uint8 (H, W, 3) arrays of the images that the method chose to be asked about, read one at a time
        probe_labels: int64 (P,), their classes
        partners: uint8 (H, W, 3) arrays, for each candidate an image that is mixed into it, of any size; read one at
            a time; empty for most methods
        rest: uint8 (N, 3, S, S), the images that are not candidates, at the proxy's input size
        rest_labels: int64 (N,)
        num_classes: the number of classes
        options: the method's own parameters
        proxy: a proxy's name or factory
        config: how the proxies are trained
        seed: the run's seed
        device: where to compute; None chooses
        codecs: for each candidate the codec of its file, or None for pixels without files
        checkpoint_dir: where finished stages are kept so that an interrupted run resumes, or None
        report: progress
        executor, trained_dir: who trains the out-model and the first in-model, and where they are found again; see
            ``executor`` and ``checkpoint_dir`` of :func:`..training.train_models`
        out_model: a finished model to take for the out-model; None trains one
    """

    candidates: Sequence[np.ndarray]
    candidate_labels: np.ndarray
    rest: torch.Tensor
    rest_labels: np.ndarray
    num_classes: int
    options: Any
    proxy: Proxy = "wrn28_2"
    config: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = 51
    device: str | torch.device | None = None
    codecs: Sequence[Codec] | None = None
    checkpoint_dir: Path | None = None
    report: Report = silent
    executor: Executor | None = None
    trained_dir: Path | None = None
    sides: np.ndarray = field(default_factory=lambda: np.empty((0, 2, 1), dtype=np.int64))
    num_tracing_pairs: int = 0
    probe_sources: Sequence[np.ndarray] = ()
    probe_labels: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    partners: Sequence[np.ndarray] = ()
    out_model: torch.nn.Module | None = None

    def __post_init__(self) -> None:
        if self.codecs is not None and len(self.codecs) != len(self.candidates):
            raise ParameterError(
                f"{len(self.candidates)} candidates need as many codecs, not {len(self.codecs)}"
            )

    def with_options(self, **changes: Any) -> CraftRequest:
        """The same request with other options."""
        return replace(self, options=replace(self.options, **changes))


@dataclass(frozen=True)
class Probe:
    """An image that a suspect is asked about in the stead of a side's own.

    Attributes:
        source: which of the request's probe sources it was made of
        image: uint8 (H, W, 3)
        label: the class that the suspect's answer is compared with, such as a trigger's target
    """

    source: int
    image: np.ndarray
    label: int


@dataclass(frozen=True)
class CraftResult:
    """The output of a marking method.

    Attributes:
        images: uint8 (H, W, 3) arrays of the sizes given; as decoded from their files where there are codecs, each
            when it is asked for
        encoded: the files, or None without codecs
        proxy_losses: float64 (K,), the out-model's loss on the changed images: the paper's
            ``L(f_proxy, x')``
        original_losses: float64 (K,), the out-model's loss on the originals
        in_losses: float64 (K,), the last in-model's loss on the changed images; NaN if none
        history: float64 (T,), mean of ``L_out − L_in`` before each round's step
        out_model: the out-model, on the CPU
        in_model: the last in-model, on the CPU; None if none
        labels: int64 (K,), the classes in a release; None where they are kept
        secrets: for each pair what sides a and b hold, JSON's own types; empty if nothing
        probes: for each pair what a suspect is asked of sides a and b, as many of each; empty if about their images
        unchanged: candidates that were left as they are among others that were not, both sides of a pair or neither
    """

    images: Sequence[np.ndarray]
    encoded: Sequence[bytes] | None
    proxy_losses: np.ndarray
    original_losses: np.ndarray
    in_losses: np.ndarray
    history: np.ndarray
    out_model: torch.nn.Module
    in_model: torch.nn.Module | None = None
    labels: np.ndarray | None = None
    secrets: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]] = ()
    probes: Sequence[tuple[Sequence[Probe], Sequence[Probe]]] = ()
    unchanged: frozenset[int] = frozenset()
