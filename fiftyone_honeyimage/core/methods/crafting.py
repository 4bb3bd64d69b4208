"""HoneyImage (arXiv 2508.00892), Algorithm 1: hard images that a model remembers.

``f_out`` is trained on the rest of the private set. Then T rounds: train ``f_in`` on the rest and
the current HoneyImages, and move every HoneyImage one signed gradient step up
``L(f_out, x) − L(f_in, x)``, inside the ε-ball around its original (eq. 3 to 5).

Beyond the paper, images keep their size and file format. The models see an image of any size through an
antialiased resize, and the file of a lossy format through its codec: the rounding to whole numbers of
quantisation steps is in the forward pass, and in the backward pass the gradient is carried straight
through it, onto what the file's components can hold. The gradient is smoothed, and the three channels move
together, as detail does in photographs: a classifier of noise finds such marks far less surely
(``benchmarks/pixel_leaks.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from ..codecs.base import Codec, strips
from ..device import choose_device
from ..models import build_model
from ..resizing import differentiable_resize
from ..seeds import derive_seed
from ..training import TrainingConfig, train_models
from .ascent import gap_gradients, gaps_of, shift_origin
from .finishing import FinishedFiles, decoded_files, finish
from .out_model import losses, train_out_model
from .perturbation import (
    KEPT_BYTES,
    Perturbations,
    Scale,
    enlarge_gradient,
    load_round,
    realised,
    save_round,
    seen_by_model,
    shrink,
    smooth,
    smoothing_reach,
    to_bytes,
)
from .request import CraftRequest, CraftResult
from .room import budget_of
from .transforms import TRANSFORMS

#: Images whose gradients are computed at once.
_BATCH = 128

#: Pixels up to which transforms are differentiated at native size. Larger images are transformed as they
#: are, and the gradient is carried straight through: at the proxy's size little is left of the transforms.
_DIFFERENTIABLE_PIXELS = 512 * 512


def craft_by_ascent(
    request: CraftRequest,
    *,
    with_in_model: bool = True,
    unchanged: frozenset[int] = frozenset(),
) -> CraftResult:
    """Turns every candidate into a HoneyImage, or, without an in-model, into an adversarial example of the out-model.

    Both twins of a pair are candidates like any other and pass through the same steps; nothing here
    knows of pairs or coins.

    Memory: beside the models and the images at the proxy's size, the levels of all perturbations (one
    byte a value; above 64 MiB in the checkpoint folder), and one candidate at a time, decoded and encoded:
    about 20 bytes a value, that is 0.7 GB for 4000x3000 pixels.

    Args:
        request: a :class:`CraftRequest`
        with_in_model (True): whether the gap ``L_out − L_in`` is climbed, and not ``L_out`` alone
        unchanged (none): candidates that are left as they are; the in-model sees them too

    Returns:
        a :class:`CraftResult`; same seed and same device give the same bytes
    """
    device = choose_device(request.device)
    crafting = Crafting(request, device, unchanged)
    labels = torch.as_tensor(request.candidate_labels, dtype=torch.int64)
    f_out = train_out_model(request)
    f_in, history, first = None, [], 0

    saved = load_round(request.checkpoint_dir)
    if saved is not None:
        crafting.perturbations.restore(saved["current"])
        history, first = saved["history"], saved["round"]
        if with_in_model:
            f_in = _new_in_model(request, first - 1)
            f_in.load_state_dict(saved["f_in"])

    seen = crafting.see_all()
    every = torch.cat([request.rest, to_bytes(seen)])
    every_labels = torch.cat([torch.as_tensor(request.rest_labels, dtype=torch.int64), labels])
    for step in range(first, request.options.num_steps):
        if with_in_model:
            every[len(request.rest) :] = to_bytes(seen)
            f_in = _train_in_model(request, f_in, every, every_labels, step)
        history.append(crafting.ascend(seen, labels, f_out, f_in, step))
        save_round(request.checkpoint_dir, crafting.perturbations, history, step + 1, f_in)
        request.report("Crafting HoneyImages", step + 1, request.options.num_steps)

    images, encoded, finished, originals = crafting.finish_all()
    return CraftResult(
        images=images,
        encoded=encoded,
        proxy_losses=losses(f_out, finished, labels, device),
        original_losses=losses(f_out, originals, labels, device),
        in_losses=np.full(len(finished), np.nan)
        if f_in is None
        else losses(f_in, finished, labels, device),
        history=np.array(history, dtype=np.float64),
        out_model=f_out.cpu(),
        in_model=None if f_in is None else f_in.cpu(),
        unchanged=unchanged,
    )


class Crafting:
    """The candidates of one request while they are crafted."""

    def __init__(
        self,
        request: CraftRequest,
        device: torch.device,
        unchanged: frozenset[int] = frozenset(),
    ) -> None:
        self._request = request
        self._unchanged = unchanged
        self._device = device
        self._size = int(request.rest.shape[-1])
        self._codecs: Sequence[Codec | None] = request.codecs or [None] * len(request.candidates)
        self._scale = Scale.of(request.options.epsilon, request.options.step_size)
        if request.codecs is None:
            shapes = [image.shape[:2] for image in request.candidates]
        else:
            shapes = [(codec.height, codec.width) for codec in request.codecs]
        self.perturbations = Perturbations(shapes, self._scale, request.checkpoint_dir)
        pixels = sum(height * width for height, width in shapes)
        self._keeps_budgets = pixels * np.dtype(np.float32).itemsize <= KEPT_BYTES
        self._budgets: dict[int, np.ndarray] = {}

    def see_all(self) -> torch.Tensor:
        """Every candidate as the models see it now, float32 (K, 3, S, S), 0–255."""
        seen = torch.empty((len(self._codecs), 3, self._size, self._size))
        for row, original in enumerate(self._request.candidates):
            seen[row] = self._see(row, original, self.perturbations.read(row))
        return seen

    def ascend(
        self,
        seen: torch.Tensor,
        labels: torch.Tensor,
        f_out: torch.nn.Module,
        f_in: torch.nn.Module | None,
        step: int,
    ) -> float:
        """One step of projected gradient ascent on every image; the mean gap before it.

        ``seen`` is brought up to date with the images.
        """
        f_out.to(self._device).eval()
        if f_in is not None:
            f_in.to(self._device).eval()
        total = 0.0
        origin = shift_origin(self._request.seed, step)
        for start in range(0, len(seen), _BATCH):
            rows = slice(start, min(start + _BATCH, len(seen)))
            gaps, gradients = gap_gradients(
                seen[rows], labels[rows], f_out, f_in, self._device, origin
            )
            total += float(gaps.sum())
            for row in range(rows.start, rows.stop):
                if row in self._unchanged:  # levels begin at 0, and stay there
                    continue
                original = self._request.candidates[row]
                levels = self.perturbations.read(row)
                gradient = gradients[row - start]
                native = None
                if self._request.options.robust:
                    rng = np.random.default_rng(derive_seed(self._request.seed, "eot", step, row))
                    gradient, native = self._expected(
                        row, original, levels, gradient, labels[row], f_out, f_in, rng, origin
                    )
                moved = self.perturbations.next(row)
                self._move(row, original, levels, gradient, native, moved)
                seen[row] = self._see(row, original, moved)
        self.perturbations.advance()
        return total / max(1, len(seen))

    def finish_all(
        self,
    ) -> tuple[Sequence[np.ndarray], Sequence[bytes] | None, torch.Tensor, torch.Tensor]:
        """The finished images, their files, and both finished and original as the models see them."""
        request = self._request
        folder = request.checkpoint_dir / "files" if request.checkpoint_dir else None
        files = FinishedFiles(len(self._codecs), folder)
        images: list[np.ndarray] = []
        finished = torch.empty((len(files), 3, self._size, self._size), dtype=torch.uint8)
        originals = torch.empty_like(finished)
        for row, original in enumerate(request.candidates):
            codec = self._codecs[row]
            if codec is not None and row in files:
                pixels = decoded_files(files)[row]
            else:
                levels = self.perturbations.read(row)
                budget = self._budget(row, original)
                result = finish(codec, original, levels, self._scale, budget)
                pixels = result.pixels
                if result.data is not None:
                    files.put(row, result.data)
            if codec is None:
                images.append(pixels)
            finished[row] = seen_by_model(pixels, self._size)
            originals[row] = seen_by_model(original, self._size)
            if codec is not None:
                request.report("Fitting files", row + 1, len(files))
        if request.codecs is None:
            return images, None, finished, originals
        return decoded_files(files), files, finished, originals

    def _budget(self, row: int, original: np.ndarray) -> np.ndarray:
        """How much each pixel may change, float32 (H, W), kept where all of them take little memory."""
        if row in self._budgets:
            return self._budgets[row]
        codec = self._codecs[row]
        cell, spill = (1, False) if codec is None else codec.cell(grey=self._moves_together)
        budget = budget_of(original, self._request.options.epsilon, cell, spill)
        if self._keeps_budgets:
            self._budgets[row] = budget
        return budget

    @property
    def _moves_together(self) -> bool:
        """Whether the three channels move together: colours stay as they are."""
        return self._request.options.smoothing > 0

    def _see(self, row: int, original: np.ndarray, levels: np.ndarray) -> torch.Tensor:
        height, width = original.shape[:2]
        parts = self._perturbed(row, original, levels)
        return shrink(parts, height, width, self._size)

    def _perturbed(
        self, row: int, original: np.ndarray, levels: np.ndarray
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows of an image, and what its file would give back: float32 (h, W, 3), 0–255."""
        codec = self._codecs[row]
        budget = self._budget(row, original)
        for rows in strips(len(original)):
            change = levels[rows] * np.float32(self._scale.unit)
            change = realised(codec, change, budget[rows])[1]
            yield rows, np.clip(original[rows] + change, 0, 255)

    def _move(
        self,
        row: int,
        original: np.ndarray,
        levels: np.ndarray,
        gradient: torch.Tensor,
        native: np.ndarray | None,
        moved: np.ndarray,
    ) -> None:
        """Writes the levels one signed step up the gradient, inside the image's budget and 0–255.

        Args:
            gradient: float32 (3, S, S), to be carried back to native size
            native: float32 (H, W, 3), added to it, or None
        """
        codec, scale = self._codecs[row], self._scale
        height, width = original.shape[:2]
        budget = self._budget(row, original)
        for rows in strips(height):
            up = self._direction(gradient, native, rows, height, width)
            if codec is not None:
                up = codec.project(up, grey=self._moves_together)
            pixels = original[rows].astype(np.float32)
            # Levels of a whole ε come out a rounding below it
            bound = np.minimum(scale.bound, np.floor(budget[rows, :, None] / scale.unit + 1e-3))
            lowest = np.maximum(-bound, np.ceil(-pixels / scale.unit))
            highest = np.minimum(bound, np.floor((255 - pixels) / scale.unit))
            moved[rows] = np.clip(levels[rows] + scale.step * np.sign(up), lowest, highest)

    def _direction(
        self,
        gradient: torch.Tensor,
        native: np.ndarray | None,
        rows: slice,
        height: int,
        width: int,
    ) -> np.ndarray:
        """The ascent direction for some rows at native size, smoothed as asked: float32 (h, W, 3)."""
        sigma = self._request.options.smoothing
        margin = smoothing_reach(sigma)
        wider = slice(max(0, rows.start - margin), min(height, rows.stop + margin))
        up = enlarge_gradient(gradient, wider, height, width)
        if native is not None:
            up = up + native[wider]
        return smooth(up, sigma)[rows.start - wider.start :][: rows.stop - rows.start]

    def _expected(
        self,
        row: int,
        original: np.ndarray,
        levels: np.ndarray,
        gradient: torch.Tensor,
        label: torch.Tensor,
        f_out: torch.nn.Module,
        f_in: torch.nn.Module | None,
        rng: np.random.Generator,
        origin: tuple[int, int],
    ) -> tuple[torch.Tensor, np.ndarray | None]:
        """The gradient summed over the untransformed image and each transform (EOT, Athalye 2018)."""
        height, width = original.shape[:2]
        current = np.concatenate([part for _, part in self._perturbed(row, original, levels)])
        if height * width > _DIFFERENTIABLE_PIXELS:
            pixels = np.rint(current).astype(np.uint8)
            del current
            views = [seen_by_model(t.apply(pixels, rng), self._size) for t in TRANSFORMS]
            targets = label.expand(len(views))
            _, gradients = gap_gradients(
                torch.stack(views).float(), targets, f_out, f_in, self._device, origin
            )
            return gradient + gradients.sum(dim=0), None

        x = torch.from_numpy(current).permute(2, 0, 1)[None].to(self._device) / 255
        x.requires_grad_(True)
        batch = torch.cat(
            [differentiable_resize(t.differentiable(x, rng), self._size) for t in TRANSFORMS]
        )
        targets = label.to(self._device).expand(len(batch))
        (native,) = torch.autograd.grad(gaps_of(batch, targets, f_out, f_in, origin).sum(), x)
        return gradient, (native[0] / 255).permute(1, 2, 0).cpu().numpy()


