"""A ledger's file: private, whole at any moment, and one for all who write to it."""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from protocols import PROTOCOL

from fiftyone_honeyimage.core.errors import LedgerError
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.ledger.ledger import Ledger, load_ledger

ROOT = Path(__file__).resolve().parents[3]

MakeLedger = Callable[..., Ledger]
Ask = Callable[..., Any]
Verify = Callable[..., str]

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and permissions")


@posix
def test_private(make_ledger: MakeLedger) -> None:
    before = os.umask(0)
    try:
        ledger = make_ledger()
    finally:
        os.umask(before)
    assert ledger.path.stat().st_mode & 0o777 == 0o600
    assert ledger.path.parent.stat().st_mode & 0o777 == 0o700


@posix
def test_permissions_are_repaired_with_a_warning(
    make_ledger: MakeLedger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = make_ledger()
    ledger.path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        load_ledger(ledger.path)
    assert "Others could read the ledger" in caplog.text
    assert ledger.path.stat().st_mode & 0o777 == 0o600
    caplog.clear()
    load_ledger(ledger.path)
    assert not caplog.text


def test_round_trip(make_ledger: MakeLedger, verify: Verify) -> None:
    ledger = make_ledger()
    verify(ledger, 12)
    again = load_ledger(ledger.path, ledger.commitment)
    assert (again.header, again.singles, again.pairs, again.query_order) == (
        ledger.header,
        ledger.singles,
        ledger.pairs,
        ledger.query_order,
    )
    assert (again.log, again.verifications) == (ledger.log, ledger.verifications)
    assert again.plan == Plan()
    assert again.header["dataset_name"] == "animals"


@pytest.mark.parametrize("step", ["creation", "opening", "closing"])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_changes_nothing(
    make_ledger: MakeLedger,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    step: str,
    function: str,
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = tmp_path / "secret"
    if step == "creation":
        folder.mkdir()
    else:
        ledger = make_ledger()
        verification_id = ledger.open_verification(
            "suspect", None, "scores", ledger.pairs_left[:12], protocol=PROTOCOL
        )
        answers = ask(ledger, ledger.verifications[verification_id].pairs)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    actions: dict[str, Callable[[], object]] = {
        "creation": make_ledger,
        "opening": lambda: ledger.open_verification(
            "another", None, "scores", ledger.pairs_left, protocol=PROTOCOL
        ),
        "closing": lambda: ledger.conclude(verification_id, answers),
    }
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="free some space"):
        actions[step]()
    monkeypatch.undo()

    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}
    assert after == {name: data for name, data in before.items() if not name.endswith(".lock")}
    if step != "creation":
        # The ledger in memory did not run ahead of the file
        assert ledger.log == load_ledger(ledger.path).log
        assert ledger.conclude(verification_id, answers).verdict == "derived"


@posix
def test_killed_at_any_moment_leaves_a_whole_ledger(make_ledger: MakeLedger) -> None:
    """A process that logs verifications without end is killed at random moments."""
    ledger = make_ledger(num_pairs=400)
    code = (
        "import sys\n"
        f"protocol = {PROTOCOL!r}\n"
        "from fiftyone_honeyimage.core.ledger.ledger import load_ledger\n"
        "ledger = load_ledger(sys.argv[1])\n"
        "while True:\n"
        "    opened = ledger.open_verification('x', None, 'scores', [], protocol=protocol)\n"
        "    print('opened', flush=True)\n"
        "    ledger.close_verification(opened, None)\n"
    )
    rng = random.Random(0)
    seen = 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(ledger.path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout
            for _ in range(rng.randrange(1, 6)):
                process.stdout.readline()
                seen += 1
            try:
                process.wait(rng.random() * 0.05)
            except subprocess.TimeoutExpired:
                process.kill()
        assert process.returncode == -signal.SIGKILL
        # What had been confirmed is there, what was being written is there or not
        opened = len(load_ledger(ledger.path, ledger.commitment).verifications)
        assert opened >= seen
        seen = opened


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"log": NaN}', '{"log": 1, "log": 1}', "[" * 100_000, "\x00"],
)
def test_other_files_are_no_ledgers(tmp_path: Path, text: str) -> None:
    (tmp_path / "ledger.json").write_text(text, encoding="utf-8")
    with pytest.raises(LedgerError):
        load_ledger(tmp_path / "ledger.json")


def test_a_ledger_that_was_cut_off(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    data = ledger.path.read_bytes()
    for size in range(0, len(data) - 2, 97):
        ledger.path.write_bytes(data[:size])
        with pytest.raises(LedgerError):
            load_ledger(ledger.path)


def test_a_missing_ledger(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="There is no ledger"):
        load_ledger(tmp_path / "ledger.json")
    with pytest.raises(LedgerError, match="cannot be read"):
        load_ledger(tmp_path)


def test_a_ledger_of_a_later_version(make_ledger: MakeLedger) -> None:
    ledger = make_ledger()
    content = json.loads(ledger.path.read_text(encoding="utf-8"))
    content["header"]["format"] = "honeyimage-ledger/4"
    ledger.path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(LedgerError, match="this version reads"):
        load_ledger(ledger.path)


def test_a_link_to_a_ledger_stays_a_link(make_ledger: MakeLedger, tmp_path: Path) -> None:
    """Else two ledgers would count on their own, each from the start."""
    ledger = make_ledger(4)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.json"
    link.symlink_to(ledger.path)
    load_ledger(link).open_verification("one", None, "scores", [], protocol=PROTOCOL)
    assert link.is_symlink()
    assert list((tmp_path / "elsewhere").iterdir()) == [link]
    assert len(load_ledger(ledger.path).log) == 1


def test_verifications_from_several_threads_are_all_kept(make_ledger: MakeLedger) -> None:
    ledger = make_ledger(num_pairs=24)
    opened: list[str] = []

    def work() -> None:
        own = load_ledger(ledger.path)
        while own.pairs_left:
            try:
                opened.append(
                    own.open_verification(
                        "x", None, "scores", own.pairs_left[:1], protocol=PROTOCOL
                    )
                )
            except LedgerError:
                # Another thread took that pair; the reload has shown what is left
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    final = load_ledger(ledger.path)
    assert len(opened) == 24
    assert set(final.verifications) == set(opened)
    spent = [pair for item in final.verifications.values() for pair in item.pairs]
    assert sorted(spent) == list(range(24))
