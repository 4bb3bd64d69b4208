"""The owner's secret record of a marking: what was marked, which twins the coins released, and every
verification ever made with it.

The part that is fixed at the marking is bound by a *commitment*: a SHA-256 over the list of leaf
hashes, one for the header, each single HoneyImage, each pair and the query order. Every leaf is
hashed with 32 random bytes of its own, so that the commitment and the leaf hashes tell nothing
about the coins, and single leaves can be opened as evidence while the others stay secret.

The part that grows is a log, chained by hashes from the commitment on. A verification is written
down before its first query and its entry is never removed, so that attempts with no success count.

What this protects against, and what not: a damaged or edited file is found out. Whoever holds the
ledger can write a consistent other one; only a commitment published before the release (and, for
the log, a published head) binds the owner, and nothing here proves to others that the owner's coins
were fair or that no query was made outside the log.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import LedgerError, ParameterError
from ..files import locked, write_json_atomic
from .twins import KINDS, PairAnswers
from .verdict import Plan, Verdict, decide

FORMAT = "honeyimage-ledger/1"
TWINS = ("a", "b")

_logger = logging.getLogger(__name__)
_HEX = re.compile(r"[0-9a-f]{64}")
_LEAF = b"fiftyone-honeyimage leaf 1\n"
_LEAVES = b"fiftyone-honeyimage commitment 1\n"
_ENTRY = b"fiftyone-honeyimage log entry 1\n"
_PRIVATE = b"fiftyone-honeyimage log detail 1\n"

CoinSource = Callable[[int], Sequence[str]]


@dataclass(frozen=True)
class MarkedImage:
    """One HoneyImage.

    Attributes:
        sample_id: the id of the sample it was made from
        label: the class name, unchanged by the marking
        file: its path relative to the marking's folder, with forward slashes
        source_sha256: the digest of the original file
        marked_sha256: the digest of the HoneyImage's file
    """

    sample_id: str
    label: str
    file: str
    source_sha256: str
    marked_sha256: str

    def __post_init__(self) -> None:
        for name in ("sample_id", "label", "file"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise LedgerError(f"A marked image needs a {name} in words, not {value!r}")
        path = PurePosixPath(self.file)
        if path.is_absolute() or ".." in path.parts or "\\" in self.file or ":" in self.file:
            raise LedgerError(
                f"The file {self.file!r} of sample {self.sample_id} must be a path below the "
                "marking's folder, with forward slashes"
            )
        for name in ("source_sha256", "marked_sha256"):
            if not _is_digest(getattr(self, name)):
                raise LedgerError(
                    f"The {name} of sample {self.sample_id} must be 64 hexadecimal digits, not "
                    f"{getattr(self, name)!r}"
                )


@dataclass(frozen=True)
class Pair:
    """Two HoneyImages, one of which a fair coin released.

    Attributes:
        index: the pair's position among the pairs
        a: one twin
        b: the other twin
        released: "a" or "b"
    """

    index: int
    a: MarkedImage
    b: MarkedImage
    released: str

    def __post_init__(self) -> None:
        if self.released not in TWINS:
            raise LedgerError(f"Pair {self.index}: released must be a or b, not {self.released!r}")

    @property
    def released_twin(self) -> MarkedImage:
        """The twin in the release."""
        return self.a if self.released == "a" else self.b

    @property
    def withheld_twin(self) -> MarkedImage:
        """The twin that nobody else has."""
        return self.b if self.released == "a" else self.a


@dataclass(frozen=True)
class Verification:
    """One verification, as the log tells it.

    Attributes:
        id: its name in the log
        pairs: the pairs it was opened for, in the committed order
        position: which verification it is, counted from 1 at its opening over those that count
        alpha: the level it was opened with
        suspect_name: the suspect's name, None where the log's details are closed
        suspect_digest: the digest of the suspect's file, where there is one
        closed: whether it was brought to its end
        num_queried: how many of its pairs were queried; all of them while it is open
        num_answers: how many images got an answer; None while it is open
        p_value: its p-value; 1 while it is open or without a result
        verdict: its verdict; None without a result
        result: the whole verdict; None without a result or where the log's details are closed
        answers_sha256: the digest of the answers; None without answers
    """

    id: str
    pairs: tuple[int, ...]
    position: int
    alpha: float
    suspect_name: str | None
    suspect_digest: str | None
    closed: bool = False
    num_queried: int = 0
    num_answers: int | None = None
    p_value: float = 1.0
    verdict: str | None = None
    result: dict[str, Any] | None = None
    answers_sha256: str | None = None

    @property
    def counts(self) -> bool:
        """Whether it takes a position: not if it was closed without a single answer."""
        return self.num_answers != 0


def draw_coins(num_coins: int) -> list[str]:
    """Draws fair coins, "a" or "b", from the operating system's entropy.

    Nothing goes in but their number: no image, no model and no seed can sway them.
    """
    return [TWINS[secrets.randbits(1)] for _ in range(num_coins)]


class Ledger:
    """A ledger as it is on disk. Made by :func:`create_ledger` and :func:`load_ledger`.

    Attributes:
        path: its file
        header: what the marking was made from and with, and the plan
        plan: the plan of the verifications
        singles: HoneyImages without a twin, all released
        pairs: the pairs of twins; ``pairs[i].index == i``
        query_order: (pair, twin to be queried first), in the order of the queries
        salts: one for each leaf: header, singles, pairs, query order
        leaf_hashes: the hash of each leaf
        commitment: the hash over the leaf hashes, to be published before the release
        log: the entries so far
    """

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        if set(content) != {
            "header",
            "singles",
            "pairs",
            "query_order",
            "salts",
            "commitment",
            "log",
            "head",
        }:
            raise LedgerError(f"{path} is no ledger: it holds {', '.join(sorted(content))}")
        self.path = path
        self.header: dict[str, Any] = content["header"]
        if self.header.get("format") != FORMAT:
            raise LedgerError(
                f"{path} has format {self.header.get('format')!r}; this version reads {FORMAT!r}"
            )
        self.plan = Plan.from_dict(self.header["plan"])
        self.singles = [MarkedImage(**entry) for entry in content["singles"]]
        self.pairs = [read_pair(entry) for entry in content["pairs"]]
        self.query_order = read_query_order(content["query_order"], len(self.pairs))
        self.salts: list[str] = content["salts"]
        self.commitment: str = content["commitment"]
        self.log: list[dict[str, Any]] = content["log"]

        leaves = self.leaves()
        if len(self.salts) != len(leaves) or not all(map(_is_digest, self.salts)):
            raise LedgerError(f"{path} was altered: it has {len(leaves)} leaves but other salts")
        self.leaf_hashes = [
            hash_leaf(leaf, salt) for leaf, salt in zip(leaves, self.salts, strict=True)
        ]
        if hash_leaves(self.leaf_hashes) != self.commitment:
            raise LedgerError(
                f"{path} was altered: its content does not fit its commitment. Restore the file "
                "that was written at the marking"
            )
        self.verifications = read_log(self.log, self.commitment, self.query_order, self.plan)
        if not all(entry.get("private") for entry in self.log):
            raise LedgerError(f"{path} was altered: details of its log are missing")
        if content["head"] != self.head:
            raise LedgerError(f"{path} was altered: the end of its log is missing")

    @property
    def head(self) -> str:
        """The hash of the last log entry; publishing it binds the log so far."""
        return self.log[-1]["hash"] if self.log else self.commitment

    @property
    def pairs_left(self) -> list[int]:
        """The pairs that no verification has used, in the committed order."""
        return unspent(self.query_order, self.verifications.values())

    def leaves(self) -> list[dict[str, Any]]:
        """Returns what is committed to, in the order of the leaf hashes."""
        return [
            {"leaf": "header", "header": self.header},
            *(
                {"leaf": "single", "index": index, "image": dataclasses.asdict(image)}
                for index, image in enumerate(self.singles)
            ),
            *({"leaf": "pair", **dataclasses.asdict(pair)} for pair in self.pairs),
            {"leaf": "query_order", "order": [list(step) for step in self.query_order]},
        ]

    def queries(self, pairs: Iterable[int]) -> list[tuple[int, str, MarkedImage]]:
        """Returns (pair, "a" or "b", image) of every query to make, in the committed order.

        Which twin comes first was drawn apart from the coins, so that a suspect whose answers
        depend on the order of the queries, on the batch or on fatigue cannot favour the released
        twins by chance or by intent.
        """
        wanted = set(pairs)
        return [
            (index, twin, getattr(self.pairs[index], twin))
            for index, first in self.query_order
            if index in wanted
            for twin in (first, "b" if first == "a" else "a")
        ]

    def released_images(self) -> list[MarkedImage]:
        """Returns every HoneyImage in the release: singles, then released twins."""
        return [*self.singles, *(pair.released_twin for pair in self.pairs)]

    def withheld_images(self) -> list[MarkedImage]:
        """Returns the twins that nobody else may have."""
        return [pair.withheld_twin for pair in self.pairs]

    def released(self) -> dict[int, str]:
        """Returns the coins: for each pair's index, which twin was released."""
        return {pair.index: pair.released for pair in self.pairs}

    def position(self, verification_id: str) -> int:
        """Returns which verification it is, and so the share of alpha it is held to.

        Every one opened before it counts, but for those that were closed without a single answer by
        then. It is settled at the opening: nothing that happens later changes a verdict.

        Raises:
            LedgerError: if there is no such verification
        """
        if verification_id not in self.verifications:
            raise LedgerError(f"{self.path} knows no verification {verification_id!r}")
        return self.verifications[verification_id].position

    def open_verification(
        self,
        suspect_name: str,
        suspect_digest: str | None,
        kind: str | None,
        pairs: Sequence[int],
        *,
        alpha: float | None = None,
        reuse: bool = False,
    ) -> str:
        """Writes a verification down, before its first query.

        Args:
            suspect_name: what the owner calls the suspect
            suspect_digest: the SHA-256 of its file, None where there is none
            kind: "scores" or "labels", None if the suspect has yet to show it
            pairs: the pairs to be queried: the first so many of :attr:`pairs_left`, or with
                ``reuse`` all pairs in the committed order. No other choice is possible
            alpha (None): a smaller level than the plan's
            reuse (False): whether pairs may be queried that earlier verifications have used. The
                p-value of a model that does not depend on the coins is as good as with new pairs;
                but an operator who has seen them may know them again. Only all pairs can be used
                again: a number chosen after earlier results would be a choice among p-values

        Returns:
            the verification's id

        Raises:
            LedgerError: if the pairs are not the next ones, or the file was altered meanwhile
            ParameterError: if alpha exceeds the plan's
        """
        if kind is not None and kind not in KINDS:
            raise ParameterError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        verification_id = secrets.token_hex(8)
        wanted = [int(pair) for pair in pairs]
        with locked(self.path):
            self._reload()
            if not may_open(wanted, reuse, self.query_order, self.verifications.values()):
                raise LedgerError(
                    "A verification takes the next unused pairs in the committed order, "
                    f"{self.pairs_left[: len(wanted)]}, not {wanted}; pass the first so many of "
                    "pairs_left, or with reuse=True all pairs in the committed order"
                )
            self._append(
                "open",
                verification_id,
                {
                    "kind": kind,
                    "pairs": wanted,
                    "alpha": self.plan.alpha_for(alpha),
                    "reuse": bool(reuse),
                },
                {"suspect_name": suspect_name, "suspect_digest": suspect_digest},
            )
        return verification_id

    def conclude(
        self,
        verification_id: str,
        answers: PairAnswers,
        *,
        paper: Mapping[str, Any] | None = None,
    ) -> Verdict:
        """Decides on a suspect's answers and closes the verification with the verdict.

        Args:
            verification_id: an open verification
            answers: the answers to its pairs in its order; to the first of them, if the plan's test
                is sequential
            paper (None): the published method's figures, passed through

        Raises:
            LedgerError: if it is not open, or the answers are to other pairs
        """
        with locked(self.path):
            self._reload()
            verdict = self._decide(verification_id, answers, paper)
            self._close(verification_id, verdict, answers, len(answers.pairs))
        return verdict

    def close_verification(
        self,
        verification_id: str,
        result: Verdict | None,
        answers: PairAnswers | None = None,
        *,
        num_queried: int | None = None,
    ) -> None:
        """Closes a verification, with a verdict or without.

        Args:
            verification_id: an open verification
            result: the verdict that follows from the answers (see :meth:`conclude`), or None if
                the verification is given up; it counts all the same
            answers (None): the answers; needed with a verdict
            num_queried (None): if it is given up, how many of its pairs the suspect may have seen,
                with or without an answer; None means all. With 0 nothing was asked, and it gives up
                its position

        Raises:
            LedgerError: if it is not open, or the verdict does not follow from the answers
        """
        with locked(self.path):
            self._reload()
            if result is None:
                opened = self._opened(verification_id)
                queried = len(opened.pairs) if num_queried is None else num_queried
                if not 0 <= queried <= len(opened.pairs):
                    raise LedgerError(
                        f"num_queried must lie between 0 and {len(opened.pairs)}, not {queried}"
                    )
                self._close(verification_id, None, answers, queried)
                return
            if answers is None:
                raise LedgerError("A verdict is closed with the answers that it rests on")
            if result != self._decide(verification_id, answers, result.paper):
                raise LedgerError(
                    "This verdict does not follow from these answers and the ledger as it is now; "
                    "decide again"
                )
            self._close(verification_id, result, answers, len(answers.pairs))

    def _decide(
        self, verification_id: str, answers: PairAnswers, paper: Mapping[str, Any] | None
    ) -> Verdict:
        opened = self._opened(verification_id)
        check_answered_pairs(opened, answers, self.plan)
        return decide(
            self.plan,
            answers.compare(self.released()),
            kind=answers.kind,
            num_failed=answers.num_failed,
            num_left=num_left_after(self.query_order, self.verifications, opened, answers),
            position=opened.position,
            alpha=opened.alpha,
            paper=paper,
        )

    def _opened(self, verification_id: str) -> Verification:
        verification = self.verifications.get(verification_id)
        if verification is None:
            raise LedgerError(f"{self.path} knows no verification {verification_id!r}")
        if verification.closed:
            raise LedgerError(f"Verification {verification_id} is closed; open a new one")
        return verification

    def _close(
        self,
        verification_id: str,
        result: Verdict | None,
        answers: PairAnswers | None,
        num_queried: int,
    ) -> None:
        # Not known without answers, and so counted, unless nothing was asked
        num_answers = 2 * num_queried if answers is None else answers.num_answers
        self._append(
            "close",
            verification_id,
            {
                "p_value": 1.0 if result is None else result.p_value,
                "verdict": None if result is None else result.verdict,
                "num_queried": num_queried,
                "num_answers": num_answers,
                "answers_sha256": None if answers is None else hash_answers(answers),
            },
            {"result": None if result is None else result.to_dict()},
        )

    def _append(
        self, event: str, verification_id: str, public: dict[str, Any], private: dict[str, Any]
    ) -> None:
        private = {"salt": secrets.token_hex(32), **private}
        entry = {
            "index": len(self.log),
            "event": event,
            "id": verification_id,
            "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "public": public,
            "private_sha256": hash_private(private),
            "previous": self.head,
        }
        entry = {**entry, "hash": hash_entry(entry), "private": private}
        # JSON's own types (lists, not tuples), as they will be read
        entry = json.loads(json.dumps(entry, allow_nan=False))
        log = [*self.log, entry]
        verifications = read_log(log, self.commitment, self.query_order, self.plan)
        _write(self.path, {**self._content(), "log": log, "head": entry["hash"]})
        self.log, self.verifications = log, verifications

    def _content(self) -> dict[str, Any]:
        return {
            "header": self.header,
            "singles": [dataclasses.asdict(image) for image in self.singles],
            "pairs": [dataclasses.asdict(pair) for pair in self.pairs],
            "query_order": [list(step) for step in self.query_order],
            "salts": self.salts,
            "commitment": self.commitment,
            "log": self.log,
            "head": self.head,
        }

    def _reload(self) -> None:
        """Takes over what other processes have logged, so that no verification is lost."""
        current = load_ledger(self.path, self.commitment)
        if current.log[: len(self.log)] != self.log:
            raise LedgerError(
                f"{self.path} was altered: verifications were removed from its log. Restore the "
                "newest copy"
            )
        self.log, self.verifications = current.log, current.verifications


