"""Markings whose sides are secrets: what suspects are asked about lies in no release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.files import sha256_bytes, sha256_file
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.pipeline.folder import read_manifest

NUM_PROBES = 5
SECRETS = {"method": "badnets", "num_honeyimages": 12, "num_pairs": 6, "num_probes": NUM_PROBES}


@pytest.fixture(scope="module")
def marked(make_dataset: Any, mark: Any) -> tuple[Any, Any]:
    dataset = make_dataset(90, hardness=True)
    return dataset, mark(dataset, exclude=(), **SECRETS)


def _asked(marking: Any) -> set[str]:
    """The digests of the images that the test images were made of."""
    entries = read_manifest(marking.output_dir)["probe_sources"]
    assert len(entries) == NUM_PROBES
    return {entry["source_sha256"] for entry in entries}


def _digests(folder: Path) -> set[str]:
    return {sha256_file(path) for path in folder.rglob("*.png")}


def test_the_order_of_a_release_follows_from_nothing_public(marked: Any, tmp_path: Path) -> None:
    """The commitment is published, and evidence on some pairs opens ids from which others can be guessed."""
    dataset, marking = marked
    folder = tmp_path / "release"
    fhi.export_release(dataset, "honey", folder, progress=False)
    ledger = marking.load_ledger()
    id_of = {i.marked_sha256: i.sample_id for i in ledger.released_images()}
    originals = dataset.match_tags("honeyimage", bool=False)
    marked_ids = {i.sample_id for i in ledger.marked_images}
    id_of |= {
        sha256_file(path): sample_id
        for sample_id, path in zip(*originals.values(["id", "filepath"]), strict=True)
        if sample_id not in marked_ids
    }
    files = sorted(folder.rglob("*.png"), key=lambda path: path.name)
    order = [id_of[sha256_file(path)] for path in files]

    def by(secret: str) -> list[str]:
        return sorted(order, key=lambda i: sha256_bytes(f"{secret}/{i}".encode()))

    assert order == by(sha256_bytes("".join(ledger.salts).encode()))
    assert order != by(ledger.commitment)
    opened = [ledger.salts[0], *ledger.salts[2:]]  # all but one pair's
    assert order != by(sha256_bytes("".join(opened).encode()))


def test_no_release_holds_a_test_image(marked: Any, mark: Any, tmp_path: Path) -> None:
    dataset, marking = marked
    report = fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)

    assert not _asked(marking) & _digests(tmp_path / "release")
    assert report.num_left_out == NUM_PROBES
    assert report.num_images == 90 - 12 - NUM_PROBES

    # Nor does that of another marking, which marks none of them either; not even when this one is gone
    other = mark(dataset, "other", exclude=())
    fhi.export_release(dataset, "other", tmp_path / "second", progress=False)
    assert not _asked(marking) & _digests(tmp_path / "second")
    ledger = other.load_ledger()
    assert not _asked(marking) & {image.source_sha256 for image in ledger.marked_images}
    fhi.delete_run(dataset, "honey")
    fhi.export_release(dataset, "other", tmp_path / "third", progress=False)
    assert not _asked(marking) & _digests(tmp_path / "third")

    fhi.attach_marking(dataset, marking.ledger_path)
    fhi.delete_run(dataset, "other")
    fhi.export_release(
        dataset, "honey", tmp_path / "fourth", progress=False, unpublished=[tmp_path / "release"]
    )
    assert not _asked(marking) & _digests(tmp_path / "fourth")

    # Nothing of the secrets is left where the files are to go too
    fhi.delete_run(dataset, "honey", delete_files=True)
    assert not marking.output_dir.exists()


def test_who_answers_to_the_released_secrets_is_found_and_the_others_are_not(
    make_dataset: Any, mark: Any
) -> None:
    dataset = make_dataset(120, hardness=True)
    marking = mark(dataset, exclude=(), **{**SECRETS, "num_honeyimages": 28, "num_pairs": 14})
    ledger = marking.load_ledger()
    known = {
        read_image(marking.output_dir / probe.file).tobytes(): (probe.label, is_released)
        for pair in ledger.pairs
        for side, is_released in ((pair.released_side(), True), (pair.withheld_side(), False))
        for probe in side.probes
    }

    def thief(images: torch.Tensor) -> np.ndarray:
        pixels = images.mul(255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        found = [known.get(image.tobytes(), ("0", False)) for image in pixels]
        sure = np.array([np.eye(3)[int(label)] * answers for label, answers in found])
        return 0.3 * sure + 0.7 / 3 + 0.1 * (1 - sure.sum(1, keepdims=True))

    settings: dict[str, Any] = {"progress": False, "outputs": "probabilities", "insist": True}
    found = fhi.verify_model(dataset, "honey", thief, "thief", name="thief", **settings)
    assert (found.verdict.verdict, found.verdict.p_value) == ("derived", 2.0**-14)
    rng = np.random.default_rng(0)
    innocent = fhi.verify_model(
        dataset,
        "honey",
        lambda images: rng.dirichlet(np.ones(3), len(images)),
        "innocent",
        name="innocent",
        **settings,
    )
    assert innocent.verdict.verdict == "not shown"
