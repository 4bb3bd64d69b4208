"""Lists, renames and deletes runs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone as fo

from ..core.errors import SamplesError
from . import storage
from .hardness import label_error_field
from .marking import HONEYIMAGE_TAG, remove_from_dataset, save_marking_view
from .runs import (
    HARDNESS,
    MARKING,
    METHODS,
    VERIFICATION,
    check_new_key,
    list_keys,
    root_dataset,
    run_config,
)


@dataclass(frozen=True)
class RunSummary:
    """One line of the list of runs.

    Attributes:
        key: the run's key
        kind: ``"hardness"``, ``"marking"`` or ``"verification"``
        timestamp: when it was registered, UTC
        config: its config
    """

    key: str
    kind: str
    timestamp: Any
    config: dict[str, Any]


def list_runs(samples: fo.core.collections.SampleCollection) -> list[RunSummary]:
    """See :func:`fiftyone_honeyimage.list_runs`."""
    runs = []
    for method in METHODS:
        for key in list_keys(samples, method):
            config = run_config(samples, key, method)
            runs.append(RunSummary(key, method.rpartition("/")[2], config.pop("timestamp"), config))
    return sorted(runs, key=lambda run: (run.timestamp is not None, run.timestamp, run.key))


def find_method(samples: fo.core.collections.SampleCollection, key: str) -> str:
    """The method of the run with this key.

    Raises:
        SamplesError: if no run of this plugin has it
    """
    for method in METHODS:
        if key in list_keys(samples, method):
            return method
    known = [run.key for run in list_runs(samples)]
    raise SamplesError(
        f"there is no HoneyImage run '{key}' on dataset '{root_dataset(samples).name}'; "
        + (f"it has {known}" if known else "it has none yet")
    )


def rename_run(samples: fo.core.collections.SampleCollection, key: str, new_key: str) -> None:
    """See :func:`fiftyone_honeyimage.rename_run`."""
    method = find_method(samples, key)
    check_new_key(samples, new_key, "new_key")
    if method == HARDNESS:
        raise SamplesError(
            f"'{key}' is a hardness run, which goes by its field's name; compute it again under the "
            "new name"
        )
    dataset = root_dataset(samples)
    if method == MARKING:
        view = dataset.match_tags(HONEYIMAGE_TAG).match_tags(key)
        view.tag_samples(new_key)
        view.untag_samples(key)
        dataset.rename_sample_field(key, new_key)
        field = dataset.get_field(new_key)
        field.info = {"honeyimage": new_key}
        field.save()
        dataset.delete_saved_view(key)
        save_marking_view(dataset, new_key)
        for verification in list_keys(samples, VERIFICATION, honey_key=key):
            config = dataset.get_run_info(verification).config
            config.honey_key = new_key
            dataset.update_run_config(verification, config)
    dataset.rename_run(key, new_key)


def delete_run(
    samples: fo.core.collections.SampleCollection, key: str, delete_files: bool = False
) -> None:
    """See :func:`fiftyone_honeyimage.delete_run`."""
    method = find_method(samples, key)
    dataset = root_dataset(samples)
    if method == HARDNESS:
        for name in (key, label_error_field(key)):
            if dataset.has_field(name):
                dataset.delete_sample_field(name)
    if method == MARKING:
        folder = Path(run_config(samples, key, MARKING)["output_dir"])
        for verification in list_keys(samples, VERIFICATION, honey_key=key):
            dataset.delete_run(verification)
        remove_from_dataset(dataset, key, folder)
        partial = storage.partial_dir(folder)
        if partial.exists() and storage.is_ours(partial):
            shutil.rmtree(partial)
        if delete_files and folder.exists():
            storage.delete_files(folder)
    dataset.delete_run(key)
