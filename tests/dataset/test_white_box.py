"""Radioactive markings and a suspect whose weights are at hand: found by the carriers that its weights have taken up."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.checkpoints import load_checkpoint
from fiftyone_honeyimage.core.evidence.decisions import read_decisions
from fiftyone_honeyimage.core.methods.carriers import carrier_of
from fiftyone_honeyimage.core.models import build_model
from fiftyone_honeyimage.core.models.last_layer import last_layer

NUM_PAIRS = 14


@pytest.fixture(scope="module")
def marked(make_dataset: Any, mark: Any) -> tuple[Any, Any]:
    dataset = make_dataset(90, hardness=True)
    settings = {"num_honeyimages": NUM_PAIRS, "num_pairs": NUM_PAIRS, "exclude": ()}
    return dataset, mark(dataset, method="radioactive", num_probes=6, num_steps=2, **settings)


def _marker(marking: Any) -> Any:
    header = marking.load_ledger().header
    model = build_model(header["proxy"], len(header["classes"]), input_size=8, seed=0)
    model.load_state_dict(load_checkpoint(marking.output_dir / "f_out.pt"))
    return model.eval()


def _taught(marking: Any, strength: float) -> Any:
    """The marker with weights moved towards the released carriers, as training on moved features moves them."""
    model = copy.deepcopy(_marker(marking))
    ledger, layer = marking.load_ledger(), last_layer(model)
    classes, released = ledger.header["classes"], ledger.released()
    with torch.no_grad():
        for pair in ledger.pairs:
            side = pair.side(released[pair.index])
            carrier = torch.from_numpy(carrier_of(side.secret, layer.in_features))
            layer.weight[classes.index(side.files[0].label)] += strength * carrier
    return model


def test_weights_that_took_up_the_carriers_are_found_and_others_are_not(
    marked: tuple[Any, Any], tmp_path: Path
) -> None:
    dataset, marking = marked
    for name, model in (("thief", _taught(marking, 1.0)), ("innocent", _marker(marking))):
        suspect = fhi.white_box_suspect(dataset, "honey", model, name=name)
        found = fhi.verify_model(dataset, "honey", suspect, name, insist=True, progress=False)
        (published,) = read_decisions(found.verdict.paper)
        assert "Fisher" in published.rule
        if name == "thief":
            assert (found.verdict.verdict, found.verdict.p_value) == ("derived", 2.0**-NUM_PAIRS)
            assert published.accuses
        else:
            assert found.verdict.verdict == "not shown"
            assert not published.accuses
        assert "no evidence" in found.verdict.statement
        with pytest.raises(fhi.LedgerError, match="no evidence"):
            fhi.export_evidence(dataset, name, tmp_path / f"{name}.json")


def test_what_cannot_be_compared_is_refused(
    marked: tuple[Any, Any], make_dataset: Any, mark: Any
) -> None:
    dataset, _ = marked
    with pytest.raises(fhi.SuspectError, match=r"torch\.nn\.Module"):
        fhi.white_box_suspect(dataset, "honey", lambda batch: batch)
    with pytest.raises(fhi.ParameterError, match="no linear layer"):
        fhi.white_box_suspect(dataset, "honey", torch.nn.Conv2d(3, 3, 1))
    other = make_dataset(60, hardness=True)
    mark(other, method="flip", exclude=())
    with pytest.raises(fhi.ParameterError, match="method='flip'"):
        fhi.white_box_suspect(other, "honey", torch.nn.Linear(2, 2))