def create_ledger(
    path: str | os.PathLike[str],
    header: Mapping[str, Any],
    singles: Sequence[MarkedImage],
    pairs: Sequence[tuple[MarkedImage, MarkedImage]],
    plan: Plan,
    draw_coins: CoinSource = draw_coins,
) -> Ledger:
    """Draws the coins and writes a new ledger: the last step of a marking.

    All images must be final. The query order and the salts are drawn first, the coins last, each
    from the operating system's entropy and from nothing else.

    Args:
        path: the file to write (permissions 0600); a folder that does not exist is made with 0700
        header: what the marking was made from and with; a JSON object without the keys "format"
            and "plan"
        singles: the HoneyImages without a twin
        pairs: the twins (a, b) of each pair, without coins
        plan: the plan of the verifications
        draw_coins (draw_coins): gives "a" or "b" for each of so many pairs. To be replaced in
            tests only: coins that depend on the images or can be guessed make every verdict void

    Returns:
        the ledger, as read back from the disk

    Raises:
        LedgerError: if the path exists, an image occurs twice, or the header is not JSON
        OSError: if the file cannot be written
    """
    path = Path(path)
    header = _checked_header(header, plan)
    _check_images(singles, pairs)
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, parents=True)

    salts = [secrets.token_hex(32) for _ in range(len(singles) + len(pairs) + 2)]
    order = list(range(len(pairs)))
    secrets.SystemRandom().shuffle(order)
    query_order = [(index, TWINS[secrets.randbits(1)]) for index in order]

    coins = list(draw_coins(len(pairs)))
    if len(coins) != len(pairs):
        raise LedgerError(f"{len(coins)} coins were drawn for {len(pairs)} pairs")
    content: dict[str, Any] = {
        "header": header,
        "singles": [dataclasses.asdict(image) for image in singles],
        "pairs": [
            dataclasses.asdict(Pair(index, a, b, coin))
            for index, ((a, b), coin) in enumerate(zip(pairs, coins, strict=True))
        ],
        "query_order": [list(step) for step in query_order],
        "salts": salts,
        "log": [],
    }
    content["commitment"] = _commit(content)
    content["head"] = content["commitment"]

    with locked(path):
        if path.exists():
            raise LedgerError(
                f"{path} exists already, and its coins cannot be drawn again; choose another file"
            )
        _write(path, content)
    return load_ledger(path, content["commitment"])


