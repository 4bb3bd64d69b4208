"""Checks of what a call is given, and of where it may write, that come before anything expensive."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.media as fom
import fiftyone.core.odm as foo

from ..core.errors import ParameterError, SamplesError
from ..core.limits import Whole, shown

HONEYIMAGE_TAG = "honeyimage"

#: Of a key: a saved view's name may have 100 characters, and fields and keys are made of it
_MAX_KEY = 64


def check_is_collection(samples: Any) -> None:
    """Checks that ``samples`` is a dataset or a view.

    Raises:
        SamplesError: if it is neither
    """
    if not isinstance(samples, fo.core.collections.SampleCollection):
        raise SamplesError(
            f"samples must be a FiftyOne dataset or view; found {type(samples).__name__}"
        )


def check_collection(samples: Any) -> None:
    """Checks that ``samples`` is a non-empty collection of images.

    Raises:
        SamplesError: with the reason and what to do
    """
    check_is_collection(samples)
    if samples._is_dynamic_groups:
        raise SamplesError(
            "the view groups samples by a field (group_by), of which it shows one each; pass the view as it "
            "was before, or view.flatten()"
        )
    if fom.GROUP in (samples.media_type, samples._root_dataset.media_type):
        raise SamplesError(
            f"'{samples._root_dataset.name}' is a grouped dataset; make one of a slice of images, for "
            "example dataset.select_group_slices('left').clone('left_only')"
        )
    if len(samples) == 0:
        raise SamplesError("the view is empty; choose a view or dataset that holds samples")
    if samples.media_type != fom.IMAGE:
        raise SamplesError(
            f"HoneyImages need an image dataset; '{samples.name}' has media type "
            f"'{samples.media_type}'"
        )
    if samples._is_generated:
        raise SamplesError(
            f"the samples of this view were made by FiftyOne from others (patches or frames); pass a "
            f"view of whole images of '{samples._root_dataset.name}'"
        )


def check_label_field(samples: fo.core.collections.SampleCollection, label_field: str) -> str:
    """Checks the label field and returns the path of its label strings.

    Raises:
        SamplesError: if it is missing or of a wrong type
    """
    schema = samples.get_field_schema()
    usable = classification_fields(samples)
    hint = f"; this dataset has {usable}" if usable else "; this dataset has none"
    if not isinstance(label_field, str) or label_field not in schema:
        raise SamplesError(
            f"there is no label field '{label_field}'; pass a field of type Classification{hint}"
        )
    if label_field not in usable:
        found = schema[label_field]
        kind = getattr(found, "document_type", None) or type(found)
        raise SamplesError(
            f"label field '{label_field}' has type {kind.__name__}; "
            f"pass a field of type Classification{hint}"
        )
    return f"{label_field}.label"


def classification_fields(samples: fo.core.collections.SampleCollection) -> list[str]:
    """Names of the collection's Classification fields."""
    fields = samples.get_field_schema(
        ftype=fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification
    )
    return list(fields)


def check_key(key: Any, what: str = "key") -> None:
    """Checks that a run key can name what FiftyOne lets a run have: a field, a tag and a saved view.

    Raises:
        ParameterError: if it is not
    """
    # FiftyOne keeps leading underscores to itself, and has no room for other letters in a view's URL
    if (
        not isinstance(key, str)
        or not (key.isascii() and key.isidentifier())
        or key.startswith("_")
    ):
        raise ParameterError(
            f"{what} must be a valid identifier such as 'release_2026' (letters, digits and "
            f"underscores, starting with a letter); found {shown(key)}"
        )
    if len(key) > _MAX_KEY:
        raise ParameterError(
            f"{what} may have {_MAX_KEY} characters, which leaves room for what is added to it; found "
            f"{shown(key)}"
        )
    # A field called 'clean' or 'save' would stand in front of the method by which samples are saved
    if key == HONEYIMAGE_TAG or hasattr(foo.DatasetSampleDocument, key):
        raise ParameterError(f"{what} '{key}' is reserved; choose another")


def whole_number(value: Any, what: str, least: int, most: float = math.inf) -> int:
    """A whole number in a range, as Python's own type, which JSON can hold.

    Raises:
        ParameterError: if it is none
    """
    return Whole(least, most).check(what, value)


def check_new_folder(folder: Path, what: str) -> None:
    """Checks that nothing of that name exists.

    Raises:
        ParameterError: if something does
    """
    if os.path.lexists(folder):
        raise ParameterError(
            f"{what} '{folder}' exists; nothing is overwritten. Choose a new folder, or move it away"
        )


def check_output_place(folder: Path, filepaths: Sequence[str], what: str) -> None:
    """Checks that a folder could be made where it is to be; it may exist already.

    Raises:
        ParameterError: if it cannot be made, or lies inside the dataset's media
    """
    if not folder.name:
        raise ParameterError(
            f"{what} '{folder}' is the root of a disk; add the name of a new folder"
        )
    # Through links and "..", by which media could be hidden
    real = Path(os.path.realpath(folder))
    for media in sorted(media_folders(filepaths)):
        if Path(os.path.realpath(media)) in (real, *real.parents):
            raise ParameterError(
                f"{what} '{folder}' lies inside the dataset's media ({media}); choose a folder "
                "elsewhere, so that loaders of the originals do not pick it up"
            )
    try:
        parent = next(path for path in folder.parents if path.exists())
        if not parent.is_dir():
            raise ParameterError(f"{what} '{folder}' cannot be made: '{parent}' is not a folder")
        with contextlib.suppress(FileNotFoundError):  # a name that is too long is another error
            os.stat(folder.with_name(f"{folder.name}.partial"))
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ParameterError(
                f"{what} '{str(folder)[:80]}…' has a name that is too long for the disk; choose a shorter one"
            ) from error
        raise ParameterError(f"{what} '{folder}' is not writable: {error}") from error


def media_folders(filepaths: Sequence[str]) -> set[Path]:
    """The folders that hold a dataset's media, and the parents that hold several of them."""
    folders = set(map(Path, set(map(os.path.dirname, filepaths))))
    parents = Counter(folder.parent for folder in folders)
    return folders | {parent for parent, count in parents.items() if count > 1}
