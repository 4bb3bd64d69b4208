"""Crafted and unchanged pairs in one marking, with a statistic over strata that the owner's proxies fixed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fiftyone_honeyimage.core.evidence.code_words import Code
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.evidence.twins import UNCHANGED
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence, export_evidence
from fiftyone_honeyimage.core.ledger.ledger import Ledger, load_ledger
from fiftyone_honeyimage.core.pipeline import crafting
from fiftyone_honeyimage.core.pipeline.folder import read_manifest
from fiftyone_honeyimage.core.pipeline.labeled import LabeledSamples
from fiftyone_honeyimage.core.pipeline.mark import mark
from fiftyone_honeyimage.core.pipeline.stratum_weights import weigh_strata
from fiftyone_honeyimage.core.suspects import Suspect
from fiftyone_honeyimage.core.training import TrainingConfig

PAIRS = 24


@pytest.fixture
def make(
    write_digits: Callable[..., list[tuple[Path, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[Ledger, LabeledSamples]]:
    """``make(name, share, plan, **more)``: a marking with 24 pairs and two single HoneyImages."""
    monkeypatch.setattr(crafting, "_load_lpips", lambda file: (None, "not asked for"))
    files = write_digits(90, 3, 8)
    classes = sorted({label for _, label in files})
    labeled = LabeledSamples(
        [f"image {number}" for number in range(len(files))],
        [str(path) for path, _ in files],
        np.array([classes.index(label) for _, label in files]),
        classes,
    )

    def run(name: str, share: float, plan: Plan, **more: Any) -> tuple[Ledger, LabeledSamples]:
        ledger = mark(
            tmp_path / name,
            labeled,
            np.random.default_rng(0).exponential(1.0, len(files)),
            num_honeyimages=more.pop("num_honeyimages", PAIRS + 2),
            num_pairs=PAIRS,
            input_size=8,
            method="honeyimage",
            options={"num_steps": 3, "step_size": 2, "unchanged_share": share},
            plan=plan,
            proxy="resnet_tiny",
            training=TrainingConfig(epochs=2, batch_size=32),
            exclude=(),
            device="cpu",
            **more,
        )
        return ledger, labeled

    return run


def test_half_of_the_pairs_stay_as_they_are(make: Any, tmp_path: Path) -> None:
    ledger, labeled = make("half", 0.5, Plan(test="stratified_signed_rank"))
    manifest = read_manifest(tmp_path / "half")
    unchanged = {row["pair"] for row in manifest["images"] if row.get("unchanged")}
    assert len(unchanged) == 12
    assert None not in unchanged, "single HoneyImages are all crafted"
    paths = dict(zip(labeled.ids, labeled.filepaths, strict=True))
    for row in manifest["images"]:
        same = (
            read_image(tmp_path / "half" / row["file"]) == read_image(paths[row["source"]])
        ).all()
        assert same == (row["pair"] in unchanged), "both sides of a pair, or neither"
        assert row["in_loss"] is not None, "the in-model has seen all"

    plan = ledger.plan
    assert len(plan.stratum_weights) == len(plan.unchanged_weights) == 2
    assert max(plan.stratum_weights + plan.unchanged_weights) == 20
    assert weigh_strata(Plan(test="stratified_signed_rank"), manifest) == plan, "without a coin"
    strata = plan.strata(range(PAIRS), ledger.covariates())
    assert strata is not None
    assert np.bincount(strata.of_pairs).tolist() == [6, 6, 6, 6]
    assert {pair for pair in range(PAIRS) if strata.of_pairs[pair] >= 2} == unchanged
    for pair in ledger.pairs:
        kinds = {side.covariates[UNCHANGED] for side in (pair.a, pair.b)}
        assert kinds == {float(pair.index in unchanged)}

    make("again", 0.5, Plan(test="stratified_signed_rank"))
    assert read_manifest(tmp_path / "again")["images"] == manifest["images"]


def test_tracing_pairs_are_no_part_of_a_portfolio(make: Any, tmp_path: Path) -> None:
    plan = Plan(test="stratified_signed_rank")
    more = {"code": Code(("one", "other")), "num_tracing_pairs": 8, "num_honeyimages": PAIRS + 8}
    ledger, _ = make("traced", 0.5, plan, **more)
    assert (len(ledger.pairs), len(ledger.tracing_pairs)) == (PAIRS, 8)
    unchanged = [pair.a.covariates[UNCHANGED] for pair in ledger.all_pairs]
    assert unchanged == [pair.b.covariates[UNCHANGED] for pair in ledger.all_pairs]
    assert sum(unchanged[:PAIRS]) == 12
    assert sum(unchanged[PAIRS:]) == 0, "recipients are told apart by crafted images alone"
    strata = ledger.plan.strata(range(PAIRS), ledger.covariates())
    assert strata is not None
    assert np.bincount(strata.of_pairs).tolist() == [6, 6, 6, 6]

    manifest = read_manifest(tmp_path / "traced")
    assert weigh_strata(plan, manifest, PAIRS) == ledger.plan
    for row in manifest["images"]:
        if row["pair"] is not None and row["pair"] >= PAIRS:
            row.update(proxy_loss=9.0, in_loss=0.0, hardness=9.0, original_loss=9.0)
    assert weigh_strata(plan, manifest, PAIRS) == ledger.plan, "they enter nothing"


def test_other_tests_and_weights_are_left_alone(make: Any) -> None:
    ledger, _ = make("plain", 0.25, Plan())
    assert ledger.plan == Plan()
    assert sum(pair.a.covariates[UNCHANGED] for pair in ledger.pairs) == 6
    given = Plan(test="stratified_signed_rank", stratum_weights=(1, 2))
    ledger, _ = make("given", 0.25, given)
    assert ledger.plan.stratum_weights == (1, 2)
    assert ledger.plan.unchanged_weights == ()
    ledger, _ = make("none", 0.0, Plan(test="stratified_signed_rank"))
    assert ledger.plan.stratum_weights == (1, 1, 1)
    assert UNCHANGED not in ledger.pairs[0].a.covariates
    assert "unchanged_weights" not in ledger.plan.to_dict()


class Thief(Suspect):
    """Surer of what the release holds."""

    name, digest = "thief", "0" * 64

    def __init__(self, ledger: Ledger) -> None:
        self._known = {
            read_image(ledger.path.parent / image.file).tobytes(): int(image.label)
            for image in ledger.released_images()
        }
        self._classes = ledger.header["classes"]

    def answer(self, images: Any, keys: Any) -> np.ndarray:
        found = np.zeros((len(images), len(self._classes)))
        for row, image in enumerate(images):
            label = self._known.get(image.tobytes())
            if label is not None:
                found[row, self._classes.index(str(label))] = 2.0
        return found


@pytest.mark.parametrize("adjustment", ["none", "references"])
def test_a_verdict_over_both_kinds_is_recomputed_from_its_evidence(
    make: Any,
    run_verification: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    adjustment: str,
) -> None:
    plan = Plan(test="stratified_signed_rank", adjustment=adjustment)
    ledger, _ = make("marked", 0.5, plan)
    held: list[Any] = []
    real = Ledger.conclude

    def conclude(self: Ledger, number: str, answers: Any, **more: Any) -> Any:
        held.append(answers)
        return real(self, number, answers, **more)

    monkeypatch.setattr(Ledger, "conclude", conclude)
    verdict = run_verification(ledger, Thief(ledger))
    assert verdict.verdict == "derived"
    ledger = load_ledger(ledger.path)
    export_evidence(ledger, next(iter(ledger.verifications)), held[0], tmp_path / "e.json")
    checked = check_evidence(tmp_path / "e.json")
    assert checked.ok, checked.failed
    assert checked.verdict.p_value == verdict.p_value
    facts = dict(checked.facts)
    assert "weights" in facts["strata of unchanged pairs"]
