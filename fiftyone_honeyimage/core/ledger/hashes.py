"""The hashes that bind a ledger and its log, and the one JSON text that they are taken from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import LedgerError
from ..evidence.twins import PairAnswers

_HEX = re.compile(r"[0-9a-f]{64}")
# One domain a kind of value: no text of one kind can stand for one of another
_LEAF = b"fiftyone-honeyimage leaf 2\n"
_LEAVES = b"fiftyone-honeyimage commitment 2\n"
_ENTRY = b"fiftyone-honeyimage log entry 2\n"
_PRIVATE = b"fiftyone-honeyimage log detail 2\n"
_ANSWERS = b"fiftyone-honeyimage answers 2\n"
_RELEASE = b"fiftyone-honeyimage release 2\n"


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
    """Returns the hash of a leaf with its salt of 32 bytes.

    Raises:
        LedgerError: if the salt has another length or form, in which a second leaf could hide
    """
    return _sha256(_LEAF, {"leaf": leaf, "salt": _digest(salt, "salt of a leaf")})


def hash_leaves(leaf_hashes: Sequence[str]) -> str:
    """Returns the commitment: the hash of the list of all leaf hashes, each of 32 bytes.

    Raises:
        LedgerError: if it is no list, or one of them has another length or form
    """
    if not isinstance(leaf_hashes, list):
        raise LedgerError("The leaf hashes must be a list")
    return _sha256(_LEAVES, [_digest(value, "hash of a leaf") for value in leaf_hashes])


def hash_entry(entry: Mapping[str, Any]) -> str:
    """Returns a log entry's hash; its private part enters by its own hash and can be left out."""
    return _sha256(
        _ENTRY, {key: value for key, value in entry.items() if key not in ("hash", "private")}
    )


def hash_private(private: Mapping[str, Any]) -> str:
    """Returns the hash of a log entry's private part, which holds its own salt of 32 bytes.

    Raises:
        LedgerError: if the salt is missing, or has another length or form
    """
    _digest(private["salt"], "salt of the log's details")
    return _sha256(_PRIVATE, private)


def hash_answers(answers: PairAnswers) -> str:
    """Returns the hash of a suspect's answers.

    It has no salt of its own and stands in private parts alone: whoever can ask the same suspect
    would find out by it which of two images is twin a, and so on.
    """
    return _sha256(_ANSWERS, answers.to_dict())


def hash_manifest(files: Sequence[tuple[str, str]]) -> str:
    """Returns the hash of a release: of the sorted list of its files' (relative path, SHA-256)."""
    return _sha256(_RELEASE, [list(file) for file in sorted(files)])


def is_digest(value: Any) -> bool:
    """Whether a value is 32 bytes in hexadecimal digits, as the hashes and salts are."""
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def canonical(value: Any) -> bytes:
    """Returns the one JSON text of a value: sorted keys, no spaces, ASCII."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def check_text(value: Any, what: str) -> None:
    """Checks that every text within a JSON value can be written as UTF-8.

    Names of files outside UTF-8 come with surrogates in place of their bytes.

    Raises:
        LedgerError: with the text, if one cannot
    """
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise LedgerError(
                f"{what} {value!a} holds bytes that are no UTF-8 and cannot be written down; rename "
                "it, or give it another name"
            )
    elif isinstance(value, Mapping):
        for key, item in value.items():
            check_text(key, what)
            check_text(item, what)
    elif isinstance(value, (list, tuple)):
        for item in value:
            check_text(item, what)


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


def _sha256(domain: bytes, value: Any) -> str:
    return hashlib.sha256(domain + canonical(value)).hexdigest()


def _digest(value: Any, what: str) -> str:
    if not is_digest(value):
        raise LedgerError(
            f"A {what} must be 32 bytes in 64 lower-case hexadecimal digits, not {value!r}"
        )
    return str(value)
