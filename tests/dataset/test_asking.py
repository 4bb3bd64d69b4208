"""What is found out about a suspect before its verification is opened, and what is fixed there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")


@pytest.fixture
def ledger_stays(fresh: Any):
    """Checks that a refused suspect leaves the ledger, the runs and the folder beside it as they were."""
    dataset, _, ledger = fresh
    before = (
        ledger.read_bytes(),
        dataset.list_runs(),
        [p for p in sorted(ledger.parent.iterdir()) if p.suffix != ".lock"],
    )
    yield
    beside = [path for path in sorted(ledger.parent.iterdir()) if path.suffix != ".lock"]
    assert (ledger.read_bytes(), dataset.list_runs(), beside) == before


class Linear(torch.nn.Module):
    """The innocent classifier with weights of its own, so that it can be asked as a module or file."""

    def __init__(self, scores: Any) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(64, 4)
        probes = torch.cat([torch.zeros(1, 64), torch.eye(64)]).view(65, 1, 8, 8).repeat(1, 3, 1, 1)
        answers = torch.atanh(scores(probes).clamp(-0.999, 0.999))
        with torch.no_grad():
            self.linear.bias.copy_(answers[0])
            self.linear.weight.copy_((answers[1:] - answers[0]).T)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return 4 * torch.tanh(self.linear(batch.mean(dim=1).flatten(1)))


@pytest.fixture
def model(innocent_scores: Any) -> Linear:
    return Linear(innocent_scores).eval()


# --- C1: the shapes that will be used


def sizes_of(fresh: Any, suspect: Any, **more: Any) -> list[int]:
    dataset, _, ledger = fresh
    seen: list[int] = []

    def noting(batch: torch.Tensor) -> torch.Tensor:
        seen.append(len(batch))
        return suspect(batch)

    fhi.verify_model(dataset, "honey", noting, ledger_path=ledger, **more)
    return seen


@pytest.mark.parametrize(
    ("batch_size", "probes", "twins"),
    [
        (64, [28], [28]),
        (16, [16, 12], [16, 12]),
        (9, [9, 1], [9, 9, 9, 1]),
        (1, [1] * 16, [1] * 28),
    ],
)
def test_unmarked_images_come_in_the_batches_of_the_twins(
    fresh: Any, guessing_suspect: Any, batch_size: int, probes: list[int], twins: list[int]
) -> None:
    assert sizes_of(fresh, guessing_suspect, batch_size=batch_size) == probes + twins


@pytest.mark.usefixtures("ledger_stays")
@pytest.mark.parametrize("limit", [1, 3, 16])
def test_a_limit_on_the_batch_costs_nothing_and_is_told(
    fresh: Any, guessing_suspect: Any, limit: int
) -> None:
    dataset, _, ledger = fresh

    def limited(batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return guessing_suspect(batch)

    fits = {1: 1, 3: 3, 16: 14}[limit]  # halves of 28
    with pytest.raises(fhi.SuspectError, match=f"out of memory.* pass batch_size={fits}"):
        fhi.verify_model(dataset, "honey", limited, ledger_path=ledger)


@pytest.mark.usefixtures("ledger_stays")
def test_a_last_batch_that_is_smaller_is_tried_too(fresh: Any, guessing_suspect: Any) -> None:
    dataset, _, ledger = fresh

    def squeezed(batch: torch.Tensor) -> torch.Tensor:
        return guessing_suspect(batch).squeeze(0)  # wrong for a batch of one

    with pytest.raises(fhi.SuspectError, match="shape"):
        fhi.verify_model(dataset, "honey", squeezed, batch_size=9, ledger_path=ledger)


def test_a_file_that_was_traced_for_one_image_is_asked_one_by_one(
    fresh: Any, model: Any, tmp_path: Path
) -> None:
    dataset, _, ledger = fresh

    class ForOne(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return self.model(batch.reshape(1, 3, 8, 8))

    path = tmp_path / "one.pt"
    torch.jit.trace(ForOne(), torch.zeros(1, 3, 8, 8)).save(str(path))
    before = ledger.read_bytes()
    with pytest.raises(fhi.SuspectError, match="pass batch_size=1") as caught:
        fhi.verify_model(dataset, "honey", str(path), ledger_path=ledger)
    # TorchScript says what is wrong in its last line
    assert "shape '[1, 3, 8, 8]' is invalid for input of size" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert ledger.read_bytes() == before
    found = fhi.verify_model(dataset, "honey", str(path), batch_size=1, ledger_path=ledger)
    assert found.verdict.num_pairs == 14
    assert found.config["protocol"]["batch_size"] == 1


def test_one_unmarked_image_without_an_answer_stops_nothing(
    fresh: Any, guessing_suspect: Any
) -> None:
    dataset, marking, ledger = fresh
    twins = {
        read_image(marking.output_dir / image.file).tobytes()
        for pair in marking.load_ledger().pairs
        for image in pair.images
    }
    refused: list[bytes] = []

    def picky(batch: torch.Tensor) -> torch.Tensor:
        answer = guessing_suspect(batch)
        for row, image in enumerate((batch * 255).round().to(torch.uint8)):
            pixels = image.permute(1, 2, 0).contiguous().numpy().tobytes()
            if pixels not in twins and (not refused or pixels == refused[0]):
                refused[:] = [pixels]
                answer[row] = float("nan")
        return answer

    found = fhi.verify_model(dataset, "honey", picky, ledger_path=ledger)
    assert found.verdict.num_failed == 0
    assert found.config["protocol"]["unmarked"]["num_images"] == 27


def test_a_moment_without_answers_costs_nothing(fresh: Any, guessing_suspect: Any) -> None:
    dataset, _, ledger = fresh
    expected = fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=ledger)
    calls: list[int] = []

    def flaky(batch: torch.Tensor) -> torch.Tensor:
        calls.append(len(batch))
        if len(calls) % 3 == 1:
            raise TimeoutError("429 Too Many Requests")
        answer = guessing_suspect(batch)
        if len(calls) % 3 == 2:
            answer[0] = float("nan")
        return answer

    found = fhi.verify_model(dataset, "honey", flaky, ledger_path=ledger, batch_size=8)
    assert found.verdict.num_failed == 0
    for mine, theirs in zip(found.pairs, expected.pairs, strict=True):
        assert mine["released_loss"] == pytest.approx(theirs["released_loss"], rel=1e-5)


@pytest.mark.usefixtures("ledger_stays")
def test_photos_of_several_sizes_need_an_input_size_before_anything_is_asked(
    fresh: Any, guessing_suspect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fiftyone_honeyimage.core.pipeline import verify as verification_call

    dataset, _, ledger = fresh
    real = verification_call.read_twins

    def mixed(*arguments: Any) -> Any:
        images = real(*arguments)
        images[next(iter(images))] = images[next(iter(images))][:6]
        return images

    monkeypatch.setattr(verification_call, "read_twins", mixed)
    with pytest.raises(fhi.ParameterError, match=r"input_size is needed: .* 2 sizes \(8x6, 8x8\)"):
        fhi.verify_model(dataset, "honey", guessing_suspect, ledger_path=ledger)


# --- C2: asked in a wrong way


@pytest.mark.usefixtures("ledger_stays")
@pytest.mark.parametrize(
    ("prepare", "how", "told"),
    [
        (lambda model: model, {"classes": ["2", "3", "0", "1"]}, "another order of classes"),
        (
            lambda model: Strict(model),
            {"std": [1 / 255] * 3},
            "pixels in [0, 1], without mean and std",
        ),
        (lambda model: model, {"mean": [0.9] * 3, "std": [0.02] * 3}, "pixels in [0, 1]"),
        (
            lambda model: Turned(model),
            {},
            "unmarked images the suspect is right on",
        ),
    ],
    ids=["classes", "0-255", "normalisation", "upside down and black for white"],
)
def test_a_model_that_is_asked_wrongly_is_not_verified(
    fresh: Any, model: Any, prepare: Any, how: dict[str, Any], told: str
) -> None:
    dataset, _, ledger = fresh
    with pytest.raises(fhi.SuspectError) as caught:
        fhi.verify_model(dataset, "honey", prepare(model), ledger_path=ledger, **how)
    assert told in str(caught.value)
    # A better way of asking is named where one was found, and what it may be otherwise
    assert ("Likely causes" in str(caught.value)) != (" With " in str(caught.value))
    assert "insist=True" in str(caught.value)
    assert "nothing was counted" in str(caught.value)


class Turned(torch.nn.Module):
    """A model that sees everything upside down, and black for white.

    A module, and not a function: of a function's few answers one in some twenty tries looks well enough.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model(1 - batch.flip(2, 3))


