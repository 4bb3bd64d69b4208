"""What a hardness run keeps of every image beside its fields, for the choice of a marking."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import fiftyone as fo
import numpy as np

from ..core.errors import SamplesError
from ..core.methods.options import Options
from ..core.methods.selection import MEASURES, measures_needed
from ..core.methods.selection_options import settled
from ..core.pipeline.labeled import LabeledSamples
from .runs import HARDNESS, list_keys, root_dataset, run_results

#: In a run's results. Features need no more to tell near from far
_DTYPES = {"gain": "<f4", "unsettled": "<f4", "embedding": "<f2"}


def pack_measures(ids: Sequence[str], measures: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Measures of samples as a run's results hold them, safe for JSON.

    Args:
        ids: of N samples
        measures: name → float (N,) or (N, E); empty ones are left out
    """
    kept = {
        name: {
            "shape": list(values.shape),
            "values": base64.b64encode(values.astype(_DTYPES[name]).tobytes()).decode(),
        }
        for name, values in measures.items()
        if values.size
    }
    return {"ids": list(ids), **kept}


def read_choice(
    samples: fo.core.collections.SampleCollection,
    labeled: LabeledSamples,
    hardness_field: str,
    kind: type[Options],
    given: Mapping[str, Any],
) -> tuple[Options, dict[str, np.ndarray]]:
    """A method's options, see :func:`..core.methods.selection_options.settled`, and the measures that their choice takes.

    Args:
        samples: the dataset or a view of it
        labeled: N of its samples
        hardness_field: of the run
        kind: the method's ``Options``
        given: its own, as they were asked for

    Returns:
        the options, and what :func:`read_measures` does

    Raises:
        ParameterError: if an option is out of range
        SamplesError: if there is no such run, or it does not hold the measures
    """
    held = _held(samples, hardness_field)
    settings = settled(kind, given, held)
    return settings, read_measures(held, labeled, hardness_field, measures_needed(settings))


def read_measures(
    held: Mapping[str, Any], labeled: LabeledSamples, hardness_field: str, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Undoes :func:`pack_measures` for some samples, NaN where the run did not see one.

    Args:
        held: what the run keeps
        labeled: N samples
        hardness_field: of the run
        names: which of :data:`..core.methods.selection.MEASURES`

    Returns:
        name → float64 (N,) or (N, E)

    Raises:
        SamplesError: if the run does not hold them
    """
    if not names:
        return {}
    missing = [name for name in names if name not in held]
    if missing:
        made = (
            "of proxies without such" if held else "of an older version, or of proxies without such"
        )
        raise SamplesError(
            f"this choice takes {MEASURES[missing[0]]}, which the scores in '{hardness_field}' do not come with (they "
            f"are {made}): run compute_hardness again, or choose the images by hardness, without matched and diverse"
        )
    place = {sample_id: row for row, sample_id in enumerate(held["ids"])}
    rows = np.array([place.get(sample_id, -1) for sample_id in labeled.ids], dtype=np.int64)
    found = {}
    for name in names:
        raw = base64.b64decode(held[name]["values"])
        values = np.frombuffer(raw, dtype=_DTYPES[name]).reshape(held[name]["shape"])
        found[name] = values[rows].astype(np.float64)
        found[name][rows < 0] = np.nan
    return found


def _held(samples: fo.core.collections.SampleCollection, hardness_field: str) -> dict[str, Any]:
    """What a run keeps, empty for scores of no run or an older one."""
    dataset = root_dataset(samples)
    if hardness_field not in list_keys(dataset, HARDNESS):
        return {}
    held: dict[str, Any] = run_results(dataset, hardness_field).get("measures", {})
    return held
