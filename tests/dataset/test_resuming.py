"""A verification that is interrupted goes on: as the same one, with its first answers, asking nobody twice."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from protocols import protocol_for

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence
from fiftyone_honeyimage.core.ledger.ledger import load_ledger
from fiftyone_honeyimage.core.suspects import TorchScriptSuspect
from fiftyone_honeyimage.core.suspects.journal import FORMAT
from fiftyone_honeyimage.dataset.ledger_heads import check_head, note_head

NUM_PAIRS = 12
CORE = "fiftyone_honeyimage.core"


@pytest.fixture
def marked(make_dataset: Any, mark: Any) -> tuple[Any, Any]:
    """66 digits in three classes with twelve pairs of twins."""
    dataset = make_dataset(66, hardness=True)
    return dataset, mark(dataset, num_honeyimages=13, num_pairs=NUM_PAIRS, alpha=0.05)


@pytest.fixture
def suspect_file(tmp_path: Path) -> str:
    """A TorchScript classifier that has seen nothing."""
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    path = tmp_path / "suspect.pt"
    torch.jit.script(model).save(str(path))
    return str(path)


def verify(dataset: Any, suspect: Any, **more: Any) -> Any:
    return fhi.verify_model(
        dataset, "honey", suspect, progress=False, insist=True, num_random=0, **more
    )


def twins(marking: Any) -> set[str]:
    return {image.sample_id for pair in marking.load_ledger().pairs for image in pair.images}


def journals(marking: Any) -> list[Path]:
    return sorted(marking.ledger_path.parent.glob("*.answers"))


def answered(marking: Any) -> set[str]:
    """The twins whose answers are on disk."""
    import json

    pairs = marking.load_ledger().pairs
    rows = [
        json.loads(row)
        for path in journals(marking)
        for row in path.read_text(encoding="utf-8").splitlines()
    ]
    return {
        pairs[row["pair"]].side(row["twin"]).files[0].sample_id for row in rows if "pair" in row
    }


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of every image that a TorchScript file is asked about in this process."""
    keys: list[str] = []
    real = TorchScriptSuspect.answer

    def answer(self: Any, images: Any, names: Any) -> Any:
        keys.extend(names)
        return real(self, images, names)

    monkeypatch.setattr(TorchScriptSuspect, "answer", answer)
    return keys


def undisturbed(dataset: Any, marking: Any, suspect: Any, tmp_path: Path, **more: Any) -> Any:
    """The verdict of the same verification with a copy of the ledger, which nothing remembers."""
    import fiftyone.core.odm as foo

    copy = tmp_path / "copy" / "ledger.json"
    copy.parent.mkdir()
    shutil.copy(marking.ledger_path, copy)
    found = verify(dataset, suspect, ledger_path=copy, **more)
    fhi.delete_run(dataset, found.verify_key)
    foo.get_db_conn().honeyimage_ledgers.delete_one({"_id": marking.commitment})
    return found


