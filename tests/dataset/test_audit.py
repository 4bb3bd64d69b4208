"""audit_release on real exports: clean ones pass, tampered ones do not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import fiftyone_honeyimage as fhi

#: Coins are drawn anew for each run of these tests: at the default level, one in a hundred would fail
FAST: dict[str, Any] = {"proxy": None, "progress": False, "alpha": 1e-6}


@pytest.fixture(scope="module")
def marked(make_dataset: Any, mark: Any) -> tuple[Any, Any]:
    """A dataset of 150 images, 16 HoneyImages in a release, 4 of them with a withheld twin."""
    dataset = make_dataset(150, hardness=True)
    return dataset, mark(dataset, num_honeyimages=16, num_pairs=4)


@pytest.fixture(scope="module")
def exported(marked: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dataset, _ = marked
    folder = tmp_path_factory.mktemp("releases") / "release"
    fhi.export_release(dataset, "honey", folder, progress=False)
    return folder


@pytest.fixture
def release(exported: Path, tmp_path: Path) -> Path:
    """A copy of the release that may be tampered with."""
    folder = tmp_path / "release"
    shutil.copytree(exported, folder)
    settle(folder)
    return folder


def settle(folder: Path) -> None:
    """Hides which files were written last."""
    for path in sorted(folder.rglob("*")):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
        os.utime(path, (946_684_800, 946_684_800))


def released(folder: Path, marking: Any) -> list[Path]:
    """The HoneyImages in a release."""
    from fiftyone_honeyimage.core.files import sha256_file

    wanted = {image.marked_sha256 for image in marking.load_ledger().released_images()}
    return [path for path in sorted(folder.rglob("*.png")) if sha256_file(path) in wanted]


def withheld(marking: Any) -> Path:
    return marking.output_dir / marking.load_ledger().withheld_images()[0].file


def test_a_real_export_passes(marked: Any, exported: Path) -> None:
    dataset, marking = marked
    report = fhi.audit_release(
        exported, marking.ledger_path, samples=dataset, hardness_field="hardness", **FAST
    )
    assert report.passed, report.summary()
    assert (report.num_files, report.num_marked, report.num_compared) == (146, 16, 16)
    assert report.compared_by == "class and hardness"
    assert {"permissions", "time: modified", "name: folder", "png.chunks"} <= set(report.constant)


@pytest.mark.parametrize(
    "kind",
    ["FiftyOneImageClassificationDataset", "FiftyOneDataset", "COCODetectionDataset", "CSVDataset"],
)
def test_every_dataset_type_passes(fo: Any, marked: Any, tmp_path: Path, kind: str) -> None:
    dataset, marking = marked
    folder = tmp_path / "release"
    fhi.export_release(
        dataset, "honey", folder, dataset_type=getattr(fo.types, kind), progress=False
    )
    report = fhi.audit_release(folder, marking.ledger_path, samples=dataset, **FAST)
    assert report.passed, report.summary()
    assert report.num_compared == 16, "the classes were read from the label files"
    looked_at = {*report.constant, *(row.feature for row in report.metadata)}
    assert "labels: fields" in looked_at


def test_models_of_its_own_stand_for_hardness(marked: Any, exported: Path) -> None:
    _, marking = marked
    report = fhi.audit_release(
        exported,
        marking.load_ledger(),
        training={"epochs": 2, "batch_size": 32},
        alpha=1e-6,
        device="cpu",
        progress=False,
    )
    assert report.passed, report.summary()
    assert {"loss, trained", "loss, held out"} <= {row.feature for row in report.pixels}
    assert "other half" in report.compared_by


def plant_time(folder: Path, files: list[Path]) -> None:
    for path in files:
        os.utime(path, (1_700_000_000, 1_700_000_000))


def plant_mode(folder: Path, files: list[Path]) -> None:
    for path in files:
        os.chmod(path, 0o600)


def plant_names(folder: Path, files: list[Path]) -> None:
    for path in files:
        path.rename(path.with_stem(f"{path.stem}-2"))


def plant_folder(folder: Path, files: list[Path]) -> None:
    (folder / "new").mkdir()
    for path in files:
        path.rename(folder / "new" / path.name)


@pytest.mark.parametrize(
    ("plant", "feature"),
    [
        (plant_time, "time: modified"),
        (plant_mode, "permissions"),
        (plant_names, "name: pattern"),
        (plant_folder, "name: folder"),
    ],
)
def test_leaks_that_leave_the_bytes_alone_are_found(
    marked: Any, release: Path, plant: Callable[[Path, list[Path]], None], feature: str
) -> None:
    _, marking = marked
    plant(release, released(release, marking))
    report = fhi.audit_release(release, marking.ledger_path, **FAST)
    assert not report.passed
    assert feature in {leak.feature for leak in report.leaks}


def test_other_files_written_otherwise_are_found(marked: Any, release: Path) -> None:
    """The leak can lie in the unmarked files: here they alone have a density."""
    _, marking = marked
    honey = set(released(release, marking))
    for path in release.rglob("*.png"):
        if path not in honey:
            Image.open(path).copy().save(path, dpi=(72, 72))
    settle(release)
    report = fhi.audit_release(release, marking.ledger_path, **FAST)
    assert "png.chunks" in {leak.feature for leak in report.leaks}


def test_ids_of_the_working_dataset_are_found(fo: Any, marked: Any, tmp_path: Path) -> None:
    dataset, marking = marked
    folder = tmp_path / "release"
    fhi.export_release(
        dataset, "honey", folder, dataset_type=fo.types.FiftyOneDataset, progress=False
    )
    document = json.loads((folder / "samples.json").read_text(encoding="utf-8"))
    document["samples"][0]["note"] = dataset.first().id
    (folder / "samples.json").write_text(json.dumps(document), encoding="utf-8")
    report = fhi.audit_release(folder, marking.ledger_path, samples=dataset, **FAST)
    assert ("samples.json",) in {leak.files for leak in report.leaks if leak.feature == "secrets"}


def test_a_withheld_twin_and_an_original_are_found(marked: Any, release: Path) -> None:
    dataset, marking = marked
    image = next(
        i for i in marking.load_ledger().released_images() if i.marked_sha256 != i.source_sha256
    )
    shutil.copy(withheld(marking), release / "0" / "9998.png")
    shutil.copy(dataset[image.sample_id].filepath, release / "0" / "9999.png")
    settle(release)
    report = fhi.audit_release(release, marking.ledger_path, **FAST)
    found = {leak.feature: leak for leak in report.found}
    assert found["withheld twins"].files == ("0/9998.png",)
    assert found["originals"].files == ("0/9999.png",)
    assert not report.passed


def test_a_honeyimage_that_is_there_twice_is_found(marked: Any, release: Path) -> None:
    _, marking = marked
    path = released(release, marking)[0]
    shutil.copy(path, path.with_name("9999.png"))
    settle(release)
    report = fhi.audit_release(release, marking.ledger_path, **FAST)
    (leak,) = report.found
    assert leak.feature == "copies"
    assert leak.p_adjusted is None


def test_a_changed_honeyimage_is_refused(marked: Any, release: Path) -> None:
    _, marking = marked
    path = released(release, marking)[0]
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b")
    Image.open(path).copy().save(path, pnginfo=info)
    with pytest.raises(fhi.ReleaseError, match="1 of 16 HoneyImages of the ledger are not in"):
        fhi.audit_release(release, marking.ledger_path, **FAST)


def test_wrong_arguments_are_refused_before_anything_is_read(
    marked: Any, release: Path, tmp_path: Path
) -> None:
    dataset, marking = marked
    ledger = marking.ledger_path
    with pytest.raises(fhi.ReleaseError, match="no release at"):
        fhi.audit_release(tmp_path / "nowhere", ledger, **FAST)
    with pytest.raises(fhi.LedgerError, match="no ledger"):
        fhi.audit_release(release, tmp_path / "ledger.json", **FAST)
    with pytest.raises(fhi.LedgerError, match="found int"):
        fhi.audit_release(release, 3, **FAST)  # type: ignore[arg-type]
    with pytest.raises(fhi.SamplesError, match="needs the samples"):
        fhi.audit_release(release, ledger, hardness_field="hardness", **FAST)
    with pytest.raises(fhi.SamplesError, match="no field 'tags'"):
        fhi.audit_release(release, ledger, samples=dataset, hardness_field="tags", **FAST)
    for name, value in (("alpha", 0), ("alpha", True), ("seed", -1), ("input_size", 4)):
        with pytest.raises(fhi.ParameterError, match=name):
            fhi.audit_release(release, ledger, **{**FAST, name: value})
    with pytest.raises(fhi.ParameterError, match="no setting"):
        fhi.audit_release(release, ledger, training={"epoch": 1}, **FAST)


def test_nothing_else_changes(marked: Any, release: Path, unchanged: Any) -> None:
    dataset, marking = marked
    before = unchanged(dataset, marking.output_dir, release, noted=True)
    fhi.audit_release(release, marking.ledger_path, samples=dataset, **FAST)
    assert unchanged(dataset, marking.output_dir, release, noted=True) == before


def test_progress_is_shown(marked: Any, release: Path) -> None:
    _, marking = marked
    shares: list[float] = []
    fhi.audit_release(
        release, marking.ledger_path, proxy=None, progress=lambda bar: shares.append(bar.progress)
    )
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_hardness_goes_by_bytes_and_not_by_names(marked: Any, release: Path) -> None:
    from fiftyone_honeyimage.dataset.release.audit import _read_samples, find_images

    dataset, marking = marked
    for number, path in enumerate(sorted(release.rglob("*.png"), reverse=True)):
        path.rename(path.with_name(f"new-{number}.png"))
    found = find_images(release, marking.load_ledger(), lambda *_: None)
    known = _read_samples(dataset, "hardness", found)
    hardness = known.hardness
    assert hardness is not None
    assert known.sources is not None
    assert set(known.sources) == set(found.marked)
    unmarked = {digest for name, digest in found.digests.items() if name not in found.marked}
    assert unmarked <= set(known.originals)
    assert set(hardness) == set(found.digests)
    by_id = dict(zip(*dataset.values(["id", "hardness"]), strict=True))
    for name, image in found.marked.items():
        assert hardness[name] == by_id[image.sample_id]
    own = dataset.match_tags("honeyimage", bool=False)
    assert np.isin(list(hardness.values()), own.values("hardness")).all()
