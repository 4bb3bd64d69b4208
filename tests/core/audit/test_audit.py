"""The whole audit, on releases with and without planted leaks."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fiftyone_honeyimage.core.audit import STAGES, AuditReport, audit_files, separations
from fiftyone_honeyimage.core.audit.cleaning import cleaning_table, cleanings
from fiftyone_honeyimage.core.audit.model_loss import ReleaseLosses, filtered_shares
from fiftyone_honeyimage.core.audit.pixels import classify
from fiftyone_honeyimage.core.audit.separations import taken_shares
from fiftyone_honeyimage.core.errors import ReleaseError
from fiftyone_honeyimage.core.training import TrainingConfig

FAST = {"config": TrainingConfig(epochs=3, batch_size=32), "device": "cpu", "input_size": 8}


def perturb(image: np.ndarray, epsilon: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).choice([-epsilon, epsilon], image.shape)
    return np.clip(image.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def signals(report: AuditReport) -> set[str]:
    return {row.feature for row in report.signals}


def test_clean_release(make_release: Callable[..., Any]) -> None:
    release = make_release(num=150, num_marked=15)
    stages: list[tuple[str, int, int]] = []
    report = audit_files(
        release.folder, release.marked, report=lambda *call: stages.append(call), **FAST
    )
    assert report.passed
    assert report.signals == ()
    assert (report.num_files, report.num_marked, report.num_compared) == (150, 15, 15)
    assert {row.feature for row in report.pixels} == {
        "noise classifier",
        "compression classifier",
        "own marks",
        "noise level",
        "colour noise",
        "unusual noise",
        "nearness to another image",
        "loss, trained",
        "loss, held out",
        "loss, memorised",
    }
    for row in report.pixels:
        assert row.auroc is not None
        assert row.interval is not None
        assert row.interval[0] <= row.auroc <= row.interval[1]
    assert "permissions" in report.constant
    assert "other half" in report.compared_by
    assert {stage for stage, _, _ in stages} <= STAGES.keys()
    assert AuditReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert report.headline == (
        "Files: nothing gives HoneyImages away. Pixels: nothing tells HoneyImages apart."
    )
    assert report.summary().startswith(report.headline)
    assert "| noise level |" in report.markdown()


def test_intervals_of_classifiers_are_widened(
    make_release: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what their folds have in common; those of features that were not learned are as they were."""
    release = make_release(num=150, num_marked=15)

    def widths(inflation: float) -> dict[str, float]:
        def as_if(*arguments: Any, **named: Any) -> Any:
            found = classify(*arguments, **named)
            assert found is not None
            return replace(found, inflation=inflation)

        monkeypatch.setattr(separations, "classify", as_if)
        report = audit_files(release.folder, release.marked, proxy=None)
        rows = [row for row in report.pixels if row.interval is not None]
        return {row.feature: row.interval[1] - row.interval[0] for row in rows}

    plain, wide = widths(1.0), widths(2.0)
    learned = {name for name in plain if name.endswith("classifier")}
    assert learned == {"noise classifier", "compression classifier"}
    for name, width in plain.items():
        assert wide[name] > 1.2 * width if name in learned else wide[name] == width


@pytest.mark.parametrize("seed", range(8))
def test_clean_releases_of_real_files(
    write_files: Any, eurosat: dict[str, bytes], seed: int
) -> None:
    """Any choice of marks among untouched files passes, in the metadata and in the pixels.

    Each of the two has a chance of 1 % to be wrong in each of 8 releases; with these seeds none is.
    """
    release = write_files(dict(sorted(eurosat.items())[::3]), num_marked=15, seed=seed)
    report = audit_files(release.folder, release.marked, proxy=None, seed=seed)
    assert report.passed, report.summary()
    assert report.signals == ()
    assert report.compared_by == "class"


def test_strong_perturbations_show(write_files: Any, cifar: dict[str, np.ndarray]) -> None:
    release = write_files({name: png(array) for name, array in cifar.items()})
    for seed, name in enumerate(release.marked):
        release.save(name, perturb(release.arrays[name], 8, seed))
    release.settle()
    report = audit_files(release.folder, release.marked, proxy=None)
    assert {"noise classifier", "noise level", "colour noise"} <= signals(report)
    assert report.passed, "pixels are shown and fail nothing: " + report.summary()
    assert report.severity == "error"
    files, _, pixels = report.headline.partition(" Pixels: ")
    assert files == "Files: nothing gives HoneyImages away."
    assert pixels.startswith("HoneyImages can be told apart, nearly for certain, by ")
    assert "None" not in report.headline
    assert "nothing tells" not in report.headline
    (row,) = (row for row in report.pixels if row.feature == "noise classifier")
    assert row.auroc is not None
    assert row.auroc > 0.9


def test_a_second_compression_shows(write_files: Any, eurosat: dict[str, bytes]) -> None:
    release = write_files(dict(sorted(eurosat.items())[::2]))
    for name in release.marked:
        once = io.BytesIO()
        Image.fromarray(release.arrays[name]).save(once, "JPEG", quality=75)
        with Image.open(once) as image:
            # The tables of EuroSAT's own files, and 4:2:0
            release.save(name, np.asarray(image), quality=100, subsampling=2)
    report = audit_files(release.folder, release.marked, proxy=None)
    assert "compression classifier" in signals(report)


