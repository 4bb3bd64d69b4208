"""Dates by time-stamp authorities: had from a real one (``openssl ts``), checked offline, and refused in words."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from authority import Authority, serving
from beacons import BEFORE, OWN, VECTOR, set_clock, sign
from protocols import PROTOCOL

from fiftyone_honeyimage.__main__ import main
from fiftyone_honeyimage.core.errors import LedgerError, ParameterError
from fiftyone_honeyimage.core.ledger.authorities import Refusal, check_authorities, request_stamp
from fiftyone_honeyimage.core.ledger.beacon import QUICKNET, now
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence, export_evidence
from fiftyone_honeyimage.core.ledger.ledger import Ledger, load_ledger
from fiftyone_honeyimage.core.ledger.lots import Beacon, appoint
from fiftyone_honeyimage.core.ledger.stamp_comparison import compare_stamps
from fiftyone_honeyimage.core.ledger.stamping import stamp_ledger
from fiftyone_honeyimage.core.ledger.stamps import (
    Stamp,
    add_stamps,
    check_stamp,
    read_roots,
    read_stamps,
    stamps_path,
)

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is the authority")

DIGEST, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("honest") / "tsa", "Honest stamps")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger") / "tsa", "Strange stamps")


@pytest.fixture
def address(honest: Authority) -> Iterator[str]:
    with serving(honest.answer) as found:
        yield found


def stamp_of(authority: Authority, digest: str = DIGEST) -> Stamp:
    with serving(authority.answer) as address:
        found = request_stamp(digest, address)
    assert isinstance(found, Stamp), found
    return found


def state(stamp: Stamp, *roots: Path) -> tuple[str, str]:
    found = check_stamp(stamp, read_roots(roots))
    return found.state, found.problem


def test_a_stamp_is_had_and_checked_offline(honest: Authority) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    stamp = stamp_of(honest)
    found = check_stamp(stamp, read_roots([honest.root]))
    assert (found.state, found.problem, found.signer) == ("holds", "", "CN=Honest stamps")
    assert found.at is not None
    assert before <= found.at <= datetime.now(timezone.utc) + timedelta(seconds=1)


def test_openssl_verifies_what_is_kept(honest: Authority, tmp_path: Path) -> None:
    """As docs/evidence.md tells a stranger to do, without a line of ours."""
    (tmp_path / "stamp.tsr").write_bytes(stamp_of(honest).response)
    (tmp_path / "digest.txt").write_text(DIGEST, encoding="ascii")
    honest._openssl(
        *("ts", "-verify", "-in", str(tmp_path / "stamp.tsr")),
        *("-data", str(tmp_path / "digest.txt"), "-CAfile", "root.pem"),
    )


def test_a_foreign_stamp_is_told_from_a_false_one(honest: Authority, stranger: Authority) -> None:
    stamp = stamp_of(stranger)
    assert state(stamp, honest.root)[0] == "foreign"
    assert state(stamp, honest.root, stranger.root)[0] == "holds"


def test_a_stamp_of_something_else_fails(honest: Authority) -> None:
    moved = Stamp(OTHER, "it", stamp_of(honest).response)
    assert state(moved, honest.root) == (
        "fails",
        "it is of something else than the digest beside it",
    )


def test_no_altered_byte_moves_a_date(honest: Authority) -> None:
    """Bytes that no signature covers, such as those around it, may change; what is told does not."""
    stamp = stamp_of(honest)
    roots = read_roots([honest.root])
    told = check_stamp(stamp, roots)
    states = []
    for place in range(len(stamp.response)):
        altered = bytearray(stamp.response)
        altered[place] ^= 1
        found = check_stamp(Stamp(DIGEST, "it", bytes(altered)), roots)
        states.append(found.state)
        if found.state == "holds":
            assert (found.at, found.signer) == (told.at, told.signer)
        else:
            assert found.problem
    assert states.count("holds") < len(states) / 20


def test_a_certificate_that_had_expired_is_named(tmp_path: Path) -> None:
    old = Authority(tmp_path / "old", "Old stamps", days=-1)
    found, why = state(stamp_of(old), old.root)
    assert found == "fails"
    assert "was not valid at the time" in why


def refused(digest: str = DIGEST, **options: Any) -> str:
    with serving(options.pop("answer"), **options) as address:
        found = request_stamp(digest, address, timeout=0.5)
    assert isinstance(found, Refusal)
    return found.reason


def test_what_an_authority_may_do_instead_is_told(
    honest: Authority, stranger: Authority, tmp_path: Path
) -> None:
    choosy = Authority(tmp_path / "choosy", "Choosy stamps", digests="sha512")
    assert "refused" in refused(answer=choosy.answer)
    assert "HTTP 503" in refused(answer=honest.answer, status=503)
    assert '"text/html"' in refused(answer=lambda _: b"<html>", kind="text/html")
    assert "no time-stamp" in refused(answer=lambda _: b"<html>")
    assert "no time-stamp" in refused(answer=lambda _: b"")
    assert "131,072 bytes" in refused(answer=lambda _: b"0" * 200_000)
    kept = stamp_of(honest).response
    assert "another request" in refused(answer=lambda _: kept)

    def slow(query: bytes) -> bytes:
        time.sleep(1)
        return b""

    assert "within 0.5 seconds" in refused(answer=slow)
    gone = request_stamp(DIGEST, "http://127.0.0.1:9/", timeout=0.5)
    assert isinstance(gone, Refusal)
    assert "cannot be reached" in gone.reason
    with serving(stranger.answer) as address:
        foreign = request_stamp(DIGEST, address, [str(honest.root)])
    assert isinstance(foreign, Refusal)
    assert "vouches" in foreign.reason


def test_authorities_are_checked_before_anything_is_sent() -> None:
    assert check_authorities(["freetsa", "https://a.example/x", "freetsa"]) == [
        "https://freetsa.org/tsr",
        "https://a.example/x",
    ]
    for wrong in ("digicert", [], ["ftp://a.example"], ["nobody"], [None], ["http://"]):
        with pytest.raises(ParameterError, match="authorit"):
            check_authorities(wrong)  # type: ignore[arg-type]


def test_roots_that_are_none_are_named(tmp_path: Path, honest: Authority) -> None:
    (tmp_path / "no.pem").write_text("no certificate", encoding="utf-8")
    for wrong in ([tmp_path / "no.pem"], [tmp_path / "missing.pem"], [tmp_path], []):
        with pytest.raises(LedgerError, match="certificate"):
            read_roots(wrong)
    both = tmp_path / "both.pem"
    both.write_bytes(honest.root.read_bytes() * 2)
    assert len(read_roots([both])) == 2


@pytest.fixture
def dated(
    make_ledger: Callable[..., Ledger], ask: Any, address: str, tmp_path: Path
) -> tuple[Ledger, Path]:
    """A ledger of which commitment, release and log were stamped, and evidence from it."""
    ledger = make_ledger(num_pairs=16)
    stamp_ledger(ledger, "commitment", [address])
    ledger.record_release("ef" * 32, 7)
    return ledger, evidence_of(ledger, ask, tmp_path / "evidence.json", address)


def evidence_of(ledger: Ledger, ask: Any, path: Path, address: str | None = None) -> Path:
    opened = ledger.open_verification(
        "suspect", None, "scores", ledger.pairs_left, protocol=PROTOCOL
    )
    answers = ask(ledger, list(ledger.verifications[opened].pairs))
    ledger.conclude(opened, answers)
    if address:
        stamp_ledger(ledger, ["releases", "head"], [address])
    export_evidence(ledger, opened, answers, path)
    return path


def test_stamps_travel_in_the_evidence(
    dated: tuple[Ledger, Path], honest: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, path = dated
    content = json.loads(path.read_text(encoding="utf-8"))
    stamped = [entry["digest"] for entry in content["stamps"]]
    assert stamped == [ledger.commitment, "ef" * 32, ledger.head]
    assert load_ledger(ledger.path, ledger.commitment).head == ledger.head
    plain = check_evidence(path)
    assert plain.ok
    assert "3 time-stamps in the file" in plain.not_checked[0]
    assert main(["check", str(path), "--roots", str(honest.root)]) == 0
    said = capsys.readouterr().out
    for words in (
        "the commitment was there at 20",
        "the release that entry 0 logs was there at",
        "the log up to entry 2 was there at",
        "CN=Honest stamps",
        "3 time-stamps were signed under the given roots",
    ):
        assert words in said, words
    assert "NO STAMP" not in said


def test_evidence_without_stamps_is_as_it_was(
    make_ledger: Callable[..., Ledger], ask: Any, tmp_path: Path, honest: Authority
) -> None:
    ledger = make_ledger(num_pairs=16)
    path = evidence_of(ledger, ask, tmp_path / "evidence.json")
    assert "stamps" not in json.loads(path.read_text(encoding="utf-8"))
    assert not stamps_path(ledger.path).exists()
    found = check_evidence(path, roots=[honest.root])
    assert not found.ok
    assert "holds no time-stamp" in found.failed[0]


def changed(path: Path, change: Callable[[Any], None]) -> Path:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content["stamps"])
    other = path.with_name("changed.json")
    other.write_text(json.dumps(content), encoding="utf-8")
    return other


def test_stamps_that_were_moved_or_altered_are_refused(
    dated: tuple[Ledger, Path], honest: Authority, stranger: Authority
) -> None:
    _, path = dated

    def move(stamps: Any) -> None:
        stamps[0]["response"] = stamps[1]["response"]

    def elsewhere(stamps: Any) -> None:
        stamps[0]["digest"] = OTHER

    def alter(stamps: Any) -> None:
        data = bytearray(base64.b64decode(stamps[0]["response"]))
        data[len(data) - 5] ^= 1
        stamps[0]["response"] = base64.b64encode(bytes(data)).decode()

    def twice(stamps: Any) -> None:
        stamps.append(stamps[0])

    def no_base64(stamps: Any) -> None:
        stamps[0]["response"] = "é"

    roots = [honest.root]
    for change, words in (
        (move, "something else"),
        (elsewhere, "neither commitment"),
        (alter, "altered"),
        (twice, "twice"),
        (no_base64, "base64"),
        (lambda stamps: stamps[0].update(more=1), "a digest, an authority"),
    ):
        found = check_evidence(changed(path, change), roots=roots)
        assert not found.ok
        assert words in found.failed[0]
    foreign = check_evidence(path, roots=[stranger.root])
    assert not foreign.ok
    assert "none of the 3 time-stamps" in foreign.failed[0]


def test_a_stamp_after_the_coins_is_refused(dated: tuple[Ledger, Path], honest: Authority) -> None:
    ledger, path = dated
    stamps = read_stamps(ledger.path)
    log = json.loads(path.read_text(encoding="utf-8"))["log"]
    now = datetime.now(timezone.utc)

    def compare(chosen: Any, at: datetime) -> Any:
        return compare_stamps(chosen, ledger.commitment, log, [honest.root], at)[0]

    late, early = now + timedelta(minutes=3), now - timedelta(minutes=3)
    assert "before" in compare(stamps, late).held[-1]
    assert not compare(stamps, late).failed
    assert "may have been chosen by them" in compare(stamps, early).failed[0]
    assert "nothing shows" in compare(stamps[1:], late).failed[0]


def test_a_pending_marking_is_stamped_and_its_coins_lie_after(
    make_ledger: Callable[..., Ledger],
    ask: Any,
    tmp_path: Path,
    honest: Authority,
    stranger: Authority,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Committed, stamped by an authority, then drawn from a round: nothing of the coins is the owner's word."""
    clock = set_clock(monkeypatch, now().replace(microsecond=0))
    ledger = make_ledger(
        num_pairs=16, beacon=appoint(round=OWN.round_at(clock.time) + 60, chain=OWN)
    )
    assert ledger.pending
    report = stamp_ledger(ledger, ["commitment", "head"], [address], roots=[honest.root])
    assert [one.what for one in report.stamped] == ["the commitment"]
    assert ledger.beacon is not None
    clock.time = ledger.beacon.coins_at
    ledger.draw_coins(sign(ledger.beacon.round))
    path = evidence_of(ledger, ask, tmp_path / "evidence.json", address)
    when = f"{ledger.beacon.coins_at:%Y-%m-%d %H:%M:%S}"

    plain = check_evidence(path)
    assert any("that the commitment was published before" in line for line in plain.not_checked)
    found = check_evidence(path, roots=[honest.root])
    assert found.ok, found.failed
    assert any(f"before {when}" in line and "stamped at" in line for line in found.held)
    assert not any("published before" in line and when in line for line in found.not_checked)
    assert not check_evidence(path, roots=[stranger.root]).ok

    # Without the commitment's own stamp, others that hold show nothing of it
    late = check_evidence(changed(path, lambda stamps: stamps.pop(0)), roots=[honest.root])
    assert "nothing shows that it was made before" in late.failed[0]


