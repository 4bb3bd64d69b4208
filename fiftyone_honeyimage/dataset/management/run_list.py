"""Lists, renames and deletes runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone as fo

from ...core.errors import LedgerError, SamplesError
from .. import storage
from ..hardness_fields import label_error_field
from ..identity import honeyimages
from ..marking.entry import field_description, remove_from_dataset, save_marking_view
from ..release.history import has_releases, keep_in_mind
from ..runs import (
    HARDNESS,
    MARKING,
    RUN_KINDS,
    VERIFICATION,
    catch_up,
    changing,
    check_new_key,
    is_complete,
    list_keys,
    made_by,
    root_dataset,
    run_config,
    stored_config,
)
from ..workspace import tidy_sidebar


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
    dataset = root_dataset(samples)
    runs = []
    for method in RUN_KINDS:
        for key in list_keys(dataset, method):
            config = run_config(dataset, key, method)
            runs.append(RunSummary(key, method.rpartition("/")[2], config.pop("timestamp"), config))
    return sorted(runs, key=lambda run: (run.timestamp is not None, run.timestamp, run.key))


def find_method(dataset: fo.Dataset, key: str) -> str:
    """The method of the run with this key.

    Raises:
        SamplesError: if no run of this plugin has it
    """
    for method in RUN_KINDS:
        if key in list_keys(dataset, method):
            return method
    known = [run.key for run in list_runs(dataset)]
    if made_by(dataset, key, MARKING):
        return MARKING  # killed while it was entered in the dataset, or deleted
    raise SamplesError(
        f"there is no HoneyImage run '{key}' on dataset '{dataset.name}'; "
        + (f"it has {known}" if known else "it has none yet")
    )


def rename_run(samples: fo.core.collections.SampleCollection, key: str, new_key: str) -> None:
    """See :func:`fiftyone_honeyimage.rename_run`."""
    dataset = root_dataset(samples)
    with changing(dataset):
        catch_up(dataset)
        method = find_method(dataset, key)
        if method == HARDNESS:
            raise SamplesError(
                f"'{key}' is a hardness run, which goes by its field's name; compute it again under the "
                "new name"
            )
        if not is_complete(dataset, key):
            raise SamplesError(f"run '{key}' was interrupted; run it again, or delete it")
        if method == MARKING:
            _rename_marking(dataset, key, new_key)
        else:
            check_new_key(dataset, new_key, "new_key")
        dataset.rename_run(key, new_key)


def _rename_marking(dataset: fo.Dataset, key: str, new_key: str) -> None:
    """Renames everything but the run itself. If it is killed, the same call finishes it."""
    name = key if dataset.has_field(key) else new_key
    if not made_by(dataset, name, MARKING):
        raise SamplesError(
            f"the field of marking '{key}' was deleted, so it cannot be renamed; attach_marking(dataset, "
            "ledger_path) brings it back"
        )
    field = dataset.get_field(name)
    if field.info.get("renamed_to") != new_key:
        check_new_key(dataset, new_key, "new_key")
        field.info = {**field.info, "renamed_to": new_key}
        field.description = field_description(new_key)
        field.save()
    if name != new_key:
        dataset.rename_sample_field(key, new_key)
        dataset.reload()  # FiftyOne's field still goes by its old name, under which it cannot be saved
    own = honeyimages(dataset, key)
    own.tag_samples(new_key)
    own.untag_samples(key)
    if key in dataset.list_saved_views():
        dataset.delete_saved_view(key)
    save_marking_view(dataset, new_key)
    for run in (*list_keys(dataset, VERIFICATION, honey_key=key), key):
        config = stored_config(dataset, run)
        config.honey_key = new_key
        dataset.update_run_config(run, config)


def delete_run(
    samples: fo.core.collections.SampleCollection, key: str, delete_files: bool = False
) -> None:
    """See :func:`fiftyone_honeyimage.delete_run`."""
    dataset = root_dataset(samples)
    with changing(dataset):
        catch_up(dataset)
        method = find_method(dataset, key)
        if method == MARKING:
            _delete_marking(dataset, key, delete_files)
            return
        if method == HARDNESS:
            for name in (key, label_error_field(key)):
                if dataset.has_field(name):
                    dataset.delete_sample_field(name)
            tidy_sidebar(dataset)
        dataset.delete_run(key)


def _delete_marking(dataset: fo.Dataset, key: str, delete_files: bool) -> None:
    registered = key in list_keys(dataset, MARKING)
    config = run_config(dataset, key, MARKING) if registered else dataset.get_field(key).info
    folder = Path(config["output_dir"])
    own = config["dataset_id"] == str(dataset._doc.id)
    if delete_files and not own:
        raise LedgerError(
            f"dataset '{dataset.name}' is a clone: the files in '{folder}' belong to the dataset that "
            "was marked. Pass delete_files=False"
        )
    released = has_releases(dataset, key) if registered else False
    with storage.locked(folder):
        if is_complete(dataset, key):
            (folder / storage.REQUEST).unlink(missing_ok=True)
        elif own:
            for leftover in (folder, storage.partial_dir(folder)):
                if storage.is_ours(leftover):
                    storage.remove(leftover)
        if delete_files and folder.exists():
            storage.delete_files(folder)  # before the run, which tells where they are
        for verification in list_keys(dataset, VERIFICATION, honey_key=key):
            dataset.delete_run(verification)
        if released and not delete_files:
            keep_in_mind(dataset, key)
        remove_from_dataset(dataset, key)
