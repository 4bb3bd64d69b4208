"""How many pairs a marking takes."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING

from ..public import public
from .marking import generate_honeyimages

if TYPE_CHECKING:
    import fiftyone.core.collections as foc

    from ..core.pipeline.planning import MarkingPlan


@public
def plan_marking(
    samples: foc.SampleCollection,
    hardness_field: str = "honey_hardness",
    alpha: float = 0.001,
    power: float = 0.9,
    selection: str = "gain",
    verification: int = 1,
    kept: float = 1.0,
    answers: str = "scores",
    thief: str = "none",
    memory: float = 0.5,
    method: str = "unperturbed",
    timed: bool = True,
    device: str | None = None,
) -> MarkingPlan:
    """How many pairs find a model, from what the proxies of :func:`compute_hardness` remember.

    Releases are played through: fair coins, a model that remembers its images as the proxies do theirs or less well, the exact
    test. A model that trained for longer is found with fewer pairs, one that trained for less, on more images, or on cleaned
    ones with more.

    Args:
        samples: the dataset
        hardness_field ("honey_hardness"): scores of :func:`compute_hardness`
        alpha (0.001): the probability with which an innocent model may be accused
        power (0.9): the probability with which such a model is to be found
        selection ("gain"): which images become twins: ``"gain"``, ``"hardest"``, ``"unsettled"``, ``"spread"`` or ``"random"``
        verification (1): which verification with the ledger it is planned for; each is held to a smaller share of α
        kept (1.0): the share of the released twins that the model is taken to learn from; less than 1 for one that used
            a part of the release, or left out what looked marked
        answers ("scores"): what the model is taken to answer with: ``"scores"``, or ``"labels"`` alone, on which the exact
            sign test is played
        thief ("none"): what is done with the release, a name in ``core.pipeline.thieves.THIEVES``, such as
            ``"drops_hardest_2"``, ``"half_of_it"``, ``"few_epochs"`` or ``"distils"``: what that leaves was measured on
            CIFAR-10, and multiplies ``kept``
        memory (0.5): what a model that was trained on the whole release is taken to remember, as a share of what the proxies do:
            they saw half of the images, and hardness was judged by them. 0.21 to 0.84 in the experiments of docs/measured.md; 1.0
            takes them at their word
        method ("unperturbed"): that the images will be marked by, with its defaults and proxies trained as those of
            :func:`compute_hardness`; for what it costs
        timed (True): whether the speed of this machine is measured, which takes some seconds the first time
        device (None): that is measured, see :func:`compute_hardness`

    Returns:
        a :class:`~..core.pipeline.planning.MarkingPlan`: ``num_pairs``, None if 300 do not reach it, the curve, and the
        ``cost``; ``print`` it

    Raises:
        ParameterError: if a number or a name is out of range
        SamplesError: if there is no such run, it is too old, or too few pairs can be formed
    """
    from ..dataset.planning import plan_marking as run

    return run(
        samples,
        hardness_field,
        alpha=alpha,
        power=power,
        selection=selection,
        verification=verification,
        kept=kept,
        answers=answers,
        thief=thief,
        memory=memory,
        method=method,
        trade_off=signature(generate_honeyimages).parameters["trade_off"].default,
        timed=timed,
        device=device,
    )
