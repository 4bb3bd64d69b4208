"""How suspects are asked in these tests."""

from typing import Any

PROTOCOL: dict[str, Any] = {
    "classes": {"cat": 0, "dog": 1},
    "outputs": "auto",
    "input_size": None,
    "mean": None,
    "std": None,
    "batch_size": 8,
}
