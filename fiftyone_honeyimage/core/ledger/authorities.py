"""Asking time-stamp authorities for stamps (RFC 3161 over HTTP). Nothing is sent but the SHA-256 of a digest, and only when asked for."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import ParameterError
from ..printing import quoted
from .stamps import HOLDS, MAX_RESPONSE, Stamp, check_stamp, explain_refusal, read_roots

#: Well-known authorities that stamp for everybody, by name. Their root certificates are to be had from them, or from the
#: certificates that systems and browsers trust; which of them a court trusts is for the owner to find out
AUTHORITIES = {
    "digicert": "http://timestamp.digicert.com",
    "sectigo": "http://timestamp.sectigo.com",
    "globalsign": "http://timestamp.globalsign.com/tsa/r6advanced1",
    "freetsa": "https://freetsa.org/tsr",
    "sigstore": "https://timestamp.sigstore.dev/api/v1/timestamp",
}

#: Seconds that an authority is waited for
TIMEOUT = 20.0


@dataclass(frozen=True)
class Refusal:
    """An authority that gave no stamp.

    Attributes:
        digest: what it was asked to stamp
        authority: its address
        reason: why, in words
    """

    digest: str
    authority: str
    reason: str


def check_authorities(authorities: Sequence[str]) -> list[str]:
    """Addresses of authorities that are given by their names in :data:`AUTHORITIES`, or as http or https addresses.

    Raises:
        ParameterError: naming what is neither
    """
    if isinstance(authorities, str) or not authorities:
        raise ParameterError(
            f"authorities must be a list of names or addresses, not {authorities!r}; known names: "
            f"{', '.join(AUTHORITIES)}"
        )
    found = []
    for one in authorities:
        address = AUTHORITIES.get(one, one) if isinstance(one, str) else ""
        try:
            parts = urlsplit(address)
            fits = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            fits = False
        if not fits:
            raise ParameterError(
                f"{one!r} is no time-stamp authority: give one of {', '.join(AUTHORITIES)}, or an address that begins "
                "with http:// or https://"
            )
        found.append(address)
    return list(dict.fromkeys(found))


def request_stamp(
    digest: str, authority: str, roots: Sequence[str] = (), timeout: float = TIMEOUT
) -> Stamp | Refusal:
    """Asks one authority to stamp a digest.

    What comes back is checked as far as it can be: that it is granted, of this digest and an answer to this request; with
    ``roots`` also who signed it.

    Args:
        digest: 64 hexadecimal digits
        authority: its http or https address
        roots (()): files with root certificates, see :func:`.stamps.read_roots`
        timeout (20): seconds
    """
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, decode_timestamp_response

    trusted = read_roots(roots) if roots else []
    stamp = Stamp(digest, authority, b"")
    builder = TimestampRequestBuilder().data(stamp.message).hash_algorithm(HashAlgorithm.SHA256)
    request = builder.nonce(nonce=True).cert_request(cert_request=True).build()
    try:
        data = _post(authority, request.as_bytes(), timeout)
        response = decode_timestamp_response(data)
        refused = explain_refusal(response)
        if refused:
            return Refusal(digest, authority, refused)
        info = response.tst_info
        if info.nonce != request.nonce:
            return Refusal(digest, authority, "it answered another request than this one")
        if info.message_imprint.message != request.message_imprint.message:
            return Refusal(digest, authority, "it stamped something else than was asked")
    except _NoAnswerError as error:
        return Refusal(digest, authority, str(error))
    except ValueError as error:
        return Refusal(digest, authority, f"its answer is no time-stamp ({error!s:.150})")
    stamp = Stamp(digest, authority, data)
    if trusted:
        found = check_stamp(stamp, trusted)
        if found.state != HOLDS:
            return Refusal(digest, authority, found.problem)
    return stamp


class _NoAnswerError(Exception):
    """Why an authority did not answer, in words."""


def _post(address: str, data: bytes, timeout: float) -> bytes:
    request = urllib.request.Request(
        address, data=data, headers={"Content-Type": "application/timestamp-query"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            kind = answer.headers.get_content_type()
            found: bytes = answer.read(MAX_RESPONSE + 1)
    except urllib.error.HTTPError as error:
        raise _NoAnswerError(f"its server answered HTTP {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise _NoAnswerError(f"it did not answer within {timeout:g} seconds") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _NoAnswerError(f"it did not answer within {timeout:g} seconds") from error
        raise _NoAnswerError(f"it cannot be reached ({error.reason})") from error
    except (OSError, http.client.HTTPException) as error:
        raise _NoAnswerError(f"the connection broke ({error!r:.100})") from error
    if len(found) > MAX_RESPONSE:
        raise _NoAnswerError(
            f"it sent more than the {MAX_RESPONSE:,} bytes that a time-stamp may have"
        )
    if kind != "application/timestamp-reply":
        raise _NoAnswerError(f"it sent {quoted(kind)} and no time-stamp")
    return found
