"""The two fields that a hardness run writes: their names, checks, reading and writing."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import numpy as np

from ..core.errors import ParameterError, SamplesError
from ..core.pipeline.labeled import LabeledSamples
from .checks import check_key
from .runs import HARDNESS, MADE_BY, list_keys, made_by
from .workspace import group_in_sidebar


def label_error_field(hardness_field: str) -> str:
    """The boolean field that goes with a hardness field."""
    return f"{hardness_field}_label_error"


def check_hardness_field(dataset: fo.Dataset, hardness_field: str) -> None:
    """Checks that the field is new, or holds the scores of an earlier hardness run.

    Raises:
        ParameterError: if it holds something else
    """
    check_key(hardness_field, "hardness_field")
    if hardness_field in list_keys(dataset, HARDNESS):
        return
    for name in (hardness_field, label_error_field(hardness_field)):
        # A field of a run that was killed before it was registered is written again
        if dataset.has_field(name) and not made_by(dataset, name, HARDNESS):
            raise ParameterError(
                f"the dataset has a field '{name}' that no hardness run wrote; "
                "pass another hardness_field"
            )
    if hardness_field in dataset.list_runs():
        raise ParameterError(
            f"the dataset has another run named '{hardness_field}'; pass another hardness_field"
        )


def read_hardness(
    samples: fo.core.collections.SampleCollection, labeled: LabeledSamples, hardness_field: str
) -> tuple[np.ndarray, np.ndarray]:
    """float64 (N,) hardness, NaN where there is none, and bool (N,) suspected label errors.

    Raises:
        SamplesError: if there are no scores
    """
    if not isinstance(hardness_field, str) or not samples.has_field(hardness_field):
        raise SamplesError(
            f"there is no field '{hardness_field}' with hardness scores; run "
            f"compute_hardness(samples, label_field, hardness_field='{hardness_field}') first"
        )
    if not isinstance(samples.get_field(hardness_field), fo.FloatField):
        raise SamplesError(f"field '{hardness_field}' does not hold numbers; pass another field")

    errors_field = label_error_field(hardness_field)
    has_errors = samples.has_field(errors_field)
    fields = ["id", hardness_field] + ([errors_field] if has_errors else [])
    ids, values, *rest = samples.values(fields)
    by_id = dict(zip(ids, values, strict=True))
    scores = np.array(
        [np.nan if by_id[i] is None else by_id[i] for i in labeled.ids], dtype=np.float64
    )
    if np.isnan(scores).all():
        raise SamplesError(
            f"field '{hardness_field}' is empty on these samples; run compute_hardness on them first"
        )
    flags = dict(zip(ids, rest[0], strict=True)) if has_errors else {}
    errors = np.array([bool(flags.get(i)) for i in labeled.ids])
    return scores, errors


def write_hardness(
    dataset: fo.Dataset,
    ids: list[str],
    hardness_field: str,
    hardness: np.ndarray,
    errors: np.ndarray,
) -> None:
    is_new = not dataset.has_field(hardness_field)
    for name, kind, values, description in (
        (
            hardness_field,
            fo.FloatField,
            hardness,
            "HoneyImage hardness: cross-entropy (nats) under a proxy that has not seen the image",
        ),
        (
            label_error_field(hardness_field),
            fo.BooleanField,
            errors,
            "Looks mislabelled: confident learning on the proxies' out-of-fold predictions; never true "
            "where the proxies are too weak to judge",
        ),
    ):
        by_id: dict[str, Any] = {}
        if dataset.has_field(name):
            # Scores of an earlier run come from other proxies: a field holds those of one run
            by_id = dict.fromkeys(dataset.exists(name).values("id"))
        else:
            dataset.add_sample_field(name, kind, description=description, info={MADE_BY: HARDNESS})
        by_id.update(zip(ids, values.tolist(), strict=True))
        dataset.set_values(name, by_id, key_field="id", progress=False)
    if is_new:
        group_in_sidebar(dataset, [hardness_field, label_error_field(hardness_field)])
