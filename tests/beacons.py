"""Public randomness to test with: the published round of the notes, a chain of our own, and relays, honest and not."""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from functools import lru_cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from py_ecc.bls.hash_to_curve import hash_to_G1
from py_ecc.bls.point_compression import compress_G1, compress_G2
from py_ecc.optimized_bls12_381 import G2, multiply

from fiftyone_honeyimage.core.ledger import beacon, lots, relays
from fiftyone_honeyimage.core.ledger.beacon import Chain, randomness

# The import of py-ecc raises it, for whatever else runs in this process
sys.setrecursionlimit(1000)

#: A round of quicknet as it came out on 15 September 2023
VECTOR = (
    657413,
    "b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be41076862b98fad56e91a6b85b89cd97b",
    "fc1873a13f3545aeade8401532ef5519920652eee6b0d2b19ca12643b87b3587",
)
#: An hour before it
BEFORE = datetime(2023, 9, 15, 10, 0, tzinfo=timezone.utc)

_KEY = 123456789
_DST = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
Answer = Callable[[str], tuple[int, bytes]]


def _public_key() -> str:
    return b"".join(int(half).to_bytes(48, "big") for half in compress_G2(multiply(G2, _KEY))).hex()


#: A chain whose every round can be signed here; tests must enter it in ``beacon.CHAINS``
OWN = Chain("test chain", "0f" * 32, _public_key(), genesis=1_600_000_000, period=1)


@lru_cache(maxsize=64)
def sign(number: int) -> bytes:
    """The signature of a round of :data:`OWN`."""
    message = sha256(number.to_bytes(8, "big")).digest()
    point = multiply(hash_to_G1(message, _DST, sha256), _KEY)
    return int(compress_G1(point)).to_bytes(48, "big")


def answer(number: int, signature: bytes | str) -> bytes:
    """What a relay answers."""
    raw = bytes.fromhex(signature) if isinstance(signature, str) else signature
    values: dict[str, Any] = {
        "round": number,
        "randomness": randomness(raw),
        "signature": raw.hex(),
    }
    return json.dumps(values).encode()


def honest(path: str) -> tuple[int, bytes]:
    """A relay that replays the vector and signs every round of :data:`OWN`."""
    _, chain, _, asked = path.split("/")
    number = int(asked)
    if chain == OWN.hash:
        return 200, answer(number, sign(number))
    return (200, answer(*VECTOR[:2])) if number == VECTOR[0] else (404, b"not there")


def slow(seconds: float) -> Answer:
    def wait(path: str) -> tuple[int, bytes]:
        time.sleep(seconds)
        return honest(path)

    return wait


@contextmanager
def relay(answers: Answer = honest) -> Iterator[str]:
    """A relay on this machine; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers(self.path)
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # nobody waits any more
                pass

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    ).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Clock:
    """A clock that is moved by hand."""

    def __init__(self, time: datetime) -> None:
        self.time = time

    def __call__(self) -> datetime:
        return self.time


def set_clock(monkeypatch: pytest.MonkeyPatch, time: datetime) -> Clock:
    """Sets this computer's clock for all that waits for rounds, and makes :data:`OWN` a known chain."""
    moved = Clock(time)
    for module in (beacon, lots, relays):
        monkeypatch.setattr(module, "now", moved)
    monkeypatch.setitem(beacon.CHAINS, OWN.hash, OWN)
    return moved


def make_quick(monkeypatch: pytest.MonkeyPatch, package: str = "fiftyone_honeyimage") -> None:
    """Markings are committed to a round of :data:`OWN` two seconds later, and wait for it in earnest.

    ``package`` is the copy of the code, see :func:`plugin_package`.
    """

    def part(name: str) -> Any:
        return importlib.import_module(f"{package}.core.{name}")

    own = part("ledger.beacon").Chain(**asdict(OWN))
    monkeypatch.setitem(part("ledger.beacon").CHAINS, OWN.hash, own)
    monkeypatch.setattr(part("ledger.lots"), "LEAD", 2)
    for name in ("ledger.lots", "pipeline.coins"):
        monkeypatch.setattr(part(name), "LEAST_LEAD", 1)
    monkeypatch.setattr(part("ledger.relays"), "_PAUSE", 0.1)
    appoint = part("ledger.lots").appoint
    monkeypatch.setattr(
        part("pipeline.mark"), "appoint", lambda coins_at: appoint(coins_at, chain=own)
    )


def plugin_package() -> str:
    """The plugin's copy of the package, which FiftyOne loads as a module of its own."""
    operators = importlib.import_module("fiftyone.operators")
    plugin = type(operators.get_operator("@honeyimage/ownership/list_runs")).__module__
    return plugin.rpartition(".operators.")[0]
