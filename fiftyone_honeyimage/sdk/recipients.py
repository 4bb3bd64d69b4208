"""Whose release a model or a folder of images comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..public import public

if TYPE_CHECKING:
    import fiftyone.core.collections as foc

    from ..core.evidence.collusion import RecipientPlan
    from ..dataset.release.trace_copy import CopyTrace


@public
def plan_recipients(
    recipients: int,
    colluders: int = 2,
    readable: float = 0.9,
    alpha: float = 0.001,
    power: float = 0.9,
    attempt: int = 1,
) -> RecipientPlan:
    """How many tracing pairs name one of the recipients who leak, whatever they do with their copies.

    Markings are played through: code words, colluders who compare their copies and give out what most of them have, what
    fewest have, one side always, either at random, or both; and a suspect of which each pair is read rightly with some
    probability. The worst of these counts.

    Args:
        recipients: how many there are
        colluders (2): how many of them compare and mix their copies, at most 5
        readable (0.9): with what probability a pair is read rightly: the share of pairs on which a model that had one
            side does better on it, or of a found folder how many of its images are recognised
        alpha (0.001): the probability with which anybody may be named wrongly
        power (0.9): the probability with which one of the colluders is to be named
        attempt (1): which attempt it is planned for; the j-th is held to α/(j(j+1))

    Returns:
        a :class:`~..core.evidence.collusion.RecipientPlan`: ``num_pairs``, None if 2,000 do not reach it; ``print`` it

    Raises:
        ParameterError: if a number is out of range
    """
    from ..core.evidence.collusion import plan_recipients as plan

    return plan(recipients, colluders, readable, alpha, power, attempt)


@public
def trace_copy(
    samples: foc.SampleCollection,
    honey_key: str,
    folder: str | Path,
    *,
    ledger_path: str | Path | None = None,
    progress: bool | Callable | None = None,
) -> CopyTrace:
    """Says whose release a found folder of images comes from, without any model.

    Sides of tracing pairs are looked for byte by byte, whatever their files are called; then by perceptual hashes, and by
    laying them over what was found: encoded anew, resized, or cropped by up to 12 % of width and height. All other images of
    the dataset compete, so that what only looks like a side is taken for itself. Part of a release suffices, if it holds
    enough sides. Each recipient gets an exact p-value, corrected by Holm's procedure: somebody of whose release the folder
    holds nothing is named with probability at most α/(j(j+1)) at the j-th folder, whatever it is and whoever mixed their
    copies. Each folder is written down in the ledger before it is compared, and counts; one with the same files is the
    same attempt.

    It tells nothing of how a folder came to be: who holds a release can put it there, its owner too.

    Args:
        samples: the dataset
        honey_key: a marking with ``recipients``
        folder: with images, in folders or not; other files are left aside
        ledger_path (None): the ledger's place, if it was moved
        progress (None): see :func:`compute_hardness`

    Returns:
        a ``CopyTrace``; ``recipients.named`` are those named

    Raises:
        ReleaseError: if there is no such folder, or no image in it
        LedgerError: if the marking has no recipients, or the ledger or a side is missing or altered
    """
    from ..dataset.release.trace_copy import trace_copy as run

    return run(samples, honey_key, folder, ledger_path=ledger_path, progress=progress)
