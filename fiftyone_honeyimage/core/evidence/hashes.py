"""The hashes that bind a ledger and its log, and the one JSON text that they are taken from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import LedgerError
from .twins import PairAnswers

_HEX = re.compile(r"[0-9a-f]{64}")
_LEAF = b"fiftyone-honeyimage leaf 1\n"
_LEAVES = b"fiftyone-honeyimage commitment 1\n"
_ENTRY = b"fiftyone-honeyimage log entry 1\n"
_PRIVATE = b"fiftyone-honeyimage log detail 1\n"


def list_leaves(
    header: Mapping[str, Any],
    singles: Iterable[Mapping[str, Any]],
    pairs: Iterable[Mapping[str, Any]],
    query_order: Sequence[Sequence[Any]],
) -> list[dict[str, Any]]:
    """Returns what a ledger commits to, from plain values, in the order of the leaf hashes."""
    return [
        {"leaf": "header", "header": header},
        *(
            {"leaf": "single", "index": index, "image": image}
            for index, image in enumerate(singles)
        ),
        *({"leaf": "pair", **pair} for pair in pairs),
        {"leaf": "query_order", "order": query_order},
    ]


def hash_leaf(leaf: Mapping[str, Any], salt: str) -> str:
    """Returns the SHA-256 of a leaf's canonical JSON behind its 32-byte salt."""
    return hashlib.sha256(_LEAF + bytes.fromhex(salt) + canonical(leaf)).hexdigest()


def hash_leaves(leaf_hashes: Sequence[str]) -> str:
    """Returns the commitment: the SHA-256 over all leaf hashes, each of 32 bytes."""
    return hashlib.sha256(_LEAVES + b"".join(map(bytes.fromhex, leaf_hashes))).hexdigest()


def hash_entry(entry: Mapping[str, Any]) -> str:
    """Returns a log entry's hash; its private part enters by its own hash and can be left out."""
    chained = {key: value for key, value in entry.items() if key not in ("hash", "private")}
    return hashlib.sha256(_ENTRY + canonical(chained)).hexdigest()


def hash_private(private: Mapping[str, Any]) -> str:
    """Returns the hash of a log entry's private part, which holds its own salt."""
    return hashlib.sha256(_PRIVATE + canonical(private)).hexdigest()


def hash_answers(answers: PairAnswers) -> str:
    """Returns the SHA-256 of a suspect's answers."""
    return hashlib.sha256(canonical(answers.to_dict())).hexdigest()


def is_digest(value: Any) -> bool:
    """Whether a value is 32 bytes in hexadecimal digits, as the hashes and salts are."""
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def canonical(value: Any) -> bytes:
    """Returns the one JSON text of a value: sorted keys, no spaces, ASCII."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def parse_json(text: str, name: str) -> dict[str, Any]:
    """Reads a JSON object, strictly: a key that occurs twice could show two readers two contents.

    Raises:
        LedgerError: if it is no JSON object
    """

    def unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(items)) != len(items):
            raise ValueError("a key occurs twice")
        return dict(items)

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise LedgerError(f"{name} is not whole, or no JSON: {error}") from error
    if not isinstance(value, dict):
        raise LedgerError(f"{name} holds no JSON object")
    return value
