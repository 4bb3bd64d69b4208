"""Where a round of public randomness comes from: relays over HTTP, tried in turn, or a file, or pasted text.

No relay is trusted: what it says is checked against the chain's key, and if it is wrong, slow or missing the next one is
asked. Nothing of the marking is sent.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import BeaconError, HoneyImageError, ParameterError
from ..progress import Report, silent
from .beacon import Chain, now, randomness, read_signature

#: drand's own and Cloudflare's
RELAYS = (
    "https://api.drand.sh",
    "https://api2.drand.sh",
    "https://api3.drand.sh",
    "https://drand.cloudflare.com",
)
#: Seconds that one relay may take
TIMEOUT = 10.0
#: Seconds after a round's time during which relays are asked again and again
PATIENCE = 120.0
#: Seconds between two rounds of asking
_PAUSE = 3.0
#: Bytes of an answer that are read; a round has about 300
_MOST = 16_384

_logger = logging.getLogger(__name__)


def check_relays(relays: Sequence[str]) -> tuple[str, ...]:
    """Returns relays' addresses without a slash at the end.

    Raises:
        ParameterError: if there is none, or one is no address of the web
    """
    if isinstance(relays, str) or not relays:
        raise ParameterError(f"relays must be a list of addresses, such as {RELAYS[0]!r}")
    for relay in relays:
        if not isinstance(relay, str) or not relay.startswith(("https://", "http://")):
            raise ParameterError(f"A relay is an address such as {RELAYS[0]!r}, not {relay!r:.120}")
    return tuple(relay.rstrip("/") for relay in relays)


def fetch_round(
    chain: Chain, number: int, relays: Sequence[str] = RELAYS, timeout: float = TIMEOUT
) -> bytes:
    """Asks relays for a round, one after the other, until one gives the genuine one.

    Args:
        chain, number: which round
        relays: addresses, such as :data:`RELAYS`
        timeout: seconds for each

    Returns:
        the signature, 48 bytes, checked

    Raises:
        BeaconError: relay by relay, why none did
        ParameterError: if a relay is no address
    """
    told = []
    for relay in check_relays(relays):
        address = f"{relay}/{chain.hash}/public/{number}"
        try:
            return check_answer(_get(address, timeout), chain, number)
        except BeaconError as error:
            told.append(f"{relay}: {error}")
            _logger.info("A relay gave no round %d: %s", number, told[-1])
    raise BeaconError(
        f"No relay gave round {number:,} of {chain.name}:\n  " + "\n  ".join(told) + "\n"
        f"The round is out since {chain.time_of(number):%Y-%m-%d %H:%M:%S} UTC and stays what it is: try again later, or "
        f"fetch {RELAYS[0]}/{chain.hash}/public/{number} on a machine with internet and give the answer as a file"
    )


def await_round(
    chain: Chain,
    number: int,
    relays: Sequence[str] = RELAYS,
    *,
    timeout: float = TIMEOUT,
    patience: float = PATIENCE,
    stage: str = "Waiting for the public coins",
    report: Report = silent,
) -> bytes:
    """Waits until a round is out, and returns its signature, checked; see :func:`fetch_round`.

    Args:
        patience: seconds after the round's time after which it is asked for once and no more
        stage, report: how the waiting is told

    Raises:
        BeaconError: if no relay gave it in time
    """
    check_relays(relays)
    out, begun = chain.time_of(number), now()
    total = max(1, round((out - begun).total_seconds()))
    while (left := (out - now()).total_seconds()) > 0:
        report(stage, max(0, min(total, total - round(left))), total)
        time.sleep(min(1.0, left))
    report(stage, total, total)
    while True:
        try:
            return fetch_round(chain, number, relays, timeout)
        except BeaconError:
            if (now() - out).total_seconds() >= patience:
                raise
        time.sleep(min(_PAUSE, max(patience, 0.01)))


def read_round(source: str | os.PathLike[str], chain: Chain, number: int) -> bytes:
    """Returns a round from a file, or from the text itself, as a relay gives it or as the signature alone.

    Args:
        source: a path, or the text: JSON with "round" and "signature", or 96 hexadecimal digits
        chain, number: which round it must be

    Returns:
        the signature, 48 bytes, checked

    Raises:
        BeaconError: if the file cannot be read, or holds another round or none
    """
    text = source if isinstance(source, str) else None
    if text is None or not _is_round_text(text):
        path = Path(source).expanduser()
        try:
            with path.open("rb") as file:
                text = file.read(_MOST + 1).decode("utf-8")
        except (OSError, ValueError) as error:
            raise BeaconError(
                f"The round cannot be read from '{str(path)[:200]}' ({error}); give a file with a relay's answer, or that "
                "answer itself"
            ) from error
    text = text.strip()
    if text.startswith("{"):
        return check_answer(text.encode(), chain, number)
    signature = read_signature(text.lower())
    chain.check(number, signature)
    return signature


def check_answer(body: bytes, chain: Chain, number: int) -> bytes:
    """Returns the signature that a relay's answer holds, checked.

    Raises:
        BeaconError: if the answer is malformed, of another round, or false
    """
    if len(body) > _MOST:
        raise BeaconError(f"its answer is longer than the {_MOST:,} bytes that a round can have")
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        start = body[:60].decode("utf-8", "replace")
        raise BeaconError(f"its answer is no JSON but begins {start!r}") from error
    if not isinstance(answer, dict) or not {"round", "signature"} <= set(answer):
        raise BeaconError(f"its answer holds no round and signature: {answer!r:.120}")
    if type(answer["round"]) is not int or answer["round"] != number:
        raise BeaconError(f"it gave round {answer['round']!r:.40}, asked was {number}")
    signature = read_signature(answer["signature"])
    chain.check(number, signature)
    if answer.get("randomness") not in (None, randomness(signature)):
        raise BeaconError("its randomness is not the SHA-256 of the signature")
    return signature


def clock(time: datetime) -> str:
    """A time as it is told to people: the day where it is not today's, and hours and minutes, UTC."""
    day = "" if time.date() == now().date() else f"{time:%Y-%m-%d} "
    return f"{day}{time:%H:%M:%S} UTC"


def _is_round_text(text: str) -> bool:
    start = text.strip()
    return start.startswith("{") or (
        len(start) == 96 and all(letter in "0123456789abcdefABCDEF" for letter in start)
    )


def _get(address: str, timeout: float) -> bytes:
    """The body of an answer, of at most so many seconds in all: looking up a name and slow drops have no limit of their own.

    Raises:
        BeaconError: saying what is wrong
    """
    found: list[bytes | HoneyImageError] = []

    def ask() -> None:
        try:
            found.append(_body(address, timeout))
        except HoneyImageError as error:
            found.append(error)

    worker = threading.Thread(target=ask, daemon=True, name="honeyimage-relay")
    worker.start()
    worker.join(timeout)
    if not found:
        raise BeaconError(f"it did not answer within {timeout:g} s")
    if isinstance(found[0], HoneyImageError):
        raise found[0]
    return found[0]


def _body(address: str, timeout: float) -> bytes:
    request = urllib.request.Request(address, headers={"User-Agent": "fiftyone-honeyimage"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            body: bytes = response.read(_MOST + 1)
            return body
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (404, 425):
            raise BeaconError(f"it does not have this round (HTTP {error.code})") from error
        raise BeaconError(f"it answered HTTP {error.code}") from error
    except TimeoutError as error:
        raise BeaconError(f"it did not answer within {timeout:g} s") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise BeaconError(f"it cannot be reached ({reason})") from error
