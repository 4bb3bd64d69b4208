"""Every method that needs little training goes the whole way: marking, release, audit of files, verification, evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.audit.practice import practised_method
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence
from fiftyone_honeyimage.core.methods import METHODS, most_changed

NUM_PAIRS = 12


@pytest.mark.parametrize("name", ["crop", "flip", "mixup", "adv"])
def test_from_a_dataset_to_the_checked_evidence(
    make_dataset: Any, mark: Any, tmp_path: Path, name: str
) -> None:
    dataset = make_dataset(60, hardness=True)
    settings = {"num_honeyimages": NUM_PAIRS, "num_pairs": NUM_PAIRS, "exclude": ()}
    if name == "adv":
        settings |= {"epsilon": 8, "step_size": 2}
    marking = mark(dataset, method=name, **settings)
    assert marking.config["marking_method"] == name
    assert METHODS[name].title in METHODS[name].words(marking.config)

    folder = tmp_path / "release"
    report = fhi.export_release(dataset, "honey", folder, progress=False)
    assert (report.num_images, report.num_honeyimages) == (60 - NUM_PAIRS, NUM_PAIRS)

    ledger = marking.load_ledger()
    audit = fhi.audit_release(folder, ledger, samples=dataset, proxy=None, progress=False)
    assert audit.num_marked == NUM_PAIRS
    assert not audit.found, "however large a change is, nothing but the pixels tells it"
    assert practised_method(ledger.header)[0].name == name
    assert most_changed(name, ledger.header) == (8 if name == "adv" else None)

    pixels = {
        read_image(marking.output_dir / image.file).tobytes(): int(image.label)
        for image in ledger.released_images()
    }

    def thief(images: torch.Tensor) -> np.ndarray:
        """Knows the released images, and guesses elsewhere."""
        shown = images.mul(255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        found = np.full((len(shown), 3), 1 / 3)
        for row, image in enumerate(shown):
            if image.tobytes() in pixels:
                found[row] = 0.05
                found[row, pixels[image.tobytes()]] = 0.9
        return found

    verified = fhi.verify_model(
        dataset,
        "honey",
        thief,
        "thief",
        name="thief",
        outputs="probabilities",
        insist=True,
        progress=False,
    )
    assert (verified.verdict.verdict, verified.verdict.p_value) == ("derived", 2.0**-NUM_PAIRS)
    fhi.export_evidence(dataset, "thief", tmp_path / "evidence.json")
    assert check_evidence(tmp_path / "evidence.json", marking.commitment).ok
