"""Runs: how hardness, markings and verifications are kept on the dataset.

Plain FiftyOne runs, told apart by ``config.method``. The stored classes are FiftyOne's own, so a
dataset loads without this package.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.odm as foo
import fiftyone.core.utils as fou

from ..core.errors import ParameterError, SamplesError
from ..core.files import locked
from .checks import check_is_collection, check_key

HARDNESS = "honeyimage/hardness"
MARKING = "honeyimage/marking"
VERIFICATION = "honeyimage/verification"

RUN_KINDS = (HARDNESS, MARKING, VERIFICATION)

#: In a field's info: the method whose run made it. Stands there before the run is registered.
MADE_BY = "honeyimage"

#: The datasets that a thread is changing
_changing = threading.local()

#: Threads share the open file of a run's results, and so the place in it
_reading = threading.Lock()

#: How often results are looked for that another process is replacing
_ATTEMPTS = 10


def root_dataset(samples: fo.core.collections.SampleCollection) -> fo.Dataset:
    """The dataset behind a view. Each operation asks once; what it calls is given the dataset.

    Raises:
        SamplesError: if it is neither dataset nor view
    """
    check_is_collection(samples)
    return samples._root_dataset


@contextmanager
def changing(dataset: fo.Dataset) -> Iterator[None]:
    """Lets one call at a time change a dataset's fields, runs and views.

    Threads share one dataset object, and processes one document in the database, of which each writes back
    what it has read. Calls of the same thread may be nested.
    """
    held: set[str] = _changing.__dict__.setdefault("datasets", set())
    dataset_id = str(dataset._doc.id)
    if dataset_id in held:
        yield
        return
    # Of each user: another's file could not be opened. Files belong to the effective user. Where there are
    # no numbers, neither is a shared folder
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    with locked(Path(tempfile.gettempdir()) / f"honeyimage-{user}-{dataset_id}"):
        held.add(dataset_id)
        try:
            yield
        finally:
            held.discard(dataset_id)


def catch_up(dataset: fo.Dataset) -> None:
    """Reloads a dataset whose fields, runs or views another process changed.

    Only then: reloading drops what the user has not saved yet.
    """

    def state(document: Mapping[str, Any]) -> Any:
        fields = [(field["name"], field.get("info")) for field in document["sample_fields"]]
        return fields, document.get("runs") or {}, document.get("saved_views") or []

    with changing(dataset):
        stored = foo.get_db_conn().datasets.find_one({"_id": dataset._doc.id})
        if stored is not None and state(stored) != state(dataset._doc.to_dict()):
            dataset.reload()


def made_by(dataset: fo.Dataset, field_name: str, method: str) -> bool:
    """Whether a field was made by a run of this method, and not by somebody else."""
    found = dataset.get_field(field_name)
    return found is not None and (found.info or {}).get(MADE_BY) == method


def check_new_key(dataset: fo.Dataset, key: Any, what: str) -> None:
    """Checks that a key is an identifier that nothing on the dataset uses yet.

    Raises:
        ParameterError: saying what uses it
    """
    check_key(key, what)
    taken = []
    if key in dataset.list_runs():
        taken.append("run")
    if key in dataset.get_field_schema():
        taken.append("field")
    # FiftyOne tells saved views apart by their URLs: 'my_key' and 'My key' are one
    if fou.to_slug(key) in {fou.to_slug(name) for name in dataset.list_saved_views()}:
        taken.append("saved view")
    if taken:
        raise ParameterError(
            f"{what} '{key}' is taken: the dataset has a {' and a '.join(taken)} of that name. "
            "Choose another key, or delete the old one first"
        )


def save_run(
    dataset: fo.Dataset,
    key: str,
    method: str,
    config: dict[str, Any],
    results: dict[str, Any],
    overwrite: bool = False,
) -> None:
    """Registers a run with its config and results; both must be JSON-serialisable."""
    run_config = dataset.init_run(**config)
    run_config.method = method
    dataset.register_run(key, run_config, overwrite=overwrite)
    run_results = dataset.init_run_results(key, **results)
    dataset.save_run_results(key, run_results)


def update_run(
    dataset: fo.Dataset, key: str, method: str, config: dict[str, Any], results: dict[str, Any]
) -> None:
    """Changes some values of a run's config, and replaces its results."""
    stored = stored_config(dataset, key)
    for name, value in config.items():
        setattr(stored, name, value)
    stored.method = method
    dataset.update_run_config(key, stored)
    save_results(dataset, key, results)


def save_results(dataset: fo.Dataset, key: str, results: dict[str, Any]) -> None:
    """Replaces the results of a run; they must be JSON-serialisable."""
    run_results = dataset.init_run_results(key, **results)
    # Once it was reloaded, a document does not notice that its file is another: the old one is deleted
    dataset._doc.runs[key]._mark_as_changed("results")
    dataset.save_run_results(key, run_results, overwrite=True)


def list_keys(dataset: fo.Dataset, method: str, **config: Any) -> list[str]:
    """The keys of the runs of one method, oldest first, with matching config values if given."""
    keys = dataset.list_runs(method=method, **config)  # in alphabetical order
    return sorted(keys, key=lambda key: dataset.get_run_info(key).timestamp)


def run_config(dataset: fo.Dataset, key: str, method: str) -> dict[str, Any]:
    """A run's config as a dict, with its ``timestamp``.

    Raises:
        SamplesError: if there is no such run
    """
    kind = method.rpartition("/")[2]
    if key not in dataset.list_runs(method=method):
        known = dataset.list_runs(method=method)
        raise SamplesError(
            f"there is no {kind} '{key}' on dataset '{dataset.name}'; "
            + (f"it has {known}" if known else f"it has no {kind} yet")
        )
    info = dataset.get_run_info(key)
    return {**info.config.serialize(), "timestamp": info.timestamp}


def stored_config(dataset: fo.Dataset, key: str) -> fo.core.runs.RunConfig:
    """A run's config to be changed, as the database has it: another process may have added to it."""
    dataset._doc.runs[key].reload()
    return dataset.get_run_info(key).config


def is_complete(dataset: fo.Dataset, key: str) -> bool:
    """Whether a run holds results: a run that was killed while it was registered has none."""
    return key in dataset.list_runs() and find_results(dataset, key) is not None


def run_results(dataset: fo.Dataset, key: str) -> dict[str, Any]:
    """A run's results as a dict, read from the database.

    Raises:
        SamplesError: if the run holds no results
    """
    results = find_results(dataset, key)
    if results is None:
        raise SamplesError(f"run '{key}' holds no results; it was interrupted: delete and redo it")
    return results


def find_results(dataset: fo.Dataset, key: str) -> dict[str, Any] | None:
    """A run's results as a dict, read from the database; None if it holds none."""
    with _reading:
        results = _load_results(dataset, key)
    if results is None:
        return None
    return {k: v for k, v in results.serialize().items() if k != "cls"}


def _load_results(dataset: fo.Dataset, key: str) -> fo.core.runs.BaseRunResults | None:
    """A run's results, also while another process replaces them.

    Replacing deletes the old file; MongoEngine, still pointing at it, reads nothing or an empty string.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return dataset.load_run_results(key, cache=False, load_view=False)
        except AttributeError:
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.02 * attempt)
            dataset._doc.runs[key].reload()
    return None
