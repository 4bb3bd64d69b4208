"""Markings as a real run makes them, all but the trainings: for benchmarks of everything else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch


@contextmanager
def without_training() -> Iterator[None]:
    """Until the context ends, proxies keep the weights they were drawn with, and LPIPS is not measured."""
    from fiftyone_honeyimage.core.methods import in_model, out_model
    from fiftyone_honeyimage.core.pipeline import crafting as honeyimage_files

    with (
        patch.object(in_model, "train_models", lambda *args, **settings: []),
        patch.object(out_model, "train_models", lambda *args, **settings: []),
        patch.object(honeyimage_files, "_load_lpips", lambda file: (None, "not measured")),
    ):
        yield