def load_ledger(path: str | os.PathLike[str], commitment: str | None = None) -> Ledger:
    """Reads a ledger and checks all of it.

    If others may read the file, its permissions are set to 0600 and a warning is logged.

    Args:
        path: the file
        commitment (None): the published commitment, if it is at hand

    Raises:
        LedgerError: if it is missing, unreadable, altered, or not the one committed to
    """
    path = Path(path)
    if path.is_symlink():
        # Writing replaces a file: the link would become a second ledger, and have its own lock
        path = path.resolve()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise LedgerError(
            f"There is no ledger at {path}; without it no verdict can be given. Restore it from a "
            "backup"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"The ledger {path} cannot be read: {error}") from error

    content = parse_json(text, str(path))
    try:
        ledger = Ledger(path, content)
    except LedgerError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise LedgerError(f"{path} was altered or is no ledger: {error!r}") from error
    if commitment is not None and ledger.commitment != commitment:
        raise LedgerError(
            f"{path} is another ledger: its commitment is {ledger.commitment}, the one expected "
            f"{commitment}"
        )
    _keep_private(path)
    return ledger


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


def read_pair(entry: Mapping[str, Any]) -> Pair:
    """Reads a pair from plain values."""
    fields = dict(entry)
    return Pair(
        **{**fields, "a": MarkedImage(**fields["a"]), "b": MarkedImage(**fields["b"])},
    )


