"""Model weights and tensors on disk, whole or not at all."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
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


def digest_of(values: Mapping[str, Any]) -> str:
    """The SHA-256 of tensors by name (names, types, shapes, bytes), and of what else is among them."""
    sha = hashlib.sha256()
    for name in sorted(values):
        value = values[name]
        if not isinstance(value, torch.Tensor):
            sha.update(f"{name}={value!r};".encode())
            continue
        sha.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        flat = value.detach().to("cpu").contiguous().reshape(-1)
        sha.update(flat.view(torch.uint8).numpy().data)
    return sha.hexdigest()
