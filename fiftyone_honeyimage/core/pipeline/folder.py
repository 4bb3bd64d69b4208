"""What lies in a marking's folder, by what names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import LedgerError

IMAGES = "images"
#: What suspects are asked about where that is no image of a release
PROBES = "probes"
LEDGER = "ledger.json"
MANIFEST = "manifest.json"
#: Of a marking that is being made
CHECKPOINTS = "checkpoints"


def read_manifest(output_dir: Path) -> dict[str, Any]:
    """The manifest of a marking: its images with digests and metrics, without any coin.

    Raises:
        LedgerError: if it is missing or cannot be read
    """
    path = output_dir / MANIFEST
    if not path.is_file():
        raise LedgerError(
            f"the marking's files are not at '{output_dir}' (no {MANIFEST}); if the folder was moved, "
            "move it back"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LedgerError(
            f"'{path}' cannot be read ({error}); restore it, or run this as the user who owns it"
        ) from error
