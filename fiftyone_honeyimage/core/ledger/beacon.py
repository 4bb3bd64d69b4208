"""Public randomness that nobody chose: the rounds of drand's quicknet, when they come out and whether one is genuine.

A round is a BLS signature that a quorum of independent servers can make and no one of them alone, published every few
seconds and predictable by nobody. The message is the round's number, so that there is exactly one signature for each
round: whoever hands it over, it is checked against the chain's public key and nothing else has to be trusted.

Constants: ``lib/defaults.ts`` of https://github.com/drand/drand-client. Signatures: RFC 9380, draft-irtf-cfrg-bls-signature.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from typing import Any

from ..errors import BeaconError, ParameterError

_DST = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
#: The prime of the curve's field
_FIELD = int(
    "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab",
    16,
)
_SIGNATURE = re.compile(r"[0-9a-f]{96}")
_MISSING = "The signature of a round of public randomness is checked with py-ecc, which is not installed: pip install py-ecc"
#: Whole numbers of JSON are the same in every language up to here
_LAST_ROUND = 2**53 - 1


@dataclass(frozen=True)
class Chain:
    """A drand chain of the scheme ``bls-unchained-g1-rfc9380``: signatures in G1, the key in G2.

    Attributes:
        name: what drand calls it
        hash: its name in addresses, SHA-256 in hexadecimal digits
        public_key: 96 bytes in hexadecimal digits, compressed
        genesis: when round 1 came out, Unix seconds
        period: seconds from round to round
    """

    name: str
    hash: str
    public_key: str
    genesis: int
    period: int

    def round_at(self, time: datetime) -> int:
        """The newest round that is out at a time.

        Raises:
            ParameterError: if there is none yet, or the time has no time zone
        """
        if time.tzinfo is None:
            raise ParameterError(f"{time.isoformat()} needs a time zone, such as +00:00 for UTC")
        passed = (time - datetime.fromtimestamp(self.genesis, timezone.utc)).total_seconds()
        if passed < 0:
            raise ParameterError(
                f"{time.isoformat()} lies before the first round of {self.name}, {self.time_of(1).isoformat()}"
            )
        return int(passed // self.period) + 1

    def time_of(self, number: int) -> datetime:
        """When a round comes out, UTC.

        Raises:
            ParameterError: if there is no such round
        """
        check_number(number)
        try:
            return datetime.fromtimestamp(self.genesis, timezone.utc) + timedelta(
                seconds=(number - 1) * self.period
            )
        except OverflowError as error:
            raise ParameterError(f"Round {number} lies beyond every calendar") from error

    def check(self, number: int, signature: bytes) -> None:
        """Checks that a signature is that of a round.

        Args:
            number: the round
            signature: 48 bytes

        Raises:
            BeaconError: if it is another round's, or nobody's
        """
        check_number(number)
        if len(signature) != 48:
            raise BeaconError(
                f"The signature of a round of {self.name} has 48 bytes, not {len(signature)}"
            )
        if not _is_signed(self.public_key, number, signature):
            raise BeaconError(
                f"{signature.hex()[:16]}… is not the signature of round {number:,} of {self.name}: it is another "
                "round's, another chain's, or made up"
            )


QUICKNET = Chain(
    name="drand quicknet",
    hash="52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971",
    public_key="83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451"
    "0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a",
    genesis=1692803367,
    period=3,
)
#: By hash, of those that coins may be drawn from: an owner's own chain would be his own coin
CHAINS = {QUICKNET.hash: QUICKNET}


def find_chain(chain_hash: object) -> Chain:
    """Returns a chain by its hash.

    Raises:
        BeaconError: if it is not known
    """
    if not isinstance(chain_hash, str) or chain_hash not in CHAINS:
        known = ", ".join(f"{chain.name} ({name})" for name, chain in CHAINS.items())
        raise BeaconError(f"The chain {chain_hash!r:.80} is not known; coins may come from {known}")
    return CHAINS[chain_hash]


def now() -> datetime:
    """This computer's time, UTC."""
    return datetime.now(timezone.utc)


def check_installed() -> None:
    """Checks, before anything expensive, that a round can be told from a false one.

    Raises:
        BeaconError: saying what to install
    """
    if not any(map(find_spec, ("drand_verify", "py_ecc"))):
        raise BeaconError(_MISSING)


def check_number(number: object) -> int:
    """Returns a round's number.

    Raises:
        ParameterError: if it is none
    """
    if type(number) is not int or not 1 <= number <= _LAST_ROUND:
        raise ParameterError(f"A round is a whole number from 1, not {number!r:.80}")
    return number


def read_signature(text: object) -> bytes:
    """Returns a round's signature from its hexadecimal digits.

    Raises:
        BeaconError: if it is none
    """
    if not isinstance(text, str) or _SIGNATURE.fullmatch(text) is None:
        raise BeaconError(
            f"A round's signature has 96 lower-case hexadecimal digits; this is {text!r:.120}"
        )
    return bytes.fromhex(text)


def randomness(signature: bytes) -> str:
    """What relays give beside the signature: its SHA-256, in hexadecimal digits."""
    return sha256(signature).hexdigest()


@lru_cache(maxsize=256)
def _is_signed(public_key: str, number: int, signature: bytes) -> bool:
    """The check itself, 0.4 s; ledgers are loaded often."""
    if not _is_canonical(signature):
        return False
    try:
        import drand_verify  # in Rust, 4 ms; not needed
    except ImportError:
        return _is_signed_in_python(public_key, number, signature)
    try:
        told = drand_verify.verify_quicknet(number, signature.hex(), public_key)
    except ValueError:
        return False
    return bool(told == randomness(signature))


def _is_canonical(signature: bytes) -> bool:
    """Whether this is the one way to write a point other than zero: a second way would be a second coin."""
    flags, x = signature[0] >> 5, int.from_bytes(signature, "big") & ((1 << 381) - 1)
    return flags in (0b100, 0b101) and x < _FIELD


@contextmanager
def _recursion_limited() -> Iterator[None]:
    """py-ecc raises the limit of the whole process when it is imported, and needs no more than the usual one: a file of
    brackets, which is malformed JSON, would then end the process in the parser's C code instead of raising an error."""
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


@_recursion_limited()
def _is_signed_in_python(public_key: str, number: int, signature: bytes) -> bool:
    try:
        from py_ecc.bls.g2_primitives import subgroup_check
        from py_ecc.bls.hash_to_curve import hash_to_G1
        from py_ecc.bls.point_compression import decompress_G1, decompress_G2
        from py_ecc.fields import optimized_bls12_381_FQ12 as FQ12
        from py_ecc.optimized_bls12_381 import G2, final_exponentiate, neg, pairing
    except ImportError as error:
        raise BeaconError(_MISSING) from error

    # Its integers have names of their own, and its hash a protocol that hashlib's functions do not claim
    unnamed: Any = int.from_bytes
    hashing: Any = sha256
    key = bytes.fromhex(public_key)
    try:
        point = decompress_G1(unnamed(signature, "big"))
    except ValueError:
        return False
    # A point outside the subgroup passes the pairing as well as the one that it is near: an owner could choose among
    # many "signatures" of one round, and so among coins
    if not subgroup_check(point):
        return False
    message = sha256(number.to_bytes(8, "big")).digest()
    signer = decompress_G2((unnamed(key[:48], "big"), unnamed(key[48:], "big")))  # type: ignore[arg-type]
    product = pairing(G2, point, final_exponentiate=False) * pairing(
        signer, neg(hash_to_G1(message, _DST, hashing)), final_exponentiate=False
    )
    return bool(final_exponentiate(product) == FQ12.one())
