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
from fiftyone_honeyimage.dataset.marking.marking import open_marking
from fiftyone_honeyimage.dataset.release.withheld import to_release
from fiftyone_honeyimage.dataset.runs import MARKING, run_config, run_results
from fiftyone_honeyimage.dataset.samples import read_labels
from fiftyone_honeyimage.panels.marking_section import _points, _stale

NUM_PAIRS = 12


#: What makes little work of each
SETTINGS: dict[str, dict[str, Any]] = {
    "honeyimage": {"num_steps": 1, "inner": "warm"},
    "adv": {"epsilon": 8, "step_size": 2},
    "ubw_c": {"num_steps": 2, "num_sources": 4},
    "radioactive": {"num_steps": 2},
    "sscl_bw": {"num_steps": 1},
}


#: The largest change of a value that a method promises with these settings, where it promises one
BUDGETS = {
    "honeyimage": 4,
    "unperturbed": 4,
    "adv": 8,
    "ubw_c": 16,
    "sscl_bw": 16,
    "radioactive": 10,
}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_from_a_dataset_to_the_checked_evidence(
    make_dataset: Any, mark: Any, tmp_path: Path, name: str
) -> None:
    dataset = make_dataset(60, hardness=True)
    settings = {"num_honeyimages": NUM_PAIRS, "num_pairs": NUM_PAIRS, "exclude": ()}
    method = METHODS[name]
    if method.shares_secrets:
        settings["num_probes"] = 6
    marking = mark(dataset, method=name, **settings | SETTINGS.get(name, {}))
    assert marking.config["marking_method"] == name
    assert METHODS[name].title in METHODS[name].words(marking.config)

    # Nothing is stale that nobody touched, and the form counts as the run does
    run = {
        "config": run_config(dataset, "honey", MARKING),
        "results": run_results(dataset, "honey"),
    }
    assert list(_stale(dataset, run, _points(dataset, "honey"))) == []
    opened = open_marking(dataset, "honey", None)
    assert marking.num_withheld == len(opened.ledger.withheld_images())
    counted = to_release(read_labels(dataset, "ground_truth", contents=False), opened)

    folder = tmp_path / "release"
    report = fhi.export_release(dataset, "honey", folder, progress=False)
    num_asked = method.num_asked(method.Options.read(marking.config))
    assert report.num_images == 60 - NUM_PAIRS - num_asked
    assert report.num_images == len(counted) - marking.num_withheld
    assert report.num_honeyimages == NUM_PAIRS

    ledger = marking.load_ledger()
    audit = fhi.audit_release(folder, ledger, samples=dataset, proxy=None, progress=False)
    assert audit.num_marked == NUM_PAIRS
    assert not audit.found, "however large a change is, nothing but the pixels tells it"
    practised = name if method.changes_pixels else "honeyimage"
    assert practised_method(ledger.header)[0].name == practised
    assert most_changed(name, ledger.header) == BUDGETS.get(name)

    released = ledger.released()
    pixels = {
        read_image(marking.output_dir / image.file).tobytes(): int(image.label)
        for pair in ledger.pairs
        for image in pair.side(released[pair.index]).asked
    }

    def thief(images: torch.Tensor) -> np.ndarray:
        """Knows the released images, and guesses elsewhere."""
        shown = images.mul(255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        found = np.full((len(shown), 3), 1 / 3)
        for row, image in enumerate(shown):
            if image.tobytes() in pixels:
                found[row] = 0.05
                # Taught one class, or, by an untargeted watermark, to be wrong
                own = pixels[image.tobytes()]
                found[row, own if method.direction == "lower" else (own + 1) % 3] = 0.9
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
