"""Methods of marking: how images are chosen and what is done to them; one file each, registered here."""

from __future__ import annotations

from .base import Method
from .honeyimage import HoneyImage
from .unperturbed import Unperturbed

#: name → method. Adding a method means adding one file and one line here.
METHODS: dict[str, Method] = {method.name: method for method in (HoneyImage(), Unperturbed())}

__all__ = ["METHODS", "Method"]
