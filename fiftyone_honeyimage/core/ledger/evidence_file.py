"""The evidence file: all that a third party needs to recompute a verdict, and nothing more.

It opens the header, the query order and the queried pairs of the ledger, each with its salt; of the
other leaves it holds hashes alone. Where a public round decided, it holds that round's signature. The log goes up to the end of the verification, the details of
other verifications (suspects, how they were asked, what came out) closed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import LedgerError
from ..evidence.pair_answers import PairAnswers
from ..files import write_json_atomic
from . import trace_log
from .checker import Checker
from .comparisons import compare_head, compare_images, compare_release
from .evidence_check import EvidenceCheck, sum_up
from .hashes import format_name, hash_answers, parse_json, read_version
from .ledger import Ledger
from .protocol import check_bound
from .stamp_comparison import compare_stamps
from .stamps import read_stamps, stamped_things
from .tries import check_num_markings

_FORMATS = "honeyimage-evidence/"


def check_new_evidence(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Checks, before anything expensive, that evidence may be written to a path.

    Args:
        path: the file
        overwrite (False): whether an older evidence file may be replaced. No other file ever is: it
            may be a ledger or its backup

    Raises:
        LedgerError: if there is a file, or no folder for one
    """
    path = Path(path)
    if path.is_dir():
        raise LedgerError(f"{path} is a folder; add the name of a file, such as evidence.json")
    if not path.parent.is_dir():
        raise LedgerError(f"There is no folder {path.parent}; create it first")
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise LedgerError(f"{path} exists already; choose another name, or pass overwrite=True")
    try:
        # What is no file, such as a pipe, might never end
        held = _read(path) if path.is_file() else {}
    except LedgerError:
        held = {}
    if not str(held.get("format")).startswith(_FORMATS):
        raise LedgerError(
            f"{path} is no evidence file and is never overwritten (a ledger, or a backup of one, would "
            "be lost); choose another name"
        )


def export_evidence(
    ledger: Ledger,
    verification_id: str,
    answers: PairAnswers,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> None:
    """Writes the evidence for one verification that was closed with a verdict.

    The file opens the coins of the queried pairs, so that it is to be given out only when the
    verdict is; until then its permissions are 0600.

    Args:
        ledger: the ledger, as loaded
        verification_id: the verification
        answers: the answers that it was closed with
        path: the JSON file to write; its folder must exist
        overwrite (False): whether it may replace an evidence file (see :func:`check_new_evidence`)

    Raises:
        LedgerError: if the verification has no verdict, the answers are others, or the path is taken
        OSError: if the file cannot be written
    """
    check_new_evidence(path, overwrite)
    verification = ledger.verifications.get(verification_id)
    if verification is None:
        raise LedgerError(f"{ledger.path} knows no verification {verification_id!r}")
    if verification.result is None:
        raise LedgerError(f"Verification {verification_id} has no verdict to give evidence for")
    check_bound(verification.protocol)
    if hash_answers(answers, ledger.version) != verification.answers_sha256:
        raise LedgerError(
            f"These are not the answers that verification {verification_id} was closed with"
        )

    leaves = ledger.leaves()
    first_pair = 1 + len(ledger.singles)

    def opened(position: int) -> dict[str, Any]:
        return {"salt": ledger.salts[position], "leaf": leaves[position]}

    last = next(
        index
        for index, entry in enumerate(ledger.log)
        if entry["event"] == "close" and entry["id"] == verification_id
    )
    log = [
        {
            key: value
            for key, value in entry.items()
            if key != "private"
            # Details of a tracing name recipients
            or (entry["id"] == verification_id and entry["event"] not in trace_log.PUBLIC_KEYS)
        }
        for entry in ledger.log[: last + 1]
    ]
    content: dict[str, Any] = {
        "format": format_name("evidence", ledger.version),
        "commitment": ledger.commitment,
        "leaf_hashes": ledger.leaf_hashes,
        "header": opened(0),
        "query_order": opened(len(leaves) - 1),
        "pairs": [opened(first_pair + index) for index in answers.pairs],
        "log": log,
        "verification_id": verification_id,
        "answers": answers.to_dict(),
        **({} if ledger.beacon is None else {"beacon": ledger.beacon.draw()}),
    }
    things = stamped_things(ledger.commitment, log)
    stamps = [stamp for stamp in read_stamps(ledger.path) if stamp.digest in things]
    if stamps:
        content["stamps"] = [stamp.to_dict() for stamp in stamps]
    write_json_atomic(path, content, mode=0o600)


def check_evidence(
    path: str | os.PathLike[str],
    commitment: str | None = None,
    *,
    head: str | None = None,
    release: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    num_markings: int | None = None,
    roots: Sequence[str | Path] | None = None,
) -> EvidenceCheck:
    """Recomputes everything in an evidence file, and compares it with what is given beside it.

    Args:
        path: the evidence file
        commitment (None): the commitment that was published before the release
        head (None): a head of the log that was published
        release (None): a folder with the release
        images (None): a folder with files of the opened images
        num_markings (None): how many commitments of this owner for this dataset are known, as far as the owner's own
            count misses some
        roots (None): files with root certificates of time-stamp authorities that are trusted, PEM or DER

    Raises:
        LedgerError: if the file is missing or no evidence file, or a root is none. All else that is wrong with it is
            listed in the result
        ParameterError: if there can be no such number of markings
        ReleaseError: if a folder is missing or cannot be one of a release
        OSError: if a file in a folder cannot be read
    """
    check_num_markings(num_markings)
    content = _read(Path(path))
    try:
        version = read_version(content.get("format"), "evidence")
    except LedgerError as error:
        raise LedgerError(f"{path}: {error}") from error
    checker = Checker(content, commitment, version, num_markings)
    if checker.run():
        if head is not None:
            checker.add(compare_head(head, content["commitment"], content["log"], checker.opening))
        if release is not None:
            checker.add(compare_release(release, checker.pairs, checker.releases, version))
        if images is not None:
            checker.add(compare_images(images, checker.pairs))
        if roots is not None:
            found, checker.dates = compare_stamps(
                checker.stamps, content["commitment"], content["log"], roots, checker.coins_at
            )
            checker.add(found)
    given = {
        "commitment": commitment,
        "head": head,
        "release": release,
        "images": images,
        "roots": roots,
    }
    return sum_up(checker, tuple(name for name, value in given.items() if value is not None))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"The evidence {path} cannot be read: {error}") from error
    return parse_json(text, str(path))
