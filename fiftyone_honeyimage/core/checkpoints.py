"""Model weights and tensors on disk, whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from .files import write_atomic


def save_checkpoint(path: Path, content: Any) -> None:
    """Writes tensors and plain values with ``torch.save``, atomically.

    Raises:
        OSError: if the disk is full or the folder not writable; an older file stays as it was
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())


def load_checkpoint(path: Path) -> Any:
    """Reads what :func:`save_checkpoint` wrote, onto the CPU, executing nothing in it."""
    return torch.load(path, map_location="cpu", weights_only=True)
