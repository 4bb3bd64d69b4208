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

#: Methods that leave every pixel as it is, which any image has room for.
KEEP_PIXELS = frozenset({"unperturbed"})

__all__ = ["KEEP_PIXELS", "METHODS", "CraftRequest", "CraftResult", "MarkingMethod"]
