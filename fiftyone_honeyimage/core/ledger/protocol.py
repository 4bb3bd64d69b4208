"""How a suspect is asked: what stands in the log before its first query.

The order of classes, the size and the normalisation of the images are free, and some choice among
them can make an innocent model look derived. So they are fixed and written down first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import LedgerError
from .hashes import check_text

#: What no caller can choose, so that a reader of the record knows it: by version of the program
FIXED = {
    "resize": "antialiased bilinear, each image alone",
    "failures": "tried again, then the pair counts against the owner",
}
#: What every protocol says, and no more: of :meth:`.suspects.protocol.Protocol.to_dict`
PROTOCOL_KEYS = (
    *("classes", "outputs", "batch_size", "input_size", "mean", "std", "channels", "way", "device"),
    *("references", "unmarked", "caution", "score", *FIXED),
)
#: What it says of unmarked images, if anything: of :meth:`.suspects.competence.Competence.to_dict`
UNMARKED_KEYS = ("num_images", "accuracy", "chance", "proxies", "better", "saturated", "hints")
_OUTPUTS = {"logits": "scores", "probabilities": "scores", "labels": "labels", "losses": "scores"}
#: What is recorded of answers of each kind, under "score"; what they are compared as is the plan's score
RECORDED = {
    "logits": "cross-entropy",
    "probabilities": "cross-entropy",
    "labels": "right or wrong",
    "losses": "the suspect's own loss",
}
#: What losses are counted in where they are no cross-entropy
OWN_UNIT = "in the suspect's own unit"

_CHANNELS = ("RGB", "BGR")
_MAX_BATCH = 4096


def loss_unit(protocol: Mapping[str, Any]) -> str:
    """What recorded losses are counted in, in words."""
    return OWN_UNIT if protocol.get("outputs") == "losses" else "nats"


def check_bound(protocol: Mapping[str, Any]) -> None:
    """Checks that what a suspect was compared by can be repeated by somebody else, from what was committed.

    Raises:
        LedgerError: if its weights were compared: by a model and by images of the owner's that no commitment binds, so
            that he could choose them until an innocent model looks guilty
    """
    if str(protocol["way"]).startswith("WhiteBoxSuspect"):
        raise LedgerError(
            "The suspect's weights were compared by a model and images of the owner's that nothing binds: that is for his "
            "own eyes and no evidence. Ask the suspect about images, and give evidence of that"
        )


def check_protocol(protocol: Mapping[str, Any], kind: str, labels: Iterable[str]) -> dict[str, Any]:
    """Checks a protocol and returns it in JSON's own types.

    Args:
        protocol: a JSON object with :data:`PROTOCOL_KEYS` and no others: what
            :meth:`.suspects.protocol.Protocol.to_dict` gives
        kind: "scores" or "labels", which the outputs must be
        labels: the labels of the images that are asked; each must be a class

    Raises:
        LedgerError: if something is missing, unknown, of a wrong kind or out of range
    """
    if not isinstance(protocol, Mapping):
        raise LedgerError(f"A protocol must be a JSON object, not {protocol!r}")
    _check_keys(protocol, PROTOCOL_KEYS, "protocol")
    _check_classes(protocol["classes"], labels)
    outputs = protocol["outputs"]
    if not isinstance(outputs, str) or outputs not in _OUTPUTS:
        raise LedgerError(f"The protocol's outputs must be {', '.join(_OUTPUTS)}, not {outputs!r}")
    if _OUTPUTS[outputs] != kind:
        raise LedgerError(f"The protocol's outputs are {outputs}, which are no {kind}")
    _check_input(protocol)
    _check_words(protocol, outputs)
    _check_unmarked(protocol["unmarked"])

    check_text(protocol, "The protocol's text")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(protocol), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise LedgerError(f"The protocol must be JSON: {error}") from error
    return plain


def _check_keys(values: Mapping[str, Any], keys: tuple[str, ...], what: str) -> None:
    missing = [key for key in keys if key not in values]
    if missing:
        raise LedgerError(f"The {what} does not say: {', '.join(missing)}")
    unknown = [repr(key) for key in values if key not in keys]
    if unknown:
        raise LedgerError(f"The {what} says what is not known: {', '.join(unknown[:5])}")


def _check_input(protocol: Mapping[str, Any]) -> None:
    """How images become the suspect's input: in the bounds of :class:`.suspects.base.Preprocessing`."""
    size = protocol["input_size"]
    if size is not None and not (_is_list(size, 2) and all(map(_is_count, size))):
        raise LedgerError(
            f"The protocol's input_size must be two numbers of whole pixels, not {size!r}"
        )
    for name in ("mean", "std"):
        value = protocol[name]
        if value is None:
            continue
        if not (_is_list(value, 3) and all(map(_is_share, value))):
            raise LedgerError(
                f"The protocol's {name} must be three numbers from 0 to 1, not {value!r}"
            )
        if name == "std" and not all(value):
            raise LedgerError(f"The protocol's std must be three numbers above 0, not {value!r}")
    if protocol["channels"] not in _CHANNELS:
        raise LedgerError(
            f"The protocol's channels must be RGB or BGR, not {protocol['channels']!r}"
        )
    batch_size = protocol["batch_size"]
    if not _is_count(batch_size) or batch_size > _MAX_BATCH:
        raise LedgerError(
            f"The protocol's batch_size must be a whole number up to {_MAX_BATCH}, not {batch_size!r}"
        )


