"""Label files: every layout is read, planted leaks are found, clean ones pass."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any

import pytest

from fiftyone_honeyimage.core.audit import check_metadata
from fiftyone_honeyimage.core.audit.annotations import read_labels, read_records
from fiftyone_honeyimage.core.audit.metadata import audit_metadata, read_release, release_labels

TIME_STAMP = 946_684_800

#: name of an image → fields of its record
Fields = dict[str, dict[str, Any]]


def flat(release: Any) -> Any:
    """Moves all images into one folder, data/, as FiftyOne's labelled formats have them."""
    (release.folder / "data").mkdir()
    for number, name in enumerate(list(release.names)):
        new = f"data/{number:05d}.png"
        os.rename(release.path(name), release.path(new))
        release.names[number] = new
        release.labels[new] = release.labels.pop(name)
        if name in release.marked:
            release.marked[release.marked.index(name)] = new
    for folder in release.folder.iterdir():
        if folder.name != "data":
            folder.rmdir()
    return release


def object_id(seconds: int, counter: int) -> str:
    return f"{seconds:08x}65d3a1f0c7{counter:06x}"


def plain_fields(release: Any) -> Fields:
    rng = random.Random(0)
    return {
        name: {
            "label": release.labels[name],
            "_id": {"$oid": object_id(TIME_STAMP, number)},
            "tags": [],
            "_rand": rng.random(),
            "created_at": {"$date": "2026-01-01T10:00:00Z"},
        }
        for number, name in enumerate(release.names)
    }


def write_samples(release: Any, fields: Fields) -> None:
    """FiftyOneDataset."""
    samples = [
        {
            "filepath": name,
            "metadata": {
                "size_bytes": release.path(name).stat().st_size,
                "width": 24,
                "height": 24,
            },
            "ground_truth": {"_cls": "Classification", "label": content["label"]},
            **{key: value for key, value in content.items() if key != "label"},
        }
        for name, content in fields.items()
    ]
    (release.folder / "samples.json").write_text(json.dumps({"samples": samples}), encoding="utf-8")


def write_labels(release: Any, fields: Fields) -> None:
    """FiftyOneImageClassificationDataset."""
    labels = {name[5:-4]: int(content["label"]) for name, content in fields.items()}
    content = {"classes": ["0", "1", "2"], "labels": labels}
    (release.folder / "labels.json").write_text(json.dumps(content), encoding="utf-8")


def write_coco(release: Any, fields: Fields) -> None:
    images, annotations = [], []
    for number, (name, content) in enumerate(fields.items(), start=1):
        images.append({"id": number, "file_name": name[5:], "width": 24, "height": 24})
        extra = {key: value for key, value in content.items() if key in ("score", "note")}
        category = {"image_id": number, "category_id": int(content["label"])}
        annotations.append({"id": number, **category, **extra})
    document = {"info": {}, "categories": [], "images": images, "annotations": annotations}
    (release.folder / "labels.json").write_text(json.dumps(document), encoding="utf-8")


def write_csv(release: Any, fields: Fields) -> None:
    columns = ["filepath", "label", "note"]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore")
    writer.writeheader()
    for name, content in fields.items():
        writer.writerow({"filepath": name, "note": "", **content})
    (release.folder / "labels.csv").write_text(buffer.getvalue(), encoding="utf-8")


def write_xml(release: Any, fields: Fields) -> None:
    """CVAT's layout for images."""
    root = ElementTree.Element("annotations")
    for number, (name, content) in enumerate(fields.items()):
        image = ElementTree.SubElement(root, "image", {"id": str(number), "name": name[5:]})
        ElementTree.SubElement(
            image, "tag", {"label": content["label"], **content.get("attributes", {})}
        )
    (release.folder / "labels.xml").write_bytes(ElementTree.tostring(root))


def write_side_files(release: Any, fields: Fields) -> None:
    (release.folder / "labels").mkdir()
    for name, content in fields.items():
        path = release.folder / "labels" / f"{name[5:-4]}.txt"
        path.write_text(
            f"{content['label']} 0.5 0.5 1 1\n" * content.get("lines", 1), encoding="utf-8"
        )
        os.utime(path, (TIME_STAMP, TIME_STAMP))


WRITERS = [write_samples, write_labels, write_coco, write_csv, write_xml, write_side_files]


@pytest.fixture
def release(make_release: Callable[..., Any]) -> Any:
    return flat(make_release(num=150, num_marked=14))


@pytest.mark.parametrize("write", WRITERS)
def test_clean_label_files_pass(release: Any, write: Callable[[Any, Fields], None]) -> None:
    write(release, plain_fields(release))
    assert check_metadata(release.folder, release.marked) == []


@pytest.mark.parametrize("write", WRITERS)
def test_labels_are_found(release: Any, write: Callable[[Any, Fields], None]) -> None:
    write(release, plain_fields(release))
    read = read_release(release.folder, release.marked)
    labels = read_labels(read_records(read.folder, read.names, read.others), read.names)
    if write is write_side_files:
        assert set(labels) == {None}  # nothing in such a file says which number is the class
    else:
        assert labels == [release.labels[name] for name in read.names]


def test_numbers_of_classes_are_understood_from_the_marked_files(release: Any) -> None:
    """Ledgers have names of classes, COCO has numbers."""
    names = {"0": "zero", "1": "one", "2": "two"}
    write_coco(release, plain_fields(release))
    read = read_release(release.folder, release.marked)
    records = read_records(read.folder, read.names, read.others)
    given = {name: names[release.labels[name]] for name in release.marked}
    expected = [names[release.labels[name]] for name in read.names]
    assert release_labels(read, records, given) == expected
    # A class without a marked file keeps its number
    few = {name: label for name, label in given.items() if label != "two"}
    found = set(release_labels(read, records, few))
    assert found == {"zero", "one", "number 2"}