def test_a_commitment_stamped_after_its_round_is_refused(
    make_ledger: Callable[..., Ledger], ask: Any, tmp_path: Path, honest: Authority, address: str
) -> None:
    """An owner writes an early time into his commitment, when the round is long out: the stamp tells."""
    ledger = make_ledger(num_pairs=16, beacon=Beacon(QUICKNET, VECTOR[0], BEFORE))
    ledger.draw_coins(bytes.fromhex(VECTOR[1]))
    stamp_ledger(ledger, "commitment", [address])
    path = evidence_of(ledger, ask, tmp_path / "evidence.json")
    assert check_evidence(path).ok, "by itself the file cannot tell"
    found = check_evidence(path, roots=[honest.root])
    assert found.verdict is None
    assert "not before 2023-09-15" in found.failed[0]
    assert "may have been chosen by them" in found.failed[0]
    assert main(["check", str(path), "--roots", str(honest.root)]) == 1


def test_a_commitment_that_was_stamped_late_is_told(
    make_ledger: Callable[..., Ledger], ask: Any, tmp_path: Path, honest: Authority, address: str
) -> None:
    ledger = make_ledger(num_pairs=16)
    ledger.record_release("ef" * 32, 7)
    stamp_ledger(ledger, ["releases"], [address])
    path = evidence_of(ledger, ask, tmp_path / "evidence.json")
    facts = dict(check_evidence(path, roots=[honest.root]).facts)
    assert "NO STAMP OF THE COMMITMENT is as early" in facts["stamped"]


