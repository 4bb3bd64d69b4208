"""The evidence file: a third party recomputes all of it, and finds any part that was changed."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mutations import altered
from protocols import PROTOCOL, protocol_for

from fiftyone_honeyimage.core.errors import LedgerError
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence, export_evidence
from fiftyone_honeyimage.core.ledger.hashes import hash_entry, hash_private
from fiftyone_honeyimage.core.ledger.ledger import Ledger, load_ledger
from fiftyone_honeyimage.core.ledger.log import without_words

MakeLedger = Callable[..., Ledger]
Ask = Callable[..., PairAnswers]


def verify(
    ledger: Ledger, answers: PairAnswers | None, ask: Ask, num_pairs: int, **options: Any
) -> tuple[str, PairAnswers]:
    verification_id = ledger.open_verification(
        f"suspect of {num_pairs}",
        "ab" * 32,
        "scores",
        ledger.pairs_left[:num_pairs],
        protocol=PROTOCOL,
    )
    if answers is None:
        answers = ask(ledger, list(ledger.verifications[verification_id].pairs), **options)
    ledger.conclude(verification_id, answers, paper={"mean_gap": 3.5})
    return verification_id, answers


def fail_some(answers: PairAnswers) -> PairAnswers:
    return dataclasses.replace(answers, a=(None, *answers.a[1:]), b=(*answers.b[:-1], None))


@pytest.fixture
def evidence(make_ledger: MakeLedger, ask: Ask, tmp_path: Path) -> tuple[Path, Ledger, str]:
    """A verification after two others, one of them never closed; two pairs of it failed."""
    ledger = make_ledger(num_pairs=60, num_singles=4)
    verify(ledger, None, ask, 11, derived=False)
    ledger.open_verification(
        "a rival's secret model", None, "scores", ledger.pairs_left[:2], protocol=PROTOCOL
    )
    verification_id = ledger.open_verification(
        "suspect", None, "scores", ledger.pairs_left[:38], protocol=PROTOCOL
    )
    answers = fail_some(ask(ledger, list(ledger.verifications[verification_id].pairs)))
    ledger.conclude(verification_id, answers, paper={"mean_gap": 3.5})
    # What comes later is no part of this evidence
    verify(ledger, None, ask, 5)
    path = tmp_path / "evidence.json"
    export_evidence(load_ledger(ledger.path), verification_id, answers, path)
    return path, ledger, verification_id


def test_round_trip(evidence: tuple[Path, Ledger, str]) -> None:
    path, ledger, verification_id = evidence
    check = check_evidence(path, ledger.commitment)
    assert check.failed == ()
    assert check.ok
    assert len(check.held) == 10
    assert check.verdict is not None
    assert check.verdict.verdict == "derived"
    assert (check.verdict.num_pairs, check.verdict.num_failed) == (36, 2)
    assert (check.verdict.family_size, check.verdict.num_left) == (3, 9)
    result = ledger.verifications[verification_id].result
    assert json.loads(json.dumps(without_words(check.verdict))) == result
    assert any("coins were fair" in line for line in check.not_checked)


@pytest.mark.parametrize(
    ("plan", "options", "queried"),
    [
        (Plan(), {"kind": "labels"}, 30),
        (Plan(), {"derived": False}, 30),
        (Plan(), {"kind": "labels", "derived": False}, 30),
        (Plan(test="e_process"), {}, 15),
        (Plan(test="e_process"), {"kind": "labels"}, 30),
        (Plan(), {}, 4),
        (Plan(), {}, 0),
    ],
)
def test_every_kind_of_verdict(
    make_ledger: MakeLedger, ask: Ask, tmp_path: Path, plan: Plan, options: dict, queried: int
) -> None:
    ledger = make_ledger(num_pairs=30, plan=plan)
    opened = ledger.pairs_left if plan.test == "e_process" else ledger.pairs_left[:queried]
    verification_id = ledger.open_verification(
        "suspect",
        None,
        options.get("kind", "scores"),
        opened,
        protocol=protocol_for(options.get("kind", "scores")),
    )
    answers = ask(ledger, opened[:queried], **options)
    verdict = ledger.conclude(verification_id, answers)
    export_evidence(ledger, verification_id, answers, tmp_path / "evidence.json")
    check = check_evidence(tmp_path / "evidence.json")
    assert check.failed == ()
    assert check.verdict == verdict


def test_pairs_that_were_used_again(make_ledger: MakeLedger, ask: Ask, tmp_path: Path) -> None:
    ledger = make_ledger(num_pairs=20)
    verify(ledger, None, ask, 12, derived=False)
    order = [index for index, _ in ledger.query_order]
    again = ledger.open_verification(
        "suspect", None, "scores", order, reuse=True, protocol=PROTOCOL
    )
    answers = ask(ledger, order)
    verdict = ledger.conclude(again, answers)
    export_evidence(ledger, again, answers, tmp_path / "evidence.json")
    check = check_evidence(tmp_path / "evidence.json", ledger.commitment)
    assert check.failed == ()
    assert check.verdict == verdict
    assert (verdict.verdict, verdict.family_size, verdict.num_left) == ("derived", 2, 0)


def test_the_published_commitment(evidence: tuple[Path, Ledger, str]) -> None:
    path, _, _ = evidence
    check = check_evidence(path, "0" * 64)
    assert not check.ok
    assert "published" in check.failed[0]
    assert check_evidence(path).ok


def test_only_what_was_used_is_opened(evidence: tuple[Path, Ledger, str]) -> None:
    path, ledger, verification_id = evidence
    text = path.read_text(encoding="utf-8")
    used = set(ledger.verifications[verification_id].pairs)
    for pair in ledger.pairs:
        for image in pair.images:
            assert (image.marked_sha256 in text) == (pair.index in used)
            assert (image.sample_id + '"' in text) == (pair.index in used)
    for image in ledger.singles:
        assert image.marked_sha256 not in text
    assert "a rival's secret model" not in text
    assert "suspect of 11" not in text
    salts = [salt for salt in ledger.salts if salt in text]
    assert len(salts) == len(used) + 2


@pytest.fixture
def small(make_ledger: MakeLedger, ask: Ask, tmp_path: Path) -> Path:
    """Little evidence with everything in it: singles, a release, another verification, a failure."""
    ledger = make_ledger(num_pairs=8, num_singles=2)
    ledger.record_release("ab" * 32, 40)
    verify(ledger, None, ask, 2, derived=False)
    protocol = {**PROTOCOL, "input_size": [8, 8], "mean": [0.5, 0.5, 0.5]}
    verification_id = ledger.open_verification(
        "suspect", "cd" * 32, "scores", ledger.pairs_left[:5], protocol=protocol
    )
    answers = fail_some(ask(ledger, list(ledger.verifications[verification_id].pairs)))
    ledger.conclude(verification_id, answers, paper={"mean_gap": 3.5})
    export_evidence(ledger, verification_id, answers, tmp_path / "small.json")
    assert check_evidence(tmp_path / "small.json").ok
    return tmp_path / "small.json"


def test_any_single_change_is_found_out(small: Path) -> None:
    content = json.loads(small.read_text(encoding="utf-8"))
    found: dict[str, int] = {}
    for part, value in content.items():
        for other in altered(value):
            small.write_text(json.dumps({**content, part: other}), encoding="utf-8")
            try:
                check = check_evidence(small)
            except LedgerError:
                assert part == "format"
            else:
                assert not check.ok, (part, other)
                assert check.verdict is None
                assert len(check.failed) == 1
            found[part] = found.get(part, 0) + 1
    assert found.keys() == content.keys()
    assert sum(found.values()) > 1000
    for part in content:
        small.write_text(
            json.dumps({name: v for name, v in content.items() if name != part}), encoding="utf-8"
        )
        if part == "format":
            with pytest.raises(LedgerError):
                check_evidence(small)
        else:
            assert not check_evidence(small).ok


def test_any_change_with_hashes_made_to_fit_fails_or_shows(small: Path) -> None:
    """The owner can write any log that fits itself: then what is printed is another thing."""
    content = json.loads(small.read_text(encoding="utf-8"))
    honest = check_evidence(small)
    accepted = 0
    for other in altered(content["log"]):
        changed = {**content, "log": copy.deepcopy(other)}
        with contextlib.suppress(KeyError, TypeError, AttributeError, LedgerError):
            forge(changed)
        if changed == content:
            continue  # a hash, which was made to fit again
        small.write_text(json.dumps(changed), encoding="utf-8")
        check = check_evidence(small)
        if check.ok:
            accepted += 1
            assert check.facts != honest.facts, other
            assert check.verdict is not None
            assert honest.verdict is not None
            # The paper's figures, which do not decide, are the owner's word
            assert dataclasses.replace(check.verdict, paper={}) == dataclasses.replace(
                honest.verdict, paper={}
            )
    # Names, times, digests and free parts of the protocol
    assert 10 < accepted < 200


def forge(content: dict[str, Any]) -> None:
    """Makes the log's hashes fit again, as an owner who wants to cheat would."""
    previous = content["commitment"]
    for entry in content["log"]:
        if "private" in entry:
            entry["private_sha256"] = hash_private(entry["private"])
        entry["previous"] = previous
        previous = entry["hash"] = hash_entry(entry)


