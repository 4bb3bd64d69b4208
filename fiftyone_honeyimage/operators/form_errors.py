"""How a form says what keeps it from being submitted. Rules are the SDK's own: it shows what checks raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import fiftyone.operators.types as types

from ..core.errors import HoneyImageError


@contextmanager
def errors_on(prop: types.Property) -> Iterator[None]:
    """Shows an error of the SDK on a property of the form, which then cannot be submitted."""
    try:
        yield
    except HoneyImageError as error:
        if not prop.invalid:
            reject(prop, _sentence(error))


@contextmanager
def errors_on_named(inputs: types.Object, default: types.Property) -> Iterator[None]:
    """Shows an error of the SDK on the property whose name it begins with.

    Others are shown on ``default``.
    """
    try:
        yield
    except HoneyImageError as error:
        text = str(error)
        named = [name for name in inputs.properties if text.startswith(f"{name} ")]
        named += [name for name in inputs.properties if text.startswith((f"{name}=", f"{name}:"))]
        prop = inputs.properties[named[0]] if named else default
        if not prop.invalid:
            reject(prop, _sentence(error))


@contextmanager
def blocking(inputs: types.Object, label: str) -> Iterator[None]:
    """Shows an error of the SDK as a notice that blocks the form."""
    try:
        yield
    except HoneyImageError as error:
        block(inputs, label, _sentence(error))


def block(inputs: types.Object, label: str, reason: str) -> None:
    """Says why a form cannot be submitted and what to do."""
    prop = inputs.view("blocked", types.Error(label=label, description=reason))
    reject(prop, reason)


def reject(prop: types.Property, reason: str) -> None:
    """Says on a property why the form cannot be submitted with its value."""
    prop.invalid = True
    prop.error_message = reason


def is_blocked(inputs: types.Object) -> bool:
    """Whether anything in a form keeps it from being submitted."""
    return any(
        prop.invalid or (isinstance(prop.type, types.Object) and is_blocked(prop.type))
        for prop in inputs.properties.values()
    )


def _sentence(error: Exception) -> str:
    """An error as a sentence of a form."""
    text = str(error)
    # A parameter's name keeps its case
    return text if "_" in text.split()[0] else text[:1].upper() + text[1:]
