#!/usr/bin/env python3
"""Checks a HoneyImage evidence file with Python's standard library alone (Python 3.10 or newer), offline.

    python check_evidence.py EVIDENCE.json [--commitment HEX] [--head HEX] [--release DIR] [--images DIR] [--stamps DIR]
        [--markings N]

It recomputes every hash, the order of the queries, the exact p-value, its correction and the verdict, as docs/evidence.md
of fiftyone-honeyimage specifies them, and says what held, what failed and what no file can show. Exit status: 0 if everything that
can be recomputed fits, 1 if not, 2 if there is no evidence to check. Nothing is written, and nobody is asked, but with
--stamps, which writes the time-stamps to a folder and prints the command of openssl that verifies each.

This file was written apart from the package's own checker and shares no line with it at run time. Where a rule looks odd, the
specification says why. Licence: Apache-2.0.
"""

from __future__ import annotations

import argparse
import base64
import bisect
import hashlib
import hmac
import itertools
import json
import math
import os
import re
import statistics
import sys
import unicodedata
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

VERSIONS = (2, 3)
KEYS = (
    *("format", "commitment", "leaf_hashes", "header", "query_order", "pairs", "log"),
    *("verification_id", "answers"),
)
KINDS = ("scores", "labels")
TESTS = {"signed_rank": "sign", "stratified_signed_rank": "sign", "e_process": "e_process"}
#: score -> (needs reference models, follows the loss)
SCORES = {
    "loss": (False, True),
    "confidence": (False, True),
    "lira_online": (True, False),
    "lira_offline": (True, True),
    "carlini_compat": (True, False),
    "bavaria": (True, False),
    "model_loss": (True, True),
    "learn_original": (True, False),
}
LEAST_REFERENCES = 4
PER_IMAGE = 64
LEAST_STD = 1e-6
MAX_ALPHA = 0.05
#: Public randomness: chain -> (public key, when round 1 came out, seconds from round to round)
CHAINS = {
    "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971": (
        "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451"
        "0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a",
        1692803367,
        3,
    )
}
LEAST_LEAD = 30
#: Says of a side whether it was left as it is, in a marking of both kinds; no loss, unlike other covariates
UNCHANGED = "unchanged"
#: Redrawn code words of a tracing
MOST_DRAWS = 9_999_999
VERDICTS = ("derived", "not shown", "inconclusive")
TOLERANCE = 1e-9
EPSILON = sys.float_info.epsilon


class MisfitError(Exception):
    """What does not fit, in words."""


class NoEvidenceError(Exception):
    """There is nothing to check."""


def need(fits: Any, words: str) -> None:
    if not fits:
        raise MisfitError(words)


# ---------------------------------------------------------------- JSON and hashes


def parse(text: str) -> dict[str, Any]:
    """A JSON object in which no key occurs twice and no number is NaN or infinite by name."""

    def unique(items: Any) -> dict[str, Any]:
        if len(dict(items)) != len(items):
            raise ValueError("a key occurs twice")
        return dict(items)

    def refuse(constant: Any) -> None:
        raise ValueError(f"{constant} is not JSON")

    value = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    if not isinstance(value, dict):
        raise ValueError("it holds no JSON object")
    return value


def number_text(value: float) -> str:
    """A float as ECMAScript writes it (RFC 8785, section 3.2.2.3)."""
    need(math.isfinite(value), "a number is not finite")
    if value == 0:
        return "0"
    if value < 0:
        return "-" + number_text(-value)
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, part = mantissa.partition(".")
    digits = (whole + part).lstrip("0")
    # The value is 0.digits times 10^point
    point = int(exponent or 0) + len(whole) - (len(whole + part) - len(digits))
    digits = digits.rstrip("0")
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    rest = f".{digits[1:]}" if digits[1:] else ""
    return f"{digits[0]}{rest}e{'+' if point > 0 else '-'}{abs(point - 1)}"


ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}


def string_text(value: str) -> str:
    return (
        '"' + "".join(ESCAPES.get(c) or (f"\\u{ord(c):04x}" if c < " " else c) for c in value) + '"'
    )


def canonical_text(value: Any) -> str:
    """RFC 8785."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        need(abs(value) < 2**53, f"the whole number {value} lies beyond 2^53")
        return str(value)
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, str):
        return string_text(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(canonical_text, value)) + "]"
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16be"))
        return "{" + ",".join(f"{string_text(k)}:{canonical_text(value[k])}" for k in keys) + "}"
    raise MisfitError(f"{value!r} is no JSON")


def canonical(value: Any, version: int) -> bytes:
    if version == 2:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return text.encode("ascii")
    return canonical_text(value).encode("utf-8")


def digest(kind: Any, value: Any, version: int) -> str:
    line = f"fiftyone-honeyimage {kind} {version}\n".encode("ascii")
    return hashlib.sha256(line + canonical(value, version)).hexdigest()


def moment(value: Any) -> datetime:
    """A time with its zone, in the one form that every version of Python reads alike."""
    form = (
        r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}([.]([0-9]{3}){1,2})?[+-][0-9]{2}:[0-9]{2}"
    )
    need(isinstance(value, str) and re.fullmatch(form, value) is not None, "a time is malformed")
    return datetime.fromisoformat(value)


def is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def is_object(value: Any) -> dict[str, Any]:
    need(isinstance(value, dict), f"a JSON object is needed, not {value!r:.100}")
    return dict(value)


def to_float(value: Any) -> Any:
    """JSON knows no whole numbers of its own: 2.0 may come back as 2."""
    return float(value) if type(value) is int else value


def check_text(value: Any) -> None:
    """Every text can be written as UTF-8."""
    if isinstance(value, str):
        need(not any("\ud800" <= c <= "\udfff" for c in value), f"{value!a:.100} is no text")
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key)
            check_text(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            check_text(item)


def check_keys(values: Any, keys: Any, what: str) -> Any:
    need(isinstance(values, dict), f"{what} must be a JSON object, not {values!r:.100}")
    wrong = set(keys).symmetric_difference(values)
    need(not wrong, f"{what} lacks or does not know: {', '.join(map(str, wrong))[:200]}")
    return values


# ---------------------------------------------------------------- plan


class Plan:
    """What was fixed before the release."""

    def __init__(self, values: Any) -> None:
        need(isinstance(values, dict), "a plan must be a JSON object")
        values = {
            "score": "loss",
            "adjustment": "none",
            "direction": "lower",
            "stratum_weights": (),
            "stratum_edges": (),
            "unchanged_weights": (),
            "unchanged_edges": (),
            "score_fit": {},
            **values,
        }
        names = ("alpha", "test", "min_pairs", "score", "adjustment", "direction")
        strata = ("stratum_weights", "stratum_edges", "unchanged_weights", "unchanged_edges")
        more = (*strata, "score_fit")
        check_keys(values, (*names, *more), "the plan")
        self.alpha, self.test, self.min_pairs, self.score, self.adjustment, self.direction = (
            values[name] for name in names
        )
        check_alpha(self.alpha)
        for value, choices in (
            (self.test, TESTS),
            (self.score, SCORES),
            (self.adjustment, ("none", "references")),
            (self.direction, ("lower", "higher")),
        ):
            need(isinstance(value, str) and value in choices, f"the plan says {value!r:.100}")
        need(is_count(self.min_pairs) and self.min_pairs >= 1, "min_pairs is no count")
        weights = values["stratum_weights"]
        if self.test == "stratified_signed_rank" and not weights:
            weights = (1, 1, 1)
        self.weights, self.edges = self.groups(weights, values["stratum_edges"])
        #: Of pairs that were left as they are, in a marking of both kinds
        self.unchanged_weights, self.unchanged_edges = self.groups(
            values["unchanged_weights"], values["unchanged_edges"]
        )
        self.uses_references, self.follows_loss = SCORES[self.score]
        need(not self.uses_references or self.adjustment == "none", "such a score is not adjusted")
        self.fit = values["score_fit"]
        need(not self.fit or self.uses_references, "the score learns nothing")
        for value in self.fit.values():
            need(type(value) in (int, float) and math.isfinite(value), "a fit is finite numbers")

    def groups(self, weights: Any, edges: Any) -> Any:
        """(weights, edges) of the strata of one kind of pairs."""
        weights, edges = tuple(weights), tuple(map(to_float, edges))
        stratified = self.test == "stratified_signed_rank"
        need(stratified or not weights, "weights of strata go with a stratified test")
        need(all(is_count(w) and 1 <= w <= 20 for w in weights), "weights are 1 to 20")
        if edges:
            need(len(edges) == len(weights) - 1, "strata have one edge less")
            need(all(type(e) is float and math.isfinite(e) for e in edges), "edges are numbers")
            need(sorted(edges) == list(edges), "edges of strata rise")
        return weights, edges

    def test_for(self, kind: Any) -> str:
        need(kind in KINDS, f"there are no {kind!r:.100}")
        return TESTS[self.test] if kind == "labels" else self.test

    def is_adjusted(self, kind: Any) -> bool:
        return kind == "scores" and self.adjustment != "none"

    def alpha_for(self, requested: Any) -> Any:
        if requested is None:
            return self.alpha
        check_alpha(requested)
        need(
            requested <= self.alpha, f"alpha {requested} is weaker than the committed {self.alpha}"
        )
        return requested


def check_alpha(alpha: Any) -> None:
    need(not isinstance(alpha, bool) and isinstance(alpha, (int, float)), "alpha is no number")
    need(0 < alpha <= MAX_ALPHA, f"alpha must lie above 0 and be at most {MAX_ALPHA}")


# ---------------------------------------------------------------- pairs


class Image:
    def __init__(
        self,
        sample_id: Any,
        label: Any,
        file: Any,
        source_sha256: Any,
        marked_sha256: Any,
        source_label: Any = None,
    ) -> None:
        for value in (sample_id, label, file):
            need(isinstance(value, str) and value, "an image needs id, label and file in words")
        if source_label is not None:
            need(isinstance(source_label, str), "a label is text")
            need(source_label not in ("", label), "source_label is another label")
        path = PurePosixPath(file)
        outside = path.is_absolute() or ".." in path.parts or "\\" in file or ":" in file
        need(not outside, f"the file {file!r:.100} must be a path below a folder")
        need(is_digest(source_sha256) and is_digest(marked_sha256), "a digest is no SHA-256")
        check_text([sample_id, label, file, source_label])
        self.sample_id, self.label, self.file = sample_id, label, file
        self.source, self.marked = source_sha256, marked_sha256


class Side:
    def __init__(
        self, files: Any, secret: Any, covariates: Any, probes: Any = (), references: Any = None
    ) -> None:
        self.files, self.probes = files, probes
        self.secret, self.covariates, self.references = secret, covariates, references
        need(files, "a side needs a file at least")
        for value in covariates.values():
            need(type(value) is float and 0 <= value < math.inf, "a covariate is a loss")

    @property
    def asked(self) -> Any:
        return self.probes or self.files


def read_references(entry: Any) -> Any:
    """(losses, members) of the reference models on one side."""
    values = is_object(entry)
    losses = tuple(map(to_float, values.pop("losses")))
    members = tuple(values.pop("members"))
    need(not values, "references have other parts")
    need(len(losses) == len(members) and losses, "references: one membership a loss")
    need(all(type(x) is float and 0 <= x < math.inf for x in losses), "references: losses")
    need(all(type(x) is bool for x in members), "references: memberships")
    return losses, members


def read_side(entry: Any) -> Side:
    values = is_object(entry)
    files = tuple(Image(**image) for image in values.pop("files"))
    covariates = {k: to_float(v) for k, v in is_object(values.pop("covariates")).items()}
    probes = tuple(Image(**image) for image in values.pop("probes", ()))
    references = None
    if "references" in values:
        references = read_references(values.pop("references"))
    secret = is_object(values.pop("secret"))
    need(not values, "a side has other parts")
    return Side(files, secret, covariates, probes, references)


class Pair:
    def __init__(self, entry: Any, version: int, signature: bytes | None = None) -> None:
        need(type(entry["index"]) is int, "a pair's index is no whole number")
        if signature is not None:
            self.read_lot(entry, signature)
            return
        check_keys(entry, ("index", "a", "b", "released"), "a pair")
        if version > 2:
            self.sides = {name: read_side(entry[name]) for name in "ab"}
            self.released = is_object(entry["released"])
        else:
            self.sides = {name: Side((Image(**entry[name]),), {}, {}) for name in "ab"}
            self.released = {"": entry["released"]}
        need(self.released, "a pair was released to nobody")
        for side in self.released.values():
            need(isinstance(side, str) and side in ("a", "b"), f"released is {side!r:.100}")

    def read_lot(self, entry: Any, signature: bytes) -> None:
        """A pair whose coins follow from a public round."""
        check_keys(
            {"recipients": None, **entry}, ("index", "a", "b", "secret", "recipients"), "a pair"
        )
        names = entry.get("recipients", [""])
        need(isinstance(names, list) and names, "recipients are no list of names")
        need(all(isinstance(name, str) for name in names), "recipients are no names")
        need(len(set(names)) == len(names), "a recipient stands there twice")
        need(is_digest(entry["secret"]), "a pair's secret is no 32 bytes")
        check_text(names)
        self.sides = {name: read_side(entry[name]) for name in "ab"}
        self.released = {
            name: toss(entry["secret"], signature, entry["index"], name) for name in names
        }

    @property
    def out(self) -> Side:
        return self.sides[self.released[""]]

    @property
    def kept(self) -> Side:
        return self.sides["b" if self.released[""] == "a" else "a"]


def toss(secret: str, signature: bytes, index: int, recipient: str) -> str:
    """A pair's coin: the first bit of HMAC-SHA-256(secret, signature || index || recipient)."""
    message = signature + index.to_bytes(8, "big") + recipient.encode("utf-8")
    first = hmac.new(bytes.fromhex(secret), message, hashlib.sha256).digest()[0]
    return "b" if first & 0x80 else "a"


