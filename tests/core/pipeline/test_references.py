"""A marking with reference models, from files to the checked evidence: all of it is committed, nothing is trained twice."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from protocols import protocol_for

from fiftyone_honeyimage.core.errors import LedgerError, ParameterError
from fiftyone_honeyimage.core.evidence.decisions import read_decisions
from fiftyone_honeyimage.core.evidence.pair_answers import PairAnswers
from fiftyone_honeyimage.core.evidence.plan import Plan
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence, export_evidence
from fiftyone_honeyimage.core.ledger.ledger import Ledger, load_ledger
from fiftyone_honeyimage.core.pipeline import crafting
from fiftyone_honeyimage.core.pipeline.labeled import LabeledSamples
from fiftyone_honeyimage.core.pipeline.mark import mark
from fiftyone_honeyimage.core.pipeline.roles import published_figures
from fiftyone_honeyimage.core.training import TrainingConfig

NUM_PAIRS = 12


def _mark(
    write_digits: Callable[..., list[tuple[Path, str]]], folder: Path, **given: Any
) -> Ledger:
    pixels = folder.parent / "pixels"
    if not pixels.exists():
        write_digits(num=60, classes=2, size=8, folder=pixels)
    files = [(path, str(number % 2)) for number, path in enumerate(sorted(pixels.iterdir()))]
    classes = ["0", "1"]
    labeled = LabeledSamples(
        [f"image {number}" for number in range(60)],
        [str(path) for path, _ in files],
        np.array([classes.index(label) for _, label in files]),
        classes,
    )
    settings: dict[str, Any] = {
        "num_honeyimages": NUM_PAIRS + 1,
        "num_pairs": NUM_PAIRS,
        "input_size": 8,
        "method": "unperturbed",
        "plan": Plan(score="lira_offline"),
        "num_references": 4,
        "proxy": "resnet_tiny",
        "training": TrainingConfig(epochs=1, batch_size=16),
        "exclude": (),
        "device": "cpu",
    }
    hardness = np.random.default_rng(0).exponential(1.0, 60)
    return mark(folder, labeled, hardness, **{**settings, **given})


@pytest.fixture(autouse=True)
def no_lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crafting, "_load_lpips", lambda file: (None, "not asked for"))


def test_from_files_to_the_checked_evidence(
    write_digits: Callable[..., list[tuple[Path, str]]], tmp_path: Path
) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "Training reference models" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _mark(write_digits, tmp_path / "marking", report=stop)
    told = []
    ledger = _mark(
        write_digits,
        tmp_path / "marking",
        report=lambda stage, done, total: told.append((stage, done, total)),
    )
    # Two of four were asked before the interruption
    assert [t for t in told if t[0] == "Training reference models"] == [
        ("Training reference models", 3, 4),
        ("Training reference models", 4, 4),
    ]
    sides = [side for both in ledger.references().values() for side in both]
    assert {len(side.losses) for side in sides if side} == {4}
    assert {sum(side.members) for side in sides if side} == {2}
    assert set(ledger.plan.score_fit) == {"std_in", "std_out"}
    assert load_ledger(ledger.path).references() == ledger.references()

    # A suspect that knows the released sides
    pairs = ledger.pairs_left
    loss = {"a": {}, "b": {}}
    for pair in pairs:
        for side in ("a", "b"):
            known = ledger.released()[pair] == side
            loss[side][pair] = 0.01 if known else 2.0 + pair / 10
    answers = PairAnswers(
        "scores", tuple(pairs), *(tuple(loss[side][p] for p in pairs) for side in "ab")
    )
    recorded = {(p, side): (loss[side][p], True) for p in pairs for side in "ab"}
    proxies = {image.sample_id: 1.0 for pair in ledger.pairs for image in pair.images}
    figures = published_figures(recorded, ledger, proxies)
    assert len(read_decisions(figures)) == 6

    found = ledger.open_verification("thief", None, "scores", pairs, protocol=_protocol())
    verdict = ledger.conclude(found, answers, paper=figures)
    assert (verdict.verdict, verdict.p_value) == ("derived", 2.0**-NUM_PAIRS)
    path = tmp_path / "evidence.json"
    export_evidence(ledger, found, answers, path)
    assert check_evidence(path, ledger.commitment).ok

    _check_that_tampering_is_found(path)


def _protocol() -> dict[str, Any]:
    return {**protocol_for("scores"), "classes": {"0": 0, "1": 1}}


def _check_that_tampering_is_found(path: Path) -> None:
    """Neither a reference model's loss nor its membership can change, nor what the score learned."""
    whole = json.loads(path.read_text(encoding="utf-8"))
    for change in ("losses", "members", "plan"):
        content = copy.deepcopy(whole)
        said = content["pairs"][0]["leaf"]["a"]["references"]
        if change == "losses":
            said["losses"][0] += 0.5
        elif change == "members":
            said["members"] = [not member for member in said["members"]]
        else:
            content["header"]["leaf"]["header"]["plan"]["score_fit"]["std_out"] *= 2
        path.write_text(json.dumps(content), encoding="utf-8")
        checked = check_evidence(path)
        assert not checked.ok
        assert "does not fit its hash" in checked.failed[0]
    path.write_text(json.dumps(whole), encoding="utf-8")


def test_too_few_are_told_before_anything_is_read(
    write_digits: Callable[..., list[tuple[Path, str]]], tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match="num_references is 0; pass num_references=4"):
        _mark(write_digits, tmp_path / "marking", num_references=0)
    assert not list(tmp_path.glob("marking*"))


def test_a_plan_that_follows_from_other_references_is_found() -> None:
    from fiftyone_honeyimage.core.scores import SideReferences

    sides = [
        SideReferences((0.1 * n, 1.0, 0.2, 2.0 + n), (True, False, True, False))
        for n in range(1, 5)
    ]
    plan = Plan(score="bavaria").with_fit(sides)
    plan.check_fit(sides)
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    with pytest.raises(ParameterError, match="the plan says"):
        plan.check_fit(sides[:3])


def test_sides_need_the_same_reference_models(tmp_path: Path) -> None:
    from fiftyone_honeyimage.core.ledger.sides import MarkedImage, Side, check_images
    from fiftyone_honeyimage.core.scores import SideReferences

    def side(number: int, references: SideReferences | None) -> Side:
        digest = f"{number:064x}"
        image = MarkedImage(f"{number}", "cat", f"{number}.png", digest, digest)
        return Side((image,), references=references)

    one = SideReferences((1.0, 2.0), (True, False))
    check_images([], [(side(0, one), side(1, one))])
    with pytest.raises(LedgerError, match="0 to 2 reference models"):
        check_images([], [(side(0, one), side(1, None))])
