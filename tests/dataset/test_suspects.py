"""Suspects of every kind: modules, files and fields of predictions."""

from __future__ import annotations

import pytest
import torch

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.images import read_image


def test_torchscript_and_module_agree(fresh, tmp_path):
    dataset, _, ledger = fresh
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 4))
    with torch.no_grad():
        traced = torch.jit.trace(module, torch.zeros(2, 3, 8, 8))
    torch.jit.save(traced, str(tmp_path / "suspect.pt"))
    first = fhi.verify_model(dataset, "honey", module, ledger_path=ledger)
    second = fhi.verify_model(dataset, "honey", str(tmp_path / "suspect.pt"), ledger_path=ledger)
    assert first.verdict.p_value == second.verdict.p_value
    assert second.suspect_name == "suspect"
    assert len(second.suspect_digest) == 64
    assert second.verdict.p_adjusted >= first.verdict.p_adjusted  # the second of the ledger


def test_field_of_predictions_agrees_with_the_model(fo, fresh, remembering_suspect):
    dataset, marking, ledger = fresh
    suspect = remembering_suspect(marking)
    view = dataset.match_tags("honeyimage")
    logits, labels = {}, {}
    for sample_id, path in zip(*view.values(["id", "filepath"]), strict=True):
        batch = torch.from_numpy(read_image(path)).permute(2, 0, 1)[None].float() / 255
        row = suspect(batch)[0].numpy()
        label = str(int(row.argmax()))
        logits[sample_id] = fo.Classification(label=label, logits=row)
        labels[sample_id] = fo.Classification(label=label)
    direct = fhi.verify_model(dataset, "honey", suspect, ledger_path=ledger)
    try:
        dataset.set_values("with_logits", logits, key_field="id")
        dataset.set_values("with_labels", labels, key_field="id")
        by_field = fhi.verify_model(dataset, "honey", "with_logits", ledger_path=ledger)
        by_label = fhi.verify_model(dataset, "honey", "with_labels", ledger_path=ledger)
        assert by_field.verdict.p_value == direct.verdict.p_value
        assert by_label.verdict.kind == "labels"

        shuffled = {
            k: fo.Classification(label=v.label, logits=v.logits[::-1]) for k, v in logits.items()
        }
        dataset.set_values("wrong_order", shuffled, key_field="id")
        with pytest.raises(fhi.SuspectError, match="in another order"):
            fhi.verify_model(dataset, "honey", "wrong_order", ledger_path=ledger)
    finally:
        dataset.delete_sample_fields(
            [
                name
                for name in ("with_logits", "with_labels", "wrong_order")
                if dataset.has_field(name)
            ]
        )


def test_suspect_classes_in_another_order(fresh, remembering_suspect):
    dataset, marking, ledger = fresh
    suspect = remembering_suspect(marking)
    order = [2, 0, 3, 1]
    shuffled = lambda batch: suspect(batch)[:, order]  # noqa: E731
    classes = [str(label) for label in order]
    found = fhi.verify_model(dataset, "honey", shuffled, classes=classes, ledger_path=ledger)
    assert found.verdict.p_value == 2.0**-marking.num_pairs
    with pytest.raises(fhi.ParameterError, match="'3' is missing"):
        fhi.verify_model(dataset, "honey", suspect, classes=["0", "1", "2"], ledger_path=ledger)


def test_a_suspect_that_tells_one_loss_an_image(fo, fresh, remembering_suspect):
    dataset, marking, ledger = fresh
    scores = remembering_suspect(marking)
    ledger_in_use = marking.load_ledger()
    labels = {
        read_image(marking.output_dir / image.file).tobytes(): int(image.label)
        for pair in ledger_in_use.pairs
        for image in pair.images
    }

    def losses(batch):
        pixels = (batch * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        truth = torch.tensor([labels.get(image.numpy().tobytes(), 0) for image in pixels])
        return torch.nn.functional.cross_entropy(scores(batch), truth, reduction="none")

    direct = fhi.verify_model(dataset, "honey", scores, ledger_path=ledger)
    found = fhi.verify_model(dataset, "honey", losses, outputs="losses", ledger_path=ledger)
    assert found.verdict.kind == "scores"
    assert found.verdict.p_value == direct.verdict.p_value
    assert found.verdict.verdict == "derived"
    assert "tells one loss an image and no class" in found.verdict.statement
    for row, other in zip(found.pairs, direct.pairs, strict=True):
        assert row["released_loss"] == pytest.approx(other["released_loss"], abs=1e-5)
        assert row["released_correct"] is row["withheld_correct"] is None
    assert found.config["protocol"]["score"] == "the suspect's own loss"
    with pytest.raises(fhi.SuspectError, match="one loss an image is needed"):
        fhi.verify_model(dataset, "honey", scores, outputs="losses", ledger_path=ledger)