def read_query_order(entries: Sequence[Any], num_pairs: int) -> list[tuple[int, str]]:
    """Reads the query order from plain values.

    Raises:
        LedgerError: if it is no order of the pairs
    """
    order = [(index, first) for index, first in entries]
    if sorted(index for index, _ in order) != list(range(num_pairs)):
        raise LedgerError(f"The query order is no permutation of {num_pairs} pairs")
    if not all(first in TWINS for _, first in order):
        raise LedgerError("The query order must name a or b as the first of each pair")
    return order


def read_log(
    log: Sequence[Mapping[str, Any]],
    commitment: str,
    query_order: Sequence[tuple[int, str]],
    plan: Plan,
) -> dict[str, Verification]:
    """Checks a log entry by entry and returns its verifications by id.

    Private parts may be left out; those present must fit their hashes.

    Raises:
        LedgerError: if the chain is broken or an entry cannot have been written by the rules
    """
    verifications: dict[str, Verification] = {}
    previous = commitment
    for index, entry in enumerate(log):
        if (
            entry["index"] != index
            or entry["previous"] != previous
            or entry["hash"] != hash_entry(entry)
        ):
            raise LedgerError(f"The log was altered at entry {index}: its hashes do not fit")
        private = entry.get("private")
        if private is not None and hash_private(private) != entry["private_sha256"]:
            raise LedgerError(f"The log was altered at entry {index}: its details do not fit")
        previous = entry["hash"]
        if entry["event"] == "open":
            _read_open(entry, verifications, query_order, plan)
        elif entry["event"] == "close":
            _read_close(entry, verifications)
        else:
            raise LedgerError(f"The log's entry {index} is of an unknown kind")
    return verifications


