"""The checker in one file says of every evidence file, whole or altered, what the package's own says."""

from __future__ import annotations

import copy
import json
import math
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import altered

from fiftyone_honeyimage.core.errors import LedgerError
from fiftyone_honeyimage.core.evidence.effects import hodges_lehmann
from fiftyone_honeyimage.core.evidence.exact_tests import TESTS
from fiftyone_honeyimage.core.ledger.evidence_check import EvidenceCheck
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence
from fiftyone_honeyimage.core.ledger.hashes import canonical, read_version
from fiftyone_honeyimage.core.ledger.log import WORDS

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = sorted(
    path for path in (ROOT / "tests/golden/format2").glob("*/*.json") if ".verdict" not in path.name
)


def both(checker: Any, path: Path, **options: Any) -> tuple[EvidenceCheck | None, Any]:
    """What the two say; None where there is no evidence to check."""
    try:
        ours: EvidenceCheck | None = check_evidence(path, **options)
    except LedgerError:
        ours = None
    try:
        alone = checker.check(path, **options)
    except checker.NoEvidenceError:
        alone = None
    return ours, alone


def step(lines: Any) -> str:
    return str(lines[0]).partition(":")[0] if lines else ""


def assert_agreed(ours: EvidenceCheck | None, alone: Any, about: object = "") -> str:
    """The same answer; returns the step that failed."""
    if ours is None or alone is None:
        assert ours is None, f"{about}: the package says {ours}"
        assert alone is None, f"{about}: the file says {alone.failed}"
        return "no evidence"
    assert step(ours.failed) == step(alone.failed), f"{about}: {ours.failed} {alone.failed}"
    assert ours.held == tuple(alone.held) or ours.compared, about
    if ours.verdict is not None:
        expected = ours.verdict.to_dict()
        assert set(alone.verdict) == set(expected) - set(WORDS)
        for name, value in alone.verdict.items():
            if name == "paper":
                continue
            found = list(value) if isinstance(value, tuple) else value
            if isinstance(found, (float, list)):
                assert found == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name
            else:
                assert found == expected[name], name
    return step(ours.failed)


def test_they_agree_on_every_kind(checker: Any, evidence: Path) -> None:
    ours, alone = both(checker, evidence)
    assert ours is not None
    assert ours.failed == ()
    assert_agreed(ours, alone)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_they_agree_on_old_files(checker: Any, path: Path) -> None:
    marking = path.parent / "marking"
    options: dict[str, Any] = {
        "commitment": json.loads(path.read_text(encoding="utf-8"))["commitment"]
    }
    assert assert_agreed(*both(checker, path, **options)) == ""
    if (path.parent / "release").exists():
        options |= {"release": path.parent / "release", "images": marking}
        ours, alone = both(checker, path, **options)
        assert ours is not None
        assert (ours.failed, alone.failed) == ((), [])
    for wrong in (
        {"commitment": "0" * 64},
        {"head": "0" * 64},
        {"release": marking},
        {"images": path.parent},
    ):
        ours, alone = both(checker, path, **wrong)
        assert ours is not None
        assert bool(ours.failed) == bool(alone.failed), wrong


def seal(content: Any, digest: Callable[..., str]) -> Any:
    """Makes every hash fit what the file says now, as an owner could who writes it by hand."""
    version = read_version(content["format"], "evidence")
    header = content["header"]["leaf"]["header"]
    hashes = content["leaf_hashes"]
    places = [(0, content["header"]), (len(hashes) - 1, content["query_order"])]
    for opened in content["pairs"]:
        places.append((1 + header["counts"]["singles"] + opened["leaf"]["index"], opened))
    for place, opened in places:
        bound = {"leaf": opened["leaf"], "salt": opened["salt"]}
        hashes[place] = digest("leaf", bound, version)
    content["commitment"] = previous = digest("commitment", hashes, version)
    entries = content["log"]
    answers = content["answers"]
    for name in "ab":
        answers = {
            **answers,
            name: [float(v) if type(v) is int else v for v in answers[name]],
        }
    entries[-1]["private"]["answers_sha256"] = digest("answers", answers, version)
    for entry in entries:
        if "private" in entry:
            entry["private_sha256"] = digest("log detail", entry["private"], version)
        entry["previous"] = previous
        bound = {key: value for key, value in entry.items() if key not in ("hash", "private")}
        previous = entry["hash"] = digest("log entry", bound, version)
    return content


