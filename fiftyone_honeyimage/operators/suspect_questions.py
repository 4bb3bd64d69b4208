"""What the form of a verification asks about a suspect, and how its text becomes the SDK's arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import fiftyone as fo
import fiftyone.operators.types as types

from ..core.errors import HoneyImageError
from .form_errors import reject
from .form_parts import once


def marked_image_sizes(ctx: Any, marking: Any) -> list[tuple[int, int]]:
    """The sizes of the marked images, in pixels; none while the ledger cannot be opened."""
    from ..dataset.marking.marking import open_ledger
    from ..dataset.verification.suspects import marked_sizes

    with suppress(HoneyImageError):  # which is said where the ledger is asked for
        ledger = open_ledger(marking, ctx.params.get("ledger_path") or None)
        key = ("sizes", marking.commitment, str(marking.output_dir))
        return once(ctx, key, lambda: marked_sizes(ledger, marking.output_dir))
    return []


def input_size(
    ctx: Any, inputs: types.Object, sizes: Sequence[tuple[int, int]] | None = None
) -> None:
    """Asks for the suspect's input size; it is required where the marked images have several sizes."""
    text = "Pixels to which images are resized. Empty: they keep their size"
    if sizes:
        (small, _), (large, _) = sizes[0], sizes[-1]
        text = (
            f"Pixels. The marked images have {len(sizes):,} sizes, from {small} to {large} pixels wide, and "
            "a model file takes one: that which the suspect was trained at, such as 224"
        )
    given = ctx.params.get("input_size")
    if isinstance(given, (list, tuple)):
        prop = inputs.list(
            "input_size", types.Number(int=True), label="Input size", description=text
        )
    else:
        prop = inputs.int("input_size", label="Input size", description=text)
    if sizes and given in (None, ""):
        reject(prop, "Give the input size: the marked images differ in size")


def prediction_fields(dataset: Any, marking: Any, outputs: str | None = None) -> list[str]:
    """Fields that can hold predictions; of one loss an image only where that is asked for."""
    schema = dataset.get_field_schema()
    if outputs == "losses":
        return [name for name, field in schema.items() if isinstance(field, fo.FloatField)]
    own = {marking.config["label_field"], "tags"}
    lists = (fo.ListField, fo.VectorField, fo.ArrayField)
    return [
        name
        for name, field in schema.items()
        if name not in own
        and (getattr(field, "document_type", None) is fo.Classification or isinstance(field, lists))
    ]


def several(
    ctx: Any,
    inputs: types.Object,
    name: str,
    item: types.BaseType | None = None,
    **kwargs: Any,
) -> None:
    """Asks for several values as text; a call from Python may give them as they are.

    ``item`` is the type of one, text by default.
    """
    given = ctx.params.get(name)
    if isinstance(given, (list, tuple)):
        kwargs.pop("view", None)
        inputs.list(name, item or types.String(), **kwargs)
    elif isinstance(given, Mapping):
        kwargs.pop("view", None)
        inputs.obj(name, **kwargs)
    else:
        inputs.str(name, **kwargs)


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def numbers(text: str, name: str) -> list[float]:
    from ..core.errors import ParameterError
    from ..core.limits import shown

    try:
        return [float(part) for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise ParameterError(f"{name} must be three numbers; found {shown(text)}") from error
