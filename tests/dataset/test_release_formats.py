"""Releases of every dataset type: what is in them, what is not, and that they load again."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.files import sha256_file
from fiftyone_honeyimage.dataset.release.formats import TIME_STAMP

TYPES = [
    "ImageClassificationDirectoryTree",
    "FiftyOneImageClassificationDataset",
    "FiftyOneDataset",
    "COCODetectionDataset",
    "CSVDataset",
]


@pytest.fixture(scope="module")
def marked(fo: Any, make_dataset: Any, mark: Any) -> tuple[Any, Any]:
    """30 images with boxes and a caption each, 4 HoneyImages and 3 withheld."""
    dataset = make_dataset(30, hardness=True)
    dataset.set_values(
        "boxes",
        [
            fo.Detections(
                detections=[fo.Detection(label="digit", bounding_box=[0.1, 0.1, 0.5, 0.5])]
            )
            for _ in range(len(dataset))
        ],
    )
    dataset.set_values("caption", [f"digit {n}" for n in range(len(dataset))])
    dataset.info["owner"] = "secret"
    dataset.save()
    return dataset, mark(dataset, step_size=2)


def expected_digests(dataset: Any, marking: Any) -> Counter:
    ledger = marking.load_ledger()
    released = {i.sample_id: marking.output_dir / i.file for i in ledger.released_images()}
    withheld = {i.sample_id for i in ledger.withheld_images()}
    return Counter(
        sha256_file(released.get(sample.id, sample.filepath))
        for sample in dataset.match_tags("honeyimage", bool=False)
        if sample.id not in withheld
    )


def media(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix == ".png"]


@pytest.mark.parametrize("name", TYPES)
def test_every_type_holds_the_images_and_tells_nothing(fo, marked, tmp_path, name):
    dataset, marking = marked
    kind = getattr(fo.types, name)
    folder = tmp_path / "release"
    before = set(fo.list_datasets())
    report = fhi.export_release(dataset, "honey", folder, dataset_type=kind, progress=False)

    assert report.num_images == 27
    assert Counter(sha256_file(path) for path in media(folder)) == expected_digests(
        dataset, marking
    )
    assert set(fo.list_datasets()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["release"]
    secrets = [
        "honey",
        "hardness",
        "secret",
        dataset.name,
        str(marking.output_dir),
        *dataset.values("id"),
        str(Path(dataset.first().filepath).parent),
    ]
    for path in folder.rglob("*"):
        assert path.stat().st_mtime == 946_684_800
        if path.is_file() and path.suffix != ".png":
            text = path.read_text(encoding="utf-8")
            assert [secret for secret in secrets if secret in text] == []


@pytest.mark.parametrize("name", TYPES)
def test_every_type_loads_again_with_its_labels(fo, marked, tmp_path, name):
    dataset, _ = marked
    kind = getattr(fo.types, name)
    folder = tmp_path / "release"
    fhi.export_release(dataset, "honey", folder, dataset_type=kind, progress=False)
    originals = dataset.match_tags("honeyimage", bool=False)
    labels = {
        Path(path).name: label
        for path, label in zip(*originals.values(["filepath", "ground_truth.label"]), strict=True)
    }
    if name == "CSVDataset":
        with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
            rows = [(Path(row["filepath"]).name, row["label"]) for row in csv.DictReader(file)]
    else:
        options = {"label_field": "label"} if name != "FiftyOneDataset" else {}
        loaded = fo.Dataset.from_dir(dataset_dir=str(folder), dataset_type=kind, **options)
        path = {
            "FiftyOneDataset": "ground_truth.label",
            "COCODetectionDataset": "label_detections.detections.label",
        }.get(name, "label.label")
        if name == "COCODetectionDataset" and not loaded.has_field("label_detections"):
            path = "label.detections.label"
        rows = [
            (Path(file).name, label[0] if isinstance(label, list) else label)
            for file, label in zip(*loaded.values(["filepath", path]), strict=True)
        ]
        loaded.delete()
    assert len(rows) == 27
    assert all(labels[file] == label for file, label in rows)


def test_carried_fields_are_those_of_the_originals_with_ids_of_their_own(fo, marked, tmp_path):
    dataset, marking = marked
    folder = tmp_path / "release"
    fhi.export_release(
        dataset,
        "honey",
        folder,
        dataset_type=fo.types.FiftyOneDataset,
        fields=["boxes", "caption"],
        progress=False,
    )
    samples = json.loads((folder / "samples.json").read_text(encoding="utf-8"))["samples"]
    captions = dict(zip(*dataset.values(["id", "caption"]), strict=True))
    withheld = {image.sample_id for image in marking.load_ledger().withheld_images()}
    originals = dataset.match_tags("honeyimage", bool=False).values("id")
    assert [s["caption"] for s in samples] == [captions[i] for i in originals if i not in withheld]
    own = {i for ids in dataset.values("boxes.detections.id") for i in ids or ()}
    released = {s["boxes"]["detections"][0]["_id"]["$oid"] for s in samples}
    assert len(released) == 27
    assert own.isdisjoint(released)


def test_ids_tell_neither_when_nor_by_whom_a_release_was_written(fo, marked, tmp_path):
    """The driver's own hold the second, the process, and a counter, which samples' ids share."""
    dataset, _ = marked
    folder = tmp_path / "release"
    kind = fo.types.FiftyOneDataset
    fhi.export_release(
        dataset, "honey", folder, dataset_type=kind, fields=["boxes"], progress=False
    )
    text = "".join(
        (folder / name).read_text(encoding="utf-8") for name in ("samples.json", "metadata.json")
    )
    found = re.findall(r'"\$oid": ?"([0-9a-f]{24})"', text)
    assert len(found) > 3 * 27
    assert {oid[:8] for oid in found} == {f"{TIME_STAMP:08x}"}
    assert not {oid[8:18] for oid in found} & {i[8:18] for i in dataset.values("id")}
    assert len({oid[18:] for oid in found}) > 27


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": ["boxes"]}, "cannot be carried along"),
        ({"fields": ["nothing"], "dataset_type": "FiftyOneDataset"}, "no field 'nothing'"),
        ({"fields": ["honey"], "dataset_type": "FiftyOneDataset"}, "may not be carried"),
        ({"fields": ["tags"], "dataset_type": "FiftyOneDataset"}, "may not be carried"),
        ({"dataset_type": "YOLOv5Dataset"}, "cannot hold a release"),
        ({"reencode": "some"}, "reencode"),
        ({"names": "shuffle"}, "names"),
        ({"export_media": "move"}, "refused"),
        ({"export_media": "symlink"}, "refused"),
        ({"export_media": "manifest"}, "refused"),
        ({"export_media": False}, "refused"),
    ],
    ids=str,
)
def test_what_would_give_something_away_is_refused(fo, marked, tmp_path, options, message):
    dataset, _ = marked
    if "dataset_type" in options:
        options = {**options, "dataset_type": getattr(fo.types, options["dataset_type"])}
    with pytest.raises(fhi.ParameterError, match=message):
        fhi.export_release(dataset, "honey", tmp_path / "release", progress=False, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", TYPES)
def test_originals_and_honeyimages_keep_their_time_of_change(fo, marked, tmp_path, name):
    """Links to some files would change it, and tell who sees the folder which ones they are."""
    dataset, marking = marked
    files = [*dataset.values("filepath"), *marking.output_dir.rglob("*.png")]
    before = [(Path(path).stat().st_ctime_ns, Path(path).stat().st_nlink) for path in files]
    fhi.export_release(
        dataset,
        "honey",
        tmp_path / "r",
        dataset_type=getattr(fo.types, name),
        names="renumber",
        progress=False,
    )
    assert before == [(Path(p).stat().st_ctime_ns, Path(p).stat().st_nlink) for p in files]


def test_renumbered_names_have_no_gaps(fo, marked, tmp_path):
    dataset, _ = marked
    folder = tmp_path / "release"
    fhi.export_release(dataset, "honey", folder, names="renumber", progress=False)
    assert sorted(path.name for path in media(folder)) == [f"{n:02d}.png" for n in range(27)]


def test_all_images_are_encoded_anew_with_equal_pixels(fo, marked, tmp_path):
    from fiftyone_honeyimage.core.images import read_image

    dataset, marking = marked
    folder = tmp_path / "release"
    earlier = [release.export_dir for release in fhi.list_releases(dataset, "honey")]
    fhi.export_release(
        dataset, "honey", folder, reencode="all", unpublished=earlier, progress=False
    )
    ledger = marking.load_ledger()
    released = {i.sample_id: marking.output_dir / i.file for i in ledger.released_images()}
    paths = {path.name: path for path in media(folder)}
    assert len(paths) == 27
    for sample in dataset.match_tags("honeyimage", bool=False):
        exported = paths.get(Path(sample.filepath).name)
        if exported is None:
            continue  # withheld
        source = released.get(sample.id, sample.filepath)
        assert (read_image(exported) == read_image(source)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["release"]