class Round:
    """Which public round decides the coins, and its signature."""

    def __init__(self, told: Any, drawn: Any) -> None:
        need(told is not None, "no public round was committed to")
        check_keys(told, ("chain", "round", "committed_at"), "the header's beacon")
        written = moment(told["committed_at"])
        chain, number = told["chain"], told["round"]
        need(isinstance(chain, str) and chain in CHAINS, "the chain is not known")
        need(type(number) is int and 1 <= number < 2**53, "a round is a whole number from 1")
        key, genesis, period = CHAINS[chain]
        first = datetime.fromtimestamp(genesis, timezone.utc)
        self.number, self.coins_at = number, first + timedelta(seconds=(number - 1) * period)
        lead = (self.coins_at - written).total_seconds()
        need(lead >= LEAST_LEAD, "the round could have been known when the commitment was written")
        check_keys(drawn, ("round", "signature"), "the drawn round")
        fits = type(drawn["round"]) is int and drawn["round"] == number
        need(fits, "the coins were drawn from another round")
        text = drawn["signature"]
        need(isinstance(text, str) and re.fullmatch("[0-9a-f]{96}", text), "no signature")
        self.signature = bytes.fromhex(text)
        #: None where nothing is installed that could tell
        self.genuine = is_signed(key, number, self.signature)
        need(self.genuine is not False, "the signature is not that of this round")


#: What held, in place of the step's name, where nothing is installed that could tell
UNVERIFIED = (
    "the public round was committed to; its signature was NOT VERIFIED, as py-ecc is not installed"
)


