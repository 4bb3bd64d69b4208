"""Diffusion models that were trained on a release, and others, verified on a dataset."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from denoiser import SCHEDULE, train_denoiser

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.images import read_image
from fiftyone_honeyimage.core.ledger.evidence_file import check_evidence
from fiftyone_honeyimage.core.suspects import DenoisingSuspect
from fiftyone_honeyimage.panels.verification_figures import paper_markdown

NUM_PAIRS = 24


def _suspect(model: Any, **given: Any) -> DenoisingSuspect:
    return DenoisingSuspect(model, SCHEDULE, timesteps=range(len(SCHEDULE)), **given)


@pytest.fixture(scope="module")
def marked(
    make_dataset: Callable[..., Any], mark: Callable[..., Any], tmp_path_factory: Any
) -> tuple[Any, Any, np.ndarray]:
    """A dataset, its marking, and the images of its release."""
    dataset = make_dataset(num=120, hardness=True)
    marking = mark(
        dataset,
        method="unperturbed",
        num_honeyimages=NUM_PAIRS,
        num_pairs=NUM_PAIRS,
        exclude=(),
    )
    folder = tmp_path_factory.mktemp("release") / "release"
    fhi.export_release(dataset, "honey", folder, progress=False)
    release = np.stack([read_image(path) for path in sorted(folder.rglob("*.png"))])
    assert len(release) == 120 - NUM_PAIRS
    return dataset, marking, release


@pytest.fixture(scope="module")
def innocent(digits: tuple[np.ndarray, np.ndarray]) -> Any:
    """A diffusion model of other images of the same digits."""
    images, labels = digits
    others = np.concatenate([images[labels == label][40:72] for label in range(3)])
    return train_denoiser(others[..., None].repeat(3, axis=3), seed=1)


@pytest.fixture
def verify(marked: tuple[Any, Any, np.ndarray]) -> Iterator[Callable[..., Any]]:
    """``verify(suspect, key, **arguments)`` on the marked dataset."""
    dataset = marked[0]

    def run(suspect: Any, key: str, **given: Any) -> Any:
        return fhi.verify_model(dataset, "honey", suspect, key, progress=False, **given)

    yield run
    for found in fhi.list_runs(dataset):
        if found.kind == "verification":
            fhi.delete_run(dataset, found.key)


def test_the_one_that_saw_the_release_is_found(
    marked: Any, verify: Callable[..., Any], innocent: Any, tmp_path: Any
) -> None:
    dataset, marking, release = marked
    infringing = train_denoiser(release, seed=0)

    clear = verify(_suspect(innocent), "clear")
    found = verify(_suspect(infringing), "found")

    print("p", found.verdict.p_value, "innocent", clear.verdict.p_value)
    assert clear.verdict.verdict == "not shown"
    assert found.verdict.verdict == "derived"
    # What is no loss of classes has no gap to the proxy's, no right or wrong, and no nats
    assert found.verdict.paper == {}
    assert paper_markdown(found.verdict.paper) is None
    assert "has no gap" in found.random_images["note"]
    assert all(row["released_correct"] is None for row in found.pairs)
    assert "in the suspect's own unit" in found.verdict.effect_name
    assert "one that knows nothing has 1." in found.verdict.statement
    protocol = found.config["protocol"]
    assert protocol["outputs"] == "losses"
    assert protocol["mean"] == [0.5, 0.5, 0.5]
    assert protocol["way"].startswith(
        "DenoisingSuspect(timesteps=[0, 1, 2, 3, 4, 5, 6, 7], num_noises=4"
    )
    assert found.suspect_digest is not None

    path = fhi.export_evidence(dataset, "found", tmp_path / "evidence.json")
    checked = check_evidence(path, marking.commitment)
    assert checked.ok, checked.failed
    told = json.loads(path.read_text(encoding="utf-8"))
    assert "the suspect's own loss" in json.dumps(told)


def test_one_that_knows_nothing_is_asked_wrongly(
    marked: Any, verify: Callable[..., Any], innocent: Any
) -> None:
    before = len(marked[1].load_ledger().verifications)
    wrong = _suspect(lambda x, steps: -innocent(x, steps), name="wrong sign")
    with pytest.raises(
        fhi.SuspectError, match=r"one that knows nothing has 1.*another schedule of noise"
    ):
        verify(wrong, "wrong")
    assert len(marked[1].load_ledger().verifications) == before, "nothing was counted"
    insisted = verify(wrong, "insisted", insist=True)
    assert "The owner insisted" in insisted.verdict.statement
    assert insisted.verdict.verdict == "not shown"


def test_losses_that_are_held_in_a_field(
    marked: Any, verify: Callable[..., Any], innocent: Any
) -> None:
    """Asked elsewhere, as where the GPU is, and stored with the samples: the same verdict."""
    dataset = marked[0]
    suspect = _suspect(innocent)
    ids, paths = dataset.values(["id", "filepath"])
    losses = suspect.answer([read_image(path) for path in paths], ids)
    dataset.set_values("theirs", dict(zip(ids, losses.tolist(), strict=True)), key_field="id")

    direct = verify(suspect, "direct")
    held = verify("theirs", "held", outputs="losses")
    assert held.verdict.p_value == direct.verdict.p_value
    for name in ("released_loss", "withheld_loss"):
        told = [row[name] for row in direct.pairs]
        assert [row[name] for row in held.pairs] == pytest.approx(told, rel=1e-4)
    with pytest.raises(fhi.SuspectError, match="if each is a loss, outputs='losses'"):
        verify("theirs", "unsaid")


def test_models_to_compare_with_are_refused(
    marked: Any, verify: Callable[..., Any], innocent: Any
) -> None:
    before = len(marked[1].load_ledger().verifications)
    with pytest.raises(fhi.ParameterError, match="leave references out"):
        verify(_suspect(innocent), "compared", references=[lambda batch: batch.flatten(1)[:, :3]])
    assert len(marked[1].load_ledger().verifications) == before
    with pytest.raises(fhi.SuspectError, match="the loss gap needs logits or probabilities"):
        fhi.evaluate_known_models(marked[0], "honey", _suspect(innocent), _suspect(innocent))
