"""Rounds of public randomness: when they come out, and that no signature but the genuine one is taken."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from beacons import OWN, VECTOR, answer, honest, relay, sign, slow
from py_ecc.bls.point_compression import compress_G1, decompress_G1
from py_ecc.optimized_bls12_381 import FQ, add, b, curve_order, field_modulus, multiply, neg

from fiftyone_honeyimage.core.errors import BeaconError, ParameterError
from fiftyone_honeyimage.core.ledger import beacon, relays
from fiftyone_honeyimage.core.ledger.beacon import QUICKNET, find_chain, randomness
from fiftyone_honeyimage.core.ledger.lots import check_coins
from fiftyone_honeyimage.core.ledger.relays import await_round, fetch_round, read_round

NUMBER, SIGNATURE, RANDOMNESS = VECTOR
RAW = bytes.fromhex(SIGNATURE)


def _bytes(point: Any) -> bytes:
    return int(compress_G1(point)).to_bytes(48, "big")


def _outside_subgroup() -> Any:
    """A point whose order divides the cofactor: pairings do not see it."""
    x = 5
    while True:
        square = FQ(x) ** 3 + b
        y = square ** ((field_modulus + 1) // 4)
        if y * y == square:
            return multiply((FQ(x), y, FQ(1)), curve_order)
        x += 1


def test_rounds_and_times_are_those_of_the_chain() -> None:
    out = QUICKNET.time_of(NUMBER)
    assert out == datetime(2023, 9, 15, 11, 0, 3, tzinfo=timezone.utc)
    assert QUICKNET.round_at(out) == NUMBER
    assert QUICKNET.round_at(out + timedelta(seconds=2.9)) == NUMBER
    assert QUICKNET.round_at(out - timedelta(microseconds=1)) == NUMBER - 1
    assert QUICKNET.round_at(QUICKNET.time_of(1)) == 1
    with pytest.raises(ParameterError, match="before the first round"):
        QUICKNET.round_at(datetime(2020, 1, 1, tzinfo=timezone.utc))
    with pytest.raises(ParameterError, match="time zone"):
        QUICKNET.round_at(datetime(2026, 1, 1))
    for wrong in (0, -1, True, 1.5, "7", 2**53):
        with pytest.raises(ParameterError, match="whole number"):
            QUICKNET.time_of(wrong)  # type: ignore[arg-type]


def test_the_published_round_is_genuine_and_all_others_are_not() -> None:
    QUICKNET.check(NUMBER, RAW)
    assert randomness(RAW) == RANDOMNESS
    flipped = bytes([*RAW[:-1], RAW[-1] ^ 1])
    for number, signature in (
        (NUMBER + 1, RAW),
        (NUMBER, flipped),
        (NUMBER, _bytes(neg(decompress_G1(int.from_bytes(RAW, "big"))))),
        (NUMBER, b"\xc0" + bytes(47)),
        (NUMBER, sign(NUMBER)),
    ):
        with pytest.raises(BeaconError, match="is not the signature"):
            QUICKNET.check(number, signature)
    with pytest.raises(BeaconError, match="48 bytes"):
        QUICKNET.check(NUMBER, RAW[:47])


def test_no_round_has_a_second_signature() -> None:
    """Who could choose among many would choose his coins: a pairing alone takes points outside the subgroup."""
    second = _bytes(add(decompress_G1(int.from_bytes(RAW, "big")), _outside_subgroup()))
    assert second != RAW
    with pytest.raises(BeaconError, match="is not the signature"):
        QUICKNET.check(NUMBER, second)
    # A coordinate that the field takes once more round
    x = int.from_bytes(RAW, "big") & ((1 << 381) - 1)
    if x + field_modulus < 1 << 381:
        again = int.from_bytes(RAW, "big") + field_modulus
        assert not beacon._is_canonical(again.to_bytes(48, "big"))
    assert not beacon._is_canonical((field_modulus + 1 + (1 << 383)).to_bytes(48, "big"))
    assert beacon._is_canonical(RAW)


def test_our_own_chain_is_checked_by_the_same_code() -> None:
    OWN.check(5, sign(5))
    with pytest.raises(BeaconError):
        OWN.check(6, sign(5))
    with pytest.raises(BeaconError, match="not known"):
        find_chain(OWN.hash)


def test_the_rust_verifier_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def verify(number: int, signature: str, key: str) -> str:
        asked.append((number, signature, key))
        if number != NUMBER:
            raise ValueError("Verification Failed")
        return RANDOMNESS

    monkeypatch.setitem(sys.modules, "drand_verify", SimpleNamespace(verify_quicknet=verify))
    beacon._is_signed.cache_clear()
    QUICKNET.check(NUMBER, RAW)
    with pytest.raises(BeaconError):
        QUICKNET.check(NUMBER + 2, RAW)
    assert asked == [
        (NUMBER, SIGNATURE, QUICKNET.public_key),
        (NUMBER + 2, SIGNATURE, QUICKNET.public_key),
    ]
    beacon._is_signed.cache_clear()


def test_without_a_verifier_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "drand_verify", None)
    monkeypatch.setitem(sys.modules, "py_ecc.bls.g2_primitives", None)
    beacon._is_signed.cache_clear()
    with pytest.raises(BeaconError, match="pip install py-ecc"):
        QUICKNET.check(NUMBER, RAW)
    check_coins("beacon")
    monkeypatch.setattr(beacon, "find_spec", lambda name: None)
    with pytest.raises(BeaconError, match="pip install py-ecc"):
        check_coins("beacon")
    check_coins("local")


LIARS = {
    "another round": (lambda path: (200, answer(NUMBER - 1, SIGNATURE)), "gave round 657412"),
    "another signature": (lambda path: (200, answer(NUMBER, sign(NUMBER))), "not the signature"),
    "a page": (lambda path: (200, b"<html>Sign in to the hotel's network</html>"), "no JSON"),
    "a list": (lambda path: (200, b"[1, 2]"), "no round and signature"),
    "half a signature": (
        lambda path: (200, b'{"round": 657413, "signature": "b713"}'),
        "96 lower-case",
    ),
    "false randomness": (
        lambda path: (200, answer(NUMBER, SIGNATURE).replace(b"fc18", b"0000")),
        "SHA-256",
    ),
    "too much": (lambda path: (200, b" " * 100_000), "longer than"),
    "broken": (lambda path: (500, b"oops"), "HTTP 500"),
    "not yet": (lambda path: (425, b"too early"), "does not have this round"),
    "unknown": (lambda path: (404, b""), "does not have this round"),
    "slow": (slow(2.0), "within 0.3 s"),
}


@pytest.mark.parametrize("name", LIARS)
def test_a_relay_that_lies_is_explained_and_the_next_one_asked(name: str) -> None:
    answers, why = LIARS[name]
    with relay(answers) as liar, relay() as good:
        with pytest.raises(BeaconError) as told:
            fetch_round(QUICKNET, NUMBER, [liar], timeout=0.3)
        assert f"{liar}: " in str(told.value)
        assert why in str(told.value)
        assert "give the answer as a file" in str(told.value)
        assert fetch_round(QUICKNET, NUMBER, [liar, good], timeout=0.3) == RAW


def test_every_relay_is_told_of() -> None:
    with (
        relay(LIARS["broken"][0]) as one,
        relay(LIARS["a page"][0]) as two,
        pytest.raises(BeaconError) as told,
    ):
        fetch_round(QUICKNET, NUMBER, [one, two, "http://127.0.0.1:9"], timeout=2)
    lines = str(told.value).split("\n")
    assert [line.strip().split(": ")[0] for line in lines[1:4]] == [one, two, "http://127.0.0.1:9"]
    assert "cannot be reached" in lines[3]
    for wrong in ((), "https://api.drand.sh", ("ftp://api.drand.sh",), (7,)):
        with pytest.raises(ParameterError, match="address"):
            fetch_round(QUICKNET, NUMBER, wrong)  # type: ignore[arg-type]


def test_it_waits_until_the_round_is_out_and_tries_again() -> None:
    tries: list[str] = []

    def late(path: str) -> tuple[int, bytes]:
        tries.append(path)
        return (404, b"") if len(tries) < 3 else honest(path)

    number = OWN.round_at(beacon.now()) + 2
    told: list[tuple[str, int, int]] = []
    with relay(late) as address, pytest.MonkeyPatch.context() as patch:
        patch.setattr(relays, "_PAUSE", 0.05)
        signature = await_round(
            OWN, number, [address], patience=20, report=lambda *step: told.append(step)
        )
    assert signature == sign(number)
    assert beacon.now() >= OWN.time_of(number)
    assert len(tries) == 3
    assert told[-1][1] == told[-1][2]
    with relay(LIARS["unknown"][0]) as address, pytest.raises(BeaconError, match="does not have"):
        await_round(OWN, number, [address], patience=0)


def test_a_round_comes_from_a_file_or_pasted(tmp_path: Any) -> None:
    text = answer(NUMBER, SIGNATURE).decode()
    path = tmp_path / "round.json"
    path.write_text(text + "\n", encoding="utf-8")
    for source in (path, str(path), text, SIGNATURE, f" {SIGNATURE.upper()}\n"):
        assert read_round(source, QUICKNET, NUMBER) == RAW
    with pytest.raises(BeaconError, match="gave round 657413, asked was 7"):
        read_round(path, QUICKNET, 7)
    with pytest.raises(BeaconError, match="is not the signature of round 7 "):
        read_round(SIGNATURE, QUICKNET, 7)
    with pytest.raises(BeaconError, match="cannot be read"):
        read_round(tmp_path / "nowhere.json", QUICKNET, NUMBER)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BeaconError, match="cannot be read"):
        read_round(path, QUICKNET, NUMBER)
    path.write_text("nothing of the kind", encoding="utf-8")
    with pytest.raises(BeaconError, match="96 lower-case"):
        read_round(path, QUICKNET, NUMBER)


def test_a_check_leaves_the_recursion_limit_as_it_was(tmp_path: Path) -> None:
    """py-ecc raises it when it is imported: a file of brackets would then kill the process in JSON's parser."""
    program = """
import sys
from pathlib import Path
from fiftyone_honeyimage.core.errors import LedgerError
from fiftyone_honeyimage.core.ledger.beacon import QUICKNET, _is_signed_in_python
from fiftyone_honeyimage.core.ledger.ledger import load_ledger
from fiftyone_honeyimage.checker.check_evidence import NoEvidenceError, check, is_signed

limit = sys.getrecursionlimit()
signature = bytes.fromhex(sys.argv[1])
assert _is_signed_in_python(QUICKNET.public_key, 657413, signature)
assert is_signed(QUICKNET.public_key, 657413, signature)
assert sys.getrecursionlimit() == limit
path = Path(sys.argv[2])
path.write_text("[" * 200_000, encoding="utf-8")
for read, error in ((load_ledger, LedgerError), (check, NoEvidenceError)):
    try:
        read(path)
    except error:
        print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, VECTOR[1], str(tmp_path / "brackets.json")],
        capture_output=True,
        encoding="utf-8",
        cwd=Path(__file__).resolve().parents[3],
    )
    assert (done.returncode, done.stdout.split()) == (0, ["refused"] * 2), done.stderr
