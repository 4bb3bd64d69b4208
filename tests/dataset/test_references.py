"""generate_honeyimages(score=, num_references=) on a dataset, up to the panel's words and the checked evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.evidence.decisions import read_decisions
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence
from fiftyone_honeyimage.panels.verification_figures import decisions_markdown


def test_a_verdict_by_a_likelihood_ratio(
    make_dataset: Any, mark: Any, remembering_suspect: Any, tmp_path: Path
) -> None:
    dataset = make_dataset(hardness=True)
    with pytest.raises(fhi.ParameterError, match="num_references=4 or more"):
        mark(dataset, score="lira_offline", num_references=3)
    assert dataset.list_runs() == []

    numbers = {"num_honeyimages": 10, "num_pairs": 10, "exclude": (), "method": "unperturbed"}
    marking = mark(dataset, score="lira_offline", num_references=4, alpha=0.01, **numbers)
    assert marking.load_ledger().plan.score == "lira_offline"

    knows = remembering_suspect(marking)
    found = fhi.verify_model(
        dataset, "honey", lambda batch: knows(batch)[:, :3], "found", insist=True, progress=False
    )
    assert found.verdict.verdict == "derived"
    decisions = read_decisions(found.verdict.paper)
    assert len(decisions) == 6
    assert "LiRA online" in decisions_markdown(found.verdict.paper)
    path = fhi.export_evidence(dataset, "found", tmp_path / "evidence.json")
    assert check_evidence(path, marking.commitment).ok
