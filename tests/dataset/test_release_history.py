"""What a dataset remembers of its releases, and that no release remembers it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import fiftyone_honeyimage as fhi

ROOT = Path(__file__).resolve().parent.parent.parent
FAST: dict[str, Any] = {"proxy": None, "progress": False, "alpha": 1e-6}


@pytest.fixture
def marked(make_dataset: Any, mark: Any) -> tuple[Any, Any]:
    dataset = make_dataset(60, hardness=True)
    return dataset, mark(dataset, num_honeyimages=8, num_pairs=3)


def test_releases_are_listed_with_their_audits(fo: Any, marked: Any, tmp_path: Path) -> None:
    dataset, marking = marked
    first, second = tmp_path / "first", tmp_path / "second"
    assert fhi.list_releases(dataset, "honey") == []

    fhi.export_release(dataset, "honey", first, progress=False)
    kind = fo.types.FiftyOneImageClassificationDataset
    fhi.export_release(
        dataset,
        "honey",
        second,
        kind,
        reencode="all",
        names="renumber",
        unpublished=[first],
        progress=False,
    )
    fhi.audit_release(first, marking.ledger_path, samples=dataset, **FAST)

    one, two = fhi.list_releases(dataset, "honey")
    assert (one.export_dir, one.num_images, one.num_files) == (first, 57, 57)
    assert (one.dataset_type, one.reencode) == ("ImageClassificationDirectoryTree", "marked")
    assert one.commitment == marking.commitment
    assert one.audit_passed is True
    assert one.num_leaks == 0
    now = datetime.now(timezone.utc)
    assert one.exported_at < two.exported_at < one.audited_at < now
    assert now - one.exported_at < timedelta(hours=1)
    # The labels are in a file of their own
    assert (two.num_images, two.num_files) == (57, 58)
    assert (two.dataset_type, two.reencode) == (kind.__name__, "all")
    assert two.names == "renumber"
    assert two.audit_passed is None
    assert one.is_there

    shutil.rmtree(first)
    assert [r.is_there for r in fhi.list_releases(dataset, "honey")].count(False) == 1


def test_a_failed_audit_is_noted_even_of_an_unknown_folder(marked: Any, tmp_path: Path) -> None:
    dataset, marking = marked
    folder, copy = tmp_path / "release", tmp_path / "copy"
    fhi.export_release(dataset, "honey", folder, progress=False)
    shutil.copytree(folder, copy)
    (copy / "notes.txt").write_text(marking.commitment, encoding="utf-8")
    fhi.audit_release(copy, marking.ledger_path, samples=dataset, **FAST)
    # Nobody's dataset is touched
    fhi.audit_release(copy, marking.ledger_path, **FAST)

    known, found = fhi.list_releases(dataset, "honey")
    assert (known.export_dir, known.audit_passed) == (folder, None)
    assert (found.export_dir, found.exported_at, found.audit_passed) == (copy, None, False)
    assert found.num_leaks == 1


def test_a_second_export_to_a_folder_takes_the_place_of_the_first(
    marked: Any, tmp_path: Path
) -> None:
    dataset, marking = marked
    folder = tmp_path / "release"
    fhi.export_release(dataset, "honey", folder, progress=False)
    fhi.audit_release(folder, marking.ledger_path, samples=dataset, **FAST)
    shutil.rmtree(folder)
    fhi.export_release(dataset, "honey", folder, progress=False)

    (release,) = fhi.list_releases(dataset, "honey")
    assert release.audit_passed is None


def test_what_changed_since_is_counted(
    fo: Any, marked: Any, tmp_path: Path, mark: Callable[..., Any]
) -> None:
    dataset, _ = marked
    fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)
    (release,) = fhi.list_releases(dataset, "honey")
    assert (release.num_added, release.num_deleted, release.num_edited) == (0, 0, 0)

    path = dataset.first().filepath
    dataset.add_samples([fo.Sample(filepath=path), fo.Sample(filepath=path)])
    originals = dataset.match_tags("honeyimage", bool=False)
    dataset.delete_samples(originals.limit(3))
    sample = dataset.match_tags("honeyimage", bool=False).skip(1).first()
    sample["ground_truth"].label = "2"
    sample.save()

    (release,) = fhi.list_releases(dataset, "honey")
    assert (release.num_added, release.num_deleted, release.num_edited) == (2, 3, 1)


def test_nothing_of_it_is_in_a_release(fo: Any, marked: Any, tmp_path: Path) -> None:
    dataset, marking = marked
    earlier = tmp_path / "an-earlier-release"
    folder = tmp_path / "release"
    fhi.export_release(dataset, "honey", earlier, progress=False)
    fhi.audit_release(earlier, marking.ledger_path, samples=dataset, **FAST)
    fhi.export_release(dataset, "honey", folder, fo.types.FiftyOneDataset, progress=False)
    assert len(fhi.list_releases(dataset, "honey")) == 2

    written = b"".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())
    names = " ".join(str(p.relative_to(folder)) for p in folder.rglob("*"))
    for secret in ("honey", earlier.name, str(tmp_path), marking.commitment, "export_dir"):
        assert secret.encode() not in written
        assert secret not in names
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    assert not metadata.get("runs")
    assert not metadata.get("info")
    loaded = fo.Dataset.from_dir(str(folder), dataset_type=fo.types.FiftyOneDataset)
    try:
        assert loaded.list_runs() == []
    finally:
        loaded.delete()


def test_a_marking_takes_its_releases_along(marked: Any, tmp_path: Path, mark: Any) -> None:
    dataset, _ = marked
    fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)

    fhi.rename_run(dataset, "honey", "renamed")
    (release,) = fhi.list_releases(dataset, "renamed")
    assert release.export_dir == tmp_path / "release"
    with pytest.raises(fhi.SamplesError, match="no marking 'honey'"):
        fhi.list_releases(dataset, "honey")

    fhi.delete_run(dataset, "renamed")
    mark(dataset, "renamed")
    assert fhi.list_releases(dataset, "renamed") == []


def test_what_another_process_noted_is_kept(marked: Any, tmp_path: Path) -> None:
    dataset, _ = marked
    fhi.export_release(dataset, "honey", tmp_path / "first", progress=False)
    code = (
        "import sys, fiftyone as fo, fiftyone_honeyimage as fhi\n"
        "fhi.export_release(fo.load_dataset(sys.argv[1]), 'honey', sys.argv[2], progress=False)"
    )
    command = [sys.executable, "-c", code, dataset.name, str(tmp_path / "second")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    fhi.rename_run(dataset, "honey", "renamed")
    fhi.export_release(dataset, "renamed", tmp_path / "third", progress=False)

    found = [release.export_dir.name for release in fhi.list_releases(dataset, "renamed")]
    assert found == ["first", "second", "third"]


def test_a_release_stands_where_its_run_was_deleted_meanwhile(
    marked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    from fiftyone_honeyimage.dataset.release import export as module

    dataset, _ = marked
    rename = module.os.rename

    def delete_run(source: Any, target: Any) -> None:
        rename(source, target)
        if Path(target).name == "release":
            fhi.delete_run(dataset, "honey")

    monkeypatch.setattr(module.os, "rename", delete_run)
    report = fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)

    assert report.num_images == 57
    assert (tmp_path / "release").is_dir()
    assert "could not be noted" in caplog.text


@pytest.mark.parametrize(("first", "second"), [("marked", "all"), ("all", "marked")])
def test_releases_that_would_show_the_marks_if_compared_are_refused(
    marked: Any, unchanged: Any, tmp_path: Path, first: str, second: str
) -> None:
    dataset, _ = marked
    one, two = tmp_path / "one", tmp_path / "two"
    fhi.export_release(dataset, "honey", one, reencode=first, progress=False)
    shutil.move(one, tmp_path / "published")  # it may be anywhere by now
    before = unchanged(dataset)
    with pytest.raises(fhi.ReleaseError, match=f"'{one}' of marking 'honey' was exported with"):
        fhi.export_release(dataset, "honey", two, reencode=second, progress=False)
    assert unchanged(dataset) == before

    fhi.export_release(dataset, "honey", two, reencode=second, unpublished=[one], progress=False)
    # It has to be said once; the other one counts
    fhi.export_release(dataset, "honey", tmp_path / "three", reencode=second, progress=False)
    with pytest.raises(fhi.ReleaseError, match=f"'{two}' of marking 'honey'"):
        fhi.export_release(dataset, "honey", tmp_path / "four", reencode=first, progress=False)


def test_another_encoder_is_refused_and_other_names_are_warned_of(
    marked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    from fiftyone_honeyimage.core import codecs

    dataset, _ = marked
    fhi.export_release(dataset, "honey", tmp_path / "one", reencode="all", progress=False)
    options = {"reencode": "all", "names": "renumber", "progress": False}
    fhi.export_release(dataset, "honey", tmp_path / "two", **options)
    assert f"The earlier release '{tmp_path / 'one'}' has names='keep'" in caplog.text
    monkeypatch.setattr(codecs, "encoder_versions", lambda: {"pillow": "99"})
    with pytest.raises(fhi.ReleaseError, match=r"was encoded by pillow .*: install these again"):
        fhi.export_release(dataset, "honey", tmp_path / "three", **options)


def test_two_releases_that_share_little_but_the_marks_are_refused(
    marked: Any, tmp_path: Path
) -> None:
    from fiftyone_honeyimage.dataset.identity import originals

    dataset, marking = marked
    ledger = marking.load_ledger()
    chosen = {image.sample_id for image in (*ledger.released_images(), *ledger.withheld_images())}
    others = [key for key in originals(dataset).values("id") if key not in chosen]
    half = len(others) // 2
    first, second = (dataset.select([*chosen, *part]) for part in (others[:half], others[half:]))
    fhi.export_release(first, "honey", tmp_path / "first", progress=False)
    with pytest.raises(
        fhi.ReleaseError, match="first' of marking 'honey' was made of other images"
    ):
        fhi.export_release(second, "honey", tmp_path / "second", progress=False)
    assert not (tmp_path / "second").exists()
    # One that holds the first, and one that differs in a few images, tell nothing
    fhi.export_release(dataset, "honey", tmp_path / "all", progress=False)
    few = dataset.exclude(others[:1])
    fhi.export_release(
        few, "honey", tmp_path / "few", unpublished=[tmp_path / "first"], progress=False
    )
    assert "released_views.json" in {path.name for path in marking.output_dir.iterdir()}


@pytest.mark.parametrize("name", ["md5", "sha256"])
def test_files_that_are_named_after_their_content_take_other_names(
    marked: Any, tmp_path: Path, name: str
) -> None:
    dataset, marking = marked
    (image,) = marking.load_ledger().pairs[0].a.files
    sample = dataset[image.sample_id]
    content = Path(sample.filepath).read_bytes()
    (tmp_path / "scraped").mkdir()
    path = tmp_path / "scraped" / f"IMG_{hashlib.new(name, content).hexdigest()[:16]}.png"
    path.write_bytes(content)
    sample.filepath = str(path)
    sample.save()
    with pytest.raises(fhi.ReleaseError, match="named after its own content"):
        fhi.export_release(dataset, "honey", tmp_path / "made" / "release", progress=False)
    fhi.export_release(
        dataset, "honey", tmp_path / "made" / "release", names="renumber", progress=False
    )
