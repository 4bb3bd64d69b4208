"""A ledger's file: whole or not there, and readable by its owner alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import LedgerError
from ..files import write_json_atomic
from .hashes import parse_json

_logger = logging.getLogger(__name__)
_KEYS = {
    "header",
    "singles",
    "pairs",
    "query_order",
    "salts",
    "commitment",
    "log",
    "head",
}
#: What only a ledger has whose coins were drawn from a public round, and one with a release for each recipient
_OPTIONAL = {"beacon", "tracing_pairs"}


def read_ledger_file(path: Path) -> dict[str, Any]:
    """Reads a ledger's content, of which nothing but the keys is checked.

    Raises:
        LedgerError: if it is missing, unreadable or no ledger
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise LedgerError(
            f"There is no ledger at {path}; without it no verdict can be given. Restore it from a "
            "backup"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"The ledger {path} cannot be read: {error}") from error
    content = parse_json(text, str(path))
    if set(content) - _OPTIONAL != _KEYS:
        raise LedgerError(f"{path} is no ledger: it holds {', '.join(sorted(content))}")
    return content


def write_ledger_file(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a ledger's content: all of it or, if that fails, none. Permissions are 0600."""
    write_json_atomic(path, content, mode=0o600)


def refuse_links(path: Path) -> None:
    """Raises LedgerError if the file has a second name on this disk.

    Writing replaces a file: the other name would keep the older content, as a ledger of its own
    that knows nothing of what comes now.
    """
    try:
        links = path.stat().st_nlink
    except OSError as error:
        raise LedgerError(f"The ledger {path} cannot be read: {error}") from error
    if links > 1:
        raise LedgerError(
            f"The ledger {path} has {links} names on this disk (hard links), which would become "
            "ledgers of their own. Keep one: copy the file, delete every name of it, and give the "
            "copy the name of the ledger"
        )


def keep_private(path: Path) -> None:
    """Sets the file's permissions to 0600, with a warning, if others could read it."""
    if os.name != "posix" or not path.stat().st_mode & 0o077:
        return
    _logger.warning("Others could read the ledger %s; its permissions are now 0600", path)
    try:
        path.chmod(0o600)
    except OSError as error:
        _logger.warning("The permissions of %s could not be changed: %s", path, error)
