"""A release for each recipient, on real datasets: what is in whose, and whose a found model or folder is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from beacons import answer, make_quick, relay, sign

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence
from fiftyone_honeyimage.core.pipeline import coins as pipeline_coins

NAMES = ["hospital-a", "hospital-b", "hospital-c"]
NUM_PAIRS = 16
NUM_TRACING = 16


@pytest.fixture(scope="module")
def marked(make_dataset: Any, mark: Any) -> tuple[Any, Any]:
    """A dataset of 120 images: 16 pairs for ownership, 16 for tracing, 2 HoneyImages without a twin."""
    dataset = make_dataset(120, hardness=True)
    marking = mark(
        dataset,
        num_honeyimages=34,
        num_pairs=NUM_PAIRS,
        recipients=NAMES,
        num_tracing_pairs=NUM_TRACING,
        step_size=2,
    )
    return dataset, marking


@pytest.fixture(scope="module")
def releases(marked: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of every recipient's release."""
    dataset, _ = marked
    folder = tmp_path_factory.mktemp("releases")
    return {
        name: fhi.export_release(dataset, "honey", folder / name, recipient=name, progress=False)
        for name in NAMES
    }


def contents(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_marking_tells_of_its_recipients_and_evidence_does_not(marked: Any) -> None:
    _, marking = marked
    assert (marking.recipients, marking.num_tracing_pairs) == (tuple(NAMES), NUM_TRACING)
    assert (marking.num_pairs, marking.num_withheld) == (NUM_PAIRS, NUM_PAIRS + NUM_TRACING)
    assert "16 tracing pairs tell the releases of 3 recipients apart: hospital-a" in str(marking)
    ledger = marking.load_ledger()
    assert (len(ledger.pairs), len(ledger.tracing_pairs)) == (NUM_PAIRS, NUM_TRACING)
    assert ledger.header["tracing"] == {"recipients": 3, "colluders": 2}
    assert "hospital" not in json.dumps(ledger.header), "a header is opened in every evidence file"


def test_each_release_holds_its_own_sides_and_nobody_has_what_ownership_withholds(
    marked: Any, releases: dict[str, Any]
) -> None:
    _, marking = marked
    ledger = marking.load_ledger()
    read = {side: (marking.output_dir / side).read_bytes() for side in files(ledger)}
    for name, report in releases.items():
        held = contents(report.export_dir)
        for pair in ledger.pairs:
            (ours,), (theirs,) = pair.released_side().files, pair.withheld_side().files
            assert read[ours.file] in held
            assert read[theirs.file] not in held
        for pair in ledger.tracing_pairs:
            both = [read[side.files[0].file] in held for side in (pair.a, pair.b)]
            assert both == [pair.released[name] == "a", pair.released[name] == "b"]
        assert (report.recipient, report.num_honeyimages) == (name, 34)
        assert report.num_withheld == NUM_PAIRS + NUM_TRACING
        assert report.num_images == 120 - report.num_withheld
    assert len({report.release_digest for report in releases.values()}) == 3
    logged = {release.digest: release.recipient for release in ledger.releases}
    assert logged == {report.release_digest: name for name, report in releases.items()}


def files(ledger: Any) -> list[str]:
    return [image.file for image in ledger.marked_images]


def test_a_later_release_says_which_earlier_one_it_can_be_compared_with(
    marked: Any, releases: dict[str, Any]
) -> None:
    dataset, marking = marked
    pairs = marking.load_ledger().tracing_pairs
    first, second, third = releases.values()
    assert first.comparable == ()
    assert [(who, number) for _, who, number in third.comparable] == [
        (who, sum(pair.released[who] != pair.released["hospital-c"] for pair in pairs))
        for who in NAMES[:2]
    ]
    one = second.comparable[0]
    assert one[0] == str(first.export_dir)
    assert f"{one[0]} of hospital-a has the other side of {one[2]} tracing pairs" in str(second)
    assert [release.recipient for release in fhi.list_releases(dataset, "honey")] == NAMES


@pytest.mark.parametrize(
    ("recipient", "match"),
    [(None, "name one of them as recipient"), ("hospital-z", "and none for 'hospital-z'")],
)
def test_a_release_is_somebodys(
    marked: Any, tmp_path: Path, recipient: str | None, match: str
) -> None:
    dataset, _ = marked
    with pytest.raises(fhi.LedgerError, match=match):
        fhi.export_release(dataset, "honey", tmp_path / "new", recipient=recipient, progress=False)
    assert not (tmp_path / "new").exists()


def test_an_audit_finds_out_whose_release_it_is(marked: Any, releases: dict[str, Any]) -> None:
    dataset, marking = marked
    for recipient in (None, "hospital-b"):
        report = fhi.audit_release(
            releases["hospital-b"].export_dir,
            marking.ledger_path,
            dataset,
            proxy=None,
            recipient=recipient,
            progress=False,
        )
        assert report.passed, report.leaks
    with pytest.raises(fhi.ReleaseError, match=r"not in .* byte by byte"):
        fhi.audit_release(
            releases["hospital-b"].export_dir,
            marking.ledger_path,
            proxy=None,
            recipient="hospital-a",
            progress=False,
        )


def knows(images: list[Any], folder: Path) -> Any:
    """A model that has learned some images by heart, and of others knows the class no better than a coin."""
    known = {read_image(folder / image.file).tobytes(): int(image.label) for image in images}

    def suspect(batch: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(batch), 3)
        for row, image in enumerate((batch * 255).round().to(torch.uint8)):
            pixels = image.permute(1, 2, 0).numpy().tobytes()
            # Everything differs a little, so that no difference is zero
            logits[row, 0] = float(image.float().mean()) / 1000
            if pixels in known:
                logits[row, known[pixels]] = 8.0
        return logits

    return suspect


def test_a_model_names_the_recipient_that_it_comes_from(marked: Any, tmp_path: Path) -> None:
    dataset, marking = marked
    ledger = marking.load_ledger()
    suspect = knows(ledger.released_images("hospital-b"), marking.output_dir)
    found = fhi.verify_model(
        dataset, "honey", suspect, "leaked", name="leaked", insist=True, progress=False
    )
    assert found.verdict.verdict == "derived"
    assert found.recipients is not None
    assert found.recipients.named == ("hospital-b",)
    assert found.recipients.p_values["hospital-b"] == 2.0**-NUM_TRACING
    assert found.recipients.adjusted["hospital-b"] == 3 * 2.0**-NUM_TRACING
    assert min(found.recipients.p_values[name] for name in NAMES if name != "hospital-b") > 0.001
    assert "Named: hospital-b" in str(found)
    assert fhi.load_verification(dataset, "leaked").recipients == found.recipients

    trace = marking.load_ledger().traces[found.config["verification_id"]]
    assert (trace.subject, trace.closed, trace.position) == ("model", True, 1)
    events = [entry["event"] for entry in marking.load_ledger().log]
    assert events[-4:] == ["open", "close", "trace", "traced"]
    # Evidence of ownership is as before, and names nobody
    path = fhi.export_evidence(dataset, "leaked", tmp_path / "evidence.json")
    check = check_evidence(path, marking.commitment)
    assert check.ok, check.failed
    assert "hospital" not in path.read_text(encoding="utf-8")


def test_an_innocent_model_names_nobody(marked: Any) -> None:
    dataset, marking = marked
    suspect = knows([], marking.output_dir)
    found = fhi.verify_model(
        dataset, "honey", suspect, name="innocent", insist=True, progress=False
    )
    assert found.verdict.verdict == "not shown"
    assert found.recipients is not None
    assert found.recipients.named == ()
    assert "No recipient is named" in str(found)


def test_an_interrupted_tracing_goes_on(marked: Any) -> None:
    dataset, marking = marked
    ledger = marking.load_ledger()
    whole = knows(ledger.released_images("hospital-c"), marking.output_dir)
    tracing = {
        read_image(marking.output_dir / image.file).tobytes()
        for pair in ledger.tracing_pairs
        for image in pair.images
    }
    broken = True
    asked = 0

    def suspect(batch: torch.Tensor) -> torch.Tensor:
        nonlocal asked
        for image in (batch * 255).round().to(torch.uint8):
            if image.permute(1, 2, 0).numpy().tobytes() in tracing:
                asked += 1
                if broken and asked > 6:
                    raise KeyboardInterrupt
        return whole(batch)

    arguments = {"name": "stops", "insist": True, "progress": False, "batch_size": 2}
    before = len(ledger.verifications)
    with pytest.raises(KeyboardInterrupt):
        fhi.verify_model(dataset, "honey", suspect, **arguments)
    broken = False
    found = fhi.verify_model(dataset, "honey", suspect, **arguments)
    assert found.recipients is not None
    assert found.recipients.p_values["hospital-c"] == 2.0**-NUM_TRACING
    assert len(marking.load_ledger().verifications) == before + 1
    assert asked <= 2 * NUM_TRACING + 2, "what was answered is not asked again"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"recipients": ["one"]}, "2 to 1000 different names"),
        ({"recipients": "hospital"}, "a list of names"),
        ({"recipients": ["a", "a"]}, "different names"),
        ({"colluders": 3}, "colluders is 3, and there are 2 recipients"),
        ({"colluders": 0}, "whole number from 1 to 5"),
        ({"recipients": []}, "goes with recipients"),
        ({"num_tracing_pairs": 2}, "num_honeyimages is 4; ask for fewer"),
        ({"num_tracing_pairs": None}, "put .* HoneyImages in every release"),
        ({"method": "badnets"}, "recipients are told apart by single images"),
    ],
)
def test_what_cannot_be_marked_is_refused_first(
    make_dataset: Any, mark: Any, change: dict[str, Any], match: str
) -> None:
    dataset = make_dataset(30, hardness=True)
    arguments = {"recipients": ["a", "b"], "num_tracing_pairs": 1, **change}
    if "method" in change:
        arguments["num_steps"] = None
    with pytest.raises(fhi.ParameterError, match=match):
        mark(dataset, **{k: v for k, v in arguments.items() if v is not None or k != "num_steps"})
    assert dataset.list_runs() == []


