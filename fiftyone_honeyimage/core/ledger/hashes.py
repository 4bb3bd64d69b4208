"""The hashes that bind a ledger and its log, and the one JSON text that they are taken from.

Since version 3 that text is RFC 8785's, for which there are libraries in every language, so that a checker
does not depend on how Python writes numbers. Ledgers of version 2 keep their own (:func:`canonical`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import rfc8785

from ..errors import LedgerError
from ..evidence.pair_answers import PairAnswers

_HEX = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(
    r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}([.]([0-9]{3}){1,2})?[+-][0-9]{2}:[0-9]{2}"
)
#: Of the ledgers and evidence files that are written
VERSION = 3
#: Of those that are read
VERSIONS = (2, 3)


def list_leaves(
    header: Mapping[str, Any],
    singles: Iterable[Mapping[str, Any]],
    pairs: Iterable[Mapping[str, Any]],
    query_order: Sequence[Sequence[Any]],
    tracing_pairs: Iterable[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Returns what a ledger commits to, from plain values, in the order of the leaf hashes."""
    return [
        {"leaf": "header", "header": header},
        *(
            {"leaf": "single", "index": index, "image": image}
            for index, image in enumerate(singles)
        ),
        *({"leaf": "pair", **pair} for pair in pairs),
        *({"leaf": "tracing pair", **pair} for pair in tracing_pairs),
        {"leaf": "query_order", "order": query_order},
    ]


def hash_leaf(leaf: Mapping[str, Any], salt: str, version: int = VERSION) -> str:
    """Returns the hash of a leaf with its salt of 32 bytes.

    Raises:
        LedgerError: if the salt has another length or form, in which a second leaf could hide
    """
    return _sha256("leaf", {"leaf": leaf, "salt": _digest(salt, "salt of a leaf")}, version)


def hash_leaves(leaf_hashes: Sequence[str], version: int = VERSION) -> str:
    """Returns the commitment: the hash of the list of all leaf hashes, each of 32 bytes.

    Raises:
        LedgerError: if it is no list, or one of them has another length or form
    """
    if not isinstance(leaf_hashes, list):
        raise LedgerError("The leaf hashes must be a list")
    digests = [_digest(value, "hash of a leaf") for value in leaf_hashes]
    return _sha256("commitment", digests, version)


def hash_entry(entry: Mapping[str, Any], version: int = VERSION) -> str:
    """Returns a log entry's hash; its private part enters by its own hash and can be left out."""
    bound = {key: value for key, value in entry.items() if key not in ("hash", "private")}
    return _sha256("log entry", bound, version)


def hash_private(private: Mapping[str, Any], version: int = VERSION) -> str:
    """Returns the hash of a log entry's private part, which holds its own salt of 32 bytes.

    Raises:
        LedgerError: if the salt is missing, or has another length or form
    """
    _digest(private["salt"], "salt of the log's details")
    return _sha256("log detail", private, version)


def hash_answers(answers: PairAnswers, version: int = VERSION) -> str:
    """Returns the hash of a suspect's answers.

    It has no salt of its own and stands in private parts alone: whoever can ask the same suspect
    would find out by it which of two images is twin a, and so on.
    """
    return _sha256("answers", answers.to_dict(), version)


def hash_manifest(files: Sequence[tuple[str, str]], version: int = VERSION) -> str:
    """Returns the hash of a release: of the sorted list of its files' (relative path, SHA-256)."""
    return _sha256("release", [list(file) for file in sorted(files)], version)


def hash_dataset(digests: Sequence[str], version: int = VERSION) -> str:
    """Returns the hash of a dataset: of the sorted list of its files' SHA-256, whatever they are called."""
    return _sha256("dataset", sorted(digests), version)


def read_moment(value: Any) -> datetime:
    """A time as ledgers write it, with its zone: 2026-11-28T14:35:00+00:00. Python's versions read other forms differently.

    Raises:
        LedgerError: if it is none
    """
    try:
        if isinstance(value, str) and _TIME.fullmatch(value):
            return datetime.fromisoformat(value)
    except ValueError:  # of no day, or no hour
        pass
    raise LedgerError(f"A time must be like 2026-11-28T14:35:00+00:00, not {value!r:.80}")


def is_digest(value: Any) -> bool:
    """Whether a value is 32 bytes in hexadecimal digits, as the hashes and salts are."""
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def canonical(value: Any, version: int = VERSION) -> bytes:
    """Returns the one JSON text of a value: RFC 8785's; in version 2 sorted keys, no spaces, ASCII.

    Raises:
        LedgerError: if a number is none that every language reads alike (whole ones beyond 2^53, NaN)
    """
    if version == 2:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return text.encode("ascii")
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise LedgerError(f"This cannot be written down for every reader: {error}") from error


def read_version(value: Any, kind: str) -> int:
    """Returns the version that a format names, such as 3 of ``honeyimage-ledger/3``.

    Args:
        value: the format
        kind: "ledger" or "evidence"

    Raises:
        LedgerError: if it is none that is read
    """
    for version in VERSIONS:
        if value == format_name(kind, version):
            return version
    known = " and ".join(repr(format_name(kind, version)) for version in VERSIONS)
    raise LedgerError(f"The {kind} has format {value!r}; this version reads {known}")


def format_name(kind: str, version: int = VERSION) -> str:
    """Returns a format's name, see :func:`read_version`."""
    return f"honeyimage-{kind}/{version}"


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


def _sha256(kind: str, value: Any, version: int) -> str:
    # One domain a kind of value: no text of one kind can stand for one of another
    domain = f"fiftyone-honeyimage {kind} {version}\n".encode("ascii")
    return hashlib.sha256(domain + canonical(value, version)).hexdigest()


def _digest(value: Any, what: str) -> str:
    if not is_digest(value):
        raise LedgerError(
            f"A {what} must be 32 bytes in 64 lower-case hexadecimal digits, not {value!r}"
        )
    return str(value)
