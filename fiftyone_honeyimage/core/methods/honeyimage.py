"""HoneyImage (arXiv 2508.00892): hard images, changed by at most ε, that a model remembers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ParameterError
from ..limits import EPSILON, NUM_STEPS, SMOOTHING, Choice, Flag, Real, Whole, shown
from .base import Method, RunSize
from .options import option
from .selection_options import SelectionOptions

if TYPE_CHECKING:
    from ..codecs.base import Codec
    from .request import CraftRequest, CraftResult
    from .trade_off import TradeOffPlan


@dataclass(frozen=True)
class AscentOptions(SelectionOptions):
    """The ascent's parameters (eq. 3 to 5 of the paper, and ours).

    Attributes:
        epsilon: ε, the largest change of any value of the decoded file, 0–255 units
        step_size: α, the size of one ascent step, 0–255 units
        num_steps: T, the number of rounds
        robust: whether marks are optimised to survive JPEG 75 and 50, resizing, a median filter, crop
            and flip (expectation over these transforms)
        smoothing: pixels; with a value above 0 the three channels move together, along a gradient that
            is smoothed by a Gaussian of this standard deviation. 0 is the paper's method, whose noise a
            classifier tells from a camera's at once
        num_out_models: models that have not seen the images; the gap takes the mean of their losses
        diversity: nats; what an image's likeness to the others that are marked counts against it: the mean cosine
            of its features, under the model that has not seen it, with theirs (canaries interfere: arXiv 2605.27292)
        stealth: nats a logit; what a detector of marks, learned anew each round, counts against them. It sees the
            images as the models do, so that of images much larger than that it sees little
        placement: ``"masking"`` changes pixels as far as their budgets go; ``"uerd"`` changes quantised coefficients of
            the brightness of JPEG files, by a whole step each and inside the same budgets, where the gradient
            exceeds UERD's cost most, see :mod:`..codecs.jpeg_placement`. Other files stay with ``"masking"``
        placement_share: with ``"uerd"``, of the coefficients that the budgets allow to change, 0 to 1, how many may
    """

    epsilon: float = option(
        4.0, EPSILON, label="Largest change ε", help="Of any value, 0 to 255", folded=False
    )
    step_size: float = option(
        0.4, Real(0, 64, without_least=True), label="Step size", help="0 to 255"
    )
    num_steps: int = option(
        20,
        NUM_STEPS,
        label="Rounds",
        help="Of training the model that learns the marks, and of changing them",
    )
    robust: bool = option(
        False,
        Flag(),
        label="Optimise for survival",
        help="Of JPEG 75 and 50, resizing, a median filter, crop and flip; takes several times as long",
    )
    smoothing: float = option(
        1.0,
        SMOOTHING,
        label="Smoothing",
        help="Pixels, 0 to 16. Smooth marks are far harder to find; 0 gives the paper's",
    )
    num_out_models: int = option(
        1,
        Whole(1, 64),
        label="Models that have not seen the marks",
        help="Marks are made against the mean of them; each takes a training",
        later=True,
    )
    diversity: float = option(
        0.0,
        Real(0, 1000),
        label="Diversity",
        help="How strongly marked images are kept unlike each other, to a model; 0 for not at all",
        later=True,
    )
    stealth: float = option(
        0.0,
        Real(0, 1000),
        label="Stealth",
        help="How strongly marks are kept from a detector that learns them each round; 0 for not at all",
        later=True,
    )
    placement: str = option(
        "masking",
        Choice(
            {
                "masking": "Wherever detail hides a change",
                "uerd": "In JPEG files, of that, the few coefficients that gain most for how much they show; other files as before",
            }
        ),
        label="Where marks lie",
        later=True,
    )
    placement_share: float = option(
        0.05,
        Real(0, 1, without_least=True),
        label="Share of coefficients",
        help="With UERD in JPEG files: how many of those that may change do at most",
        later=True,
    )

    def check_together(self) -> None:
        if self.step_size > self.epsilon:
            raise ParameterError(
                f"step_size must be above 0 and at most epsilon={self.epsilon:g}; found {shown(self.step_size)}"
            )


@dataclass(frozen=True)
class HoneyImageOptions(AscentOptions):
    """Attributes:
    inner: ``"retrain"`` trains the in-model anew each round, as the paper does; ``"warm"`` continues it;
        ``"redrawn"`` continues one model for both on a random half of the candidates each round, see
        :mod:`.redrawn`
    unchanged_share: of the pairs, 0 to 1, so many are left as they are, both sides of each, drawn by the seed. With a
        stratified test each kind is ranked by itself, with weights from the proxies unless some are given
    """

    inner: str = option(
        "warm",
        Choice(
            {
                "warm": "Goes on training the model that sees the marks, each round",
                "retrain": "Trains that model anew each round, as the paper does: far slower",
                "redrawn": "One model for both, which sees a random half of the marks each round",
            }
        ),
        label="The model that learns the marks",
        help="Marks are made against it and one that has not seen them",
    )
    unchanged_share: float = option(
        0.0,
        Real(0, 1),
        label="Share of pairs left as they are",
        help="Nobody finds a mark where there is none. The stratified test ranks them among themselves",
    )

    def check_together(self) -> None:
        super().check_together()
        beside = {"robust": False, "num_out_models": 1, "diversity": 0.0, "stealth": 0.0}
        changed = [name for name, plain in beside.items() if getattr(self, name) != plain]
        if self.inner == "redrawn" and changed:
            raise ParameterError(
                f"inner='redrawn' climbs the gap of one model alone, and {changed[0]}={getattr(self, changed[0])!r} has "
                "no part in it; leave it out, or take inner='warm'"
            )


class Ascent(Method):
    """A method that climbs a loss by at most ε, with marks that keep file formats and follow the picture."""

    def has_room(self, codec: Codec, options: Any) -> bool:
        from .room import budget_of, has_room

        cell, spill = codec.cell(grey=options.smoothing > 0)
        return has_room(budget_of(codec.original(), options.epsilon, cell, spill))

    def most_changed(self, options: Any) -> float:
        return float(options.epsilon)

    def ascent_passes(self, size: RunSize, options: Any, models: int) -> int:
        """How often an image goes through so many proxies while the marks are searched."""
        from .ascent import PASSES
        from .transforms import TRANSFORMS

        views = 1 + len(TRANSFORMS) if options.robust else 1
        return int(PASSES * models // 2 * views * size.num_marked * options.num_steps)


class HoneyImage(Ascent):
    """The paper's method."""

    name = "honeyimage"
    title = "HoneyImages"
    Options = HoneyImageOptions
    num_models = 2

    def craft(self, request: CraftRequest) -> CraftResult:
        from .crafting import craft_by_ascent
        from .portfolio import unchanged_candidates

        # Recipients are told apart by the crafted ones alone: a portfolio is of pairs that show ownership
        owned = request.sides[: len(request.sides) - request.num_tracing_pairs]
        share = request.options.unchanged_share
        unchanged = unchanged_candidates(owned, share, request.seed)
        return craft_by_ascent(request, unchanged=unchanged)

    def plan_trade_off(self, size: RunSize, options: Any) -> TradeOffPlan:
        from .trade_off import plan_trade_off

        return plan_trade_off(
            size.trade_off,
            num_candidates=size.num_marked,
            num_rest=size.num_images - size.num_marked,
            epochs=size.epochs,
            options=options,
            relative_size=size.relative_size,
        )

    def passes(self, size: RunSize, options: Any) -> int:
        rest = size.num_images - size.num_marked
        from .in_model import in_model_epochs

        images, models = size.num_images, 1 + options.num_out_models
        ascent = self.ascent_passes(size, options, models)
        if options.inner == "redrawn":
            # Half of the candidates, and one model, which is asked once more at the beginning
            images = rest + size.num_marked // 2
            ascent = ascent // 2 * (options.num_steps + 1) // options.num_steps
        crafting = images * in_model_epochs(options, size.epochs) + ascent
        return (
            rest * size.epochs * options.num_out_models
            + crafting
            + self.plan_trade_off(size, options).num_passes
        )
