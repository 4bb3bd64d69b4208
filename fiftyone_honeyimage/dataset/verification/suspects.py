"""Suspects as they are given: a model, a file, or a field of predictions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
from PIL import Image

from ...core.errors import ParameterError, SuspectError
from ...core.ledger.ledger import Ledger
from ...core.limits import QUERY_BATCH, SUSPECT_SIZE, check_choice, check_flag, check_text, shown
from ...core.pipeline.white_box import white_box_suspect
from ...core.suspects import OUTPUTS, Preprocessing, Suspect, kind_of, load_suspect, titles
from ...core.suspects.protocol import class_indices
from ...core.suspects.white_box import WhiteBoxSuspect
from ..identity import recorded_images, unmarked
from ..marking.marking import Marking, load_marking, open_ledger
from ..runs import root_dataset
from .surroundings import DatasetSurroundings


def suspect_classes(
    marking: Marking, classes: Mapping[str, int] | Sequence[str] | None
) -> list[str]:
    """The suspect's classes in the order of its outputs.

    Args:
        marking: the marking
        classes: name → index of the output, or names in the order of the outputs; None takes the dataset's

    Raises:
        ParameterError: if a class of the dataset is not among them, or a name or index occurs twice
    """
    own = list(marking.config["classes"])
    if classes is None:
        return own
    names = list(class_indices(classes))
    missing = [label for label in own if label not in names]
    if missing:
        raise ParameterError(
            f"classes must hold every class of the dataset; {missing[0]!r} is missing "
            f"({len(missing)} in all)"
        )
    return names


def check_asking(
    *,
    outputs: str,
    input_size: int | tuple[int, int] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    channels: str,
    batch_size: int,
    pairs: str,
    name: str | None,
    references: Sequence[Any],
    skip_failures: bool,
    insist: bool,
) -> None:
    """Checks how a suspect is to be asked, as far as that goes without the suspect.

    Raises:
        ParameterError: naming the first argument that is out of range
    """
    check_choice("outputs", outputs, OUTPUTS)
    if input_size is not None:
        sides = input_size if isinstance(input_size, (tuple, list)) else (input_size, input_size)
        if len(sides) != 2:
            raise ParameterError(
                f"input_size must be a number of pixels or (height, width); found {shown(input_size)}"
            )
        for side in sides:
            SUSPECT_SIZE.check("input_size", side)
    Preprocessing(None, mean, std, channels)
    QUERY_BATCH.check("batch_size", batch_size)
    check_choice("pairs", pairs, ("all", "unused"))
    if name is not None:
        check_text("name", name)
    if isinstance(references, str) or not isinstance(references, Sequence):
        raise ParameterError(f"references must be a list of models; found {shown(references)}")
    check_flag("skip_failures", skip_failures)
    check_flag("insist", insist)


def marked_sizes(ledger: Ledger, folder: Path) -> list[tuple[int, int]]:
    """The sizes, (width, height) in pixels, of the twins' files that can be read; from their headers."""
    sizes = set()
    for pair in ledger.pairs:
        for image in pair.images:
            with suppress(OSError, ValueError), Image.open(folder / image.file) as opened:
                sizes.add(opened.size)
    return sorted(sizes)


def open_suspect(
    dataset: fo.Dataset,
    marking: Marking,
    suspect: Any,
    classes: Sequence[str],
    name: str | None,
    load: Mapping[str, Any],
) -> Suspect:
    """Loads a suspect: a model, a file, or a field of predictions.

    Raises:
        SuspectError: if it is none of these
    """
    if not isinstance(suspect, str):
        return load_suspect(suspect, name=name, **load)
    if dataset.has_field(suspect):
        # Those on unmarked images tell whether the field means what it seems to
        others = read_predictions(unmarked(dataset).exists(suspect), "id", suspect, classes)
        held = others | field_predictions(dataset, marking, suspect, classes)
        return load_suspect(predictions=held, name=name or f"field {suspect}")
    target = os.path.expanduser(suspect)
    kind = kind_of(target)
    if os.path.exists(target) or (kind is not None and not kind.suffixes):
        return load_suspect(target, name=name, **load)
    raise SuspectError(
        f"'{suspect}' is neither a file nor a field of dataset '{dataset.name}'; pass {titles()}, or the "
        "name of a field with predictions on the HoneyImages"
    )