# Batches of four: eleven of unmarked images (44 there are, 44 // 4), then six of twins
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(
    ("point", "num_answered"),
    [
        ({"before": f"{CORE}.suspects.torchscript:TorchScriptSuspect.answer", "nth": 2}, None),
        ({"before": f"{CORE}.ledger.ledger:Ledger.open_verification"}, 0),
        ({"after": f"{CORE}.ledger.ledger:Ledger.open_verification"}, 0),
        ({"after": f"{CORE}.suspects.journal:Journal.opened"}, 0),
        ({"before": f"{CORE}.suspects.journal:Journal.keep", "nth": 4}, 12),
        ({"after": f"{CORE}.suspects.journal:Journal.keep", "nth": 4}, 16),
        ({"before": f"{CORE}.ledger.ledger:Ledger.conclude"}, 24),
        ({"after": f"{CORE}.ledger.ledger:Ledger.conclude"}, 24),
        ({"before": "fiftyone_honeyimage.dataset.verification.verify:save_run"}, 24),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else str(value),
)
def test_a_killed_verification_goes_on(
    marked: Any,
    suspect_file: str,
    killed: Callable[..., None],
    asked: list[str],
    tmp_path: Path,
    point: dict[str, Any],
    num_answered: int | None,
) -> None:
    dataset, marking = marked
    expected = undisturbed(dataset, marking, suspect_file, tmp_path, batch_size=4)
    arguments = {
        "honey_key": "honey",
        "suspect": suspect_file,
        "batch_size": 4,
        "insist": True,
        "num_random": 0,
    }
    killed(dataset, "verify_model", arguments, **point)
    dataset.reload()
    before = answered(marking)
    assert len(before) == (num_answered or 0)
    asked.clear()

    found = verify(dataset, suspect_file, batch_size=4)

    assert found.verdict == expected.verdict, "the first position, and the same p-value"
    assert found.pairs == expected.pairs
    assert list(marking.load_ledger().verifications) == [found.config["verification_id"]]
    assert twins(marking) & set(asked) == twins(marking) - before
    of_twins = [key for key in asked if key in twins(marking)]
    assert len(of_twins) == len(set(of_twins))
    assert journals(marking) == []
    path = fhi.export_evidence(dataset, found.verify_key, tmp_path / "evidence.json")
    assert check_evidence(path).ok


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_verification_that_was_saved_is_over(
    marked: Any, suspect_file: str, killed: Callable[..., None]
) -> None:
    dataset, marking = marked
    arguments = {"honey_key": "honey", "suspect": suspect_file, "insist": True, "num_random": 0}
    killed(
        dataset,
        "verify_model",
        arguments,
        after="fiftyone_honeyimage.dataset.verification.verify:save_run",
    )
    assert len(journals(marking)) == 1
    dataset.reload()
    again = verify(dataset, suspect_file)
    assert again.verdict.family_size == 2
    assert len(fhi.list_runs(dataset)) == 1 + 2
    assert journals(marking) == []


class Service:
    """A function that answers differently each time, and breaks after so many images of twins."""

    __name__ = "service"

    def __init__(self, breaks_after: int, error: BaseException) -> None:
        self.breaks_after = breaks_after
        self.error = error
        self.images: list[bytes] = []
        self.num_probes = 0

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        if self.num_probes < 16:
            self.num_probes += len(batch)
            return batch.flatten(1)[:, 20:23]
        if len(self.images) + len(batch) > self.breaks_after:
            raise self.error
        self.images += [image.numpy().tobytes() for image in batch]
        return torch.randn(len(batch), 3)


@pytest.mark.parametrize(
    "error", [RuntimeError("quota is used up"), KeyboardInterrupt(), MemoryError()]
)
@pytest.mark.parametrize("test", ["signed_rank", "e_process"])
def test_an_error_in_the_middle_costs_no_position_and_no_answer(
    make_dataset: Any, mark: Any, caplog: Any, error: BaseException, test: str
) -> None:
    dataset = make_dataset(66, hardness=True)
    marking = mark(dataset, num_honeyimages=13, num_pairs=NUM_PAIRS, alpha=0.05, test=test)
    service = Service(10, error)
    expected = fhi.SuspectError if isinstance(error, Exception) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        verify(dataset, service, batch_size=2)
    told = str(caught.value) if isinstance(error, Exception) else caplog.text
    assert "10 of 24 images are answered" in told
    assert "The same call goes on" in told
    assert fhi.list_runs(dataset)[1:] == []
    (opened,) = marking.load_ledger().open_verifications()
    first = answered(marking)
    assert len(first) == 10
    (journal,) = journals(marking)
    assert journal.stat().st_mode & 0o777 == 0o600
    assert FORMAT in journal.read_text(encoding="utf-8")
    for word in ("released", "withheld"):
        assert word not in journal.read_text(encoding="utf-8")

    service.breaks_after, service.num_probes = 10_000, 0
    found = verify(dataset, service, batch_size=2)

    assert found.config["verification_id"] == opened.id
    assert found.verdict.family_size == 1
    assert len(service.images) == len(set(service.images)), "nothing was asked twice"
    assert len(service.images) == 2 * found.verdict.num_pairs
    if test == "signed_rank":
        assert found.verdict.num_pairs == NUM_PAIRS
    assert "Going on with the verification of 'service'" in caplog.text
    assert journals(marking) == []


def test_another_suspect_has_a_verification_of_its_own_and_the_open_one_is_named(
    marked: Any, suspect_file: str, caplog: Any
) -> None:
    dataset, marking = marked
    service = Service(10, RuntimeError("quota is used up"))
    with pytest.raises(fhi.SuspectError, match="quota"):
        verify(dataset, service, batch_size=2)

    other = verify(dataset, suspect_file)

    assert other.verdict.family_size == 2
    assert "The verification of 'service' that was opened at" in caplog.text
    assert len(marking.load_ledger().open_verifications()) == 1
    # Another protocol is another call as well
    service.breaks_after, service.num_probes = 10_000, 0
    third = verify(dataset, service, batch_size=2, classes={"0": 2, "1": 1, "2": 0})
    assert third.verdict.family_size == 3
    # And the first one still goes on
    service.num_probes = 0
    found = verify(dataset, service, batch_size=2)
    assert found.verdict.family_size == 1


def test_a_model_of_the_same_name_does_not_take_over_anothers_answers(marked: Any) -> None:
    dataset, marking = marked
    with pytest.raises(fhi.SuspectError, match="quota"):
        verify(dataset, Service(10, RuntimeError("quota is used up")), name="theirs", batch_size=2)

    def another(batch: torch.Tensor) -> torch.Tensor:
        return -batch.flatten(1)[:, 30:33]

    with pytest.raises(fhi.SuspectError, match="answers otherwise than that one did"):
        verify(dataset, another, name="theirs", batch_size=2)
    assert len(answered(marking)) == 10
    assert verify(dataset, another, name="theirs 2", batch_size=2).verdict.family_size == 2


def test_the_pairs_that_were_begun_are_those_that_go_on(marked: Any) -> None:
    dataset, marking = marked
    service = Service(10, RuntimeError("quota is used up"))
    chosen = {"batch_size": 2, "pairs": "unused", "num_pairs": 11}
    with pytest.raises(fhi.SuspectError, match="10 of 22 images"):
        verify(dataset, service, **chosen)
    assert len(marking.load_ledger().pairs_left) == 1
    service.breaks_after, service.num_probes = 10_000, 0
    found = verify(dataset, service, **chosen)
    ledger = marking.load_ledger()
    assert [row["pair"] for row in found.pairs] == [index for index, _ in ledger.query_order][:11]
    assert len(ledger.verifications) == 1


def test_an_older_ledger_beside_the_answers_is_refused(marked: Any, tmp_path: Path) -> None:
    dataset, marking = marked
    older = tmp_path / "older.json"
    shutil.copy(marking.ledger_path, older)
    service = Service(10, RuntimeError("quota is used up"))
    with pytest.raises(fhi.SuspectError, match="quota"):
        verify(dataset, service, batch_size=2)
    shutil.copy(older, marking.ledger_path)
    service.breaks_after, service.num_probes = 10_000, 0
    with pytest.raises(fhi.LedgerError, match="older"):
        verify(dataset, service, batch_size=2)


def test_answers_that_were_removed_are_not_asked_for_again_under_the_same_position(
    marked: Any,
) -> None:
    """Else whoever removes them could ask until he likes the answers."""
    dataset, marking = marked
    service = Service(10, RuntimeError("quota is used up"))
    with pytest.raises(fhi.SuspectError, match="quota"):
        verify(dataset, service, batch_size=2)
    (journal,) = journals(marking)
    journal.unlink()
    service.breaks_after, service.num_probes = 10_000, 0
    assert verify(dataset, service, batch_size=2).verdict.family_size == 2


def test_answers_that_cannot_be_written_stop_the_verification_where_it_is(
    marked: Any, suspect_file: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fiftyone_honeyimage.core.suspects.journal import Journal

    dataset, marking = marked
    real = Journal.keep
    calls: list[int] = []

    def full(self: Any, *arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise OSError("no space left on device")
        real(self, *arguments)

    monkeypatch.setattr(Journal, "keep", full)
    with pytest.raises(OSError, match="no space left"):
        verify(dataset, suspect_file, batch_size=4)
    before = answered(marking)
    assert len(before) == 8
    asked.clear()
    found = verify(dataset, suspect_file, batch_size=4)
    assert found.verdict.family_size == 1
    assert not before & set(asked)
    assert np.isfinite([row["released_loss"] for row in found.pairs]).all()


def test_answers_of_an_interrupted_verification_go_with_the_markings_files(marked: Any) -> None:
    dataset, marking = marked
    with pytest.raises(fhi.SuspectError, match="quota"):
        verify(dataset, Service(10, RuntimeError("quota is used up")), batch_size=2)
    assert len(journals(marking)) == 1
    fhi.delete_run(dataset, "honey", delete_files=True)
    assert not marking.output_dir.exists()


def test_a_verification_is_adopted_by_the_same_call_alone(
    marked: Any, suspect_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between ledger and journal: not by a call of another level, nor from another's journal."""
    from fiftyone_honeyimage.core.suspects.journal import Journal, begun_elsewhere

    dataset, marking = marked

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "opened", killed)
        for alpha in (0.05, 0.04):
            with pytest.raises(KeyboardInterrupt):
                verify(dataset, suspect_file, alpha=alpha, pairs="all")
    levels = [one.alpha for one in marking.load_ledger().open_verifications()]
    assert levels == [0.05, 0.04]
    found = verify(dataset, suspect_file, alpha=0.04, pairs="all")
    second = list(marking.load_ledger().verifications.values())[1]
    assert found.config["verification_id"] == second.id
    (other,) = journals(marking)
    with other.open("a", encoding="utf-8") as file:
        file.write('{"verification": "abc"}\n')
    assert begun_elsewhere(other, marking.ledger_path) == set()
    assert begun_elsewhere(other.with_name("x"), marking.ledger_path) == {"abc"}


def test_of_two_copies_that_count_at_once_one_goes_on(marked: Any, tmp_path: Path) -> None:
    """Both were there before the other wrote; neither suspect is asked about a twin before this is found out."""
    _, marking = marked
    copy = tmp_path / "ledger.json"
    shutil.copy(marking.ledger_path, copy)
    ours, theirs = load_ledger(marking.ledger_path), load_ledger(copy)
    for ledger in (ours, theirs):
        check_head(ledger)
    protocol = {**protocol_for("labels"), "classes": {"0": 0, "1": 1, "2": 2}}
    for ledger in (ours, theirs):
        ledger.open_verification("suspect", None, "labels", ledger.pairs_left, protocol=protocol)
    note_head(ours)
    note_head(ours)
    with pytest.raises(fhi.LedgerError, match="older or another copy"):
        note_head(theirs)
    check_head(ours)


def test_nobody_takes_over_a_verdict_that_was_not_saved(
    marked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the ledger and the run; then another model of the same name is verified."""
    dataset, marking = marked

    def model(columns: slice) -> Any:
        def predict(batch: torch.Tensor) -> torch.Tensor:
            return -batch.flatten(1)[:, columns]

        return predict

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr("fiftyone_honeyimage.dataset.verification.verify.save_run", full)
        with pytest.raises(OSError, match="no space"):
            verify(dataset, model(slice(20, 23)))
    with pytest.raises(fhi.SuspectError, match="answers otherwise than that one did"):
        verify(dataset, model(slice(30, 33)))
    found = verify(dataset, model(slice(20, 23)))
    assert found.verdict.family_size == 1
    assert len(marking.load_ledger().verifications) == 1
