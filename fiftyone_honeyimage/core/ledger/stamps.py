"""Dates by others: RFC 3161 time-stamps of a commitment, of releases and of the head of a log, and what they show.

A ledger's own times are by its owner's clock. An authority's stamp says that a digest existed at a time, signed, so that a
stranger can check it for as long as he trusts the authority's root certificate, without asking anybody. What is stamped is
the digest's 64 letters in ASCII, so that ``openssl ts -verify`` checks it too (docs/evidence.md).

Stamps lie in a file beside the ledger and change none of its hashes. They are no part of what was committed: whoever holds the
evidence can leave one out, and cannot make one.

Source: RFC 3161; the signature, its certificates and their purpose are checked by ``rfc3161-client`` (at least 1.0.6: older
ones took one authority's stamp for another's).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LedgerError
from ..files import locked, write_json_atomic
from ..printing import quoted
from .hashes import is_digest, parse_json

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_FORMAT = "honeyimage-stamps/1"
#: A response with all its certificates has a few thousand bytes
MAX_RESPONSE = 1 << 17
_MAX_AUTHORITY = 2000

#: What becomes of a stamp
HOLDS, FOREIGN, FAILS = "holds", "foreign", "fails"


@dataclass(frozen=True)
class Stamp:
    """One authority's answer.

    Attributes:
        digest: what was stamped, 64 hexadecimal digits
        authority: where it was had, in the owner's words; who signed it stands in the response
        response: the TimeStampResp of RFC 3161, DER
    """

    digest: str
    authority: str
    response: bytes

    @property
    def message(self) -> bytes:
        """What the authority stamped the SHA-256 of."""
        return self.digest.encode("ascii")

    def to_dict(self) -> dict[str, str]:
        """Plain values, safe for JSON."""
        response = base64.b64encode(self.response).decode("ascii")
        return {"digest": self.digest, "authority": self.authority, "response": response}


@dataclass(frozen=True)
class StampCheck:
    """What a stamp shows.

    Attributes:
        stamp: the stamp
        state: "holds"; "foreign": signed under none of the given roots, so that it counts for nothing; or "fails"
        at: when it was made, UTC; None where it does not hold
        signer: who signed it, as its certificate says
        problem: why it does not hold, in words
    """

    stamp: Stamp
    state: str
    at: datetime | None = None
    signer: str = ""
    problem: str = ""


def read_entries(entries: Any) -> tuple[Stamp, ...]:
    """Reads stamps from plain values; undoes :meth:`Stamp.to_dict`.

    Raises:
        LedgerError: if they are no stamps, or one stands there twice
    """
    if not isinstance(entries, list):
        raise LedgerError("The stamps must be a list")
    stamps = tuple(_read_entry(entry) for entry in entries)
    if len(set(stamps)) != len(stamps):
        raise LedgerError("A stamp stands there twice")
    return stamps


def _read_entry(entry: Any) -> Stamp:
    if not isinstance(entry, Mapping) or set(entry) != {"digest", "authority", "response"}:
        raise LedgerError(f"A stamp is a digest, an authority and a response, not {entry!r:.200}")
    digest, authority, text = entry["digest"], entry["authority"], entry["response"]
    if not is_digest(digest):
        raise LedgerError(f"A stamp's digest must be 64 hexadecimal digits, not {digest!r:.200}")
    if not isinstance(authority, str) or not 0 < len(authority) <= _MAX_AUTHORITY:
        raise LedgerError(f"A stamp's authority must be named in words, not {authority!r:.200}")
    if not isinstance(text, str) or not 0 < len(text) <= 2 * MAX_RESPONSE:
        raise LedgerError("A stamp's response must be text in base64")
    try:
        response = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error) as error:
        raise LedgerError(f"A stamp's response is no base64: {error}") from error
    return Stamp(digest, authority, response)


def stamps_path(ledger_path: Path) -> Path:
    """The file of a ledger's stamps."""
    return ledger_path.with_name(f"{ledger_path.stem}.stamps.json")


def read_stamps(ledger_path: Path) -> tuple[Stamp, ...]:
    """The stamps beside a ledger, oldest first; none where there is no such file.

    Raises:
        LedgerError: if the file cannot be read
    """
    path = stamps_path(ledger_path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"The stamps {path} cannot be read: {error}") from error
    content = parse_json(text, str(path))
    if set(content) != {"format", "stamps"} or content["format"] != _FORMAT:
        raise LedgerError(f"{path} holds no stamps; move it elsewhere")
    try:
        return read_entries(content["stamps"])
    except LedgerError as error:
        raise LedgerError(f"{path}: {error}. Restore a copy, or move it elsewhere") from error


def add_stamps(ledger_path: Path, stamps: Iterable[Stamp]) -> None:
    """Keeps further stamps beside a ledger. The ledger itself is not touched.

    Raises:
        LedgerError: if the file that is there holds no stamps
        OSError: if it cannot be written
    """
    path = stamps_path(ledger_path)
    with locked(path):
        kept = dict.fromkeys((*read_stamps(ledger_path), *stamps))
        content = {"format": _FORMAT, "stamps": [stamp.to_dict() for stamp in kept]}
        write_json_atomic(path, content, mode=0o600)