def test_consistent_hashes_do_not_make_a_verdict_true(
    evidence: tuple[Path, Ledger, str],
) -> None:
    """With every hash of the log recomputed, the verdict still has to follow from the answers."""
    path, _, _ = evidence
    original = path.read_text(encoding="utf-8")

    def check_forged(message: str, change: Callable[[dict], None]) -> None:
        content = json.loads(original)
        change(content)
        forge(content)
        path.write_text(json.dumps(content), encoding="utf-8")
        check = check_evidence(path)
        assert not check.ok
        assert message in check.failed[0], check.failed

    def better_p(content: dict) -> None:
        for result in (content["log"][-1]["private"]["result"],):
            result["p_value"] = 2.0**-34 * (1 + 1e-6)
            result["p_adjusted"] = 12 * result["p_value"]

    def smaller_family(content: dict) -> None:
        for result in (content["log"][-1]["private"]["result"],):
            result["family_size"] = 1
            result["p_adjusted"] = 2 * result["p_value"]

    def other_pairs(content: dict) -> None:
        for entry in content["log"]:
            if entry["event"] == "open" and entry["id"] == content["verification_id"]:
                entry["public"]["pairs"] = entry["public"]["pairs"][::-1]

    def weaker_alpha(content: dict) -> None:
        for entry in content["log"]:
            if entry["event"] == "open":
                entry["public"]["alpha"] = 0.05

    def other_answers(content: dict) -> None:
        content["answers"]["a"][3] = 0.0

    def turned_coin(content: dict) -> None:
        leaf = content["pairs"][0]["leaf"]
        leaf["released"] = "b" if leaf["released"] == "a" else "a"

    check_forged("p_value is", better_p)
    check_forged("p_adjusted is", smaller_family)
    check_forged("other pairs", other_pairs)
    check_forged("weaker than", weaker_alpha)
    check_forged("other answers", other_answers)
    check_forged("does not fit its hash", turned_coin)


