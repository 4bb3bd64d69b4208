"""docs/evidence.md: its schema takes every file that is written, and its vectors are what both checkers compute."""

from __future__ import annotations

import importlib.util
import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
VECTORS = DOCS / "vectors"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    schema = read(DOCS / "evidence.schema.json")
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_takes_what_is_written(validator: Any, evidence: Path) -> None:
    assert list(validator.iter_errors(read(evidence))) == []


def test_the_schema_takes_what_holds_and_refuses_what_is_malformed(
    validator: Any,
) -> None:
    for path in (ROOT / "tests/golden/format2").glob("*/*.json"):
        if ".verdict" not in path.name:
            assert list(validator.iter_errors(read(path))) == []
    for file in ("evidence.json", "evidence-round.json"):
        whole = read(VECTORS / file)
        assert validator.is_valid(whole)
        refused = [name for name in whole if not validator.is_valid({**whole, name: 1})]
        assert refused == list(whole)


def test_the_vectors_are_what_the_package_computes() -> None:
    spec = importlib.util.spec_from_file_location(
        "evidence_vectors", ROOT / "scripts/evidence_vectors.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert_near(json.loads(json.dumps(module.make())), read(VECTORS / "rules.json"))


def assert_near(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        for name in expected:
            assert_near(found[name], expected[name])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_near(one, other)
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=1e-9)
    else:
        assert found == expected


def test_the_vectors_are_what_the_file_computes(checker: Any) -> None:
    rules = read(VECTORS / "rules.json")
    for one in rules["hashes"]:
        assert checker.canonical(one["value"], 3).decode("utf-8") == one["text"]
    for one in rules["tests"]:
        given = (one["test"], rules["differences"], rules["failed"])
        p_value, e_values = checker.run_test(*given, rules["strata"], rules["weights"])
        assert_near([p_value, list(e_values)], [one["p_value"], one["e_values"]])
        least = checker.least_p(one["test"], *given[2:], rules["strata"], rules["weights"])
        assert math.isclose(least, one["least_p"], rel_tol=1e-9)
    sides = [(tuple(s["losses"]), tuple(s["members"])) for s in rules["references"]]
    plan = checker.Plan({"alpha": 0.001, "test": "signed_rank", "min_pairs": 10})
    for one in rules["scores"]:
        plan.fit = one["score_fit"]
        value = checker.score(one["score"], rules["loss"], sides[0], plan)
        assert math.isclose(value, one["value"], rel_tol=1e-9), one["score"]
        if plan.fit or one["score"] == "model_loss":
            assert_near(checker.learn(one["score"], sides), one["score_fit"])
    for one in rules["rounded"]:
        assert checker.rounded(one["value"], one["size"]) == one["rounded"]
    for one in rules["adjusted"]:
        assert checker.adjusted(one["p_value"], one["position"]) == one["adjusted"]


def test_a_round_decides_as_the_vector_says(checker: Any) -> None:
    told = read(VECTORS / "rules.json")["round"]
    signature = bytes.fromhex(told["signature"])
    key, genesis, period = checker.CHAINS[told["chain"]]
    assert checker.is_signed(key, told["round"], signature)
    assert not checker.is_signed(key, told["round"] + 1, signature)
    out = datetime.fromisoformat(told["coins_at"]).timestamp()
    assert out == genesis + (told["round"] - 1) * period
    for one in told["coins"]:
        sides = (checker.toss(told["secret"], signature, i, one["recipient"]) for i in range(16))
        assert "".join(sides) == one["of_pairs_0_to_15"]
    assert told["coins"][0]["of_pairs_0_to_15"] in (DOCS / "ledger_format.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("name", ["evidence.json", "evidence-round.json"])
def test_the_whole_file_holds(checker: Any, name: str) -> None:
    path = VECTORS / name
    ours, alone = check_evidence(path), checker.check(path)
    assert ours.verdict is not None
    assert (ours.failed, alone.failed) == ((), [])
    assert ours.verdict.verdict == alone.verdict["verdict"] == "derived"
    assert any(entry is None for name in "ab" for entry in read(path)["answers"][name])
