"""What could give coins away, lose a verification, or let one go uncounted."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence


@pytest.fixture
def marked(make_dataset: Any, mark: Any) -> tuple[Any, Any]:
    """60 digits in three classes with ten pairs of twins."""
    dataset = make_dataset(60, hardness=True)
    return dataset, mark(dataset, num_honeyimages=12, num_pairs=10, alpha=0.05)


def guess(batch: torch.Tensor) -> torch.Tensor:
    """Answers by the brightness alone."""
    mean = batch.mean(dim=(1, 2, 3))
    return torch.stack([torch.sin(50 * (k + 1) * mean) for k in range(3)], dim=1)


def pixels(image: torch.Tensor) -> bytes:
    """The image of a batch as ``read_image(path).tobytes()`` has it."""
    return (image * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy().tobytes()


def verify(dataset: Any, suspect: Any = guess, key: str | None = None, **more: Any) -> Any:
    # Nearly all suspects here know nothing, and are verified all the same
    return fhi.verify_model(
        dataset, "honey", suspect, key, progress=False, **{"insist": True, **more}
    )


@pytest.mark.parametrize("labels_alone", [False, True])
def test_a_failed_query_does_not_tell_which_twin_it_was(
    marked: Any, tmp_path: Path, labels_alone: bool
) -> None:
    dataset, marking = marked
    image = marking.load_ledger().pairs[3].released_side().files[0]
    refused = read_image(marking.output_dir / image.file).tobytes()

    def picky(batch: torch.Tensor) -> torch.Tensor:
        if any(pixels(image) == refused for image in batch):
            raise RuntimeError("refused")
        return guess(batch).argmax(dim=1) if labels_alone else guess(batch)

    found = verify(dataset, picky, "picky", skip_failures=True)

    row = next(row for row in found.pairs if row["pair"] == 3)
    assert row["failed"]
    assert row["released_loss"] is row["withheld_loss"] is None
    assert row["released_correct"] is row["withheld_correct"] is False
    assert found.verdict.num_failed == 1
    path = fhi.export_evidence(dataset, "picky", tmp_path / "evidence.json")
    check = check_evidence(path)
    assert check.ok, check.failed


def test_the_mean_loss_gap_does_not_tell_which_twins_were_released(marked: Any) -> None:
    """Of all choices of twins, those with the stored mean: of an exact one there would be one."""
    dataset, _ = marked
    found = verify(dataset)
    view = dataset.match_tags("honeyimage").exists("honey.pair")
    proxy: dict[int, list[float]] = {}
    for pair, loss in zip(*view.values(["honey.pair", "honey.proxy_loss"]), strict=True):
        proxy.setdefault(pair, []).append(loss)
    own = sum(row["released_loss"] for row in found.pairs)
    choices = itertools.product(*(proxy[row["pair"]] for row in found.pairs))
    means = np.array([(sum(choice) - own) / len(found.pairs) for choice in choices])

    exact = found.verdict.paper["mean_loss_gap"]
    assert exact == round(exact, 2)
    # 1,024 choices in all; the proxies are hardly trained, so they lie close together
    assert np.sum(np.abs(means - exact) <= 0.0051 + 0.005 * abs(exact)) > 5


def test_two_verifications_under_one_key_are_both_kept(marked: Any) -> None:
    dataset, marking = marked
    inner: list[Any] = []

    def slow(batch: torch.Tensor) -> torch.Tensor:
        if not inner:
            inner.append(None)
            inner[0] = verify(dataset, key="mine")
        return guess(batch)

    outer = verify(dataset, slow, "mine")

    assert outer.verify_key == "honey_verification_1"
    kept = {key: fhi.load_verification(dataset, key) for key in ("mine", outer.verify_key)}
    ids = {one.config["verification_id"] for one in kept.values()}
    assert ids == set(marking.load_ledger().verifications)


def test_a_verification_of_another_process_is_not_overwritten(marked: Any) -> None:
    """This process's copy of the dataset is older than what another one has written."""
    import fiftyone.core.odm as foo

    dataset, _ = marked
    first = verify(dataset)
    stale = dataset._doc.runs.pop(first.verify_key)
    second = verify(dataset)
    assert second.verify_key != first.verify_key
    stored = foo.get_db_conn().datasets.find_one({"_id": dataset._doc.id})["runs"]
    assert stored[first.verify_key] == stale.id