def unspent(
    query_order: Sequence[tuple[int, str]], verifications: Iterable[Verification]
) -> list[int]:
    """Returns the pairs that no verification has used, in the committed order."""
    spent = {pair for item in verifications for pair in item.pairs[: item.num_queried]}
    return [index for index, _ in query_order if index not in spent]


def may_open(
    pairs: Sequence[int],
    reuse: bool,
    query_order: Sequence[tuple[int, str]],
    verifications: Iterable[Verification],
) -> bool:
    """Whether a verification may be opened for these pairs: the next ones, or on reuse all."""
    if reuse:
        return list(pairs) == [index for index, _ in query_order]
    return list(pairs) == unspent(query_order, verifications)[: len(pairs)]


def num_left_after(
    query_order: Sequence[tuple[int, str]],
    verifications: Mapping[str, Verification],
    opened: Verification,
    answers: PairAnswers,
) -> int:
    """Returns how many pairs no verification has used, once this one is closed."""
    closed = dataclasses.replace(opened, num_queried=len(answers.pairs))
    return len(unspent(query_order, {**verifications, opened.id: closed}.values()))


def check_answered_pairs(opened: Verification, answers: PairAnswers, plan: Plan) -> None:
    """Checks that the answers are to the pairs that the verification was opened for.

    Raises:
        LedgerError: if a pair is missing, added or out of order. Only a sequential test may leave
            out pairs at the end
    """
    if answers.pairs != opened.pairs[: len(answers.pairs)]:
        raise LedgerError(
            f"Verification {opened.id} was opened for the pairs {list(opened.pairs)} in this "
            f"order, but the answers are to {list(answers.pairs)}"
        )
    if plan.test_for(answers.kind) != "e_process" and len(answers.pairs) != len(opened.pairs):
        raise LedgerError(
            f"Verification {opened.id} was opened for {len(opened.pairs)} pairs, but the answers "
            f"are to {len(answers.pairs)}: only a sequential test may stop early. Give None for "
            "failed queries"
        )


