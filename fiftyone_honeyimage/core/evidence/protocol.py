"""How a suspect is asked: what stands in the log before its first query.

The order of classes, the size and the normalisation of the images are free, and some choice among
them can make an innocent model look derived. So they are fixed and written down first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import LedgerError
from .hashes import check_text

#: What every protocol says; it may say more
PROTOCOL_KEYS = ("classes", "outputs", "input_size", "mean", "std", "batch_size")
_OUTPUTS = {"logits": "scores", "probabilities": "scores", "labels": "labels"}


def check_protocol(protocol: Mapping[str, Any], kind: str, labels: Iterable[str]) -> dict[str, Any]:
    """Checks a protocol's shape and returns it in JSON's own types.

    Args:
        protocol: a JSON object with :data:`PROTOCOL_KEYS`: ``classes`` (name → index of the
            suspect's output, each index once), ``outputs`` ("logits", "probabilities", "labels" or
            "auto"), ``input_size`` (pixels: a number, two, or None for the suspect's own), ``mean``
            and ``std`` (three numbers each, or None), ``batch_size``
        kind: "scores" or "labels", which the outputs must be
        labels: the labels of the images that are asked; each must be a class

    Raises:
        LedgerError: if something is missing or of a wrong kind
    """
    if not isinstance(protocol, Mapping):
        raise LedgerError(f"A protocol must be a JSON object, not {protocol!r}")
    missing = [key for key in PROTOCOL_KEYS if key not in protocol]
    if missing:
        raise LedgerError(f"The protocol does not say: {', '.join(missing)}")
    _check_classes(protocol["classes"], labels)
    outputs = protocol["outputs"]
    if not isinstance(outputs, str) or outputs not in ("auto", *_OUTPUTS):
        raise LedgerError(
            f"The protocol's outputs must be auto, {', '.join(_OUTPUTS)}, not {outputs!r}"
        )
    if _OUTPUTS.get(outputs, kind) != kind:
        raise LedgerError(f"The protocol's outputs are {outputs}, which are no {kind}")
    size = protocol["input_size"]
    sizes = size if isinstance(size, (list, tuple)) and len(size) == 2 else [size]
    if size is not None and not all(_is_count(value) for value in sizes):
        raise LedgerError(f"The protocol's input_size must be whole pixels, not {size!r}")
    for name in ("mean", "std"):
        value = protocol[name]
        listed = isinstance(value, (list, tuple)) and len(value) == 3
        if value is not None and not (listed and all(map(_is_number, value))):
            raise LedgerError(f"The protocol's {name} must be three numbers, not {value!r}")
    if not _is_count(protocol["batch_size"]):
        raise LedgerError(
            f"The protocol's batch_size must be a whole number, not {protocol['batch_size']!r}"
        )

    check_text(protocol, "The protocol's text")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(protocol), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise LedgerError(f"The protocol must be JSON: {error}") from error
    return plain


def _check_classes(classes: Any, labels: Iterable[str]) -> None:
    if not isinstance(classes, Mapping) or not all(isinstance(name, str) for name in classes):
        raise LedgerError("The protocol's classes must map each class's name to its output")
    indices = list(classes.values())
    if not all(_is_index(index) for index in indices) or len(set(indices)) != len(indices):
        raise LedgerError(
            "The protocol's classes must have whole numbers from 0 on, each once, not "
            f"{indices[:20]!r}"
        )
    for label in labels:
        if label not in classes:
            raise LedgerError(f"The protocol's classes lack {label!r}, the label of an image")


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_count(value: Any) -> bool:
    return _is_index(value) and value >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
