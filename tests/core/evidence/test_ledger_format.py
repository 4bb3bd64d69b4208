"""docs/ledger_format.md tells all that a checker needs: its own checker holds, and finds what was altered."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from protocols import PROTOCOL, protocol_for

from fiftyone_honeyimage.core.errors import LedgerError
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.ledger.creation import create_ledger
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence, export_evidence
from fiftyone_honeyimage.core.ledger.ledger import Ledger, load_ledger
from fiftyone_honeyimage.core.ledger.sides import MarkedImage, Side

DOCS = Path(__file__).resolve().parents[3] / "docs" / "ledger_format.md"


def _side(number: int, twin: str) -> Side:
    """Every third pair has two files a side, of another class before, and is asked about three others."""

    def image(what: str, source_label: str | None = None) -> MarkedImage:
        name = f"{number}{twin}{what}"
        digests = 2 * (name.encode().hex().zfill(64),)
        return MarkedImage(f"sample {name}", "größe", f"images/{name}.png", *digests, source_label)

    secret = {"trigger": {"x": 3, "levels": 2.5}}
    covariates = {"original": 0.1 * number + 1e-7}
    if number % 3:
        return Side((image(""),), secret, covariates)
    files = (image("1", "dog"), image("2"))
    return Side(files, secret, covariates, tuple(image(f"probe {i}") for i in range(3)))


@pytest.fixture
def checker() -> Any:
    text = DOCS.read_text(encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "checker"}
    exec(text.split("<!-- checker -->\n```python\n")[1].split("```")[0], namespace)
    return namespace["check"]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    pairs = [(_side(number, "a"), _side(number, "b")) for number in range(12)]
    plan = Plan(score="confidence", adjustment="references")
    recipients = ("", "Acme GmbH")
    header = {"classes": ["größe"], "epsilon": 4.0, "tiny": 1e-7, "large": 1e21}
    return create_ledger(tmp_path / "ledger.json", header, [], pairs, plan, recipients=recipients)


def _evidence(ledger: Ledger, folder: Path) -> dict[str, Any]:
    ledger.record_release("a" * 64, 100)
    opened = ledger.open_verification(
        "theirs",
        None,
        "scores",
        [i for i, _ in ledger.query_order],
        protocol={**PROTOCOL, "classes": {"größe": 0, "dog": 1}},
    )
    released = ledger.released()
    order = tuple(index for index, _ in ledger.query_order)
    a, b = (tuple(0.01 * i + (0.0 if released[i] == side else 2.0) for i in order) for side in "ab")
    answers = PairAnswers("scores", order, a, b)
    ledger.conclude(opened, answers)
    export_evidence(ledger, opened, answers, folder / "evidence.json")
    content: dict[str, Any] = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    return content


def test_a_checker_of_somebody_else_holds(checker: Any, ledger: Ledger, tmp_path: Path) -> None:
    evidence = _evidence(ledger, tmp_path)
    checker(evidence, ledger.commitment)
    with pytest.raises(AssertionError):
        checker(evidence, "0" * 64)

    def altered(change: Any) -> dict[str, Any]:
        other = copy.deepcopy(evidence)
        change(other)
        return other

    def flip(other: Any) -> None:
        released = other["pairs"][3]["leaf"]["released"]
        released[""] = "b" if released[""] == "a" else "a"

    def reorder(other: Any) -> None:
        other["answers"]["pairs"][:2] = other["answers"]["pairs"][1::-1]

    changes = (
        flip,
        reorder,
        lambda e: e["pairs"][0]["leaf"]["a"]["covariates"].update(original=0.5),
        lambda e: e["header"]["leaf"]["header"]["plan"].update(alpha=0.05),
        lambda e: e["query_order"]["leaf"]["order"].reverse(),
        lambda e: e["log"].pop(0),
        lambda e: e["log"][-1]["public"].update(num_queried=10),
        lambda e: e["log"][-1]["private"].update(salt="0" * 64),
        lambda e: e["leaf_hashes"].reverse(),
    )
    for change in changes:
        with pytest.raises(AssertionError):
            checker(altered(change), ledger.commitment)


def test_each_recipient_has_coins_of_his_own(ledger: Ledger) -> None:
    everybody, acme = ledger.released(), ledger.released("Acme GmbH")
    assert set(everybody) == set(acme) == set(range(12))
    assert everybody != acme, "one chance in 4096"
    for recipient, released in (("", everybody), ("Acme GmbH", acme)):
        names = {image.file for image in ledger.released_images(recipient)}
        sides = (ledger.pairs[index].side(side) for index, side in released.items())
        assert names == {image.file for side in sides for image in side.files}
        withheld = {image.file for image in ledger.withheld_images(recipient)}
        assert not names & withheld
        assert len(names | withheld) == 24 + 8
    with pytest.raises(
        LedgerError, match="no release for 'Nobody'; it has those of: everybody, Acme"
    ):
        ledger.released("Nobody")


@pytest.mark.parametrize("wrong", ["", "dog", 5])
def test_the_label_before_is_another_one_or_is_not_there(wrong: Any) -> None:
    with pytest.raises(LedgerError, match="source_label"):
        MarkedImage("one", "dog", "one.png", *2 * ("0" * 64,), wrong)


@pytest.mark.parametrize("kind", ["scores", "labels"])
def test_what_a_json_tool_wrote_anew_holds(kind: str, tmp_path: Path) -> None:
    """Whole numbers lose their ".0": losses of 0, shares of 1, edges of strata, covariates, a p-value of 1."""

    def side(number: int, name: str) -> Side:
        # Whose label is a share of three answers, or a boolean
        plain = _side(3 * number if kind == "labels" else number, name)
        return dataclasses.replace(plain, covariates={"original": float(number // 4)})

    pairs = [(side(number, "a"), side(number, "b")) for number in range(12)]
    plan = Plan(test="stratified_signed_rank", alpha=0.05, stratum_edges=(1.0, 2.0))
    ledger = create_ledger(tmp_path / "ledger.json", {"classes": ["größe", "dog"]}, [], pairs, plan)
    order = tuple(index for index, _ in ledger.query_order)
    protocol = {**protocol_for(kind), "classes": {"größe": 0, "dog": 1}}
    opened = ledger.open_verification("theirs", None, kind, order, protocol=protocol)
    answers = PairAnswers(kind, order, (0.0,) * 12, (*(0.0,) * 6, *(1.0,) * 6))
    ledger.conclude(opened, answers)
    export_evidence(ledger, opened, answers, tmp_path / "evidence.json")
    for name in ("ledger.json", "evidence.json"):
        path = tmp_path / name
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_bytes(rfc8785.dumps(content))
    checked = check_evidence(tmp_path / "evidence.json", ledger.commitment)
    assert checked.failed == ()
    assert checked.verdict is not None
    facts = dict(checked.facts)
    name = (
        "loss: By how surprised" if kind == "scores" else "correct: By whether the class is right"
    )
    assert facts["compared by"].startswith(name)
    assert facts["adjustment"].startswith("none: ")
    assert facts["strata"] == "weights 1, 1, 1 from the easiest pairs to the hardest; edges 1, 2"
    assert "over strata of hardness" in facts["committed: level and test"]
    assert "asked: score" not in facts
    again = load_ledger(ledger.path, ledger.commitment)
    assert again.plan == ledger.plan
    assert again.verdict_of(opened, answers).p_value == checked.verdict.p_value