def sealed(content: Any, digest: Callable[..., str]) -> Any:
    """The same sealed; as it is where that cannot be done."""
    other = copy.deepcopy(content)
    try:
        return seal(other, digest)
    except Exception:
        return content


def mutants(content: Any, rng: random.Random, number: int, digest: Any) -> Iterator[Any]:
    """Changes at one place each, as many of every part of the file; each as it is, and with all hashes made to fit."""
    for name, part in content.items():
        every = list(altered(part))
        for changed in rng.sample(every, min(number, len(every))):
            yield False, {**content, name: changed}
            yield True, sealed({**content, name: changed}, digest)
    yield from (
        (False, changed) for changed in ({**content, "more": 1}, {**content, "stamps": [1]})
    )


def bound(content: Any) -> Any:
    """All but what an owner may leave out, details of other verifications and releases, and stamps, which roots check."""
    log = [{k: v for k, v in entry.items() if k != "private"} for entry in content["log"]]
    return {**content, "log": [*log[:-1], content["log"][-1]], "stamps": None}


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("strata", 20),
        ("shares", 10),
        ("bavaria", 12),
        ("bets", 15),
        ("earlier", 25),
        ("portfolio", 20),
        ("public round, recipients, portfolio", 25),
        ("golden", 25),
    ],
)
def test_they_agree_on_altered_files(
    checker: Any,
    make: Callable[..., Path],
    kinds: Any,
    kind: str,
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The same signature again and again, half a second each
    monkeypatch.setattr(checker, "is_signed", lru_cache(checker.is_signed))
    path = ROOT / "tests/golden/format2/fixed/labels.json"
    if kind != "golden":
        number_of = {"earlier": 22, "public round, recipients, portfolio": 24}.get(kind, 12)
        path = make(tmp_path, 7, **{**kinds[kind], "num_pairs": number_of})
    whole = json.loads(path.read_text(encoding="utf-8"))
    if kind == "bets":
        whole["stamps"] = [
            {"digest": whole["commitment"], "authority": "somebody", "response": "AAAA"},
            {"digest": whole["log"][-1]["hash"], "authority": "somebody", "response": "AAAB"},
        ]
    assert sealed(whole, checker.digest) == whole, "sealing changes nothing in a whole file"
    found: Counter[tuple[bool, str]] = Counter()
    for is_sealed, changed in mutants(whole, random.Random(5), number, checker.digest):
        place = tmp_path / "altered.json"
        place.write_text(json.dumps(changed), encoding="utf-8")
        failed = assert_agreed(*both(checker, place), kind)
        found[is_sealed, failed] += changed != whole
        if not failed and not is_sealed:
            assert bound(changed) == bound(whole), "unless every hash is made anew, it is found"
    assert len({failed for _, failed in found}) >= 8, found
    assert sum(found.values()) > 10 * number


def at(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at a place."""
    other = copy.deepcopy(content)
    inner = other
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return other


def value_at(content: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        content = content[key]
    return content


def test_they_agree_on_rounds_recipients_portfolios_and_counts(
    checker: Any,
    make: Callable[..., Path],
    kinds: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every change at one place of these parts, as it is and with all hashes made to fit."""
    monkeypatch.setattr(checker, "is_signed", lru_cache(checker.is_signed))
    path = make(tmp_path, 8, **{**kinds["public round, recipients, portfolio"], "num_pairs": 24})
    whole = json.loads(path.read_text(encoding="utf-8"))
    header = ("header", "leaf", "header")
    places: list[tuple[Any, ...]] = [
        ("beacon",),
        *((*header, name) for name in ("beacon", "tracing", "counts", "marking_number")),
        (*header, "earlier_commitments"),
        *((*header, "plan", f"unchanged_{name}") for name in ("weights", "edges")),
        *(("pairs", 3, "leaf", name) for name in ("secret", "index")),
        ("pairs", 3, "leaf", "a", "covariates"),
    ]
    logged = {entry["event"]: index for index, entry in enumerate(whole["log"])}
    assert {"trace", "traced"} < set(logged)
    for event in ("trace", "traced"):
        places += [("log", logged[event], name) for name in ("event", "id", "public", "at")]
    found: Counter[tuple[Any, bool, str]] = Counter()
    place = tmp_path / "altered.json"
    for where in places:
        for other in altered(value_at(whole, where)):
            changed = at(whole, where, other)
            for is_sealed, one in ((False, changed), (True, sealed(changed, checker.digest))):
                place.write_text(json.dumps(one), encoding="utf-8")
                failed = assert_agreed(*both(checker, place), (where, other))
                found[where[-1], is_sealed, failed] += 1
                assert failed or is_sealed, (where, other)
    holding = {name for name, _, failed in found if not failed}
    # What an owner may say as he likes before he publishes
    assert holding <= {
        *("tracing", "marking_number", "earlier_commitments", "beacon", "id", "public", "at"),
        *("covariates", "unchanged_weights", "unchanged_edges", "secret", "event"),
    }
    assert sum(found.values()) > 400


def test_evidence_holds_no_details_of_a_tracing(
    checker: Any, make: Callable[..., Path], kinds: Any, tmp_path: Path
) -> None:
    path = make(tmp_path, 9, **kinds["recipients"])
    assert "hospital" not in path.read_text(encoding="utf-8")
    whole = json.loads(path.read_text(encoding="utf-8"))
    ledger = json.loads((tmp_path / "9.ledger.json").read_text(encoding="utf-8"))
    index = next(i for i, entry in enumerate(whole["log"]) if entry["event"] == "traced")
    assert "hospital" in json.dumps(ledger["log"][index])
    whole["log"][index] = ledger["log"][index]
    path.write_text(json.dumps(whole), encoding="utf-8")
    ours, alone = both(checker, path)
    assert assert_agreed(ours, alone).startswith("the log is unbroken")
    assert ours is not None
    for failed in (*ours.failed, *alone.failed):
        assert "no part of evidence" in failed


def test_a_file_of_recipients_tells_whose_release_an_entry_logs_if_the_owner_wants(
    checker: Any, make: Callable[..., Path], kinds: Any, tmp_path: Path
) -> None:
    path = make(tmp_path, 9, **kinds["recipients"])
    whole = json.loads(path.read_text(encoding="utf-8"))
    ledger = json.loads((tmp_path / "9.ledger.json").read_text(encoding="utf-8"))
    whole["log"][0] = ledger["log"][0]
    assert whole["log"][0]["private"]["recipient"] == "hospital-a"
    path.write_text(json.dumps(whole), encoding="utf-8")
    assert assert_agreed(*both(checker, path)) == ""
    whole["log"][0]["private"]["recipient"] = 1
    path.write_text(json.dumps(sealed(whole, checker.digest)), encoding="utf-8")
    assert assert_agreed(*both(checker, path)).startswith("the log is unbroken")


def test_they_agree_on_altered_bytes(
    checker: Any, make: Callable[..., Path], tmp_path: Path
) -> None:
    data = make(tmp_path, 3, num_pairs=10).read_bytes()
    rng = random.Random(1)
    found: Counter[str] = Counter()
    for place in rng.sample(range(len(data)), 300):
        changed = bytearray(data)
        changed[place] ^= 1 << rng.randrange(8)
        path = tmp_path / "altered.json"
        path.write_bytes(bytes(changed))
        found[assert_agreed(*both(checker, path), place)] += 1
    assert found["no evidence"] > 20
    assert found[""] < 30, "white space alone may change"


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=500, deadline=None)
def test_numbers_are_written_alike(checker: Any, value: float) -> None:
    assert checker.number_text(value).encode() == rfc8785.dumps(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
@settings(max_examples=100, deadline=None)
def test_values_are_written_alike(checker: Any, value: Any) -> None:
    try:
        text = canonical(value)
    except LedgerError:
        with pytest.raises((checker.MisfitError, UnicodeEncodeError)):
            checker.canonical(value, 3)
        return
    assert checker.canonical(value, 3) == text
    assert checker.canonical(value, 2) == canonical(value, 2)


@given(
    st.lists(st.one_of(st.none(), st.integers(-6, 6), st.floats(-4, 4)), max_size=70),
    st.sampled_from(sorted(TESTS)),
    st.randoms(use_true_random=False),
)
@settings(max_examples=300, deadline=None)
def test_p_values_are_the_same(checker: Any, drawn: Any, test: str, rng: random.Random) -> None:
    import numpy as np

    from fiftyone_honeyimage.core.evidence.twins import Strata

    failed = [value is None for value in drawn]
    values = [float(value) for value in drawn if value is not None]
    weights = (1, 4, 20)
    strata = [rng.randrange(3) for _ in drawn]
    packed = Strata(np.array(strata, np.int64), weights)
    lost = np.array(failed, bool)
    p_value, e_values = checker.run_test(test, values, failed, strata, weights)
    ours = TESTS[test].run(np.array(values), lost, packed)
    assert math.isclose(p_value, ours.p_value, rel_tol=1e-11)
    assert list(e_values) == pytest.approx(list(ours.e_values), rel=1e-11)
    least = checker.least_p(test, failed, strata, weights)
    assert math.isclose(least, TESTS[test].least_p(lost, packed), rel_tol=1e-11)
    center, interval = checker.hodges_lehmann(values)
    theirs = hodges_lehmann(values)
    assert center == pytest.approx(theirs[0], abs=1e-12)
    assert interval == (None if theirs[1] is None else pytest.approx(theirs[1], abs=1e-12))


def test_it_runs_alone(make: Callable[..., Path], tmp_path: Path) -> None:
    """Without the package and what it needs: isolated, with no installed modules."""
    evidence = make(tmp_path, 2, num_pairs=20, trained=1.0)
    alone = tmp_path / "check.py"
    alone.write_bytes((ROOT / "fiftyone_honeyimage/checker/check_evidence.py").read_bytes())

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", str(alone), *arguments]
        return subprocess.run(command, capture_output=True, encoding="utf-8", cwd=tmp_path)

    commitment = json.loads(evidence.read_text(encoding="utf-8"))["commitment"]
    good = run(str(evidence), "--commitment", commitment)
    assert (good.returncode, good.stderr) == (0, "")
    assert "derived: The model was derived from the release" in good.stdout
    assert json.loads(run(str(evidence), "--json").stdout)["verdict"]["num_pairs"] == 20
    bad = run(str(evidence), "--commitment", "0" * 64)
    assert bad.returncode == 1
    assert "FAILS" in bad.stdout
    assert run(str(tmp_path / "none.json")).returncode == 2


def test_without_py_ecc_it_says_that_the_round_was_not_verified(
    checker: Any,
    make: Callable[..., Path],
    kinds: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    evidence = make(tmp_path, 4, **{**kinds["public round, labels"], "trained": 1.0})
    assert checker.main([str(evidence)]) == 0
    said = capsys.readouterr().out
    assert "holds           the public round was committed to and is genuine" in said
    assert "NOT VERIFIED" not in said
    # As it is where nothing is installed: a signature that is none of the round's goes through, and it says so
    whole = json.loads(evidence.read_text(encoding="utf-8"))
    signature = whole["beacon"]["signature"]
    script = ROOT / "fiftyone_honeyimage/checker/check_evidence.py"

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", str(script), str(evidence), *more]
        return subprocess.run(command, capture_output=True, encoding="utf-8", cwd=tmp_path)

    done = run("--markings", "6")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert any(line.startswith("holds") and "NOT VERIFIED" in line for line in lines)
    assert any(line.startswith("not checked") and "install py-ecc" in line for line in lines)
    assert lines[-2].startswith("IF the round's signature is genuine")
    assert "is genuine\n" not in done.stdout
    assert "4 of this dataset, this one included, by the owner's count; 6 known to you" in said_of(
        lines, "markings"
    )
    assert said_of(lines, "bound").startswith("6 x ")
    assert said_of(lines, "MISSING").startswith("6 markings are known to you")
    assert json.loads(run("--json").stdout)["round_verified"] is False
    assert run("--markings", "0").returncode == 2

    whole["beacon"]["signature"] = signature[:-2] + f"{int(signature[-2:], 16) ^ 1:02x}"
    evidence.write_text(json.dumps(whole), encoding="utf-8")
    ours, alone = both(checker, evidence)
    assert assert_agreed(ours, alone) == "the public round was committed to and is genuine"


def said_of(lines: list[str], name: str) -> str:
    return next(line[16:] for line in lines if line[:16].rstrip() == name)


def test_it_is_python_3_10() -> None:
    import ast

    text = (ROOT / "fiftyone_honeyimage/checker/check_evidence.py").read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 10))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - {"py_ecc"} <= sys.stdlib_module_names, "py_ecc alone is for who has it"
