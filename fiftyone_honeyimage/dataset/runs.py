"""Runs: how hardness, markings and verifications are kept on the dataset.

Plain FiftyOne runs, told apart by ``config.method``. The stored classes are FiftyOne's own, so a
dataset loads without this package.
"""

from __future__ import annotations

from typing import Any

import fiftyone as fo

from ..core.errors import ParameterError, SamplesError
from .samples import check_key

HARDNESS = "honeyimage/hardness"
MARKING = "honeyimage/marking"
VERIFICATION = "honeyimage/verification"

METHODS = (HARDNESS, MARKING, VERIFICATION)


def root_dataset(samples: fo.core.collections.SampleCollection) -> fo.Dataset:
    """The dataset behind a view."""
    return samples._root_dataset


def check_new_key(samples: fo.core.collections.SampleCollection, key: Any, what: str) -> None:
    """Checks that a key is an identifier that nothing on the dataset uses yet.

    Raises:
        ParameterError: saying what uses it
    """
    check_key(key, what)
    dataset = root_dataset(samples)
    taken = []
    for kind, keys in (
        ("run", dataset.list_runs()),
        ("field", dataset.get_field_schema()),
        ("saved view", dataset.list_saved_views()),
    ):
        if key in keys:
            taken.append(kind)
    if taken:
        raise ParameterError(
            f"{what} '{key}' is taken: the dataset has a {' and a '.join(taken)} of that name. "
            "Choose another key, or delete the old one first"
        )


def save_run(
    samples: fo.core.collections.SampleCollection,
    key: str,
    method: str,
    config: dict[str, Any],
    results: dict[str, Any],
    overwrite: bool = False,
) -> None:
    """Registers a run with its config and results; both must be JSON-serialisable."""
    dataset = root_dataset(samples)
    run_config = dataset.init_run(**config)
    run_config.method = method
    dataset.register_run(key, run_config, overwrite=overwrite)
    run_results = dataset.init_run_results(key, **results)
    dataset.save_run_results(key, run_results)


def list_keys(
    samples: fo.core.collections.SampleCollection, method: str, **config: Any
) -> list[str]:
    """The keys of the runs of one method, oldest first, with matching config values if given."""
    return list(root_dataset(samples).list_runs(method=method, **config))


def run_config(
    samples: fo.core.collections.SampleCollection, key: str, method: str
) -> dict[str, Any]:
    """A run's config as a dict, with its ``timestamp``.

    Raises:
        SamplesError: if there is no such run
    """
    dataset = root_dataset(samples)
    kind = method.rpartition("/")[2]
    if key not in dataset.list_runs(method=method):
        known = dataset.list_runs(method=method)
        raise SamplesError(
            f"there is no {kind} '{key}' on dataset '{dataset.name}'; "
            + (f"it has {known}" if known else f"it has no {kind} yet")
        )
    info = dataset.get_run_info(key)
    return {**info.config.serialize(), "timestamp": info.timestamp}


def run_results(samples: fo.core.collections.SampleCollection, key: str) -> dict[str, Any]:
    """A run's results as a dict, read from the database.

    Raises:
        SamplesError: if the run holds no results
    """
    results = root_dataset(samples).load_run_results(key, cache=False, load_view=False)
    if results is None:
        raise SamplesError(f"run '{key}' holds no results; it was interrupted: delete and redo it")
    return {k: v for k, v in results.serialize().items() if k != "cls"}