def test_near_duplicates_show(make_release: Callable[..., Any]) -> None:
    release = make_release(num=150, num_marked=15)
    for seed, name in enumerate(release.marked):
        original = release.arrays[name]
        release.save(name.replace("/", "/copy"), original, format="PNG")
        release.save(name, perturb(original, 1, seed))
    report = audit_files(release.folder, release.marked, proxy=None)
    assert "nearness to another image" in signals(report)


def test_mislabelled_images_show_in_the_loss(make_release: Callable[..., Any]) -> None:
    """As hard as an image can be; their hardness is said to be that of the others."""
    release = make_release(num=240, num_marked=16)
    for name in list(release.marked):
        label = name.split("/")[0]
        wrong = name.replace(f"{label}/", f"{(int(label) + 1) % 3}/", 1)
        os.rename(release.path(name), release.path(wrong))
        release.marked[release.marked.index(name)] = wrong
    settings = {**FAST, "config": TrainingConfig(epochs=8, batch_size=32)}
    report = audit_files(release.folder, release.marked, **settings)
    assert "loss, held out" in signals(report)
    (row,) = (row for row in report.pixels if row.feature == "loss, held out")
    assert row.auroc is not None
    assert row.auroc > 0.85
    assert "drops of the HoneyImages" in row.detail


def test_leaks_are_reported(make_release: Callable[..., Any]) -> None:
    release = make_release(num=150, num_marked=12)
    for name in release.marked:
        os.chmod(release.path(name), 0o600)
    report = audit_files(release.folder, release.marked, proxy=None)
    assert not report.passed
    (leak,) = (leak for leak in report.leaks if leak.feature == "permissions")
    assert "0o600" in leak.reason
    assert "12 files" in str(leak)
    assert report.headline.startswith(f"Files: {len(report.leaks)} leak")
    assert "Leaks: permissions" in report.summary()
    assert "| permissions |" in report.markdown()


def test_hardness_is_used_where_it_is_given(make_release: Callable[..., Any]) -> None:
    release = make_release(num=90, num_marked=10)
    hardness = {name: float(row) for row, name in enumerate(release.names)}
    report = audit_files(release.folder, release.marked, hardness=hardness, proxy=None)
    assert report.compared_by == "class and hardness"
    assert report.passed


def test_few_marks_and_unreadable_files_are_noted(make_release: Callable[..., Any]) -> None:
    release = make_release(num=60, num_marked=4)
    damaged = release.others[0]
    release.write(damaged, release.path(damaged).read_bytes()[:200])
    report = audit_files(release.folder, release.marked, **FAST)
    assert any("could not be decoded" in note for note in report.notes)
    assert any("10 HoneyImages or more" in note for note in report.notes)
    assert "noise level" in {row.feature for row in report.pixels}


def test_same_seed_same_report(make_release: Callable[..., Any]) -> None:
    release = make_release(num=90, num_marked=10)
    reports = [audit_files(release.folder, release.marked, **FAST, seed=4) for _ in range(2)]
    assert reports[0] == reports[1]


def test_a_missing_release_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ReleaseError):
        audit_files(tmp_path / "nothing", ["a.png"])


def test_filtered_shares() -> None:
    losses = np.arange(100.0)
    marked = np.zeros(100, dtype=bool)
    marked[[99, 97, 92, 3]] = True
    assert filtered_shares(losses, marked, (0.01, 0.05, 0.1)) == [0.25, 0.5, 0.75]


def test_what_cheap_cleanings_take_is_told_before_publishing() -> None:
    marked = np.zeros(100, dtype=bool)
    marked[[99, 97, 92, 3]] = True
    held_out = np.arange(100.0)
    wrong = np.zeros(100, dtype=bool)
    wrong[[3, 10]] = True
    nothing = np.zeros(100)
    losses = ReleaseLosses(
        nothing, held_out, wrong, nothing.astype(np.int8), (), torch.nn.Identity()
    )
    found = {(one.name, one.dropped): one for one in cleanings(marked, losses)}
    hardest = "the hardest, by models of its other half"
    assert found[hardest, 0.05].lost == 0.5
    assert found[hardest, 0.05].num_left == 2
    assert found[hardest, 0.05].least_p == 0.25
    labels = found["what confident learning calls mislabelled", 0.02]
    assert (labels.lost, labels.num_left) == (0.25, 3)
    # Two images that no model saw are not dropped
    held_out[[99, 97]] = np.nan
    unseen = {
        one.dropped: one for one in cleanings(marked, replace(losses, held_out=held_out))[:-1]
    }
    assert unseen[0.1].lost == 0.25
    assert (
        "| the hardest, by models of its other half | 5.0% | 50% | 2 | p = 0.2 |"
        in cleaning_table(list(found.values()))
    )


def test_shares_that_a_detector_takes() -> None:
    values = np.r_[np.arange(100.0), 97.5, 99.5, 3.0]
    sets = np.array([[100 + row, *range(row * 33, row * 33 + 33)] for row in range(3)])
    assert taken_shares(values, sets) == pytest.approx({0.02: 2 / 3, 0.05: 2 / 3})
