"""How suspects are asked in these tests."""

from typing import Any

PROTOCOL: dict[str, Any] = {
    "classes": {"cat": 0, "dog": 1},
    "outputs": "logits",
    "batch_size": 8,
    "input_size": None,
    "mean": None,
    "std": None,
    "channels": "RGB",
    "way": "TorchScriptSuspect",
    "device": "cpu",
    "references": [],
    "unmarked": {},
    "caution": None,
    "score": "cross-entropy",
    "resize": "antialiased bilinear, each image alone",
    "failures": "tried again, then the pair counts against the owner",
}


def protocol_for(kind: str) -> dict[str, Any]:
    """A protocol of a suspect that answers with "scores" or with "labels"."""
    if kind == "scores":
        return PROTOCOL
    return {**PROTOCOL, "outputs": "labels", "score": "right or wrong"}
