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

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from ..codecs.base import Codec
from ..device import choose_device
from ..seeds import derive_seed
from .ascent import GAP, Terms, gap_gradients, gaps_of, shift_origin
from .detector import train_detector
from .expectation import over_transforms
from .finishing import FinishedFiles, decoded_files, finish
from .in_model import new_in_model, train_in_model
from .out_model import losses, train_out_models
from .perturbation import (
    KEPT_BYTES,
    Perturbations,
    Scale,
    load_round,
    save_round,
    seen_by_model,
    to_bytes,
)
from .redrawn import Redrawn
from .request import CraftRequest, CraftResult
from .room import budget_of
from .together import Together, split

#: Images whose gradients are computed at once.
BATCH = 128

#: What a pixel's original and budget take.
_KEPT_BYTES_A_PIXEL = 3 + 4


def craft_by_ascent(
    request: CraftRequest,
    *,
    with_in_model: bool = True,
    unchanged: frozenset[int] = frozenset(),
) -> CraftResult:
    """Turns every candidate into a HoneyImage, or, without an in-model, into an adversarial example of the out-model.

    Both twins of a pair are candidates like any other and pass through the same steps; nothing here
    knows of pairs or coins.

    With ``inner="redrawn"`` both models of the gap are one, see :mod:`.redrawn`; ``in_losses`` are of that model after its
    last round, which took in half of the images.

    Memory: beside the models and the images at the proxy's size, the levels of all perturbations (one
    byte a value; above 64 MiB in the checkpoint folder), and one candidate at a time, decoded and encoded,
    or several small ones of together as many pixels as 512x512: about 20 bytes a value, that is 0.7 GB for
    4000x3000 pixels.

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
    f_out, *others = train_out_models(request)
    redraws = with_in_model and request.options.inner == "redrawn"
    redrawn = Redrawn(request) if redraws else None
    # One model for both begins as one that has seen nothing
    f_in = copy.deepcopy(f_out) if redraws else None
    history, first = [], 0

    saved = load_round(request.checkpoint_dir)
    if saved is not None:
        crafting.perturbations.restore(saved["current"])
        history, first = saved["history"], saved["round"]
        if with_in_model:
            f_in = new_in_model(request, first - 1)
            f_in.load_state_dict(saved["f_in"])
        if redrawn is not None:
            redrawn.restore(saved["redrawn"])

    seen = crafting.see_all()
    if redrawn is not None and first == 0:
        for rows, *told in crafting.gradients(seen, labels, f_out, None, 0):
            redrawn.begin(rows, *told)
    every = torch.cat([request.rest, to_bytes(seen)])
    every_labels = torch.cat([torch.as_tensor(request.rest_labels, dtype=torch.int64), labels])
    for step in range(first, request.options.num_steps):
        if with_in_model:
            every[len(request.rest) :] = to_bytes(seen)
            taken = None
            if redrawn is not None:
                known = torch.ones(len(request.rest), dtype=torch.bool)
                taken = torch.cat([known, redrawn.draw(step)]).nonzero()[:, 0]
            f_in = train_in_model(request, f_in, every, every_labels, step, taken)
        history.append(crafting.ascend(seen, labels, f_out, f_in, step, others, redrawn))
        state = None if redrawn is None else redrawn.state()
        save_round(request.checkpoint_dir, crafting.perturbations, history, step + 1, f_in, state)
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
        # MPS has no doubles, in which gradients are smoothed
        self._pixels_on = torch.device("cpu") if device.type == "mps" else device
        self._size = int(request.rest.shape[-1])
        self._codecs: Sequence[Codec | None] = request.codecs or [None] * len(request.candidates)
        self._scale = Scale.of(request.options.epsilon, request.options.step_size)
        if request.codecs is None:
            shapes = [image.shape[:2] for image in request.candidates]
        else:
            shapes = [(codec.height, codec.width) for codec in request.codecs]
        self._shapes: list[tuple[int, int]] = shapes
        self.perturbations = Perturbations(shapes, self._scale, request.checkpoint_dir)
        pixels = sum(height * width for height, width in shapes)
        self._keeps_originals = pixels * _KEPT_BYTES_A_PIXEL <= KEPT_BYTES
        self._together: dict[tuple[int, ...], Together] = {}
        self._budgets: dict[int, torch.Tensor] = {}
        self._originals_seen: torch.Tensor | None = None

    def see_all(self, *, originals: bool = False) -> torch.Tensor:
        """Every candidate as the models see it now, float32 (K, 3, S, S), 0–255.

        Args:
            originals (False): as it was
        """
        seen = torch.empty((len(self._codecs), 3, self._size, self._size))
        for rows in self._batches():
            for part in self._parts(rows):
                levels = [self.perturbations.read(row) for row in part.rows]
                if originals:
                    levels = [np.zeros_like(one) for one in levels]
                seen[part.rows] = part.see(levels, self._size).cpu()
        return seen

    def ascend(
        self,
        seen: torch.Tensor,
        labels: torch.Tensor,
        f_out: torch.nn.Module,
        f_in: torch.nn.Module | None,
        step: int,
        others: Sequence[torch.nn.Module] = (),
        redrawn: Redrawn | None = None,
    ) -> float:
        """One step of projected gradient ascent on every image; the mean gap before it.

        Args:
            seen: as :meth:`see_all` gave it; it is brought up to date with the images
            labels: int64 (K,)
            f_out, f_in: the models
            step: the round
            others: further out-models
            redrawn: where ``f_in`` is the one model for both; then ``f_out`` has no part
        """
        total = 0.0
        origin = shift_origin(self._request.seed, step)
        terms = self._terms(seen, step, others)
        # Transforms of one image are not to be unlike each other
        alone = replace(terms, diversity=0.0)
        models = (f_out, f_in) if redrawn is None or f_in is None else (f_in, None)
        for rows, gaps, gradients in self.gradients(seen, labels, *models, step, terms):
            if redrawn is not None:
                gaps, gradients = redrawn.gaps(rows, gaps, gradients)
            total += float(gaps.sum())
            gradients = gradients.to(self._pixels_on)
            for part in self._parts(rows):
                places = [row - rows.start for row in part.rows]
                native = None
                gradient = gradients[places]
                levels = [self.perturbations.read(row) for row in part.rows]
                if self._request.options.robust:
                    more, native = over_transforms(
                        part,
                        levels,
                        labels[part.rows],
                        lambda x, targets: gaps_of(x, targets, f_out, f_in, origin, alone)[1],
                        [
                            np.random.default_rng(derive_seed(self._request.seed, "eot", step, row))
                            for row in part.rows
                        ],
                        self._size,
                        self._device,
                    )
                    gradient = gradient if more is None else gradient + more
                moved = [self.perturbations.next(row) for row in part.rows]
                for strip, values in part.move(levels, gradient, native):
                    for row, target, one in zip(part.rows, moved, values, strict=True):
                        if row not in self._unchanged:  # levels begin at 0, and stay there
                            target[strip] = one
                seen[part.rows] = part.see(moved, self._size).cpu()
        self.perturbations.advance()
        return total / max(1, len(seen))

    def gradients(
        self,
        seen: torch.Tensor,
        labels: torch.Tensor,
        f_out: torch.nn.Module,
        f_in: torch.nn.Module | None,
        step: int,
        terms: Terms = GAP,
    ) -> Iterator[tuple[range, torch.Tensor, torch.Tensor]]:
        """Candidates that pass through the models at once, their gaps, and the gradients; see :func:`.ascent.gap_gradients`."""
        for model in (f_out, f_in, *terms.others):
            if model is not None:
                model.to(self._device).eval()
        origin = shift_origin(self._request.seed, step)
        for rows in self._batches():
            now = slice(rows.start, rows.stop)
            told = gap_gradients(seen[now], labels[now], f_out, f_in, self._device, origin, terms)
            yield rows, *told

    def _terms(self, seen: torch.Tensor, step: int, others: Sequence[torch.nn.Module]) -> Terms:
        """What is climbed beside the gap of two models, this round."""
        options = self._request.options
        detector = None
        if options.stealth:
            if self._originals_seen is None:
                self._originals_seen = self.see_all(originals=True)
            marked = [row for row in range(len(seen)) if row not in self._unchanged]
            both = self._originals_seen[marked], seen[marked]
            # Before the first step there is nothing to detect
            if not torch.equal(*both):
                seed = derive_seed(self._request.seed, "detector", step)
                detector = train_detector(*both, seed, self._device)
        return Terms(others, options.diversity, options.stealth, detector)

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

    def _batches(self) -> list[range]:
        """Candidates that pass through the models at once."""
        number = len(self._codecs)
        return [range(start, min(start + BATCH, number)) for start in range(0, number, BATCH)]

    def _parts(self, rows: range) -> Iterator[Together]:
        """Candidates whose pixels are worked on at once, kept where all of them take little memory."""
        for part in split(rows, self._shapes, self._codecs):
            found = self._together.get(tuple(part))
            yield found or self._load(part)

    def _load(self, part: list[int]) -> Together:
        options = self._request.options
        originals = [self._request.candidates[row] for row in part]
        pixels = originals[0][None] if len(part) == 1 else np.stack(originals)
        together = Together(
            rows=part,
            codec=self._codecs[part[0]],
            originals=torch.from_numpy(pixels).to(self._pixels_on),
            budget=torch.from_numpy(self._budget_of(part[0], pixels)).to(self._pixels_on),
            scale=self._scale,
            sigma=options.smoothing,
            share=options.placement_share if options.placement == "uerd" else None,
        )
        if self._keeps_originals:
            self._budgets |= dict(zip(part, together.budget, strict=True))
            self._together[tuple(part)] = together
        return together

    def _budget(self, row: int, original: np.ndarray) -> np.ndarray:
        """How much each pixel may change, float32 (H, W)."""
        if row not in self._budgets:
            return self._budget_of(row, original)
        return self._budgets[row].cpu().numpy()

    def _budget_of(self, row: int, pixels: np.ndarray) -> np.ndarray:
        """The budget of images of a candidate's kind."""
        codec, options = self._codecs[row], self._request.options
        cell, spill = (1, False) if codec is None else codec.cell(grey=options.smoothing > 0)
        return budget_of(pixels, options.epsilon, cell, spill)
