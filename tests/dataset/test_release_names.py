"""Names, labels and fields that are read back differently: refused, or released so that they come back."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fiftyone_honeyimage as fhi

TYPES = [
    "ImageClassificationDirectoryTree",
    "FiftyOneImageClassificationDataset",
    "FiftyOneDataset",
    "COCODetectionDataset",
    "CSVDataset",
]

#: Odd names that every loader can read; two of them are one on other systems, and three have one stem
ODD = [
    "50% off.png",
    "50- off.png",
    "a;b,c.png",
    'it\'s "quoted".png',
    "größe.png",
    unicodedata.normalize("NFD", "größe.png"),
    "GRÖẞE.png",
    "image.png",
    "image-2.png",
    "IMAGE.PNG",
    "x.y.png",
    "#1 & 2?.png",
    "~home.png",
    "=1+1.png",
    "💡.png",
]

LABELS = {"0": 'it\'s, "so"; 100 %', "1": "größe ", "2": "line\nbreak"}


@pytest.fixture(scope="module")
def odd(make_dataset: Callable[..., Any], mark: Callable[..., Any]) -> tuple[Any, dict[str, Any]]:
    """A marked dataset of odd names, with two files of every name, each in a folder of its own."""
    dataset = make_dataset(30, hardness=True)
    for number, sample in enumerate(dataset):
        old = Path(sample.filepath)
        new = old.parent / str(number) / ODD[number // 2]
        new.parent.mkdir()
        old.rename(new)
        sample.filepath = str(new)
        sample.save()
    dataset.set_values("plain", dataset.values("ground_truth"))
    dataset.map_labels("ground_truth", LABELS).save()
    dataset.reload()
    mark(dataset, method="unperturbed")
    return dataset, {}


def read_labels(fo: Any, folder: Path, name: str) -> dict[str, str]:
    """File → label of a release, as FiftyOne imports it into a dataset."""
    kind = getattr(fo.types, name)
    loaded = fo.Dataset.from_dir(dataset_dir=str(folder), dataset_type=kind, progress=False)
    try:
        path = {
            "FiftyOneDataset": "ground_truth.label",
            "COCODetectionDataset": "detections.detections.label",
            "CSVDataset": "label",
        }.get(name, "ground_truth.label")
        if name == "CSVDataset":
            return dict(zip(*loaded.values(["filepath", "label"]), strict=True))
        found = zip(*loaded.values(["filepath", path]), strict=True)
        return {file: label[0] if isinstance(label, list) else label for file, label in found}
    finally:
        loaded.delete()


@pytest.mark.parametrize("name", TYPES)
def test_odd_names_and_labels_come_back(fo: Any, odd: Any, tmp_path: Path, name: str) -> None:
    dataset, _ = odd
    # A directory tree cannot hold these labels
    tree = name == "ImageClassificationDirectoryTree"
    options = {"label_field": "plain"} if tree else {}
    report = fhi.export_release(
        dataset, "honey", tmp_path / "r", getattr(fo.types, name), **options, progress=False
    )
    back = read_labels(fo, tmp_path / "r", name)
    assert len(back) == report.num_images == 27
    expected = sorted(LABELS if tree else LABELS.values())
    assert sorted(set(back.values())) == expected
    # No two names are one where case or the form of letters does not count
    folded = [unicodedata.normalize("NFC", file).casefold() for file in back]
    assert len(set(folded)) == 27
    assert all(Path(file).is_file() for file in back)


@pytest.fixture
def renamed(
    make_dataset: Callable[..., Any], mark: Callable[..., Any], tmp_path: Path
) -> Callable[..., Any]:
    """A marked dataset of which one file or all files of a class have another name."""

    def make(file: str | None = None, label: str | None = None) -> Any:
        dataset = make_dataset(24, hardness=True)
        if file is not None:
            sample = dataset.first()
            new = Path(sample.filepath).with_name(file)
            Path(sample.filepath).rename(new)
            sample.filepath = str(new)
            sample.save()
        if label is not None:
            dataset.map_labels("ground_truth", {"0": label, "1": "cat"}).save()
            dataset.reload()
        mark(dataset, method="unperturbed", num_honeyimages=2, num_pairs=2)
        return dataset

    return make


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (".x.png", "is hidden"),
        ("a\\b.png", "has a backslash"),
        ("a\nb.png", "has a backslash, a line break"),
        ("a\x07.png", "has a .* control character"),
        (" a.png", "has a blank at an end"),
        ("image.svg", "has no ending of an image file"),
    ],
)
def test_names_that_loaders_miss_are_refused(
    renamed: Any, unchanged: Any, tmp_path: Path, file: str, words: str
) -> None:
    dataset = renamed(file=file)
    before = unchanged(dataset)
    with pytest.raises(fhi.ReleaseError, match=f"{dataset.first().id} {words}"):
        fhi.export_release(dataset, "honey", tmp_path / "new" / "r", progress=False)
    assert unchanged(dataset) == before
    if file != "image.svg":
        fhi.export_release(dataset, "honey", tmp_path / "r", names="renumber", progress=False)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (".hidden", "skips hidden folders"),
        ("_unlabeled", "unlabeled ones"),
        ("dog ", "drop a blank"),
        ("dog.", "drop a blank or a dot"),
        ("a\nb", "a line break"),
        ("CAT", "would be one folder on Windows and macOS"),
        ("d" * 256, "takes 256 bytes"),
        ("ö" * 128, "takes 256 bytes"),
    ],
)
def test_classes_that_no_folder_can_have_are_refused_and_other_types_hold_them(
    fo: Any, renamed: Any, unchanged: Any, tmp_path: Path, label: str, words: str
) -> None:
    dataset = renamed(label=label)
    before = unchanged(dataset)
    with pytest.raises(fhi.ReleaseError, match=words):
        fhi.export_release(dataset, "honey", tmp_path / "new" / "r", progress=False)
    assert unchanged(dataset) == before
    name = "FiftyOneImageClassificationDataset"
    kind = getattr(fo.types, name)
    fhi.export_release(dataset, "honey", tmp_path / "r", kind, progress=False)
    assert set(read_labels(fo, tmp_path / "r", name).values()) == {label, "cat", "2"}


def test_a_label_that_no_csv_file_gives_back_is_refused(
    fo: Any, renamed: Any, unchanged: Any, tmp_path: Path
) -> None:
    dataset = renamed(label="a\rb")
    before = unchanged(dataset)
    with pytest.raises(fhi.ReleaseError, match="not read back from a CSV file"):
        fhi.export_release(dataset, "honey", tmp_path / "r", fo.types.CSVDataset, progress=False)
    assert unchanged(dataset) == before


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("wrong", ["label", "missing", "raises"])
def test_what_is_read_back_otherwise_is_not_released(
    fo: Any, odd: Any, unchanged: Any, tmp_path: Path, monkeypatch: Any, name: str, wrong: str
) -> None:
    """The importer finds other files than were written: here they are changed in between."""
    from fiftyone_honeyimage.dataset.release import read_back as release_written

    dataset, _ = odd
    real = release_written.read_back
    names = []

    def change(kind: type, folder: Path, label_field: str) -> Any:
        media = sorted(path for path in folder.rglob("*") if path.suffix == ".png")
        names.extend(path.name for path in media)
        labels = [
            p
            for p in folder.rglob("*")
            if p.suffix in (".json", ".csv") and p.name != "metadata.json"
        ]
        if wrong == "raises":
            (labels[0] if labels else media[0]).unlink()
        elif wrong == "missing":
            media[0].rename(media[0].with_name(".hidden.png"))
        elif labels:
            labels[0].write_bytes(labels[0].read_bytes().replace(b"100 %", b"200 %"))
        else:
            media[0].parent.rename(folder / "other")
        return real(kind, folder, label_field)

    monkeypatch.setattr(release_written, "read_back", change)
    tree = name == "ImageClassificationDirectoryTree"
    before = unchanged(dataset)
    with pytest.raises(fhi.ReleaseError, match="nothing was released") as caught:
        fhi.export_release(
            dataset,
            "honey",
            tmp_path / "r",
            getattr(fo.types, name),
            label_field="plain" if tree else None,
            progress=False,
        )
    assert unchanged(dataset) == before
    # A file's name would tell that its sample is released
    assert not [file for file in names if file in str(caught.value)]


# Further fields


@pytest.fixture(scope="module")
def carrying(fo: Any, make_dataset: Any, mark: Any, tmp_path_factory: Any) -> Any:
    dataset = make_dataset(24, hardness=True)
    place = tmp_path_factory.mktemp("maps") / "map.png"
    place.touch()
    count = len(dataset)
    ids = dataset.values("id")
    mask = np.ones((2, 2), dtype=bool)
    values = {
        "second": [fo.Classification(label=f"a, {n}") for n in range(count)],
        "several": [fo.Classifications(classifications=[fo.Classification(label=x) for x in "ab"])]
        * count,
        "age": [fo.Regression(value=n / 2) for n in range(count)],
        "words": [["a", "b"]] * count,
        "slash": ["/s is a caption"] * count,
        "boxes": [
            fo.Detections(
                detections=[fo.Detection(label="x", bounding_box=[0, 0, 1, 1], mask=mask)]
            )
            for _ in range(count)
        ],
        "heat": [fo.Heatmap(map_path=str(place)) for _ in range(count)],
        "segments": [fo.Segmentation(mask_path="masks/1.png") for _ in range(count)],
        "place": [str(place)] * count,
        "thumb_path": ["thumbs/1.png"] * count,
        "cloud": ["s3://bucket/1.png"] * count,
        "twin": [*ids[1:], ids[0]],
        "label": ["x"] * count,
        "broken": ["a\rb"] * count,
    }
    for name, found in values.items():
        dataset.set_values(name, found)
    dataset.get_field("second").description = "made by secret hands"
    dataset.get_field("second").save()
    mark(dataset, method="unperturbed")
    return dataset


def test_labels_in_a_csv_file_are_labels(fo: Any, carrying: Any, tmp_path: Path) -> None:
    fields = ["second", "several", "age", "words", "slash"]
    kind = fo.types.CSVDataset
    fhi.export_release(carrying, "honey", tmp_path / "r", kind, fields=fields, progress=False)
    with open(tmp_path / "r" / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    originals = carrying.match_tags("honeyimage", bool=False)
    second = dict(zip(*originals.values(["filepath", "second.label"]), strict=True))
    second = {Path(path).name: label for path, label in second.items()}
    assert len(rows) == 21
    for row in rows:
        number = float(second[row["filepath"]].split()[1])
        assert row["second"] == second[row["filepath"]]
        assert (row["several"], row["words"], float(row["age"])) == ("a,b", "a,b", number / 2)
        assert row["slash"] == "/s is a caption"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("heat", "the place of a file"),
        ("segments", r"the place of a file, 'masks/1\.png'"),
        ("place", "the place of a file"),
        ("thumb_path", "the place of a file"),
        ("cloud", "the place of a file"),
        ("twin", "'.*', a sample's id in the working dataset"),
    ],
)
def test_no_place_of_a_file_is_released(
    fo: Any, carrying: Any, unchanged: Any, tmp_path: Path, field: str, words: str
) -> None:
    kind = fo.types.FiftyOneDataset
    before = unchanged(carrying)
    with pytest.raises(fhi.ParameterError, match=f"field '{field}' of sample .* holds {words}"):
        fhi.export_release(carrying, "honey", tmp_path / "r", kind, fields=[field], progress=False)
    assert unchanged(carrying) == before


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (["boxes"], "holds Detections, which no cell"),
        (["heat"], "holds Heatmap, which no cell"),
        (["label"], "has a column of that name"),
        (["broken"], "a carriage return"),
        (["place"], "the place of a file"),
        (["age", "age"], "listed twice"),
        ("age", "must be a list"),
    ],
)
def test_what_no_cell_can_hold_is_refused(
    fo: Any, carrying: Any, tmp_path: Path, fields: Any, words: str
) -> None:
    kind = fo.types.CSVDataset
    with pytest.raises(fhi.ParameterError, match=words):
        fhi.export_release(carrying, "honey", tmp_path / "r", kind, fields=fields, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_fields_come_back_with_their_values_and_no_description(
    fo: Any, carrying: Any, tmp_path: Path
) -> None:
    kind = fo.types.FiftyOneDataset
    fields = ["boxes", "second", "several", "age", "words"]
    fhi.export_release(carrying, "honey", tmp_path / "r", kind, fields=fields, progress=False)
    assert b"secret hands" not in (tmp_path / "r" / "metadata.json").read_bytes()
    loaded = fo.Dataset.from_dir(str(tmp_path / "r"), dataset_type=kind, progress=False)
    try:
        originals = carrying.match_tags("honeyimage", bool=False)
        wanted = [
            "second.label",
            "age.value",
            "words",
            "boxes.detections.label",
            "ground_truth.label",
        ]
        expected = dict(
            zip(
                map(str, originals.values("age.value")),
                zip(*originals.values(wanted), strict=True),
                strict=True,
            )
        )
        found = list(zip(*loaded.values(wanted), strict=True))
        assert len(found) == 21
        assert all(expected[str(row[1])] == row for row in found)
        assert loaded.first().boxes.detections[0].mask.all()
        assert set(loaded.get_field_schema()) - {"ground_truth", *fields} == {
            "id",
            "filepath",
            "tags",
            "metadata",
            "created_at",
            "last_modified_at",
        }
    finally:
        loaded.delete()
