"""Random unmarked images that a suspect is asked about."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.images import read_image


def test_random_images_touch_neither_verdict_nor_ledger(fresh, tmp_path):
    import fiftyone.core.odm as foo

    dataset, marking, ledger = fresh
    copy = tmp_path / "copy.json"
    shutil.copy(ledger, copy)
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 4))

    without = fhi.verify_model(dataset, "honey", module, "no", ledger_path=ledger, num_random=0)
    fhi.delete_run(dataset, "no")  # another copy of the ledger does not hold it
    foo.get_db_conn().honeyimage_ledgers.delete_one({"_id": marking.commitment})
    with_them = fhi.verify_model(dataset, "honey", module, "yes", ledger_path=copy)

    assert without.random_images == {}
    assert with_them.verdict == without.verdict
    assert with_them.pairs == without.pairs
    logs = [json.loads(path.read_text(encoding="utf-8"))["log"] for path in (ledger, copy)]
    assert [[e["event"] for e in log] for log in logs] == [["open", "close"]] * 2
    private = [{**log[1]["private"], "salt": None} for log in logs]  # drawn anew each time
    assert private[0] == private[1]

    found = with_them.random_images
    assert len(found["ids"]) == len(found["gaps"]) == 50
    view = dataset.select(found["ids"], ordered=True)
    assert view.values("honey.role") == [None] * 50
    losses = []
    for path, label in zip(*view.values(["filepath", "ground_truth.label"]), strict=True):
        batch = torch.from_numpy(read_image(path)).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            logits = module(batch)
        losses.append(float(torch.nn.functional.cross_entropy(logits, torch.tensor([int(label)]))))
    expected = np.array(view.values("honey_hardness")) - losses
    np.testing.assert_allclose(found["gaps"], expected, atol=1e-5)
    again = fhi.load_verification(dataset, "yes")
    assert again.random_images == found


def test_functions_are_asked_about_random_images_on_request_only(fresh, guessing_suspect):
    dataset, _, ledger = fresh
    asked = []

    def counting(batch: torch.Tensor) -> torch.Tensor:
        asked.append(len(batch))
        return guessing_suspect(batch)

    default = fhi.verify_model(dataset, "honey", counting, ledger_path=ledger)
    usual = sum(asked)
    asked.clear()
    more = fhi.verify_model(dataset, "honey", counting, ledger_path=ledger, num_random=7)

    assert default.random_images == {}
    assert len(more.random_images["gaps"]) == 7
    assert sum(asked) == usual + 7
    with pytest.raises(fhi.ParameterError, match="num_random"):
        fhi.verify_model(dataset, "honey", counting, ledger_path=ledger, num_random=-1)


def test_random_images_that_fail_cost_no_verdict(fo, fresh, guessing_suspect):
    dataset, marking, ledger = fresh
    twins = {
        read_image(marking.output_dir / image.file).tobytes()
        for pair in marking.load_ledger().pairs
        for image in pair.images
    }

    def refuses(batch: torch.Tensor) -> torch.Tensor:
        for image in (batch * 255).round().to(torch.uint8):
            if len(asked) >= 28 and image.permute(1, 2, 0).numpy().tobytes() not in twins:
                raise RuntimeError("quota is used up")
            asked.append(1)
        return guessing_suspect(batch)

    asked: list[int] = []
    found = fhi.verify_model(dataset, "honey", refuses, ledger_path=ledger, num_random=5)
    assert found.verdict.num_pairs == marking.num_pairs
    assert found.random_images.get("gaps", []) == []

    labels = fhi.verify_model(
        dataset,
        "honey",
        lambda batch: torch.zeros(len(batch), dtype=torch.int64),
        ledger_path=ledger,
        num_random=5,
        insist=True,
    )
    assert "labels alone" in labels.random_images["note"]


def test_fields_give_random_images_where_they_hold_predictions(fo, fresh):
    dataset, _, ledger = fresh
    rows = dataset.count()
    dataset.add_sample_field("answers", fo.ListField, subfield=fo.FloatField)
    try:
        honey = dataset.match_tags("honeyimage")
        rng = np.random.default_rng(0)
        honey.set_values("answers", rng.normal(size=(len(honey), 4)).tolist())
        only_honey = fhi.verify_model(dataset, "honey", "answers", ledger_path=ledger)
        assert "no unmarked image has predictions" in only_honey.random_images["note"]

        dataset.set_values("answers", rng.normal(size=(rows, 4)).tolist())
        everywhere = fhi.verify_model(dataset, "honey", "answers", ledger_path=ledger, insist=True)
        assert len(everywhere.random_images["gaps"]) == 50
    finally:
        dataset.delete_sample_field("answers")
