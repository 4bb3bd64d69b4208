"""Scores: one number for an image from a suspect's answer; one file each, registered here."""

from __future__ import annotations

from .base import Access, Score
from .bavaria import Bavaria
from .confidence import Confidence
from .correct import Correct
from .learn_original import LearnOriginal
from .lira_compat import CarliniCompat
from .lira_offline import LiraOffline
from .lira_online import LiraOnline
from .loss import Loss
from .loss_gap import LossGap
from .model_loss import ModelLoss
from .references import References, SideReferences

#: name → score. Adding a score means adding one file and one line here.
SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        Loss(),
        Confidence(),
        LiraOnline(),
        LiraOffline(),
        CarliniCompat(),
        Bavaria(),
        ModelLoss(),
        LearnOriginal(),
        Correct(),
        LossGap(),
    )
}


def deciding_scores() -> list[str]:
    """The names of those that a marking can be committed to."""
    return [
        name
        for name, score in SCORES.items()
        if score.decides and score.access is not Access.LABELS
    ]


__all__ = ["SCORES", "Access", "References", "Score", "SideReferences", "deciding_scores"]
