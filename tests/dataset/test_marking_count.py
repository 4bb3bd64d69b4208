"""Every marking of a dataset counts, and a copy of a ledger with a log of its own is found out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.ledger import creation as new_ledger
from fiftyone_honeyimage.dataset.ledger_heads import check_head, note_head
from fiftyone_honeyimage.dataset.marking.count import count_marking, earlier_commitments


def header(marking: Any) -> tuple[int, list[str]]:
    held = marking.load_ledger().header
    return held["marking_number"], held["earlier_commitments"]


def test_deleted_and_killed_markings_count(
    make_dataset: Callable[..., Any], mark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset(hardness=True)
    first = mark(dataset)
    assert header(first) == (1, [])
    fhi.delete_run(dataset, "honey", delete_files=True)
    # Again with the same settings: the same images, other coins
    second = mark(dataset)
    assert header(second) == (2, [first.commitment])
    mark(dataset, "other")
    assert len(earlier_commitments(dataset)) == 3

    # Killed when the coins were drawn and the ledger was not on the disk yet, then started again
    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "third"
    with monkeypatch.context() as patched:
        patched.setattr(new_ledger, "write_ledger_file", killed)
        with pytest.raises(KeyboardInterrupt):
            mark(dataset, "third", output_dir=folder)
    known = earlier_commitments(dataset)
    assert len(known) == 4
    third = mark(dataset, "third", output_dir=folder)
    assert header(third) == (5, known)
    assert known[:2] == [first.commitment, second.commitment]

    assert header(mark(make_dataset(hardness=True))) == (1, [])


def test_a_killed_marking_with_a_ledger_counts_once(
    make_dataset: Callable[..., Any], mark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fiftyone_honeyimage.dataset import storage

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    dataset = make_dataset(hardness=True)
    with monkeypatch.context() as patched:
        patched.setattr(storage, "complete", killed)
        with pytest.raises(KeyboardInterrupt):
            mark(dataset, output_dir=tmp_path / "marking")
    marking = mark(dataset, output_dir=tmp_path / "marking")
    assert header(marking) == (1, [])
    assert earlier_commitments(dataset) == [marking.commitment]


def test_a_dataset_from_another_machine_brings_its_markings(
    make_dataset: Callable[..., Any], mark: Any
) -> None:
    import fiftyone.core.odm as foo

    dataset = make_dataset(hardness=True)
    marking = mark(dataset)
    foo.get_db_conn().honeyimage_markings.delete_one({"_id": dataset._doc.id})
    assert earlier_commitments(dataset) == [marking.commitment]
    assert header(mark(dataset, "other")) == (2, [marking.commitment])


def test_two_markings_that_end_at_once_are_not_both_the_next(
    make_dataset: Callable[..., Any],
) -> None:
    dataset = make_dataset()
    for held in ([], ["1" * 64]):
        count_marking(dataset, f"{len(held) + 1}" * 64, held)
    for late in ([], ["1" * 64]):
        with pytest.raises(fhi.InterruptedRunError, match="run again"):
            count_marking(dataset, "3" * 64, late)
    assert earlier_commitments(dataset) == ["1" * 64, "2" * 64]


def test_a_copy_with_a_log_of_its_own_is_found_out(
    make_dataset: Callable[..., Any], mark: Any, tmp_path: Path
) -> None:
    """Also where the dataset holds none of the verifications, as they were abandoned or deleted."""
    dataset = make_dataset(60, hardness=True)
    marking = mark(dataset, num_honeyimages=11, num_pairs=11, alpha=0.05)
    copy = tmp_path / "copy.json"
    shutil.copy(marking.ledger_path, copy)

    def innocent(batch: Any) -> Any:
        return batch.flatten(1)[:, :3]

    fhi.verify_model(dataset, "honey", innocent, "first", progress=False, insist=True)
    fhi.delete_run(dataset, "first")
    with pytest.raises(fhi.LedgerError, match="an older or another copy"):
        fhi.verify_model(dataset, "honey", innocent, ledger_path=copy, progress=False, insist=True)

    # Grown on its own
    from fiftyone_honeyimage.core.ledger.ledger import load_ledger

    grown = load_ledger(copy)
    grown.record_release("ab" * 32, 1)
    with pytest.raises(fhi.LedgerError, match="Restore the newest copy"):
        check_head(grown)
    newest = marking.load_ledger()
    check_head(newest)
    assert len(newest.log) == 2
    note_head(newest)
    found = fhi.verify_model(dataset, "honey", innocent, progress=False, insist=True)
    assert found.verdict.family_size == 2