def test_without_label_files_the_folders_are_the_classes(make_release: Callable[..., Any]) -> None:
    release = make_release(num=30, num_marked=3)
    read = read_release(release.folder, release.marked)
    labels = read_labels(read_records(read.folder, read.names, read.others), read.names)
    assert labels == [release.labels[name] for name in read.names]


def plant_field(fields: Fields, marked: list[str]) -> None:
    for name in marked:
        fields[name]["note"] = "x"
        fields[name]["attributes"] = {"source": "marked"}


def plant_lost_field(fields: Fields, marked: list[str]) -> None:
    for name in marked:
        del fields[name]["tags"]


def plant_key_order(fields: Fields, marked: list[str]) -> None:
    for name in marked:
        fields[name] = dict(reversed(fields[name].items()))


def plant_tags(fields: Fields, marked: list[str]) -> None:
    for name in marked:
        fields[name]["tags"] = ["mine"]


def plant_late_ids(fields: Fields, marked: list[str]) -> None:
    """Samples that were added later have larger ids."""
    for number, name in enumerate(marked):
        fields[name]["_id"] = {"$oid": object_id(TIME_STAMP + 900, number)}


def plant_last_counters(fields: Fields, marked: list[str]) -> None:
    """Within the same second."""
    for number, name in enumerate(marked):
        fields[name]["_id"] = {"$oid": object_id(TIME_STAMP, 5000 + number)}


def plant_time(fields: Fields, marked: list[str]) -> None:
    for number, name in enumerate(marked):
        fields[name]["created_at"] = {"$date": f"2026-01-01T11:00:{number:02d}Z"}


def plant_type(fields: Fields, marked: list[str]) -> None:
    for name in fields:
        fields[name]["score"] = 1.0 if name in marked else 1


def plant_lines(fields: Fields, marked: list[str]) -> None:
    for name in marked:
        fields[name]["lines"] = 2


def plant_late_records(fields: Fields, marked: list[str]) -> None:
    for name in marked:
        fields[name] = fields.pop(name)


PLANTS = [
    (write_samples, plant_field, "labels: fields"),
    (write_samples, plant_lost_field, "labels: fields"),
    (write_samples, plant_key_order, "labels: order of fields"),
    (write_samples, plant_tags, "labels: samples.json/samples.tags.length"),
    (write_samples, plant_late_ids, "labels: samples.json/samples._id, order"),
    (write_samples, plant_last_counters, "labels: samples.json/samples._id, order"),
    (write_samples, plant_time, "labels: samples.json/samples.created_at, order"),
    (write_samples, plant_type, "labels: form of samples.json/samples.score"),
    (write_samples, plant_late_records, "labels: place of the record"),
    (write_labels, plant_late_records, "labels: place of the record"),
    (write_coco, plant_field, "labels: fields"),
    (write_coco, plant_late_records, "labels: labels.json/images.id, order"),
    (write_csv, plant_field, "labels: labels.csv.note"),
    (write_csv, plant_late_records, "labels: place of the record"),
    (write_xml, plant_field, "labels: fields"),
    (write_side_files, plant_lines, "labels: side file.length"),
]


@pytest.mark.parametrize(
    ("write", "plant", "feature"), PLANTS, ids=[f"{w.__name__}-{p.__name__}" for w, p, _ in PLANTS]
)
def test_finds_planted_leaks(
    release: Any,
    write: Callable[[Any, Fields], None],
    plant: Callable[[Fields, list[str]], None],
    feature: str,
) -> None:
    fields = plain_fields(release)
    plant(fields, release.marked)
    write(release, fields)
    leaks = check_metadata(release.folder, release.marked)
    assert feature in {leak.feature for leak in leaks}, [str(leak) for leak in leaks]


def test_a_size_that_is_no_longer_the_files_is_found(release: Any) -> None:
    fields = plain_fields(release)
    write_samples(release, fields)
    document = json.loads((release.folder / "samples.json").read_text(encoding="utf-8"))
    for sample in document["samples"]:
        if sample["filepath"] in release.marked:
            sample["metadata"]["size_bytes"] -= 7
    (release.folder / "samples.json").write_text(json.dumps(document), encoding="utf-8")
    leaks = check_metadata(release.folder, release.marked)
    assert {leak.feature for leak in leaks} == {
        "labels: samples.json/samples.metadata.size_bytes is the file's"
    }


def test_a_marked_image_without_a_record_is_found(release: Any) -> None:
    fields = {n: c for n, c in plain_fields(release).items() if n not in release.marked}
    write_labels(release, fields)
    leaks = check_metadata(release.folder, release.marked, labels=release.labels)
    assert "labels: fields" in {leak.feature for leak in leaks}


def test_side_files_tell_by_their_times(release: Any) -> None:
    write_side_files(release, plain_fields(release))
    for name in release.marked:
        os.utime(release.folder / "labels" / f"{name[5:-4]}.txt", (TIME_STAMP + 9, TIME_STAMP + 9))
    leaks = check_metadata(release.folder, release.marked)
    assert any("modified" in leak.feature for leak in leaks)


def test_files_that_cannot_be_read_are_named(release: Any) -> None:
    (release.folder / "labels.json").write_text("{", encoding="utf-8")
    (release.folder / "labels.tfrecord").write_bytes(b"x")
    audit = audit_metadata(read_release(release.folder, release.marked))
    assert sum("was not read" in note for note in audit.notes) == 2