def _check_words(protocol: Mapping[str, Any], outputs: str) -> None:
    for name, known in {**FIXED, "score": RECORDED[outputs]}.items():
        if protocol[name] != known:
            raise LedgerError(f"The protocol's {name} must be {known!r}, not {protocol[name]!r}")
    for name in ("way", "device", "caution"):
        value = protocol[name]
        if not isinstance(value, str) and (name == "way" or value is not None):
            raise LedgerError(f"The protocol's {name} must be a text, not {value!r}")
    references = protocol["references"]
    if not isinstance(references, (list, tuple)) or not all(
        isinstance(reference, str) for reference in references
    ):
        raise LedgerError(f"The protocol's references must be a list of texts, not {references!r}")


def _check_unmarked(unmarked: Any) -> None:
    if not isinstance(unmarked, Mapping):
        raise LedgerError(f"The protocol's unmarked must be a JSON object, not {unmarked!r}")
    if not unmarked:
        return
    _check_keys(unmarked, UNMARKED_KEYS, "protocol's unmarked")
    for name, value in unmarked.items():
        if name == "num_images":
            fits = _is_index(value)
        elif name in ("better", "hints"):
            fits = isinstance(value, Mapping) and all(
                isinstance(way, str) and _is_share(share) for way, share in value.items()
            )
        else:
            fits = _is_share(value) or (value is None and name in ("accuracy", "proxies"))
        if not fits:
            raise LedgerError(f"The protocol's unmarked has an impossible {name}: {value!r}")


def _check_classes(classes: Any, labels: Iterable[str]) -> None:
    if not isinstance(classes, Mapping) or not all(isinstance(name, str) for name in classes):
        raise LedgerError("The protocol's classes must map each class's name to its output")
    indices = list(classes.values())
    whole = all(_is_index(index) for index in indices)
    if len(indices) < 2 or not whole or sorted(indices) != list(range(len(indices))):
        raise LedgerError(
            "The protocol's classes must be at least two and have whole numbers from 0 to "
            f"{len(indices) - 1}, each once, not {indices[:20]!r}"
        )
    for label in labels:
        if label not in classes:
            raise LedgerError(f"The protocol's classes lack {label!r}, the label of an image")


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_count(value: Any) -> bool:
    return _is_index(value) and value >= 1


def _is_share(value: Any) -> bool:
    # Written so that NaN fails
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _is_list(value: Any, length: int) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == length