def test_a_forged_file_from_an_innocent_model_has_no_derived_verdict(
    make_ledger: MakeLedger, ask: Ask, tmp_path: Path
) -> None:
    ledger = make_ledger(num_pairs=20)
    verification_id, answers = verify(ledger, None, ask, 20, derived=False)
    path = tmp_path / "evidence.json"
    export_evidence(ledger, verification_id, answers, path)
    content = json.loads(path.read_text(encoding="utf-8"))
    for result in (content["log"][-1]["private"]["result"],):
        result.update(verdict="derived", p_value=1e-5, p_adjusted=2e-5)
    forge(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    check = check_evidence(path)
    assert not check.ok
    assert check.verdict is None


def test_no_evidence_without_a_verdict(make_ledger: MakeLedger, ask: Ask, tmp_path: Path) -> None:
    ledger = make_ledger(num_pairs=30)
    verification_id, answers = verify(ledger, None, ask, 12)
    path = tmp_path / "evidence.json"
    with pytest.raises(LedgerError, match="not the answers"):
        export_evidence(ledger, verification_id, fail_some(answers), path)
    with pytest.raises(LedgerError, match="knows no verification"):
        export_evidence(ledger, "0" * 16, answers, path)
    opened = ledger.open_verification(
        "suspect", None, "scores", ledger.pairs_left, protocol=PROTOCOL
    )
    with pytest.raises(LedgerError, match="no verdict"):
        export_evidence(ledger, opened, answers, path)
    ledger.close_verification(opened, None)
    with pytest.raises(LedgerError, match="no verdict"):
        export_evidence(ledger, opened, answers, path)
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "honeyimage-evidence/9"}'])
def test_other_files_are_no_evidence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "evidence.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LedgerError):
        check_evidence(path)
    with pytest.raises(LedgerError, match="cannot be read"):
        check_evidence(tmp_path / "none.json")