def _new_in_model(request: CraftRequest, step: int) -> torch.nn.Module:
    """A fresh in-model: round 0's for ``inner="warm"``, each round's own for ``"retrain"``."""
    number = step if request.options.inner == "retrain" else 0
    size = int(request.rest.shape[-1])
    seed = derive_seed(request.seed, "f_in", number)
    return build_model(request.proxy, request.num_classes, input_size=size, seed=seed)


def _train_in_model(
    request: CraftRequest,
    f_in: torch.nn.Module | None,
    images: torch.Tensor,
    labels: torch.Tensor,
    step: int,
) -> torch.nn.Module:
    """Trains ``f_in`` on the rest and the current HoneyImages: from scratch, or one epoch on."""
    fresh = f_in is None or request.options.inner == "retrain"
    model = _new_in_model(request, step) if fresh else f_in
    assert model is not None
    # On the images as they were, whatever the options. Later rounds are this marking's own
    kept = step == 0
    train_models(
        [model],
        images,
        labels,
        config=request.config if fresh else continuation(request.config),
        seeds=[derive_seed(request.seed, "f_in", "data", step)],
        device=request.device,
        report=request.report if kept else None,
        stage="Training a model with the marks",
        executor=request.executor if kept else None,
        checkpoint_dir=request.trained_dir if kept else None,
    )
    return model


def continuation(config: TrainingConfig) -> TrainingConfig:
    """One epoch at a tenth of the peak learning rate: enough to follow a change of α per value."""
    return replace(config, epochs=1, schedule="constant", learning_rate=config.learning_rate / 10)
