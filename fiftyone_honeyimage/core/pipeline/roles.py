"""What a suspect's answers show by role, once the coins are looked at: the table of pairs, the paper's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..evidence.decisions import with_decisions
from ..evidence.membership import membership_decisions
from ..evidence.published import calibrate_threshold, loss_gaps
from ..ledger.ledger import Ledger
from ..ledger.sides import TWINS
from ..scores import References, SideReferences
from .questions import Key

#: A side's loss and how often the class was right; None where its pair has a failed query
Recorded = Mapping[Key, "tuple[float, float] | None"]


def pair_table(
    recorded: Recorded, released: Mapping[int, str], tells_classes: bool = True
) -> list[dict[str, Any]]:
    """One row a pair, in the order of the queries, by role: it does not say which image was released.

    Args:
        recorded: the answers
        released: for each pair's index, which side was released
        tells_classes (True): whether the suspect tells classes, and not one loss an image
    """
    rows = []
    for index in dict.fromkeys(index for index, _ in recorded):
        side = released[index]
        ours = recorded[index, side]
        theirs = recorded[index, "b" if side == "a" else "a"]
        failed = ours is None or theirs is None
        ours, theirs = ours or (np.nan, False), theirs or (np.nan, False)
        rows.append(
            {
                "pair": index,
                "failed": failed,
                "released_loss": _finite(ours[0]),
                "withheld_loss": _finite(theirs[0]),
                "released_correct": ours[1] if tells_classes else None,
                "withheld_correct": theirs[1] if tells_classes else None,
            }
        )
    return rows


def published_figures(
    recorded: Recorded,
    ledger: Ledger,
    proxy_losses: Mapping[str, float],
    reference_losses: Sequence[Mapping[Key, float]] = (),
) -> dict[str, Any]:
    """:func:`paper_figures`, and what published rules would have decided where the marking has reference models; for
    a suspect that gives labels alone nothing of either. Arguments as there."""
    figures = paper_figures(recorded, ledger, proxy_losses, reference_losses)
    released = ledger.released()
    known = {key: said for key, said in _references(ledger).items() if said is not None}
    answered = [
        (place, answer[0])
        for place, key in enumerate(known)
        if released[key[0]] == key[1]
        for answer in [recorded.get(key)]
        if answer is not None and np.isfinite(answer[0])
    ]
    if not answered:
        return figures
    places, losses = zip(*answered, strict=True)
    references = References.of_sides(list(known.values()))
    return with_decisions(
        figures, membership_decisions(losses, places, references, ledger.plan.direction)
    )


def _references(ledger: Ledger) -> dict[Key, SideReferences | None]:
    return {
        (index, side): said
        for index, both in ledger.references().items()
        for side, said in zip(TWINS, both, strict=True)
    }


def paper_figures(
    recorded: Recorded,
    ledger: Ledger,
    proxy_losses: Mapping[str, float],
    reference_losses: Sequence[Mapping[Key, float]] = (),
) -> dict[str, Any]:
    """The paper's loss gap on the released twins, and τ if there are reference models; empty for labels, and where
    a suspect is asked about something else than the images of a release.

    Args:
        recorded: the answers
        ledger: of the marking
        proxy_losses: the out-model's loss by sample id, nats
        reference_losses: every reference model's loss on every side
    """
    if ledger.asks_probes:
        return {}
    released = ledger.released()
    found = {
        key: answer[0]
        for key, answer in recorded.items()
        if answer is not None and released[key[0]] == key[1] and np.isfinite(answer[0])
    }
    if not found:
        return {}
    sides = [ledger.pairs[index].side(name) for index, name in found]
    proxies = [
        float(np.mean([proxy_losses[image.sample_id] for image in side.files])) for side in sides
    ]
    gaps = loss_gaps(proxies, list(found.values()))
    figures: dict[str, Any] = {
        "mean_loss_gap": _rounded(gaps.mean()),
        "num_images": len(found),
        "num_references": len(reference_losses),
    }
    if not reference_losses:
        return figures

    reference_gaps = [
        loss_gaps(proxies, [losses[key] for key in found]) for losses in reference_losses
    ]
    calibrated = calibrate_threshold(reference_gaps, 1 / (len(reference_losses) + 1))
    figures["reference_mean_loss_gaps"] = [_rounded(values.mean()) for values in reference_gaps]
    figures["threshold"] = _rounded(calibrated.threshold)
    figures["threshold_false_positive_rate"] = calibrated.false_positive_rate
    figures["exceeds_threshold"] = bool(gaps.mean() > calibrated.threshold)
    return figures


def _rounded(value: float) -> float:
    """Three digits, and no finer than 0.01 nats.

    An exact mean over the released twins would tell which they are: the proxy's losses of all twins
    are known, and of some thirty pairs one choice of twins alone has this sum.
    """
    return round(float(f"{value:.3g}"), 2)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
