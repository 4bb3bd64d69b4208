"""Evidence of every kind, made by the package, and the checker that shares no line with it."""

from __future__ import annotations

import hashlib
import importlib.util
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from beacons import BEFORE, VECTOR
from protocols import protocol_for

from fiftyone_honeyimage.core.evidence.code_words import Code
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.twins import UNCHANGED
from fiftyone_honeyimage.core.ledger.beacon import QUICKNET
from fiftyone_honeyimage.core.ledger.creation import create_ledger
from fiftyone_honeyimage.core.ledger.evidence_file import export_evidence
from fiftyone_honeyimage.core.ledger.ledger import Ledger
from fiftyone_honeyimage.core.ledger.lots import Beacon
from fiftyone_honeyimage.core.ledger.sides import MarkedImage, Side
from fiftyone_honeyimage.core.ledger.trace_log import close_trace, open_trace
from fiftyone_honeyimage.core.scores import SCORES, SideReferences

CHECKER = Path(__file__).resolve().parents[2] / "fiftyone_honeyimage/checker/check_evidence.py"


@pytest.fixture(scope="session")
def checker() -> Any:
    """The file, loaded by its path as a stranger would, apart from the package."""
    spec = importlib.util.spec_from_file_location("check_evidence_alone", CHECKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def image(name: str, label: str) -> MarkedImage:
    digests = [hashlib.sha256(f"{what} {name}".encode()).hexdigest() for what in ("from", "to")]
    return MarkedImage(f"sample {name}", label, f"images/{name}.png", *digests)


def make_evidence(
    folder: Path,
    seed: int,
    *,
    num_pairs: int = 14,
    plan: dict[str, Any] | None = None,
    kind: str = "scores",
    trained: float = 0.9,
    failing: float = 0.0,
    probes: int = 0,
    models: int = 0,
    decimals: int = 12,
    earlier: int = 0,
    releases: int = 1,
    beacon: bool = False,
    tracing: int = 0,
    unchanged: float = 0.0,
    markings: int = 0,
) -> Path:
    """Writes evidence of a random marking and suspect.

    Args:
        folder: where to
        seed: of everything but coins and salts
        num_pairs: pairs of the marking
        plan: of the plan's fields
        kind: "scores" or "labels"
        trained: the share of released sides that the suspect remembers
        failing: the share of queries that fail
        probes: so many images a side are asked about in its stead
        models: reference models
        decimals: of the losses; few make ties and zeros
        earlier: verifications before this one, of which the last half was given up
        releases: logged before it
        beacon: whether coins come from the published round of the notes
        tracing: pairs that tell recipients apart; a folder is traced, and each earlier suspect with a verdict
        unchanged: the share of the pairs that were left as they are
        markings: of this dataset before this one
    """
    rng = random.Random(seed)

    def side(number: int, name: str) -> Side:
        label = ("cat", "dog")[number % 2]
        asked = tuple(image(f"{number}{name}-{i}", label) for i in range(probes))
        covariates = {"out": round(rng.expovariate(1), 3), "half": round(rng.expovariate(1), 3)}
        if unchanged:
            covariates[UNCHANGED] = float(number < unchanged * num_pairs)
        references = None
        if models:
            members = [True] * (models // 2) + [False] * (models - models // 2)
            rng.shuffle(members)
            losses = [rng.expovariate(3 if member else 1) for member in members]
            references = SideReferences(tuple(losses), tuple(members))
        secret = {"key": [number, 0.5]} if probes else {}
        return Side((image(f"{number}{name}", label),), secret, covariates, asked, references)

    sides, traced = (
        [(side(number, "a"), side(number, "b")) for number in numbers]
        for numbers in (range(num_pairs), range(num_pairs, num_pairs + tracing))
    )
    full = Plan(**(plan or {}))
    covariates = {i: (a.covariates, b.covariates) for i, (a, b) in enumerate(sides)}
    full = full.with_strata(covariates).with_fit(
        [side.references for pair in sides for side in pair]
    )
    header = {"dataset_name": "Tiere – größe", "dataset_id": "51", "classes": ["cat", "dog"]}
    path = folder / f"{seed}.ledger.json"
    ledger = create_ledger(
        path,
        header,
        [image("single", "cat")],
        sides,
        full,
        earlier_commitments=[hashlib.sha256(b"%d" % n).hexdigest() for n in range(markings)],
        beacon=Beacon(QUICKNET, VECTOR[0], BEFORE) if beacon else None,
        code=Code(("hospital-a", "hospital-b"), 2) if tracing else None,
        tracing_pairs=traced,
    )
    if beacon:
        ledger.draw_coins(bytes.fromhex(VECTOR[1]))
    whose = "hospital-a" if tracing else None
    for number in range(releases):
        ledger.record_release(hashlib.sha256(b"%d" % number).hexdigest(), 10, whose)
    if tracing:
        _trace(ledger, rng, open_trace(ledger, "found", "ef" * 32).id, "labels")
    for number in range(earlier):
        _verify(ledger, rng, "scores", ledger.pairs_left[:4], number >= earlier / 2)
    return _conclude(ledger, rng, kind, trained, failing, decimals, folder / f"{seed}.json")


def _verify(ledger: Ledger, rng: random.Random, kind: str, pairs: list[int], give_up: bool) -> None:
    opened = ledger.open_verification("other", None, kind, pairs, protocol=protocol_for(kind))
    if give_up:
        ledger.close_verification(opened, None)
        return
    values = tuple(tuple(rng.random() for _ in pairs) for _ in "ab")
    if ledger.plan.test == "e_process":
        ledger.close_verification(opened, None)
    else:
        ledger.conclude(opened, PairAnswers(kind, tuple(pairs), *values))
        if ledger.recipients:
            _trace(ledger, rng, open_trace(ledger, "other", None, opened).id, kind)


def _trace(ledger: Ledger, rng: random.Random, own: str, kind: str) -> None:
    """Concludes an attempt to find out whose release it was."""
    pairs = tuple(pair.index for pair in ledger.tracing_pairs)
    values: list[tuple[Any, ...]] = [
        tuple(rng.random() if kind == "scores" else rng.random() < 0.5 for _ in pairs) for _ in "ab"
    ]
    close_trace(ledger, own, PairAnswers(kind, pairs, *values))


def _conclude(
    ledger: Ledger,
    rng: random.Random,
    kind: str,
    trained: float,
    failing: float,
    decimals: int,
    path: Path,
) -> Path:
    pairs = tuple(ledger.pairs_left)
    values: dict[str, list[Any]] = {"a": [], "b": []}
    for index in pairs:
        for name, side in (("a", ledger.pairs[index].a), ("b", ledger.pairs[index].b)):
            known = ledger.released()[index] == name and rng.random() < trained
            if kind == "scores":
                value: Any = round(rng.expovariate(8 if known else 0.7), decimals)
            elif len(side.asked) == 1:
                value = known or rng.random() < 0.5
            else:
                number = len(side.asked)
                value = sum(known or rng.random() < 0.5 for _ in range(number)) / number
            values[name].append(None if rng.random() < failing else value)
    opened = ledger.open_verification("theirs", "cd" * 32, kind, pairs, protocol=protocol_for(kind))
    answers = PairAnswers(kind, pairs, tuple(values["a"]), tuple(values["b"]))
    ledger.conclude(opened, answers, paper={"mean_gap": 0.25, "rule": "as published"})
    export_evidence(ledger, opened, answers, path)
    return path


#: Every test, score, adjustment, direction, kind of answers and shape of sides
KINDS_OF_EVIDENCE: dict[str, dict[str, Any]] = {
    "plain": {},
    "innocent": {"trained": 0.0},
    "ties": {"decimals": 0, "num_pairs": 20, "trained": 0.6},
    "failing": {"failing": 0.1, "num_pairs": 24},
    "failed": {"failing": 0.6},
    "few": {"num_pairs": 6},
    "earlier": {"earlier": 3, "num_pairs": 30},
    "labels": {"kind": "labels", "num_pairs": 24},
    "shares": {"kind": "labels", "probes": 4},
    "shares, one failing": {"kind": "labels", "probes": 4, "failing": 0.1, "num_pairs": 20},
    "probes": {"probes": 3},
    "strata": {"plan": {"test": "stratified_signed_rank"}, "num_pairs": 24, "failing": 0.05},
    "weighted strata": {
        "plan": {"test": "stratified_signed_rank", "stratum_weights": (1, 7, 20)},
        "num_pairs": 30,
        "decimals": 1,
    },
    "one stratum": {"plan": {"test": "stratified_signed_rank", "stratum_weights": (3,)}},
    "bets": {"plan": {"test": "e_process"}, "num_pairs": 40},
    "bets, some failing": {"plan": {"test": "e_process"}, "num_pairs": 40, "failing": 0.1},
    "bets on labels": {"plan": {"test": "e_process"}, "num_pairs": 40, "kind": "labels"},
    "confidence": {"plan": {"score": "confidence"}},
    "adjusted": {"plan": {"adjustment": "references"}, "num_pairs": 20},
    "adjusted confidence": {"plan": {"score": "confidence", "adjustment": "references"}},
    "higher": {"plan": {"direction": "higher"}, "trained": 0.0},
    "labels higher": {"plan": {"direction": "higher"}, "kind": "labels", "num_pairs": 20},
    "two references": {"plan": {"score": "lira_online"}, "models": 6, "failing": 0.1},
    **{
        name: {"plan": {"score": name}, "models": 8, "num_pairs": 20}
        for name, score in SCORES.items()
        if score.least_references
    },
    **{
        f"{name}, 64 models": {"plan": {"score": name}, "models": 64, "num_pairs": 12}
        for name in ("lira_online", "lira_offline", "carlini_compat", "bavaria")
    },
    "higher model loss": {"plan": {"score": "model_loss", "direction": "higher"}, "models": 8},
    "portfolio": {
        "plan": {
            "test": "stratified_signed_rank",
            "stratum_weights": (3, 20),
            "unchanged_weights": (7, 1, 2),
        },
        "unchanged": 0.5,
        "num_pairs": 34,
        "decimals": 1,
        "failing": 0.03,
    },
    "portfolio, other test": {
        "plan": {"adjustment": "references"},
        "unchanged": 0.4,
        "num_pairs": 20,
    },
    "portfolio, adjusted": {
        "plan": {
            "test": "stratified_signed_rank",
            "adjustment": "references",
            "unchanged_weights": (5,),
        },
        "unchanged": 0.3,
        "num_pairs": 24,
    },
    "public round": {"beacon": True},
    "public round, labels": {"beacon": True, "kind": "labels", "num_pairs": 24, "markings": 3},
    "recipients": {"tracing": 8, "earlier": 3, "num_pairs": 30, "releases": 2},
    "public round, recipients, portfolio": {
        "beacon": True,
        "tracing": 5,
        "earlier": 2,
        "markings": 1,
        "unchanged": 0.5,
        "plan": {
            "test": "stratified_signed_rank",
            "stratum_weights": (2, 9),
            "unchanged_weights": (1, 20),
        },
        "num_pairs": 32,
    },
    "many": {"num_pairs": 90},
    "many, tied": {"num_pairs": 120, "decimals": 2, "failing": 0.02},
}


@pytest.fixture(params=list(KINDS_OF_EVIDENCE))
def evidence(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Evidence of each kind."""
    return make_evidence(tmp_path, 51, **KINDS_OF_EVIDENCE[request.param])


@pytest.fixture(scope="session")
def kinds() -> dict[str, dict[str, Any]]:
    """What :func:`make_evidence` is given for each kind of evidence."""
    return KINDS_OF_EVIDENCE


@pytest.fixture(scope="session")
def make() -> Callable[..., Path]:
    """:func:`make_evidence`."""
    return make_evidence
