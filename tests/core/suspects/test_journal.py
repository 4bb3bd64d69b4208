"""The journal of answers: on disk before they are used, whole lines or none, one call at a time."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

from fiftyone_honeyimage.core.errors import LedgerError
from fiftyone_honeyimage.core.suspects import journal as module
from fiftyone_honeyimage.core.suspects.journal import Journal, journal_path

CALL = {"suspect": "theirs", "pairs": "all"}


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "ledger.json"
    path.write_text("{}", encoding="utf-8")
    return path


def begun(ledger, call=CALL):
    journal = Journal.open(ledger, call)
    journal.begin([0.5, -1.0])
    journal.opened("v1")
    losses, right = np.array([0.1 + 0.2, np.nan]), np.array([True, False])
    journal.keep([(3, "b", 0), (3, "a", 0)], losses, right)
    journal.fail({(4, "a", 0): "it broke"})
    return journal


def test_what_is_kept_is_there_for_the_same_call_and_no_other(ledger):
    begun(ledger).close()
    with Journal.open(ledger, CALL) as again:
        assert again.was_there
        assert (again.verification_id, again.trial) == ("v1", [0.5, -1.0])
        assert again.answers[3, "b", 0] == (0.1 + 0.2, True), "bit by bit"
        loss, right = again.answers[3, "a", 0]
        assert math.isnan(loss)
        assert right is False
        assert again.failures == {(4, "a", 0): "it broke"}
    with Journal.open(ledger, {**CALL, "pairs": "unused"}) as other:
        assert not other.was_there
    assert not other.path.exists(), "nothing was begun"
    assert again.path.exists()


def test_it_is_the_owners_alone_and_goes_when_it_is_done(ledger):
    journal = begun(ledger)
    assert journal.path.parent == ledger.parent
    assert journal.path.stat().st_mode & 0o777 == 0o600
    journal.remove()
    journal.close()
    assert {path.name for path in ledger.parent.glob("[!.]*")} == {"ledger.json"}


def test_the_first_answer_counts(ledger):
    with begun(ledger) as journal:
        journal.keep([(3, "b", 0)], np.array([9.0]), np.array([False]))
        assert journal.answers[3, "b", 0] == (0.1 + 0.2, True)
    with Journal.open(ledger, CALL) as again:
        assert again.answers[3, "b", 0] == (0.1 + 0.2, True)


def test_a_line_that_was_cut_short_was_never_used(ledger):
    begun(ledger).close()
    path = journal_path(ledger, CALL)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with Journal.open(ledger, CALL) as journal:
            assert set(journal.answers) <= {(3, "a", 0), (3, "b", 0)}
            if not journal.was_there:
                continue
            journal.keep([(7, "a", 0)], np.array([1.0]), np.array([True]))
        with Journal.open(ledger, CALL) as again:
            assert again.answers[7, "a", 0] == (1.0, True)


def test_what_cannot_be_written_leaves_no_part(ledger, monkeypatch):
    journal = begun(ledger)
    before = journal.path.read_bytes()

    def full(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        journal.keep([(8, "a", 0)], np.array([1.0]), np.array([True]))
    assert (8, "a", 0) not in journal.answers
    assert journal.path.read_bytes() == before


def test_the_same_call_cannot_run_twice_at_once(ledger):
    with (
        begun(ledger),
        pytest.raises(LedgerError, match="is running at this moment"),
        Journal.open(ledger, CALL),
    ):
        pass
    with Journal.open(ledger, CALL) as later:
        assert later.was_there


@pytest.mark.parametrize("text", ['{"format": "other/9", "trial": []}\n', "[1]\n", "no JSON\n"])
def test_a_file_that_is_no_journal_is_refused(ledger, text):
    journal_path(ledger, CALL).write_text(text, encoding="utf-8")
    with pytest.raises(LedgerError, match=r"unknown format|was altered"):
        Journal.open(ledger, CALL)


def test_names_outside_utf_8_have_a_journal_too(ledger):
    with begun(ledger, {"suspect": os.fsdecode(b"mod\xe8le")}) as journal:
        assert journal.path.exists()
