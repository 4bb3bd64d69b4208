"""What a verification rests on: the ledger, the user and the versions."""

from __future__ import annotations

import getpass
import platform
from importlib import metadata
from typing import Any

from .marking import OpenMarking

#: Packages whose version is kept with a verification
_PACKAGES = ("fiftyone", "torch", "numpy", "scipy")


def provenance(opened: OpenMarking, user: str | None) -> dict[str, Any]:
    """What a verification rests on: kept with it, and shown beside the verdict."""
    return {
        "commitment": opened.ledger.commitment,
        "ledger_head": opened.ledger.head,
        "seed": opened.marking.config.get("seed"),
        "user": user or os_user(),
        "versions": {
            "python": platform.python_version(),
            **{name: installed(name) for name in _PACKAGES},
        },
    }


def os_user() -> str | None:
    """The name of the operating system's user, None where there is none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def installed(package: str) -> str | None:
    """The installed version of a package, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