def test_ownership_by_a_public_round_and_recipients_by_code_words(
    make_dataset: Any, mark: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What everybody gets waits for the round; whose release it is was drawn here, and both are in one ledger."""
    make_quick(monkeypatch)

    def killed(*_: Any, **__: Any) -> bytes:
        raise KeyboardInterrupt

    dataset = make_dataset(120, hardness=True)
    call: dict[str, Any] = {
        "num_honeyimages": 25,
        "num_pairs": 12,
        "num_tracing_pairs": 12,
        "alpha": 0.01,
        "recipients": NAMES[:2],
        "coins": "beacon",
        "method": "unperturbed",
        "output_dir": tmp_path / "marking",
    }
    with monkeypatch.context() as patch:
        patch.setattr(pipeline_coins, "await_round", killed)
        with pytest.raises(KeyboardInterrupt):
            mark(dataset, **call)
    pending = fhi.load_marking(dataset, "honey")
    assert pending.pending
    assert (pending.recipients, pending.num_tracing_pairs) == (tuple(NAMES[:2]), 12)
    assert "tracing pairs tell the releases" in str(pending)
    assert "Not finished: the coins are not drawn yet" in str(pending)
    words = [dict(pair.released) for pair in pending.load_ledger().tracing_pairs]
    for refused in (
        lambda: fhi.export_release(
            dataset, "honey", tmp_path / "early", recipient=NAMES[0], progress=False
        ),
        lambda: fhi.trace_copy(dataset, "honey", Path(dataset.first().filepath).parent),
        lambda: fhi.verify_model(dataset, "honey", lambda batch: batch, "v", progress=False),
    ):
        with pytest.raises(fhi.LedgerError, match=r"not drawn yet.*draw_coins"):
            refused()
    assert not (tmp_path / "early").exists()
    with pytest.raises(fhi.ParameterError), relay() as address:
        mark(dataset, **{**call, "recipients": ["a", "b"]}, relays=[address])  # another call

    number = pending.load_ledger().beacon.round
    (tmp_path / "round.json").write_bytes(answer(number, sign(number)))
    with relay() as address:
        marking = mark(dataset, **call, relays=[address])
    assert (
        fhi.draw_coins(dataset, "honey", tmp_path / "round.json").commitment == marking.commitment
    )
    assert not marking.pending
    assert marking.commitment == pending.commitment
    ledger = marking.load_ledger()
    assert [dict(pair.released) for pair in ledger.tracing_pairs] == words

    for name in NAMES[:2]:
        report = fhi.export_release(
            dataset, "honey", tmp_path / name, recipient=name, progress=False
        )
        assert report.num_images == 120 - 24
    suspect = knows(ledger.released_images(NAMES[1]), marking.output_dir)
    for number in (1, 2):
        found = fhi.verify_model(
            dataset, "honey", suspect, name=f"leaked {number}", insist=True, progress=False
        )
        assert found.recipients is not None
        assert found.recipients.named == (NAMES[1],)
        path = fhi.export_evidence(dataset, found.verify_key, tmp_path / f"{number}.json")
        check = check_evidence(path, marking.commitment)
        assert check.ok, check.failed
        assert dict(check.facts)["coins"].startswith("beacon: from round")
        assert "hospital" not in path.read_text(encoding="utf-8")
    # The second file's log tells that there was a tracing, and not whose release was meant
    events = [entry["event"] for entry in json.loads(path.read_text(encoding="utf-8"))["log"]]
    assert events.count("traced") == 1
    traced = fhi.trace_copy(dataset, "honey", tmp_path / NAMES[0])
    assert traced.recipients.named == (NAMES[0],)