def _read_open(
    entry: Mapping[str, Any],
    verifications: dict[str, Verification],
    query_order: Sequence[tuple[int, str]],
    plan: Plan,
) -> None:
    public, private = entry["public"], entry.get("private") or {}
    pairs = tuple(public["pairs"])
    if entry["id"] in verifications:
        raise LedgerError(f"The log opens verification {entry['id']} twice")
    if not may_open(pairs, public["reuse"], query_order, verifications.values()):
        raise LedgerError(
            f"Verification {entry['id']} was opened for other pairs than the next ones"
        )
    verifications[entry["id"]] = Verification(
        id=entry["id"],
        pairs=pairs,
        position=1 + sum(item.counts for item in verifications.values()),
        alpha=plan.alpha_for(public["alpha"]),
        suspect_name=private.get("suspect_name"),
        suspect_digest=private.get("suspect_digest"),
        num_queried=len(pairs),
    )


def _read_close(entry: Mapping[str, Any], verifications: dict[str, Verification]) -> None:
    public, private = entry["public"], entry.get("private") or {}
    opened = verifications.get(entry["id"])
    if opened is None or opened.closed:
        raise LedgerError(f"The log closes verification {entry['id']}, which is not open")
    if not 0 <= public["num_queried"] <= len(opened.pairs) or not 0 <= public["p_value"] <= 1:
        raise LedgerError(f"The log closes verification {entry['id']} with impossible figures")
    result = private.get("result")
    if result is not None:
        Verdict.from_dict(result)
    verifications[entry["id"]] = dataclasses.replace(
        opened,
        closed=True,
        num_queried=public["num_queried"],
        num_answers=public["num_answers"],
        p_value=public["p_value"],
        verdict=public["verdict"],
        result=result,
        answers_sha256=public["answers_sha256"],
    )


