"""Whether a suspect treats released marked images as random unmarked ones: real suspects, trained on a release and not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.images import read_image

Suspect = Callable[[torch.Tensor], torch.Tensor]


@pytest.fixture(scope="module")
def marked(
    fo: Any,
    digits: tuple[np.ndarray, np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Any, Any]]:
    """240 digits, 24 pairs of them chosen at random and left unchanged.

    Their labels are drawn by lot, so that there is nothing to know of an image but whether it was seen.
    """
    folder = tmp_path_factory.mktemp("controls")
    pixels, labels = digits
    dataset = fo.Dataset()
    drawn = np.random.default_rng(0).integers(0, 4, 240)
    for row, label in zip(np.flatnonzero(labels < 4)[:240], drawn, strict=True):
        path = folder / f"{row:04d}.png"
        Image.fromarray(pixels[row]).convert("RGB").save(path)
        truth = fo.Classification(label=str(label))
        dataset.add_sample(fo.Sample(filepath=str(path), ground_truth=truth))
    proxy = {"proxy": "resnet_tiny", "training": {"epochs": 6, "flip": False}, "device": "cpu"}
    fhi.compute_hardness(dataset, "ground_truth", **proxy, progress=False)
    marking = fhi.generate_honeyimages(
        dataset,
        "ground_truth",
        "honey",
        method="unperturbed",
        selection="random",
        num_pairs=24,
        num_honeyimages=24,
        output_dir=tmp_path_factory.mktemp("marking") / "honey",
        progress=False,
        **proxy,
    )
    yield dataset, marking
    dataset.delete()


def _train(paths: list[str], labels: list[str], seed: int = 0) -> Suspect:
    """A small network that has learned images by heart, digits and all, until it is sure of them."""
    x = torch.stack([torch.from_numpy(read_image(path).copy()) for path in paths])
    x = x.permute(0, 3, 1, 2).float() / 255
    y = torch.tensor([int(label) for label in labels])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(192, 256), torch.nn.ReLU(), torch.nn.Linear(256, 4)
        )
        optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
        for _ in range(400):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
    return network.eval()


def _suspects(dataset: Any, marking: Any) -> dict[str, Suspect]:
    """Three that trained on the release, on what is not marked in it, and on images that nobody here has."""
    ledger = marking.load_ledger()
    taken = {image.sample_id for pair in ledger.pairs for image in pair.images}
    released = {image.sample_id for image in ledger.released_images()}
    originals = dataset.match_tags("honeyimage", bool=False)
    rows = list(zip(*originals.values(["id", "filepath", "ground_truth.label"]), strict=True))
    unmarked = [(path, label) for key, path, label in rows if key not in taken]
    ours = [(path, label) for key, path, label in rows if key in released]
    assert (len(unmarked), len(ours)) == (192, 24)
    # Of labels that were drawn by another lot nobody learns what these are
    lot = np.random.default_rng(1).integers(0, 4, len(rows))
    others = [(path, str(label)) for (_, path, _), label in zip(rows, lot, strict=True)]
    return {
        "honest": _train(*map(list, zip(*unmarked, *ours, strict=True))),
        "filters": _train(*map(list, zip(*unmarked, strict=True))),
        "innocent": _train(*map(list, zip(*others, strict=True))),
    }


def test_who_leaves_out_marked_images_is_told_from_who_does_not(marked: Any) -> None:
    dataset, marking = marked
    suspects = _suspects(dataset, marking)
    found = {
        name: fhi.verify_model(
            dataset, "honey", suspect, name, num_random=150, insist=True, progress=False
        )
        for name, suspect in suspects.items()
    }
    for one in found.values():
        assert dict(fhi.load_verification(dataset, one.verify_key).random_images) == dict(
            one.random_images
        )
        assert one.beside in str(one)
        assert "It decides nothing" in one.beside
    told = {name: one.random_images["compared"] for name, one in found.items()}
    for one in told.values():
        for group in ("released", "withheld"):
            assert (one[group]["num_marked"], one[group]["num_unmarked"]) == (24, 150)

    assert told["honest"]["released"]["p_value"] > 0.01 > told["honest"]["withheld"]["p_value"]
    assert "No difference is shown between what the model knows" in found["honest"].beside
    assert "Those that were withheld it knows less than both" in found["honest"].beside

    for group in ("released", "withheld"):
        assert told["filters"][group]["p_value"] < 0.01
        assert told["filters"][group]["share"] < 0.4
        assert told["innocent"][group]["p_value"] > 0.01
    assert "knows random unmarked images better" in found["filters"].beside
    assert "leaves out what looks marked" in found["filters"].beside
    assert found["filters"].verdict.verdict != "derived", "it decides nothing"
    assert "knows less than both" not in found["innocent"].beside

    without = fhi.verify_model(
        dataset, "honey", suspects["filters"], num_random=0, progress=False, insist=True
    )
    assert without.verdict.p_value == found["filters"].verdict.p_value
    assert (without.beside, without.random_images) == ("", {})
    # Too few to be compared, and losses of which there are none
    few = fhi.verify_model(
        dataset, "honey", suspects["filters"], num_random=5, progress=False, insist=True
    )
    assert "compared" not in few.random_images
    assert len(few.random_images["gaps"]) == 5
