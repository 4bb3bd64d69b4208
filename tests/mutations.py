"""Every way to change a JSON value at one place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def altered(value: Any) -> Iterator[Any]:
    """Every value that differs from this one at a single place: changed, removed, retyped, lengthened."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield {name: other for name, other in value.items() if name != key}
            yield from ({**value, key: other} for other in altered(item))
        yield {**value, "more": 1}
        yield list(value.items())
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield value[:index] + value[index + 1 :]
            yield from ([*value[:index], other, *value[index + 1 :]] for other in altered(item))
        yield [*value, value[-1] if value else 1]
        if len(value) > 1 and value[0] != value[-1]:
            yield [value[-1], *value[1:-1], value[0]]
        yield {str(index): str(item) for index, item in enumerate(value)}
    elif isinstance(value, str):
        last = "0" if value[-1:] != "0" else "1"
        yield value[:-1] + last
        yield value + "0"
        yield value[:-1] if value else "x"
        yield from (None, [value])
        if value.upper() != value:
            yield value.upper()
    elif isinstance(value, bool):
        yield from (not value, int(value), None)
    elif isinstance(value, (int, float)):
        yield from (value + 1, -value if value else 0.5, str(value), None, [value])
    else:
        assert value is None
        yield from (0, "x", False, [])