def open_white_box(
    samples: fo.core.collections.SampleCollection,
    honey_key: str,
    model: Any,
    how: Mapping[str, Any],
    *,
    name: str | None,
    ledger_path: str | Path | None,
    device: str | None,
) -> WhiteBoxSuspect:
    """See :func:`fiftyone_honeyimage.white_box_suspect`."""
    dataset = root_dataset(samples)
    marking = load_marking(dataset, honey_key)
    return white_box_suspect(
        open_ledger(marking, ledger_path),
        marking.output_dir,
        DatasetSurroundings(dataset, marking),
        model,
        Preprocessing(**how),
        device=device,
        name=name,
    )


def field_predictions(
    dataset: fo.Dataset, marking: Marking, field_name: str, classes: Sequence[str]
) -> dict[str, Any]:
    """Predictions on the HoneyImages of a marking, by the id of their source sample.

    Raises:
        SuspectError: if none is on a HoneyImage, or a sample no longer shows its HoneyImage; see also
            :func:`read_predictions`
    """
    images = {image["honey"]: image for image in recorded_images(dataset, marking.honey_key)}
    view = dataset.select(list(images))
    for sample_id, path in zip(*view.values(["id", "filepath"]), strict=True):
        own = marking.output_dir / images[sample_id]["file"]
        if os.path.realpath(path) != os.path.realpath(own):
            raise SuspectError(
                f"sample {sample_id} is a HoneyImage of '{marking.honey_key}', but its filepath is '{path}', "
                f"so its predictions may be about another image. Set it to '{own}' and predict again"
            )
    held = read_predictions(view, "id", field_name, classes)
    if not any(value is not None for value in held.values()):
        raise SuspectError(
            f"field '{field_name}' holds no prediction on any HoneyImage of '{marking.honey_key}': it was "
            "written before the marking, or for other samples. Let the model predict the samples of "
            f"dataset.load_saved_view('{marking.honey_key}'), and verify it again"
        )
    return {images[sample_id]["source"]: value for sample_id, value in held.items()}


def read_predictions(
    view: fo.DatasetView, key_path: str, field_name: str, classes: Sequence[str]
) -> dict[str, Any]:
    """Predictions on the samples of a view, by what stands at ``key_path``.

    A Classification with logits gives scores; one without gives its label alone; a list or vector
    gives scores; a number a loss.

    Raises:
        SuspectError: if the field's type cannot hold predictions, or the logits' order contradicts
            the labels
    """
    kind = view._dataset.get_field(field_name)
    if isinstance(kind, (fo.ListField, fo.VectorField, fo.ArrayField, fo.FloatField)):
        sources, rows = view.values([key_path, field_name])
        return {
            source: None if row is None else np.asarray(row, dtype=np.float64)
            for source, row in zip(sources, rows, strict=True)
        }
    if getattr(kind, "document_type", None) is not fo.Classification:
        raise SuspectError(
            f"field '{field_name}' holds no predictions: it must be a Classification, with logits if "
            "there are any, a list of scores, or a float, the loss on each"
        )

    sources, labels, logits = view.values([key_path, f"{field_name}.label", f"{field_name}.logits"])
    known = {label: index for index, label in enumerate(classes)}
    unknown = sorted({label for label in labels if label is not None and label not in known})
    if unknown:
        raise SuspectError(
            f"field '{field_name}' predicts {unknown[0]!r}, which is none of the suspect's classes; "
            "pass all of them as classes=, in the order of its outputs"
        )
    if all(row is None for row in logits):
        return {
            source: None if label is None else known[label]
            for source, label in zip(sources, labels, strict=True)
        }
    for source, label, row in zip(sources, labels, logits, strict=True):
        if row is None or label is None or len(row) != len(classes):
            continue
        if known[label] != int(np.argmax(row)) and row[known[label]] < np.max(row):
            raise SuspectError(
                f"in field '{field_name}' the largest logit for sample {source} is "
                f"that of {classes[int(np.argmax(row))]!r}, but its label is {label!r}: the logits "
                "are in another order. Pass the suspect's classes as classes=, in the order of its "
                "outputs"
            )
    return {
        source: None if row is None else np.asarray(row, dtype=np.float64)
        for source, row in zip(sources, logits, strict=True)
    }