def stamped_things(commitment: str, log: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """digest → what it is, in words: all of a ledger that a stamp may be of.

    Args:
        commitment: the ledger's
        log: its entries
    """
    things = {commitment: "the commitment"}
    for entry in log:
        if entry["event"] == "release":
            things.setdefault(
                entry["public"]["digest"], f"the release that entry {entry['index']} logs"
            )
    for entry in log:
        things.setdefault(entry["hash"], f"the log up to entry {entry['index']}")
    return things


def read_roots(paths: Sequence[Any]) -> list[Certificate]:
    """Reads root certificates, of which each file holds one or more: PEM, or one in DER.

    Raises:
        LedgerError: if a file is missing or holds none
    """
    from cryptography import x509

    found = []
    for path in paths:
        try:
            data = Path(path).read_bytes()
            if b"-----BEGIN CERTIFICATE-----" in data:
                found += x509.load_pem_x509_certificates(data)
            else:
                found.append(x509.load_der_x509_certificate(data))
        except OSError as error:
            raise LedgerError(
                f"The root certificate {path} cannot be read: {error.strerror}"
            ) from error
        except ValueError as error:
            raise LedgerError(
                f"{path} holds no certificate ({error}); give the authority's root, PEM or DER"
            ) from error
    if not found:
        raise LedgerError("Give the root certificate of an authority at least")
    return found


def check_stamp(stamp: Stamp, roots: Sequence[Certificate]) -> StampCheck:
    """Whether a stamp is of its digest and was signed by an authority under one of the roots; offline.

    Certificates are taken as they were at the time of the stamp: one that has expired since is no fault.

    Args:
        stamp: the stamp
        roots: root certificates that are trusted, one at least
    """
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    try:
        response = decode_timestamp_response(stamp.response)
        refused = explain_refusal(response)
        if refused:
            return StampCheck(stamp, FAILS, problem=refused)
        VerifierBuilder(roots=list(roots)).build().verify_message(response, stamp.message)
        info = response.tst_info
        return StampCheck(stamp, HOLDS, info.gen_time.astimezone(timezone.utc), _signer(response))
    except VerificationError as error:
        state, problem = _explain(str(error))
        return StampCheck(stamp, state, problem=problem)
    except ValueError as error:  # of the parser, on bytes that are none of a response
        return StampCheck(
            stamp, FAILS, problem=f"the response was altered or is none ({error!s:.150})"
        )


def explain_refusal(response: Any) -> str:
    """Why an authority gave no stamp, in words; empty if it gave one."""
    from rfc3161_client import PKIStatus

    if response.status == PKIStatus.GRANTED:
        return ""
    words = {
        PKIStatus.GRANTED_WITH_MODS: "changed what was asked for",
        PKIStatus.REJECTION: "refused",
        PKIStatus.WAITING: "has not decided yet",
        PKIStatus.REVOCATION_WARNING: "warns that its certificate is about to be revoked",
        PKIStatus.REVOCATION_NOTIFICATION: "says that its certificate was revoked",
    }
    said = "; ".join(response.status_string)
    told = words.get(response.status, f"answered with status {response.status}")
    return f"the authority {told}" + (f": {quoted(said)}" if said else "")


def _explain(message: str) -> tuple[str, str]:
    """(state, problem in words) of a verification that failed, from the words of the library."""
    if "Mismatch between messages" in message:
        return FAILS, "it is of something else than the digest beside it"
    if "Unsupported hash algorithm" in message:
        return FAILS, "it was made with another hash than SHA-256, SHA-384 or SHA-512"
    if "EKU" in message:
        return FAILS, "the certificate that signed it is not for time-stamps"
    reason = re.search(r"Verify error: ([^\"\]]*)", message)
    if reason is None:
        reasons = ", ".join(re.findall(r'reason: "([^"]*)"', message)) or message
        return FAILS, f"it was altered: its signature does not fit ({reasons[:150]})"
    if "issuer" in reason[1] or "self" in reason[1]:
        return FOREIGN, "it was signed by an authority that none of the given roots vouches for"
    if "expired" in reason[1] or "not yet valid" in reason[1]:
        return FAILS, f"a certificate was not valid at the time that it states ({reason[1]})"
    return FAILS, f"its certificates do not hold ({reason[1]})"


def _signer(response: Any) -> str:
    """The subject of the certificate that signed a response that was verified."""
    from cryptography import x509

    (info,) = response.signed_data.signer_infos
    for data in response.signed_data.certificates:
        found = x509.load_der_x509_certificate(data)
        if found.serial_number == info.serial_number and found.issuer == info.issuer:
            return found.subject.rfc4514_string()
    return "unknown"


def claimed_time(stamp: Stamp) -> datetime:
    """The time that a granted response states, UTC; nothing is checked.

    Raises:
        ValueError: if it is none
    """
    from rfc3161_client import decode_timestamp_response

    found: datetime = decode_timestamp_response(stamp.response).tst_info.gen_time
    return found.astimezone(timezone.utc)