def test_a_marking_that_is_renamed_meanwhile_keeps_its_verification(marked: Any) -> None:
    dataset, _ = marked
    asked: list[bytes] = []

    def slow(batch: torch.Tensor) -> torch.Tensor:
        if not asked:
            fhi.rename_run(dataset, "honey", "renamed")
        asked.extend(map(pixels, batch))
        return guess(batch)

    found = verify(dataset, slow, num_random=60)
    assert found.honey_key == "renamed"
    originals = dataset.match({"renamed.role": "original"})
    assert not {read_image(path).tobytes() for path in originals.values("filepath")} & set(asked)


def test_an_older_copy_of_the_ledger_is_refused(marked: Any, tmp_path: Path) -> None:
    """With it, positions would be counted from the start again."""
    dataset, marking = marked
    older = tmp_path / "older.json"
    shutil.copy(marking.ledger_path, older)
    first = verify(dataset)
    before = older.read_bytes()
    with pytest.raises(fhi.LedgerError, match=f"does not hold verification '{first.verify_key}'"):
        verify(dataset, ledger_path=older)
    assert older.read_bytes() == before
    assert verify(dataset).verdict.family_size == 2


def test_pairs_of_a_batch_that_failed_count_as_used(marked: Any) -> None:
    dataset, marking = marked
    calls: list[int] = []

    def breaks(batch: torch.Tensor) -> torch.Tensor:
        calls.append(len(batch))
        if len(calls) > 5:  # four batches of probes, one of twins
            raise RuntimeError("out of memory")
        return guess(batch)

    with pytest.raises(fhi.SuspectError, match="out of memory"):
        verify(dataset, breaks, batch_size=4)
    # Three tries of the batch, one of each half, and three of each image
    assert calls == [4] * 5 + [4] * 3 + [2, *[1] * 6] * 2
    assert marking.load_ledger().pairs_left == []


def test_originals_of_another_marking_are_not_shown(
    make_dataset: Any, mark: Any, marked: Any
) -> None:
    """Beside a release of that marking, they would tell its HoneyImages."""
    dataset, _ = marked
    mark(dataset, "other", method="unperturbed", num_honeyimages=20, num_pairs=8)
    shown: set[bytes] = set()

    def noting(batch: torch.Tensor) -> torch.Tensor:
        shown.update(map(pixels, batch))
        return guess(batch)

    verify(dataset, noting, num_random=60)
    for key in ("honey", "other"):
        originals = dataset.match({f"{key}.role": "original"})
        files = originals.values("filepath")
        assert len(files) >= 22
        assert not {read_image(path).tobytes() for path in files} & shown


def test_evidence_is_the_owners_until_it_is_given_out(marked: Any, tmp_path: Path) -> None:
    dataset, _ = marked
    verify(dataset, key="proof")
    path = fhi.export_evidence(dataset, "proof", tmp_path / "evidence.json")
    assert path.stat().st_mode & 0o777 == 0o600


def test_evidence_does_not_replace_the_ledger(marked: Any) -> None:
    dataset, marking = marked
    verify(dataset, key="proof")
    before = marking.ledger_path.read_bytes()
    with pytest.raises(fhi.LedgerError, match="exists already"):
        fhi.export_evidence(dataset, "proof", marking.ledger_path)
    assert marking.ledger_path.read_bytes() == before


def test_answers_on_the_honeyimages_alone_have_no_random_images(marked: Any) -> None:
    dataset, marking = marked
    ledger = marking.load_ledger()
    answers = {image.sample_id: [1.0, 0.0, 2.0] for _, _, image in ledger.queries(range(10))}
    found = verify(dataset, answers, num_random=5)
    assert "given by its answers" in found.random_images["note"]


@pytest.mark.parametrize("kind", ["labels", "probabilities"])
def test_a_sequential_test_reads_answers_alike_if_the_first_is_missing(
    make_dataset: Any, mark: Any, kind: str
) -> None:
    dataset = make_dataset(60, hardness=True)
    marking = mark(dataset, num_honeyimages=12, num_pairs=10, alpha=0.05, test="e_process")
    answers: dict[str, Any] = {}
    for number, (_, _, image) in enumerate(marking.load_ledger().queries(range(10))):
        if number > 1:
            answers[image.sample_id] = 1 if kind == "labels" else [0.2, 0.3, 0.5]
    found = verify(dataset, answers)
    assert found.config["outputs"] == kind
    assert (found.verdict.num_pairs, found.verdict.num_failed) == (9, 1)