def test_nobody_is_asked_twice_and_refusals_are_told(
    make_ledger: Callable[..., Ledger], honest: Authority, address: str
) -> None:
    ledger = make_ledger()
    first = stamp_ledger(ledger, ["commitment", "head"], [address], roots=[honest.root])
    assert (len(first.stamped), first.already) == (1, 0)
    assert "the commitment" in str(first)
    asked: list[bytes] = []

    def refuse(query: bytes) -> bytes:
        asked.append(query)
        return b""

    with serving(refuse) as other:
        again = stamp_ledger(ledger, ["commitment"], [address, other])
        assert (again.stamped, again.already, len(again.refused), len(asked)) == ((), 1, 1, 1)
        assert "no time-stamp" in str(again)
        ledger.record_release("ef" * 32, 7)
        with pytest.raises(LedgerError, match="no time-stamp authority gave a stamp"):
            stamp_ledger(ledger, ["head"], [other])
    for wrong in ("everything", [], ["commitment", "coins"]):
        with pytest.raises(ParameterError, match="what must be"):
            stamp_ledger(ledger, wrong, [address])
    with pytest.raises(ParameterError, match="timeout"):
        stamp_ledger(ledger, ["head"], [address], timeout=0)


def test_a_file_of_stamps_that_is_none_is_not_written_over(
    make_ledger: Callable[..., Ledger],
) -> None:
    ledger = make_ledger()
    stamps_path(ledger.path).write_text('{"format": "else"}', encoding="utf-8")
    for act in (lambda: read_stamps(ledger.path), lambda: add_stamps(ledger.path, [])):
        with pytest.raises(LedgerError, match="holds no stamps"):
            act()