class Strict(torch.nn.Module):
    """A model that makes nothing of pixels beyond [0, 1]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model(torch.where(batch > 1, 0.0, batch))


def test_who_insists_is_repeated_by_statement_record_and_evidence(
    fresh: Any, model: Any, tmp_path: Path
) -> None:
    dataset, _, ledger = fresh
    found = fhi.verify_model(
        dataset,
        "honey",
        model,
        "odd",
        classes=["2", "3", "0", "1"],
        ledger_path=ledger,
        insist=True,
    )
    assert "The owner insisted on verifying it all the same." in found.verdict.statement
    assert "another order of classes" in found.verdict.statement
    path = fhi.export_evidence(dataset, "odd", tmp_path / "evidence.json")
    check = check_evidence(path)
    assert check.ok, check.failed
    assert check.verdict is not None
    # The owner's words are no part of what the checker states, and stand beside it in quotes
    assert found.verdict.statement.startswith(f"{check.verdict.statement} ")
    assert "insisted" not in check.verdict.statement
    note = dict(check.facts)["owner's note"]
    assert note.startswith('"')
    assert "The owner insisted on verifying it all the same." in note


def test_a_model_that_is_asked_rightly_is_verified_without_a_word(fresh: Any, model: Any) -> None:
    dataset, _, ledger = fresh
    found = fhi.verify_model(dataset, "honey", model, ledger_path=ledger)
    assert found.config["protocol"]["caution"] is None
    assert found.config["protocol"]["unmarked"]["accuracy"] > 0.8
    assert found.verdict.statement.endswith("did not use it.")


def test_the_choice_rests_on_unmarked_images_alone(fresh: Any, model: Any) -> None:
    """Until the verification stands in the ledger no twin and no original of one was sent."""
    dataset, marking, ledger = fresh
    marked = {
        read_image(path).tobytes()
        for path in dataset.match({"honey.source": {"$ne": None}}).values("filepath")
    } | {
        read_image(path).tobytes()
        for path in dataset.match({"honey.role": "original"}).values("filepath")
    }
    sent: list[bytes] = []
    opened_at: list[int] = []

    class Noting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            if not opened_at and json.loads(ledger.read_text(encoding="utf-8"))["log"]:
                opened_at.append(len(sent))
            sent.extend(
                image.permute(1, 2, 0).contiguous().numpy().tobytes()
                for image in (batch * 255).round().to(torch.uint8)
            )
            return self.model(batch)

    fhi.verify_model(dataset, "honey", Noting(), ledger_path=ledger, num_random=0)
    assert opened_at
    assert opened_at[0] >= 100
    assert not marked & set(sent[: opened_at[0]])
    assert len(sent) - opened_at[0] == 2 * marking.num_pairs


def test_held_answers_are_judged_where_the_field_has_them(fo: Any, fresh: Any, model: Any) -> None:
    dataset, _, ledger = fresh
    ids, paths = dataset.values(["id", "filepath"])
    images = [read_image(path) for path in paths]
    batch = (
        torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in images]).float() / 255
    )
    with torch.no_grad():
        rows = model(batch)
    try:
        for name, order in (("right", [0, 1, 2, 3]), ("wrong", [1, 2, 3, 0])):
            dataset.add_sample_field(name, fo.ListField, subfield=fo.FloatField)
            dataset.set_values(
                name, dict(zip(ids, rows[:, order].tolist(), strict=True)), key_field="id"
            )
        right = fhi.verify_model(dataset, "honey", "right", ledger_path=ledger)
        assert right.config["protocol"]["unmarked"]["num_images"] == 132
        assert right.config["protocol"]["caution"] is None
        with pytest.raises(fhi.SuspectError, match=r"another order of classes \(0: '1', 1: '2'"):
            fhi.verify_model(dataset, "honey", "wrong", ledger_path=ledger)

        dataset.match({"honey.source": None}).set_values("right", [None] * 132)
        dataset.reload()
        alone = fhi.verify_model(dataset, "honey", "right", ledger_path=ledger)
        assert "could not be checked" in alone.verdict.statement
    finally:
        dataset.delete_sample_fields([n for n in ("right", "wrong") if dataset.has_field(n)])


# --- A5: what is fixed in the open entry


def test_the_protocol_stands_in_the_ledger_before_the_first_query(
    fresh: Any, model: Any, tmp_path: Path
) -> None:
    dataset, _, ledger = fresh
    seen: list[Any] = []

    class Noting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            seen.append(json.loads(ledger.read_text(encoding="utf-8"))["log"])
            return self.model(batch)

    found = fhi.verify_model(
        dataset,
        "honey",
        Noting(),
        "fixed",
        classes={"3": 3, "1": 1, "0": 0, "2": 2},
        batch_size=10,
        ledger_path=ledger,
        num_random=0,
        references=[lambda batch: model(batch)],
        insist=True,
    )
    opened = [log for log in seen if log]
    assert len(opened) == 3, "28 twins in batches of ten"
    protocol = opened[0][0]["private"]["protocol"]
    assert protocol["classes"] == {"0": 0, "1": 1, "2": 2, "3": 3}
    assert protocol["outputs"] == "logits", "never auto"
    assert (protocol["batch_size"], protocol["device"]) == (10, "cpu")
    assert protocol["references"] == ["<lambda>"]
    assert found.config["protocol"] == protocol
    evidence = json.loads(
        fhi.export_evidence(dataset, "fixed", tmp_path / "e.json").read_text(encoding="utf-8")
    )
    entries = [e for e in evidence["log"] if e["event"] == "open"]
    assert entries[-1]["private"]["protocol"] == protocol


def test_outputs_and_batches_are_those_of_the_protocol_to_the_end(
    fresh: Any, guessing_suspect: Any
) -> None:
    ledger = fresh[2]
    sizes = sizes_of(fresh, lambda b: guessing_suspect(b).softmax(1), batch_size=5)
    assert max(sizes) == 5
    opened = json.loads(ledger.read_text(encoding="utf-8"))["log"][0]["private"]["protocol"]
    assert opened["outputs"] == "probabilities"


# --- C4 and A8: pairs


@pytest.mark.usefixtures("ledger_stays")
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"alpha": 1e-5}, r"14 pairs .* at least 18 pairs can reach. .* num_pairs=18 or more"),
        (
            {"pairs": "unused", "num_pairs": 10},
            r"10 pairs .* Pass num_pairs=11 or more; 14 are left",
        ),
        ({"pairs": "unused", "num_pairs": 15}, "14 of 14 pairs have not been used yet"),
        ({"pairs": "unused", "num_pairs": 0}, "num_pairs"),
        ({"pairs": "unused", "num_pairs": 2.5}, "num_pairs"),
        ({"num_pairs": 12}, "a choice among p-values"),
        ({"pairs": "some"}, "must be 'all' or 'unused'"),
    ],
)
def test_a_verification_that_cannot_decide_is_not_started(
    fresh: Any, more: dict[str, Any], message: str
) -> None:
    dataset, _, ledger = fresh

    def never(batch: torch.Tensor) -> torch.Tensor:
        raise AssertionError("it was asked")

    with pytest.raises(fhi.ParameterError, match=message):
        fhi.verify_model(dataset, "honey", never, ledger_path=ledger, **more)


def test_so_many_new_pairs_are_the_next_ones_and_the_rest_stays_new(
    make_dataset: Any, mark: Any, guessing_suspect: Any
) -> None:
    dataset = make_dataset(100, hardness=True)
    marking = mark(dataset, num_honeyimages=27, num_pairs=26, alpha=0.05)
    order = [index for index, _ in marking.load_ledger().query_order]

    def ask(number: int) -> Any:
        return fhi.verify_model(
            dataset,
            "honey",
            lambda batch: guessing_suspect(batch)[:, :3],
            pairs="unused",
            num_pairs=number,
            name=f"suspect {number}",
        )

    first, second = ask(12), ask(11)
    assert [row["pair"] for row in first.pairs] == order[:12]
    assert [row["pair"] for row in second.pairs] == order[12:23]
    assert (first.verdict.num_left, second.verdict.num_left) == (14, 3)
    with pytest.raises(fhi.ParameterError, match=r"3 pairs .* Pass pairs='all'"):
        ask(3)
    assert len(marking.load_ledger().verifications) == 2
