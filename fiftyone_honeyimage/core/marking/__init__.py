"""Methods that change images before release: one file each, registered here by name."""

from __future__ import annotations

from .base import CraftRequest, CraftResult, MarkingMethod
from .honeyimage import craft_honeyimages
from .unperturbed import keep_unperturbed

#: name → method. Adding a method means adding one file and one line here.
METHODS: dict[str, MarkingMethod] = {
    "honeyimage": craft_honeyimages,
    "unperturbed": keep_unperturbed,
}

__all__ = ["METHODS", "CraftRequest", "CraftResult", "MarkingMethod"]
