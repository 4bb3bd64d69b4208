"""Methods of marking: how images are chosen and what is done to them; one file each, registered here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .adversarial import Adversarial
from .badnets import BadNets
from .base import Method
from .blended import Blended
from .crop import Crop
from .flip import Flip
from .honeyimage import HoneyImage
from .mixup import Mixup
from .radioactive import Radioactive
from .sscl_bw import SSCLBW
from .ubw_c import UBWC
from .ubw_p import UBWP
from .unperturbed import Unperturbed

#: name → method. Adding a method means adding one file and one line here.
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        HoneyImage(),
        Unperturbed(),
        BadNets(),
        Blended(),
        UBWP(),
        UBWC(),
        SSCLBW(),
        Radioactive(),
        Adversarial(),
        Mixup(),
        Crop(),
        Flip(),
    )
}

#: What is marked with unless a method is named: pairs that no detector finds (docs/measured.md)
DEFAULT_METHOD = METHODS["unperturbed"]

#: How a stranger marks to learn what marks look like, where a release's own method changes nothing
PRACTISED_METHOD = METHODS["honeyimage"]


def method_words(name: str, options: Mapping[str, Any]) -> str:
    """A method and its options as a run remembers them; its name alone if it is not registered any more."""
    return METHODS[name].words(options) if name in METHODS else name


def most_changed(name: str | None, options: Mapping[str, Any]) -> float | None:
    """The largest change of any value that a method promises, 0–255; None for any change, or if it is not registered.

    Args:
        name: the method's
        options: its own among others
    """
    if name not in METHODS:
        return None
    method = METHODS[name]
    most = method.most_changed(method.Options.read(options))
    return most if most < 255 else None


__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "PRACTISED_METHOD",
    "Method",
    "method_words",
    "most_changed",
]
