"""What published rules would have decided."""

from __future__ import annotations

import json

import pytest

from fiftyone_honeyimage.core.errors import ParameterError
from fiftyone_honeyimage.core.evidence.decisions import (
    PublishedDecision,
    read_decisions,
    with_decisions,
)

ONE = PublishedDecision("t-test", True, 0.4, 0.2, 0.01, "The rule accuses.")
OTHER = PublishedDecision("threshold", False, -1.0, None, None, "The rule does not accuse.")


def test_decisions_survive_json_and_lie_beside_other_figures():
    paper = with_decisions({"mean_loss_gap": 1.0}, [ONE])
    paper = json.loads(json.dumps(with_decisions(paper, [OTHER])))

    assert read_decisions(paper) == [ONE, OTHER]
    assert paper["mean_loss_gap"] == 1.0
    assert with_decisions({"mean_loss_gap": 1.0}, []) == {"mean_loss_gap": 1.0}
    assert read_decisions({}) == []


def test_what_is_no_decision_is_refused():
    with pytest.raises(ParameterError, match="no published decision"):
        read_decisions({"decisions": [{"rule": "t-test", "verdict": "guilty"}]})