def _commit(content: Mapping[str, Any]) -> str:
    leaves = [
        {"leaf": "header", "header": content["header"]},
        *(
            {"leaf": "single", "index": index, "image": image}
            for index, image in enumerate(content["singles"])
        ),
        *({"leaf": "pair", **pair} for pair in content["pairs"]),
        {"leaf": "query_order", "order": content["query_order"]},
    ]
    return hash_leaves(
        [hash_leaf(leaf, salt) for leaf, salt in zip(leaves, content["salts"], strict=True)]
    )


def _checked_header(header: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    reserved = {"format", "plan"} & set(header)
    if reserved:
        raise LedgerError(f"The header's {', '.join(sorted(reserved))} is set by the ledger")
    full = {"format": FORMAT, **header, "plan": plan.to_dict()}
    try:
        plain = json.loads(json.dumps(full, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise LedgerError(f"The header must be JSON: {error}") from error
    if plain != full:
        raise LedgerError("The header must be JSON with text as keys and lists, not tuples")
    return plain


def _check_images(
    singles: Sequence[MarkedImage], pairs: Sequence[tuple[MarkedImage, MarkedImage]]
) -> None:
    images = [*singles, *(image for pair in pairs for image in pair)]
    for name in ("sample_id", "file"):
        seen: set[str] = set()
        for image in images:
            value = getattr(image, name)
            if value in seen:
                raise LedgerError(
                    f"Two marked images have the {name} {value!r}; each needs its own"
                )
            seen.add(value)

    # A twin that also lies in the release under another name would not be withheld
    owner: dict[str, MarkedImage] = {}
    in_pairs = {image.marked_sha256 for pair in pairs for image in pair}
    for image in images:
        other = owner.setdefault(image.marked_sha256, image)
        if other is not image and image.marked_sha256 in in_pairs:
            raise LedgerError(
                f"The HoneyImages of samples {other.sample_id} and {image.sample_id} are the same "
                "file, so that one would give the other away; remove duplicates first"
            )


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_json_atomic(path, content, mode=0o600)


def _keep_private(path: Path) -> None:
    if os.name != "posix" or not path.stat().st_mode & 0o077:
        return
    _logger.warning("Others could read the ledger %s; its permissions are now 0600", path)
    try:
        path.chmod(0o600)
    except OSError as error:
        _logger.warning("The permissions of %s could not be changed: %s", path, error)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _HEX.fullmatch(value) is not None