def is_signed(key: str, number: int, signature: bytes) -> bool | None:
    """Whether a BLS signature (G1, RFC 9380) is the round's, by py-ecc; None where that is not installed."""
    field = int(
        "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab",
        16,
    )
    x = int.from_bytes(signature, "big") & ((1 << 381) - 1)
    # A second way to write a point would be a second coin
    if signature[0] >> 5 not in (0b100, 0b101) or x >= field:
        return False
    limit = sys.getrecursionlimit()
    try:
        from py_ecc.bls.g2_primitives import subgroup_check
        from py_ecc.bls.hash_to_curve import hash_to_G1
        from py_ecc.bls.point_compression import decompress_G1, decompress_G2
        from py_ecc.optimized_bls12_381 import FQ12, G2, final_exponentiate, neg, pairing
    except ImportError:
        return None
    finally:
        # It is raised when py-ecc is imported: a file of brackets could then end this program in JSON's parser
        sys.setrecursionlimit(limit)
    try:
        point = decompress_G1(int.from_bytes(signature, "big"))  # type: ignore[arg-type]
    except ValueError:
        return False
    # A point outside the subgroup passes the pairing as well as the one that it is near
    if not subgroup_check(point):
        return False
    raw = bytes.fromhex(key)
    halves = (int.from_bytes(raw[:48], "big"), int.from_bytes(raw[48:], "big"))
    message = hashlib.sha256(number.to_bytes(8, "big")).digest()
    hashed = hash_to_G1(message, b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_", hashlib.sha256)  # type: ignore[arg-type]
    product = pairing(G2, point, final_exponentiate=False) * pairing(
        decompress_G2(halves),  # type: ignore[arg-type]
        neg(hashed),
        final_exponentiate=False,
    )
    return bool(final_exponentiate(product) == FQ12.one())


def check_images(pairs: Any) -> None:
    """No image twice, twins alike, no withheld file in the release under another name."""
    sides = [side for pair in pairs for side in (pair.sides["a"], pair.sides["b"])]
    released = [image for side in sides for image in side.files]
    images = released + [image for side in sides for image in side.probes]
    for side in sides:
        check_text(side.secret)
    numbers = {len(side.references[0]) if side.references else 0 for side in sides}
    need(len(numbers) <= 1, "sides were told by different numbers of reference models")
    for pair in pairs:
        a, b = pair.sides["a"], pair.sides["b"]
        for here, there in ((a.files, b.files), (a.probes, b.probes)):
            labels = [sorted(image.label for image in some) for some in (here, there)]
            need(labels[0] == labels[1], "twins have different labels")
    for name in ("sample_id", "file"):
        values = [getattr(image, name) for image in images]
        need(len(set(values)) == len(values), f"two images have one {name}")
    marked = [image.marked for image in released]
    need(len(set(marked)) == len(marked), "two images are the same file")


# ---------------------------------------------------------------- log


def unspent(order: Any, verifications: Any) -> list[int]:
    spent = {pair for item in verifications for pair in item["pairs"][: item["num_queried"]]}
    return [index for index, _ in order if index not in spent]


PUBLIC = {
    "release": {"digest", "num_files"},
    "open": {"pairs", "alpha", "reuse"},
    "close": {"concluded", "num_queried"},
    "trace": {"subject", "draws", "seed"},
    "traced": {"num_pairs"},
}
PRIVATE = {
    "release": {"salt"},
    "open": {"salt", "suspect_name", "suspect_digest", "kind", "protocol"},
    "close": {"salt", "result", "answers_sha256"},
    # Of these evidence holds no details: they name recipients
    "trace": {"salt", "name", "digest"},
    "traced": {"salt", "result", "answers"},
}
#: Private, where there is one
ADDED = {"release": {"recipient"}}
ENTRY = {"index", "event", "id", "at", "public", "private_sha256", "previous", "hash"}


def read_log(
    entries: Any, commitment: Any, order: Any, plan: Plan, version: int, coins_at: Any = None
) -> Any:
    """(verifications by id, releases): every entry's hashes, and the rules by which it may be there."""
    verifications: dict = {}
    traces: dict = {}
    releases, previous, latest = [], commitment, coins_at
    for index, entry in enumerate(entries):
        check_entry(entry, index, previous, version)
        previous = entry["hash"]
        at = moment(entry["at"])
        need(latest is None or at >= latest, f"entry {index} was written before the one it follows")
        latest = at
        if entry["event"] == "open":
            read_open(entry, verifications, order, plan)
        elif entry["event"] == "close":
            read_close(entry, verifications, plan)
        elif entry["event"] in ("trace", "traced"):
            read_trace(entry, traces, verifications)
        else:
            public = entry["public"]
            need(is_digest(public["digest"]) and is_count(public["num_files"]), "no release")
            recipient = entry.get("private", {}).get("recipient")
            need(recipient is None or isinstance(recipient, str), "a recipient has no name")
            releases.append({**public, "at": entry["at"], "index": index})
    return verifications, releases


def check_entry(entry: Any, index: Any, previous: Any, version: int) -> None:
    altered = f"the log was altered at entry {index}"
    need(isinstance(entry, dict) and set(entry) - {"private"} == ENTRY, altered)
    need(type(entry["index"]) is int and entry["index"] == index, altered)
    need(entry["previous"] == previous and is_digest(entry["private_sha256"]), altered)
    bound = {key: value for key, value in entry.items() if key not in ("hash", "private")}
    need(entry["hash"] == digest("log entry", bound, version), altered)
    event = entry["event"]
    need(event in PUBLIC and set(entry["public"]) == PUBLIC[event], f"entry {index} is unknown")
    need(isinstance(entry["id"], str), f"entry {index} has no name")
    moment(entry["at"])
    if "private" in entry:
        private = entry["private"]
        known = isinstance(private, dict) and set(private) - ADDED.get(event, set())
        need(known == PRIVATE[event], altered)
        need(is_digest(private["salt"]), altered)
        need(digest("log detail", private, version) == entry["private_sha256"], altered)


def read_open(entry: Any, verifications: Any, order: Any, plan: Plan) -> None:
    public, private = entry["public"], entry.get("private")
    pairs = tuple(public["pairs"])
    need(entry["id"] not in verifications, "a verification is opened twice")
    need(isinstance(public["reuse"], bool), "reuse is no boolean")
    need(all(type(pair) is int for pair in pairs), "pairs are no whole numbers")
    if public["reuse"]:
        fits = list(pairs) == [index for index, _ in order]
    else:
        fits = list(pairs) == unspent(order, verifications.values())[: len(pairs)]
    need(fits, "a verification was opened for other pairs than the next ones")
    if private is not None:
        sha = private["suspect_digest"]
        need(isinstance(private["suspect_name"], str), "a suspect has no name")
        need(sha is None or is_digest(sha), "a suspect's digest is none")
        need(private["kind"] in KINDS, "it is not said what a suspect answers")
        need(isinstance(private["protocol"], dict), "it is not said how a suspect is asked")
    known = private or {}
    verifications[entry["id"]] = {
        "pairs": pairs,
        "position": len(verifications) + 1,
        "alpha": plan.alpha_for(public["alpha"]),
        "at": entry["at"],
        "index": entry["index"],
        "name": known.get("suspect_name"),
        "digest": known.get("suspect_digest"),
        "kind": known.get("kind"),
        "protocol": dict(known.get("protocol", {})),
        "closed": False,
        "concluded": False,
        "num_queried": len(pairs),
        "result": None,
        "answers_sha256": None,
    }


def read_close(entry: Any, verifications: Any, plan: Plan) -> None:
    public, private = entry["public"], entry.get("private")
    opened = verifications.get(entry["id"])
    need(opened is not None and not opened["closed"], "what is closed was not open")
    concluded, number = public["concluded"], public["num_queried"]
    kinds = KINDS if opened["kind"] is None else (opened["kind"],)
    may_stop = concluded and any(plan.test_for(kind) == "e_process" for kind in kinds)
    most = len(opened["pairs"])
    least = min(plan.min_pairs, most) if may_stop else most
    need(isinstance(concluded, bool) and is_count(number), "a closing has impossible figures")
    need(least <= number <= most, "a closing has impossible figures")
    result = answers = None
    if private is not None:
        result, answers = private["result"], private["answers_sha256"]
        fits = (result is not None) == concluded and is_digest(answers) == concluded
        need(fits, "a verdict and its answers go together")
    if result is not None:
        verdict = read_verdict(result)
        need(verdict["num_pairs"] + verdict["num_failed"] == number, "impossible figures")
        need(number == most or verdict["verdict"] == "derived", "it stopped before it had decided")
    verifications[entry["id"]] = {
        **opened,
        "closed": True,
        "concluded": concluded,
        "num_queried": number,
        "result": result,
        "answers_sha256": answers,
    }


def read_trace(entry: Any, traces: Any, verifications: Any) -> None:
    """An attempt to find out whose release something comes from, which has no part in the verdict."""
    public, own = entry["public"], entry["id"]
    need("private" not in entry, "details of a tracing name recipients and are no part of evidence")
    if entry["event"] == "traced":
        need(traces.get(own) == "open", "a tracing is closed that was not open")
        number = public["num_pairs"]
        need(type(number) is int and number >= 0, "a tracing has impossible figures")
        traces[own] = "closed"
        return
    need(own not in traces, "a tracing is opened twice")
    need(public["subject"] in ("model", "copy"), "a tracing is of neither model nor copy")
    need(public["subject"] == "copy" or own in verifications, "a tracing has no verification")
    draws, seed = public["draws"], public["seed"]
    need(type(draws) is int and 1 <= draws <= MOST_DRAWS, "it is not said how words are redrawn")
    need(type(seed) is int and seed >= 0, "it is not said how words are redrawn")
    traces[own] = "open"


VERDICT = (
    *("verdict", "p_value", "p_adjusted", "alpha", "family_size", "test", "kind", "num_pairs"),
    *("num_failed", "num_left", "effect_size", "effect_interval", "e_values", "paper"),
)


def read_verdict(result: Any) -> dict[str, Any]:
    """A recorded verdict, which must not contradict itself."""
    verdict = dict(check_keys({"paper": {}, **is_object(result)}, VERDICT, "a verdict"))
    need("paper" in result, "a verdict lacks the paper's figures")
    if verdict["effect_interval"] is not None:
        low, high = verdict["effect_interval"]
        verdict["effect_interval"] = (low, high)
    verdict["e_values"] = tuple(verdict["e_values"])
    check_alpha(verdict["alpha"])
    need(verdict["verdict"] in VERDICTS, "there is no such verdict")
    need(verdict["test"] in (*TESTS, "sign") and verdict["kind"] in KINDS, "unknown test or kind")
    for name in ("num_pairs", "num_failed", "num_left", "family_size"):
        need(is_count(verdict[name]), f"{name} is no count")
    least = never_zero(0.0, verdict["num_pairs"])
    p, alpha, called = verdict["p_value"], verdict["alpha"], verdict["verdict"]
    need(least <= p <= 1, f"so many pairs cannot give p = {p!r:.100}")
    fits = verdict["p_adjusted"] == adjusted(p, verdict["family_size"])
    need(fits, "the corrected p-value contradicts the p-value")
    json.dumps(verdict["paper"], allow_nan=False)
    if called == "derived":
        need(verdict["p_adjusted"] <= alpha, "derived above the level")
        need(verdict["num_failed"] <= verdict["num_pairs"], "derived when most of the pairs failed")
    if called == "not shown":
        need(not verdict["p_adjusted"] <= alpha, "not shown at most at the level")
    return verdict


def adjusted(p_value: Any, position: Any) -> float:
    need(0 <= p_value <= 1, "a p-value is no probability")
    need(is_count(position) and position >= 1, "verifications are counted from 1")
    return min(1.0, position * (position + 1) * p_value)


# ---------------------------------------------------------------- protocol

FIXED = {
    "resize": "antialiased bilinear, each image alone",
    "failures": "tried again, then the pair counts against the owner",
}
PROTOCOL = (
    *("classes", "outputs", "batch_size", "input_size", "mean", "std", "channels", "way", "device"),
    *("references", "unmarked", "caution", "score", *FIXED),
)
UNMARKED = ("num_images", "accuracy", "chance", "proxies", "better", "saturated", "hints")
OUTPUTS = {
    "logits": ("scores", "cross-entropy"),
    "probabilities": ("scores", "cross-entropy"),
    "labels": ("labels", "right or wrong"),
    "losses": ("scores", "the suspect's own loss"),
}


def check_protocol(protocol: Any, kind: Any, labels: Any) -> None:
    check_keys(protocol, PROTOCOL, "the protocol")
    classes = protocol["classes"]
    need(isinstance(classes, dict), "classes are no object")
    indices = list(classes.values())
    need(len(indices) >= 2 and all(map(is_count, indices)), "classes have whole numbers")
    need(sorted(indices) == list(range(len(indices))), "classes have 0, 1, 2, …, each once")
    need(all(label in classes for label in labels), "a label is no class")
    outputs = protocol["outputs"]
    need(isinstance(outputs, str) and outputs in OUTPUTS, "outputs are unknown")
    need(OUTPUTS[outputs][0] == kind, "outputs are of another kind")
    check_input(protocol)
    for name, known in {**FIXED, "score": OUTPUTS[outputs][1]}.items():
        need(protocol[name] == known, f"{name} must be {known!r}")
    need(isinstance(protocol["way"], str), "way is no text")
    for name in ("device", "caution"):
        need(protocol[name] is None or isinstance(protocol[name], str), f"{name} is no text")
    references = protocol["references"]
    need(isinstance(references, list), "references are no list")
    need(all(isinstance(one, str) for one in references), "references are no texts")
    check_unmarked(protocol["unmarked"])
    check_text(protocol)
    json.dumps(protocol, allow_nan=False)
    need(
        not protocol["way"].startswith("WhiteBoxSuspect"),
        "weights were compared, which is no evidence",
    )


def check_input(protocol: Any) -> None:
    size = protocol["input_size"]
    if size is not None:
        need(isinstance(size, list) and len(size) == 2, "input_size is no pair")
        need(all(is_count(n) and n >= 1 for n in size), "input_size is no size")
    for name in ("mean", "std"):
        value = protocol[name]
        if value is not None:
            need(isinstance(value, list) and len(value) == 3, f"{name} is no triple")
            need(all(map(is_share, value)), f"{name} lies between 0 and 1")
            need(name == "mean" or all(value), "std lies above 0")
    need(protocol["channels"] in ("RGB", "BGR"), "channels are RGB or BGR")
    batch = protocol["batch_size"]
    need(is_count(batch) and 1 <= batch <= 4096, "batch_size is 1 to 4096")


def check_unmarked(unmarked: Any) -> None:
    need(isinstance(unmarked, dict), "unmarked is no object")
    if not unmarked:
        return
    check_keys(unmarked, UNMARKED, "unmarked")
    for name, value in unmarked.items():
        if name == "num_images":
            fits = is_count(value)
        elif name in ("better", "hints"):
            fits = isinstance(value, dict) and all(map(is_share, value.values()))
        else:
            fits = is_share(value) or (value is None and name in ("accuracy", "proxies"))
        need(fits, f"unmarked has an impossible {name}")


# ---------------------------------------------------------------- answers


class Answers:
    def __init__(self, values: Any) -> None:
        check_keys(values, ("kind", "pairs", "a", "b"), "the answers")
        self.kind, self.pairs = values["kind"], tuple(values["pairs"])
        need(self.kind in KINDS, "the answers are of an unknown kind")
        need(all(type(pair) is int for pair in self.pairs), "pairs are whole numbers")
        self.a, self.b = (tuple(map(to_float, tuple(values[name]))) for name in "ab")
        need(len(self.pairs) == len(self.a) == len(self.b), "answers lack a side")
        need(len(set(self.pairs)) == len(self.pairs), "a pair was answered twice")
        told = [value for value in (*self.a, *self.b) if value is not None]
        for value in told:
            if self.kind == "labels":
                fits = isinstance(value, bool) or (isinstance(value, float) and 0 <= value <= 1)
            else:
                fits = isinstance(value, float) and math.isfinite(value) and value >= 0
            need(fits, f"the answer {value!r:.100} is none of {self.kind}")
        if self.kind == "labels":
            need(len({isinstance(v, float) for v in told}) <= 1, "labels and shares are mixed")
        self.failed = [a is None or b is None for a, b in zip(self.a, self.b, strict=True)]
        #: (pair, value of a, value of b) of the pairs that did not fail
        self.rows = [
            row
            for row, lost in zip(
                zip(self.pairs, self.a, self.b, strict=True), self.failed, strict=True
            )
            if not lost
        ]

    def plain(self) -> dict[str, Any]:
        return {"kind": self.kind, "pairs": list(self.pairs), "a": list(self.a), "b": list(self.b)}


def check_shares(answers: Answers, pairs: Any) -> None:
    """A side of several images gives a share of them, one of one image a boolean."""
    if answers.kind != "labels":
        return
    for index, *values in zip(answers.pairs, answers.a, answers.b, strict=True):
        for name, value in zip("ab", values, strict=True):
            number = len(pairs[index].sides[name].asked)
            if value is None or (isinstance(value, bool) and number == 1):
                continue
            fits = not isinstance(value, bool) and number != 1
            fits = fits and value == round(value * number) / number
            need(fits, f"pair {index}: {value!r:.100} is no share of {number} answers")


# ---------------------------------------------------------------- scores


def phi(loss: float) -> float:
    """The logit-scaled confidence of a loss in nats."""
    loss = max(loss, 1e-6)
    return -loss - math.log(-math.expm1(-loss))


def mean(values: Any) -> float:
    return math.fsum(values) / len(values)


def split(references: Any, transform: Any) -> Any:
    """(seen, unseen): what models said that had seen the side, and what the others said."""
    losses, members = references
    seen = [transform(x) for x, member in zip(losses, members, strict=True) if member]
    unseen = [transform(x) for x, member in zip(losses, members, strict=True) if not member]
    need(seen and unseen, "a side needs a model that has seen it, and one that has not")
    return seen, unseen


def squares(values: Any, center: float) -> float:
    return math.fsum((x - center) * (x - center) for x in values)


def pooled_std(groups: Any) -> float:
    freedom = sum(len(group) - 1 for group in groups)
    need(freedom >= 1, "a spread needs two models")
    return math.sqrt(math.fsum(squares(group, mean(group)) for group in groups) / freedom)


def center_and_std(values: Any, name: str, plan: Plan, number: int) -> tuple[float, float]:
    center = mean(values)
    std = fitted(plan, name)
    if number >= PER_IMAGE:
        std = math.sqrt(squares(values, center) / max(len(values) - 1, 1))
    return center, max(std, LEAST_STD)


def fitted(plan: Plan, name: str) -> float:
    need(name in plan.fit, f"the plan lacks {name!r}, which the score learns from all sides")
    return float(plan.fit[name])


def log_normal(x: float, center: float, std: float) -> float:
    z = (x - center) / std
    return -z * z / 2 - math.log(2 * math.pi) / 2 - math.log(std)


def log_upper(z: float) -> float:
    """log P(Z > z) of a standard normal Z."""
    if z < -1:
        return math.log1p(-math.erfc(-z / math.sqrt(2)) / 2)
    if z < 30:
        return math.log(math.erfc(z / math.sqrt(2)) / 2)
    # Mills' ratio by its asymptotic series, which is exact to the last digit from 30 on
    square = z * z
    series = 1 - 1 / square + 3 / square**2 - 15 / square**3 + 105 / square**4 if z < 1e70 else 1.0
    return -square / 2 - math.log(z) - math.log(2 * math.pi) / 2 + math.log(series)


def log_student(x: float, freedom: float, center: float, scale: float) -> float:
    t = (x - center) / scale
    constant = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    constant -= math.log(freedom * math.pi) / 2 + math.log(scale)
    return constant - (freedom + 1) / 2 * math.log1p(t * t / freedom)


def log_predictive(x: float, values: Any, plan: Plan, name: str) -> float:
    prior, weight = fitted(plan, f"mean_{name}"), fitted(plan, f"weight_{name}")
    number, center = len(values), mean(values)
    kappa, alpha = weight + number, 2.0 + number / 2
    beta = fitted(plan, f"variance_{name}") + squares(values, center) / 2
    beta += weight * number * (center - prior) * (center - prior) / (2 * kappa)
    scale = math.sqrt(beta * (kappa + 1) / (alpha * kappa))
    return log_student(x, 2 * alpha, (weight * prior + number * center) / kappa, scale)


def expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def score(name: str, value: Any, references: Any, plan: Plan) -> float:
    """One number a side, lower on what a model has seen."""
    if name == "loss":
        return value
    if name == "confidence":
        return -phi(value)
    need(references is not None, "a side lacks the reference models that the score needs")
    number = len(references[0])
    if name == "model_loss":
        seen, unseen = split(references, float)
        return value - (mean(seen) + mean(unseen)) / 2
    seen, unseen = split(references, phi)
    x = phi(value)
    if name == "lira_online":
        inside = log_normal(x, *center_and_std(seen, "std_in", plan, number))
        return log_normal(x, *center_and_std(unseen, "std_out", plan, number)) - inside
    if name == "lira_offline":
        center, std = center_and_std(unseen, "std_out", plan, number)
        return log_upper((x - center) / std)
    if name == "carlini_compat":
        std = fitted(plan, "std_out")
        if number >= PER_IMAGE:
            std = math.sqrt(squares(unseen, mean(unseen)) / len(unseen))
        return log_normal(x, statistics.median(unseen), max(std, LEAST_STD))
    if name == "bavaria":
        return log_predictive(x, unseen, plan, "out") - log_predictive(x, seen, plan, "in")
    return -expit(fitted(plan, "intercept") + fitted(plan, "slope") * x)


def learn(name: str, sides: Any) -> dict[str, float]:
    """What a score learns from the reference models' losses on all sides, before the coins."""
    if name == "model_loss":
        for side in sides:
            split(side, float)
        return {}
    parts = [split(side, phi) for side in sides]
    seen, unseen = [p[0] for p in parts], [p[1] for p in parts]
    if name.startswith("lira"):
        return {"std_in": pooled_std(seen), "std_out": pooled_std(unseen)}
    if name == "carlini_compat":
        values = [x for group in unseen for x in group]
        return {"std_out": math.sqrt(squares(values, mean(values)) / len(values))}
    if name == "bavaria":
        found = {}
        for which, groups in (("in", seen), ("out", unseen)):
            means = [mean(group) for group in groups]
            variance = max(pooled_std(groups), LEAST_STD) ** 2
            own = mean([variance / len(group) for group in groups])
            spread = squares(means, mean(means)) / len(means)
            found[f"mean_{which}"] = mean(means)
            found[f"weight_{which}"] = variance / max(spread - own, variance / 100)
            found[f"variance_{which}"] = variance
        return found
    values = [
        (phi(x), m) for losses, members in sides for x, m in zip(losses, members, strict=True)
    ]
    return fit_logistic(values)


def fit_logistic(values: Any) -> dict[str, float]:
    center = mean([x for x, _ in values])
    scale = max(math.sqrt(squares([x for x, _ in values], center) / len(values)), 1e-6)
    rows = [((x - center) / scale, 1.0 if member else 0.0) for x, member in values]
    intercept = slope = 0.0
    for _ in range(100):
        chances = [expit(intercept + slope * x) for x, _ in rows]
        errors = [chance - seen for chance, (_, seen) in zip(chances, rows, strict=True)]
        g0 = math.fsum(errors)
        g1 = math.fsum(e * x for e, (x, _) in zip(errors, rows, strict=True)) + 0.01 * slope
        spread = [chance * (1 - chance) for chance in chances]
        h00, h01 = (
            math.fsum(spread),
            math.fsum(w * x for w, (x, _) in zip(spread, rows, strict=True)),
        )
        h11 = math.fsum(w * x * x for w, (x, _) in zip(spread, rows, strict=True)) + 0.01
        det = h00 * h11 - h01 * h01
        s0, s1 = (h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det
        factor = min(1.0, 2.0 / max(abs(s0), abs(s1), 1e-300))
        intercept, slope = intercept - s0 * factor, slope - s1 * factor
        if max(abs(s0), abs(s1)) < 1e-10:
            return {"intercept": intercept - slope * center / scale, "slope": slope / scale}
    raise MisfitError("the attack model does not settle")


def check_fit(plan: Plan, sides: Any) -> None:
    """What the score has learned follows from all sides."""
    if not plan.uses_references or not sides:
        return
    given = [side for side in sides if side is not None]
    number = min((len(losses) for losses, _ in given), default=0)
    need(number >= LEAST_REFERENCES, f"{number} reference models are too few")
    need(len(given) == len(sides), "sides lack reference models")
    follows = learn(plan.score, given)
    need(set(follows) == set(plan.fit), "the plan holds other numbers than the score learns")
    for name, held in plan.fit.items():
        near = abs(follows[name] - held) <= 1e-6 + 1e-6 * abs(held)
        need(near, f"the score learns {name} = {follows[name]!r}, the plan says {held!r}")


def rounded(value: Any, size: float) -> float:
    """9 significant digits, and nothing below 1e-9 of what it was computed from."""
    if math.isfinite(value) and abs(value) < 1e-9 * size:
        return 0.0
    return float(f"{value:.8e}")


def difference(released: float, withheld: float) -> float:
    return 0.0 if released == withheld else withheld - released


def tested_differences(plan: Plan, answers: Answers, pairs: Any) -> list[float]:
    """What the test ranks: positive where the released side shows memory."""
    kind, out = answers.kind, []
    name = plan.score if kind == "scores" else "correct"
    turned = plan.direction == "higher" and (kind == "labels" or plan.follows_loss)
    for index, *values in answers.rows:
        sides = [pairs[index].sides[s] for s in "ab"]
        if name == "correct":
            scored = [1.0 - float(v) for v in values]
        else:
            scored = [
                score(name, v, s.references, plan) for v, s in zip(values, sides, strict=True)
            ]
        need(not any(map(math.isnan, scored)), f"the score gives no number for pair {index}")
        d = difference(*scored)
        if name not in ("loss", "correct"):
            d = rounded(d, max(*map(abs, scored), *values))
        if plan.is_adjusted(kind):
            common = sorted(set(sides[0].covariates) & set(sides[1].covariates) - {UNCHANGED})
            gaps = [
                score(name, sides[1].covariates[k], None, plan)
                - score(name, sides[0].covariates[k], None, plan)
                for k in common
            ]
            taken = math.fsum(gaps) / len(gaps) / 2 if gaps else 0.0
            taken = taken if math.isfinite(taken) else 0.0
            d = rounded(d - taken, max(abs(d), abs(taken)))
        if (pairs[index].released[""] == "a") == turned:
            d = -d
        out.append(d)
    return out


# ---------------------------------------------------------------- tests


def never_zero(p_value: float, num_pairs: int) -> float:
    return max(p_value, 2.0 ** -min(num_pairs, 1021))


def midranks(values: Any, ordinal: bool) -> list[int]:
    """Twice the ranks of magnitudes: of equal ones the middle, or by their order."""
    order = sorted(range(len(values)), key=lambda i: abs(values[i]))
    ranks = [0] * len(values)
    if ordinal:
        for rank, i in enumerate(order, start=1):
            ranks[i] = 2 * rank
        return ranks
    start = 0
    for _, group in itertools.groupby(order, key=lambda i: abs(values[i])):
        same = list(group)
        for i in same:
            ranks[i] = 2 * start + len(same) + 1
        start += len(same)
    return ranks


def subset_counts(ranks: list[int]) -> list[int]:
    """How many subsets of the ranks have the sum 0, 1, 2, …: all sums in one large number, a field each."""
    width = len(ranks) // 8 + 1  # bytes that hold 2^n, the number of all subsets
    packed = 1
    for rank in ranks:
        packed += packed << (8 * width * rank)
    data = packed.to_bytes(width * (sum(ranks) + 1), "little")
    return [int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)]


def upper_tail(ranks: list[int], observed: int) -> float:
    """P(sum of a fair random subset of the ranks >= observed), counted exactly."""
    if not ranks:
        return 1.0
    step = math.gcd(*ranks)
    ranks, observed = sorted(rank // step for rank in ranks), observed // step
    first, second = subset_counts(ranks[::2]), subset_counts(ranks[1::2])
    tails = [*list(itertools.accumulate(reversed(second)))[::-1], 0]
    last = len(second)
    count = sum(
        number * tails[min(max(observed - total, 0), last)] for total, number in enumerate(first)
    )
    tail = count / 2 ** len(ranks)
    if len(ranks) > 53:
        # The package sums in floats, and gives back more than that can lose
        tail *= 1 + 2 * (len(ranks) + len(first) + len(second)) * EPSILON
    return never_zero(min(tail, 1.0), len(ranks))


def rank_sum(groups: Any) -> float:
    """The weighted sum of the groups' rank sums; a group is (differences, failed pairs, weight)."""
    ranks, observed = [], 0
    for values, lost, weight in groups:
        signed = [v for v in values if v != 0]
        own = [weight * rank for rank in midranks(signed, len(groups) > 1)]
        observed += sum(rank for rank, v in zip(own, signed, strict=True) if v > 0)
        # A pair that failed is lost, with the largest ranks
        ranks += own + [2 * weight * (len(signed) + 1 + i) for i in range(lost)]
    return upper_tail(ranks, observed)


def sign_p(wins: int, number: int) -> float:
    if not number:
        return 1.0
    count = sum(math.comb(number, k) for k in range(wins, number + 1))
    return never_zero(float(Fraction(count, 2**number)), number)


def e_process(differences: list[float], failed: list[bool]) -> tuple[float, tuple[float, ...]]:
    """(p-value, capital after each pair) of the betting test."""
    fractions = [(i + 0.5) / 64 for i in range(64)]
    magnitudes: list[float] = []
    capital, lost, e_values = [0.0] * 128, 0, []
    answered = iter(differences)
    for is_lost in failed:
        if is_lost:
            lost += 1
            capital = [c + math.log1p(-f) for c, f in zip(capital, fractions * 2, strict=True)]
        else:
            d = next(answered)
            if d != 0:
                size, sign = abs(d), math.copysign(1.0, d)
                below = bisect.bisect_left(magnitudes, size)
                equal = bisect.bisect_right(magnitudes, size) - below
                bisect.insort(magnitudes, size)
                rank = below + equal / 2 + 1 + (0 if sign > 0 else lost)
                weight = min(1.0, 2 * rank / (len(magnitudes) + lost + 1))
                bets = [*fractions, *(f * weight for f in fractions)]
                capital = [c + math.log1p(sign * bet) for c, bet in zip(capital, bets, strict=True)]
        peak = max(capital)
        average = math.fsum(math.exp(c - peak) for c in capital) / len(capital)
        e_values.append(math.exp(min(peak + math.log(average), 700.0)) * (1 - 1e-9))
    return min(1.0, 1.0 / max([1.0, *e_values])), tuple(e_values)


def strata_of(plan: Plan, pairs: Any, indices: Any) -> list[int]:
    strata = []
    for index in indices:
        known = [pairs[index].sides[name].covariates for name in "ab"]
        values = [v for one in known for name, v in sorted(one.items()) if name != UNCHANGED]
        hardness = math.fsum(values) / len(values) if values else 0.0
        if plan.unchanged_weights and any(one.get(UNCHANGED, 0.0) > 0 for one in known):
            # Strata of their own, after those of the crafted pairs
            among = bisect.bisect_left(plan.unchanged_edges, hardness)
            strata.append(len(plan.weights) + among)
        else:
            strata.append(bisect.bisect_left(plan.edges, hardness))
    return strata


def run_test(
    test: str, differences: list[float], failed: list[bool], strata: Any, weights: Any
) -> tuple[float, tuple[float, ...]]:
    """(p-value, capital after each pair)."""
    if test == "e_process":
        return e_process(differences, failed)
    if test == "sign":
        wins = sum(d > 0 for d in differences)
        return sign_p(wins, sum(d != 0 for d in differences) + sum(failed)), ()
    if test == "signed_rank":
        return rank_sum([(differences, sum(failed), 1)]), ()
    own = [stratum for stratum, lost in zip(strata, failed, strict=True) if not lost]
    groups = [
        (
            [d for d, stratum in zip(differences, own, strict=True) if stratum == number],
            sum(lost and stratum == number for stratum, lost in zip(strata, failed, strict=True)),
            weight,
        )
        for number, weight in enumerate(weights)
    ]
    return rank_sum(groups), ()


def least_p(test: str, failed: list[bool], strata: Any, weights: Any) -> float:
    """No answers give less."""
    if test == "e_process":
        return e_process([float(i + 1) for i in range(len(failed) - sum(failed))], failed)[0]
    if test != "stratified_signed_rank":
        return sign_p(len(failed) - sum(failed), len(failed))
    product = 1.0
    for number in range(len(weights)):
        lost = [is_lost for is_lost, own in zip(failed, strata, strict=True) if own == number]
        product *= sign_p(len(lost) - sum(lost), len(lost))
    return product


# ---------------------------------------------------------------- effects


def hodges_lehmann(values: Any) -> Any:
    """The median of the Walsh averages and its interval by the exact signed-rank test."""
    if not values or not all(map(math.isfinite, values)):
        return None, None
    n = len(values)
    walsh = sorted(values[i] / 2 + values[j] / 2 for i in range(n) for j in range(i, n))
    middle = len(walsh) // 2
    center = walsh[middle] if len(walsh) % 2 else (walsh[middle - 1] + walsh[middle]) / 2
    k = interval_index(n)
    return center, ((walsh[k - 1], walsh[-k]) if k else None)


def interval_index(n: int) -> int:
    """The largest k with P(W <= k - 1) <= 0.025 for the sum W of a fair random subset of 1 … n.

    Probabilities in fixed point, 120 bits of 128 a field: far finer than the steps between them.
    """
    half, width = n * (n + 1) // 4 + 1, 16
    # A shift to the right moves a field's last bit into the first of the field below: it is taken out again
    mask = int.from_bytes((b"\xff" * (width - 1) + b"\x7f") * half, "little")
    packed = 1 << 120
    for rank in range(1, n + 1):
        packed = (packed + (packed << (8 * width * rank))) >> 1 & mask
    data = packed.to_bytes(width * half, "little")
    total, k = 0, 0
    while total <= (1 << 120) // 40:
        total += int.from_bytes(data[k * width : (k + 1) * width], "little")
        k += 1
    return k - 1


def accuracy_difference(rows: Any) -> Any:
    """Accuracy on released less on withheld sides, with Agresti and Min's interval."""
    n = len(rows)
    if not n:
        return None, None
    gaps = [float(one) - float(other) for one, other in rows]
    won, lost = (
        (sum(g > 0 for g in gaps) + 0.5) / (n + 2),
        (sum(g < 0 for g in gaps) + 0.5) / (n + 2),
    )
    center = won - lost
    reach = 1.959963984540054 * math.sqrt((won + lost - center * center) / (n + 2))
    return sum(gaps) / n, (max(-1.0, center - reach), min(1.0, center + reach))


# ---------------------------------------------------------------- verdict


def judge(
    plan: Plan, answers: Answers, pairs: Any, num_left: int, position: Any, alpha: Any, paper: Any
) -> dict[str, Any]:
    """From the answers to the verdict, by the committed plan."""
    kind, failed = answers.kind, answers.failed
    level, test = plan.alpha_for(alpha), plan.test_for(kind)
    lower = plan.direction == "lower"
    rows = [(a, b) if pairs[i].released[""] == "a" else (b, a) for i, a, b in answers.rows]
    if kind == "labels":
        turned = [row if lower else row[::-1] for row in rows]
        if any(isinstance(value, float) for row in rows for value in row):
            effect = hodges_lehmann([one - other for one, other in turned])
        else:
            effect = accuracy_difference(turned)
    else:
        effect = hodges_lehmann([difference(*row) * (1 if lower else -1) for row in rows])
    compared = tested_differences(plan, answers, pairs)
    strata = strata_of(plan, pairs, answers.pairs) if plan.weights else None
    weights = plan.weights + plan.unchanged_weights
    p_value, e_values = run_test(test, compared, failed, strata, weights)
    p_adjusted = adjusted(p_value, position)
    num_failed, num_pairs = sum(failed), len(failed) - sum(failed)
    undecided = (
        not failed
        or num_failed > num_pairs
        or num_pairs < plan.min_pairs
        or adjusted(least_p(test, failed, strata, weights), position) > level
    )
    verdict = "derived" if p_adjusted <= level else "not shown"
    return {
        "verdict": "inconclusive" if undecided else verdict,
        "p_value": p_value,
        "p_adjusted": p_adjusted,
        "alpha": level,
        "family_size": position,
        "test": test,
        "kind": kind,
        "num_pairs": num_pairs,
        "num_failed": num_failed,
        "num_left": num_left,
        "effect_size": effect[0],
        "effect_interval": effect[1],
        "e_values": e_values,
        "paper": paper,
    }


def alike(ours: Any, theirs: Any, zero: float) -> bool:
    if isinstance(ours, float) and isinstance(theirs, (int, float)):
        return math.isclose(ours, theirs, rel_tol=TOLERANCE, abs_tol=zero)
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        return len(ours) == len(theirs) and all(
            alike(a, b, zero) for a, b in zip(ours, theirs, strict=True)
        )
    return bool(ours == theirs)


# ---------------------------------------------------------------- the check


class Check:
    """Step by step; the first failure ends it, as each step needs the ones before."""

    def __init__(self, content: dict[str, Any], version: int, published: Any = None) -> None:
        self.content, self.version, self.published = content, version, published
        self.held: list[str] = []
        self.failed: list[str] = []
        self.stamps: list[tuple[str, str, bytes]] = []
        self.round: Round | None = None
        self.markings: int | None = None

    def run(self) -> bool:
        drawn = "beacon" in self.content
        pairs = "the pairs and their coins were committed to"
        if drawn:
            pairs = "the pairs and their secrets were committed to, and the coins follow from the public round"
        steps = [
            ("the file is complete", self.complete),
            ("the commitment fits the leaf hashes", self.commitment),
            ("the header was committed to", self.read_header),
            ("the order of the queries was committed to", self.read_order),
            (pairs, self.read_pairs),
            ("the log is unbroken, and each verification took the next pairs", self.read_log),
            ("how the suspect is asked stands in the log's opening entry", self.read_protocol),
            ("the answers are those of the log, to the opened pairs, in order", self.read_answers),
            ("p-value, its correction and the verdict follow from the answers", self.decide),
        ]
        if drawn:
            steps.insert(3, ("the public round was committed to and is genuine", self.read_round))
        if self.published is not None:
            steps.insert(2, ("the commitment is the published one", self.compare_commitment))
        for name, step in steps:
            try:
                step()
            except MisfitError as error:
                self.failed.append(f"{name}: {error}")
                return False
            except Exception as error:  # whatever a malformed file brings about
                self.failed.append(f"{name}: the file is malformed ({error!r:.200})")
                return False
            unknown = step == self.read_round and self.round and self.round.genuine is None
            self.held.append(UNVERIFIED if unknown else name)
        return True

    def complete(self) -> None:
        check_keys(
            {k: v for k, v in self.content.items() if k not in ("stamps", "beacon")},
            KEYS,
            "the file",
        )
        if "stamps" not in self.content:
            return
        need(isinstance(self.content["stamps"], list), "the stamps are no list")
        for entry in self.content["stamps"]:
            check_keys(entry, ("digest", "authority", "response"), "a stamp")
            authority, response = entry["authority"], entry["response"]
            need(is_digest(entry["digest"]), "a stamp is of no digest")
            need(isinstance(authority, str) and 0 < len(authority) <= 2000, "no authority")
            need(isinstance(response, str) and 0 < len(response) <= 1 << 18, "no response")
            data = base64.b64decode(response.encode("ascii"), validate=True)
            self.stamps.append((entry["digest"], authority, data))
        need(len(set(self.stamps)) == len(self.stamps), "a stamp stands there twice")

    def commitment(self) -> None:
        hashes = self.content["leaf_hashes"]
        need(isinstance(hashes, list) and all(map(is_digest, hashes)), "leaf hashes are no digests")
        fits = digest("commitment", hashes, self.version) == self.content["commitment"]
        need(fits, "the leaf hashes give another commitment")

    def compare_commitment(self) -> None:
        need(self.content["commitment"] == self.published, f"published was {self.published}")

    def leaf(self, opened: Any, position: Any, kind: Any) -> Any:
        leaf = opened["leaf"]
        need(set(opened) == {"salt", "leaf"} and leaf["leaf"] == kind, f"no leaf of kind {kind}")
        need(is_digest(opened["salt"]), "a salt is no 32 bytes")
        bound = {"leaf": leaf, "salt": opened["salt"]}
        fits = digest("leaf", bound, self.version) == self.content["leaf_hashes"][position]
        need(fits, f"the opened {kind} does not fit its hash")
        return leaf

    def read_header(self) -> None:
        header = self.leaf(self.content["header"], 0, "header")["header"]
        number = len(self.content["leaf_hashes"])
        self.num_pairs, tracing = (
            header["counts"]["pairs"],
            header["counts"].get("tracing_pairs", 0),
        )
        need(type(tracing) is int and tracing >= 0, "tracing pairs are no count")
        self.singles = number - 2 - self.num_pairs - tracing
        need(header.get("format") == f"honeyimage-ledger/{self.version}", "it is of another format")
        counts = {"singles": self.singles, "pairs": self.num_pairs}
        counts |= {"tracing_pairs": tracing} if tracing else {}
        need(header["counts"] == counts, "counts differ")
        need((tracing > 0) == ("tracing" in header), "tracing pairs and recipients go together")
        if tracing:
            check_keys(header["tracing"], ("recipients", "colluders"), "the header's tracing")
            told = header["tracing"].values()
            need(all(type(n) is int and n >= 1 for n in told), "recipients are no counts")
        earlier = header["earlier_commitments"]
        need(isinstance(earlier, list) and all(map(is_digest, earlier)), "earlier commitments")
        need(len(set(earlier)) == len(earlier), "an earlier commitment stands there twice")
        need(header["marking_number"] == len(earlier) + 1, "the marking's number does not fit")
        self.header, self.plan = header, Plan(header["plan"])
        fits = "beacon" not in header or "beacon" in self.content
        need(fits, "the coins come from a public round, and the file does not hold it")

    def read_round(self) -> None:
        self.round = Round(self.header.get("beacon"), self.content["beacon"])

    def read_order(self) -> None:
        last = len(self.content["leaf_hashes"]) - 1
        entries = self.leaf(self.content["query_order"], last, "query_order")["order"]
        self.order = [(index, first) for index, first in entries]
        indices = [index for index, _ in self.order]
        need(all(type(index) is int for index in indices), "the order names no pairs")
        need(sorted(indices) == list(range(self.num_pairs)), "the order is no permutation")
        need(all(first in ("a", "b") for _, first in self.order), "the order names no sides")

    def read_pairs(self) -> None:
        self.pairs: dict = {}
        first_pair = 1 + self.header["counts"]["singles"]
        signature = None if self.round is None else self.round.signature
        for opened in self.content["pairs"]:
            index = opened["leaf"]["index"]
            need(index not in self.pairs and 0 <= index < self.num_pairs, "no such pair, or twice")
            leaf = dict(self.leaf(opened, first_pair + index, "pair"))
            del leaf["leaf"]
            self.pairs[index] = Pair(leaf, self.version, signature)
        check_images(self.pairs.values())
        self.all_opened = len(self.pairs) == self.num_pairs
        if self.all_opened:
            sides = [s.references for p in self.pairs.values() for s in p.sides.values()]
            check_fit(self.plan, sides)

    def read_log(self) -> None:
        entries, own = self.content["log"], self.content["verification_id"]
        given = (self.content["commitment"], self.order, self.plan, self.version)
        coins_at = None if self.round is None else self.round.coins_at
        before, _ = read_log(entries[:-1], *given, coins_at)
        after, self.releases = read_log(entries, *given, coins_at)
        ends = entries[-1]["event"] == "close" and entries[-1]["id"] == own
        need(ends, "the log does not end with this verification")
        self.before, self.after = before, after
        self.opened, self.closed = before[own], after[own]
        need(self.opened["name"] is not None, "the details of this verification are missing")
        need(self.closed["result"] is not None, "the details of this verification are missing")
        things = {self.content["commitment"], *(entry["hash"] for entry in entries)}
        things.update(release["digest"] for release in self.releases)
        for stamped, _, _ in self.stamps:
            need(stamped in things, f"a time-stamp is of {stamped}, which this file does not hold")

    def read_protocol(self) -> None:
        labels = {i.label for p in self.pairs.values() for s in p.sides.values() for i in s.asked}
        labels.update(self.header.get("classes", ()))
        check_protocol(self.opened["protocol"], self.opened["kind"], labels)

    def read_answers(self) -> None:
        self.answers = answers = Answers(self.content["answers"])
        fits = digest("answers", answers.plain(), self.version) == self.closed["answers_sha256"]
        need(fits, "the log has other answers")
        need(answers.kind == self.opened["kind"], "it was opened for another kind of answers")
        asked = self.opened["pairs"]
        need(answers.pairs == asked[: len(answers.pairs)], "it was opened for other pairs")
        if self.plan.test_for(answers.kind) != "e_process":
            need(len(answers.pairs) == len(asked), "only a sequential test may stop early")
        need(list(self.pairs) == list(answers.pairs), "other pairs were opened than answered")
        check_shares(answers, self.pairs)
        need(self.closed["num_queried"] == len(answers.pairs), "the log counts other queries")

    def decide(self) -> None:
        recorded = read_verdict(self.closed["result"])
        own = self.content["verification_id"]
        closed = {**self.opened, "num_queried": len(self.answers.pairs)}
        num_left = len(unspent(self.order, {**self.before, own: closed}.values()))
        verdict = judge(
            self.plan,
            self.answers,
            self.pairs,
            num_left,
            self.opened["position"],
            self.opened["alpha"],
            recorded["paper"],
        )
        for name, ours in verdict.items():
            zero = 1e-12 if name.startswith("effect_") else 0.0
            fits = alike(ours, recorded[name], zero)
            need(fits, f"{name} is {ours!r:.100}, the file says {recorded[name]!r:.100}")
        self.verdict = verdict

    # ------------------------------------------------------------ with what lies beside the file

    def compare(self, fits: Any, held: str, failed: str) -> None:
        (self.held if fits else self.failed).append(held if fits else failed)

    def compare_head(self, head: Any) -> None:
        known = {self.content["commitment"], *(entry["hash"] for entry in self.content["log"])}
        self.compare(
            head in known,
            "the published head is in this log",
            "the published head is not in this log",
        )

    def compare_release(self, folder: Any) -> None:
        files = read_folder(folder)
        found = digest("release", [list(file) for file in sorted(files)], self.version)
        same = [release for release in self.releases if release["digest"] == found]
        counted = [release for release in same if release["num_files"] == len(files)]
        early = any(release["index"] < self.opened["index"] for release in counted)
        self.compare(
            early,
            f"the release is the one that was logged: {found}",
            f"the release has digest {found}, which the log does not hold before this verification",
        )
        there = {sha for _, sha in files}
        out = [i for p in self.pairs.values() for i in p.out.files]
        kept = [i for p in self.pairs.values() for i in p.kept.files]
        probes = [i for p in self.pairs.values() for s in p.sides.values() for i in s.probes]
        missing = sum(i.marked not in there for i in out)
        self.compare(
            not missing,
            f"all {len(out)} released images are in it",
            f"{missing} released images are not in it",
        )
        for what, images in (("withheld images", kept), ("images that were asked about", probes)):
            shown = sum(bool({i.marked, i.source} & there) for i in images)
            self.compare(
                not shown, f"none of the {len(images)} {what} is in it", f"{shown} {what} are in it"
            )

    def compare_images(self, folder: Any) -> None:
        there = {sha for _, sha in read_folder(folder)}
        sides = [s for p in self.pairs.values() for s in p.sides.values()]
        images = {i.marked for s in sides for i in (*s.files, *s.asked)}
        missing = len(images - there)
        self.compare(
            not missing,
            f"all {len(images)} opened images have a file in the folder",
            f"{missing} of {len(images)} opened images have no file in the folder",
        )


def read_folder(folder: Any) -> list[tuple[str, str]]:
    """(path with forward slashes, SHA-256) of every file in a folder."""
    if not os.path.isdir(folder):
        raise NoEvidenceError(f"there is no folder {folder}")
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            relative = path.relative_to(folder).as_posix()
            found.append((relative, hashlib.sha256(path.read_bytes()).hexdigest()))
    return found


def check(
    path: Any, commitment: Any = None, head: Any = None, release: Any = None, images: Any = None
) -> Check:
    """Checks a file; see :class:`Check` for what comes back.

    Raises:
        NoEvidenceError: if there is none
    """
    try:
        content = parse(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NoEvidenceError(f"{path} cannot be read as evidence: {error}") from error
    names = {f"honeyimage-evidence/{version}": version for version in VERSIONS}
    if not isinstance(content.get("format"), str) or content["format"] not in names:
        raise NoEvidenceError(
            f"{path} has format {content.get('format')!r:.100}; known: {', '.join(names)}"
        )
    found = Check(content, names[content["format"]], commitment)
    if found.run():
        if head is not None:
            found.compare_head(head)
        if release is not None:
            found.compare_release(release)
        if images is not None:
            found.compare_images(images)
    return found


# ---------------------------------------------------------------- what is printed

MEANING = {
    "derived": "The model was derived from the release: if it had not been, a result this strong would occur by chance "
    "with a probability of at most {p:.2g}, over all verifications with this ledger.",
    "not shown": "It is not shown that the model used the release: a result at least this strong occurs by chance with a "
    "probability of up to {p:.2g}. This does not prove that the model did not use it.",
    "inconclusive": "No conclusion: so few usable pairs could not have decided. This says nothing about the model.",
}
NOT_SHOWN = (
    "that the commitment was published, and when: compare it with the published one (--commitment) and its time-stamps (--stamps)",
    "that the suspect gave these answers: query it again with the opened images",
    "that this suspect, or others, were not asked before outside the log",
    "that this is the only commitment that was dated for this release",
    "that released images were to be had from the release alone",
)


def about_coins(found: Check) -> str:
    """What nobody knows of the coins."""
    if found.round is None:
        return "that the coins were fair and fell last: it rests on the owner's word that the program drew them"
    if found.round.genuine is None:
        return (
            f"that the signature of public round {found.round.number} is genuine: install py-ecc and run this again, or compare it "
            "with https://api.drand.sh"
        )
    return (
        f"that the commitment was public before {found.round.coins_at.isoformat()}, when the coins could be known: compare its "
        "time-stamps (--stamps)"
    )


def safe(text: object) -> str:
    """A text in one line that cannot act on a terminal."""
    return "".join(
        c if c == " " or unicodedata.category(c)[0] in "LNPSM" else ascii(c)[1:-1]
        for c in str(text)
    )


def facts(found: Check) -> Iterator[tuple[str, str]]:
    """What the evidence is about: (name, text)."""
    header, opened, verdict = found.header, found.opened, found.verdict
    done = sum(v["concluded"] for v in found.after.values())
    given_up = sum(v["closed"] and not v["concluded"] for v in found.after.values())
    still = sum(not v["closed"] for v in found.after.values())
    yield "commitment", found.content["commitment"]
    yield "head of the log", found.content["log"][-1]["hash"]
    yield "suspect", f'"{opened["name"][:200]}", SHA-256 {opened["digest"] or "not recorded"}'
    yield (
        "dataset",
        f'"{str(header.get("dataset_name"))[:200]}", marking number {header["marking_number"]} by the owner\'s count',
    )
    yield from marking_facts(found)
    for release in found.releases:
        yield (
            "release",
            f"{release['digest']}, {release['num_files']} files, logged {release['at']} by the owner's clock",
        )
    if found.round is not None:
        told = f"from public round {found.round.number}, {found.round.coins_at.isoformat()}"
        signature = found.round.signature.hex()
        yield "coins", told + ("" if found.round.genuine else "; SIGNATURE NOT VERIFIED")
        yield "commitment made", f"{header['beacon']['committed_at']} by the owner's clock"
        yield "round signed", signature
    else:
        yield "coins", "local: drawn by the owner's program at the marking, which is his word alone"
    yield "opened", f"{opened['at']} by the owner's clock"
    yield (
        "verifications",
        f"{len(found.after)} opened with this ledger: {done} concluded, {given_up} given up, {still} still open; this is number {opened['position']}",
    )
    yield (
        "pairs",
        f"{verdict['num_pairs']} answered, {verdict['num_failed']} failed (they count against the owner), {verdict['num_left']} unused",
    )
    yield (
        "test",
        f"{verdict['test']} on {verdict['kind']}, score {found.plan.score}, adjustment {found.plan.adjustment}, level {verdict['alpha']:g}",
    )
    yield (
        "p-value",
        f"{verdict['p_value']:.3g}, corrected for all verifications {verdict['p_adjusted']:.3g}",
    )
    if verdict["effect_size"] is not None:
        yield "effect", f"{verdict['effect_size']:.4g}, 95 % interval {verdict['effect_interval']}"
    gaps = []
    for pair in found.pairs.values():
        names = sorted(set(pair.out.covariates) & set(pair.kept.covariates) - {UNCHANGED})
        if names:
            gaps.append(
                math.fsum(pair.kept.covariates[n] - pair.out.covariates[n] for n in names)
                / len(names)
            )
    if gaps:
        yield "known before", known_words("how hard the owner called each side", gaps)
    plan, answers = found.plan, found.answers
    if answers.kind == "scores" and plan.uses_references:
        # Had the suspect said of both sides what it said on average: what is left is the reference models' doing
        means = [
            None if a is None or b is None else (a + b) / 2
            for a, b in zip(answers.a, answers.b, strict=True)
        ]
        alike_both = Answers({**answers.plain(), "a": means, "b": means})
        left = tested_differences(plan, alike_both, found.pairs)
        yield "known before", known_words("what reference models said of each side", left)


def known_words(what: str, gaps: list[float]) -> str:
    """Whether what the owner gave beside the images fits the coins, by ranks and by signs."""
    both = [rank_sum([([sign * g for g in gaps], 0, 1)]) for sign in (1, -1)]
    both += [sign_p(sum(sign * g > 0 for g in gaps), sum(g != 0 for g in gaps)) for sign in (1, -1)]
    p = min(1.0, 4 * min(both))
    warning = (
        "; BELOW 0.01: the owner's figures FIT THE COINS, do not rely on this verdict"
        if p < 0.01
        else ""
    )
    return f"{what} fits the coins with p = {p:.2g}{warning}"


def marking_facts(found: Check) -> Iterator[tuple[str, str]]:
    """How many markings there were, and the bound where one of them could have been chosen afterwards."""
    told, known = found.header["marking_number"], found.markings
    number = max(told, known or 1)
    if isinstance(found.header.get("dataset_sha256"), str):
        yield "dataset digest", found.header["dataset_sha256"][:64]
    also = "" if known is None else f"; {known} known to you"
    yield "markings", f"{told} of this dataset, this one included, by the owner's count{also}"
    for earlier in found.header["earlier_commitments"]:
        yield "earlier one", earlier
    if number > 1:
        p = found.verdict["p_adjusted"]
        yield (
            "bound",
            f"{number} x {p:.2g} = {min(1.0, number * p):.2g}: so likely one of {number} markings accuses an innocent model as "
            "strongly, if the one that pleases was chosen",
        )
    if known is not None and known > told:
        yield (
            "MISSING",
            f"{known} markings are known to you, and the commitment counts {told}: others were made beside it",
        )


def write_stamps(found: Check, folder: Any) -> Iterator[str]:
    """Writes each time-stamp and what it is of; yields the command that verifies it."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    if found.round is not None:
        when = found.round.coins_at.isoformat()
        yield f"# a stamp of the commitment ({found.content['commitment']}) must state a time before {when}"
    for number, (stamped, authority, response) in enumerate(found.stamps, start=1):
        place = Path(folder, f"stamp-{number}")
        place.with_suffix(".tsr").write_bytes(response)
        place.with_suffix(".txt").write_text(stamped, encoding="ascii")
        yield f"# said to be from {authority}"
        yield f"openssl ts -reply -text -in {place}.tsr"
        yield f"openssl ts -verify -in {place}.tsr -data {place}.txt -CAfile ROOT.pem"


def main(arguments: Any = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("evidence")
    parser.add_argument(
        "--commitment",
        type=lambda text: "".join(text.split()),
        help="the one that was published before the release",
    )
    parser.add_argument("--head", help="a head of the log that was published")
    parser.add_argument("--release", help="the folder of the release")
    parser.add_argument("--images", help="a folder with the opened images")
    parser.add_argument("--stamps", help="a folder to write the time-stamps to")
    parser.add_argument(
        "--markings", type=int, help="so many commitments of this owner for this dataset are known"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON alone")
    args = parser.parse_args(arguments)
    if args.markings is not None and args.markings < 1:
        parser.error("--markings must be at least 1")
    try:
        found = check(args.evidence, args.commitment, args.head, args.release, args.images)
    except (NoEvidenceError, OSError) as error:
        print(safe(error), file=sys.stderr)
        return 2
    good, found.markings = not found.failed, args.markings
    if args.json:
        told = {"ok": good, "held": found.held, "failed": found.failed}
        told["verdict"] = found.verdict if good else None
        if found.round is not None:
            told["round_verified"] = found.round.genuine is True
        print(json.dumps(told))
        return 0 if good else 1
    for line in found.held:
        print(f"{'holds':<16}{safe(line)}")
    for line in found.failed:
        print(f"{'FAILS':<16}{safe(line)}")
    for line in (about_coins(found), *NOT_SHOWN):
        print(f"{'not checked':<16}{safe(line)}")
    if not good:
        print("no verdict: see what FAILS")
        return 1
    for name, text in facts(found):
        print(f"{name:<16}{safe(text)}")
    if args.stamps:
        for line in write_stamps(found, args.stamps):
            print(safe(line))
    elif found.stamps:
        print(
            f"{'time-stamps':<16}{len(found.stamps)} in the file, NOT CHECKED: --stamps FOLDER writes them for openssl"
        )
    verdict = found.verdict
    if found.round is not None and found.round.genuine is None:
        print("IF the round's signature is genuine, which was not verified:")
    print(f"{verdict['verdict']}: {MEANING[verdict['verdict']].format(p=verdict['p_adjusted'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
