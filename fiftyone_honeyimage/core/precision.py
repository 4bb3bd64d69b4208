"""Low precision, and algorithms that give the same result every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def autocast(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    """Low precision in a block; none where there is no type."""
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Deterministic algorithms in a block, where the device has others too."""
    if device.type != "cuda":
        yield
        return

    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
