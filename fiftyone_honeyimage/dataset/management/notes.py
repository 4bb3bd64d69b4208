"""Notes that people keep on a run: what a suspect is, where it came from, what was decided.

A note is part of the run's config on the dataset. So it survives a reload and a rename of the run, is
deleted with it, and never gets into a release, which holds no runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import fiftyone as fo

from ...core.errors import ParameterError
from ..marking.provenance import os_user
from ..runs import catch_up, changing, list_keys, root_dataset, run_config, stored_config
from .run_list import find_method

#: The longest note, characters: a note is read in a panel
MAX_LENGTH = 10_000

_KEY = "note"


@dataclass(frozen=True)
class Note:
    """A note on a run.

    Attributes:
        text: the note, empty if there is none
        user: who wrote it last, None if unknown
        time: when, UTC; None if there is no note
    """

    text: str = ""
    user: str | None = None
    time: datetime | None = None

    def __str__(self) -> str:
        return self.text


def read_note(samples: fo.core.collections.SampleCollection, key: str) -> Note:
    """See :func:`fiftyone_honeyimage.read_note`."""
    dataset = root_dataset(samples)
    return from_config(run_config(dataset, key, find_method(dataset, key)))


def from_config(config: Any) -> Note:
    """The note in a run's config."""
    stored = config.get(_KEY) or {}
    if not stored.get("text"):
        return Note()
    return Note(stored["text"], stored.get("user"), datetime.fromisoformat(stored["time"]))


def write_note(
    samples: fo.core.collections.SampleCollection, key: str, text: str, user: str | None = None
) -> Note:
    """See :func:`fiftyone_honeyimage.write_note`."""
    if not isinstance(text, str):
        raise ParameterError(f"a note must be text; found {text!r}")
    text = text.strip()
    if len(text) > MAX_LENGTH:
        raise ParameterError(
            f"a note may have {MAX_LENGTH:,} characters; this one has {len(text):,}"
        )
    dataset = root_dataset(samples)
    catch_up(dataset)
    method = find_method(dataset, key)
    if key not in list_keys(dataset, method):
        raise ParameterError(f"run '{key}' was interrupted, so no note can be kept on it")
    now = datetime.now(timezone.utc).replace(microsecond=0)
    stored = {"text": text, "user": user or os_user(), "time": now.isoformat()} if text else {}
    with changing(dataset):
        config = stored_config(dataset, key)
        setattr(config, _KEY, stored)
        dataset.update_run_config(key, config)
    return from_config({_KEY: stored})
