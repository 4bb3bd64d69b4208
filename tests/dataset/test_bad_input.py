"""Bad input: a clear error before anything is trained or written, and everything as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.methods.selection import default_num_pairs


@pytest.fixture(scope="module")
def dataset(make_dataset: Any) -> Any:
    """30 images of three classes with scores; no test changes it."""
    return make_dataset(30, hardness=True)


@pytest.fixture
def score(tiny: dict[str, Any]) -> Callable[..., Any]:
    """Scores samples with tiny settings."""

    def run(samples: Any, label_field: Any = "ground_truth", **changes: Any) -> Any:
        return fhi.compute_hardness(samples, label_field, **{**tiny, "progress": False, **changes})

    return run


@pytest.fixture
def refused(unchanged: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Asserts that a call fails with such an error, trains nothing, and leaves everything as it was."""

    def train(*_: Any, **__: Any) -> None:
        pytest.fail("a model was trained before the error")

    monkeypatch.setattr("fiftyone_honeyimage.core.hardness.train_models", train)
    monkeypatch.setattr("fiftyone_honeyimage.core.methods.in_model.train_models", train)

    def check(
        error: type[Exception], words: str, call: Callable[..., Any], samples: Any, **changes: Any
    ) -> None:
        root = getattr(samples, "_root_dataset", None)
        before = unchanged(root) if root is not None else None
        with pytest.raises(error, match=words):
            call(samples, **changes)
        if root is not None:
            assert unchanged(root) == before

    return check


@pytest.fixture
def to_new_folder(mark: Any, tmp_path: Path) -> Callable[..., Any]:
    """Marks into a folder whose parents do not exist, which must not be left behind."""

    def run(samples: Any, *args: Any, **changes: Any) -> Any:
        return mark(samples, *args, **{"output_dir": tmp_path / "new" / "marking", **changes})

    return run


@pytest.fixture
def other(fo: Any, dataset: Any) -> Iterator[Callable[..., Any]]:
    """A dataset of given samples: ``other([fo.Sample(...), ...])``."""
    made = []

    def make(samples: list[Any]) -> Any:
        made.append(fo.Dataset())
        made[-1].add_samples(samples, progress=False)
        return made[-1]

    yield make
    for one in made:
        one.delete()


# The collection


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("list_runs", []),
        ("load_marking", ["honey"]),
        ("delete_run", ["honey"]),
        ("rename_run", ["honey", "other"]),
        ("list_releases", ["honey"]),
        ("export_release", ["honey", "release"]),
        ("verify_model", ["honey", "model.onnx"]),
        ("load_verification", ["check"]),
        ("attach_marking", ["ledger.json"]),
    ],
)
def test_no_collection_is_no_dataset_either(name: str, arguments: list[str]) -> None:
    with pytest.raises(fhi.SamplesError, match="dataset or view; found list"):
        getattr(fhi, name)(["a.png"], *arguments)


@pytest.mark.parametrize("function", ["score", "to_new_folder"])
class TestCollections:
    @pytest.fixture
    def call(self, request: pytest.FixtureRequest, function: str) -> Any:
        return request.getfixturevalue(function)

    def test_no_collection(self, refused: Any, call: Any) -> None:
        refused(fhi.SamplesError, "must be a FiftyOne dataset or view; found list", call, ["a.png"])

    def test_empty(self, refused: Any, call: Any, dataset: Any, other: Any) -> None:
        refused(fhi.SamplesError, "is empty", call, dataset.limit(0))
        refused(fhi.SamplesError, "is empty", call, other([]))

    @pytest.mark.parametrize(
        ("name", "kind"), [("a.mp4", "video"), ("a.pcd", "point-cloud"), ("a.fo3d", "3d")]
    )
    def test_other_media(
        self,
        fo: Any,
        refused: Any,
        call: Any,
        other: Any,
        tmp_path: Path,
        name: str,
        kind: str,
    ) -> None:
        truth = fo.Classification(label="a")
        samples = [
            fo.Sample(filepath=str(tmp_path / f"{i}{name}"), ground_truth=truth) for i in range(4)
        ]
        refused(fhi.SamplesError, f"media type '{kind}'", call, other(samples))

    def test_grouped(self, fo: Any, refused: Any, call: Any, other: Any, dataset: Any) -> None:
        samples = []
        for sample in dataset:
            group = fo.Group()
            for name in ("left", "right"):
                copy = fo.Sample(filepath=sample.filepath, ground_truth=sample.ground_truth)
                copy["group"] = group.element(name)
                samples.append(copy)
        grouped = other(samples)
        refused(fhi.SamplesError, "grouped dataset; make one of a slice", call, grouped)
        # A slice is a view of images, but HoneyImages would have to be added to the groups
        left = grouped.select_group_slices("left")
        refused(fhi.SamplesError, "grouped dataset; make one of a slice", call, left)

    def test_the_way_out_of_a_grouped_dataset(
        self, fo: Any, call: Any, other: Any, dataset: Any
    ) -> None:
        samples = []
        for sample in dataset:
            copy = fo.Sample(filepath=sample.filepath, ground_truth=sample.ground_truth)
            copy["hardness"] = sample.hardness
            copy["group"] = fo.Group().element("left")
            samples.append(copy)
        clone = other(samples).select_group_slices("left").clone()
        try:
            call(clone)
            assert clone.list_runs()
        finally:
            clone.delete()

    def test_patches(self, fo: Any, refused: Any, call: Any, other: Any, dataset: Any) -> None:
        samples = []
        for sample in dataset:
            box = fo.Detection(label="a", bounding_box=[0, 0, 1, 1])
            samples.append(
                fo.Sample(filepath=sample.filepath, boxes=fo.Detections(detections=[box]))
            )
        patches = other(samples).to_patches("boxes")
        refused(fhi.SamplesError, "patches or frames", call, patches)

    def test_repeated_samples(self, refused: Any, call: Any, dataset: Any) -> None:
        view = dataset.concat(dataset.limit(2))
        refused(fhi.SamplesError, "more than once", call, view)

    def test_label_field_that_is_missing_or_of_another_type(
        self, fo: Any, refused: Any, call: Any, other: Any, dataset: Any, score: Any, mark: Any
    ) -> None:
        samples = []
        for sample in dataset:
            copy = fo.Sample(filepath=sample.filepath, text="a", hardness=1.0)
            copy["many"] = fo.Classifications(classifications=[fo.Classification(label="a")])
            copy["boxes"] = fo.Detections()
            copy["usable"] = sample.ground_truth
            samples.append(copy)
        wrong = other(samples)

        def run(samples: Any, field: Any) -> Any:
            if call is score:
                return score(samples, field)
            return fhi.generate_honeyimages(samples, field, "key", hardness_field="hardness")

        for field, found in (
            ("text", "has type StringField"),
            ("many", "has type Classifications"),
            ("boxes", "has type Detections"),
            ("filepath", "has type StringField"),
            ("nothing", "there is no label field 'nothing'"),
            (None, "there is no label field 'None'"),
            (["usable"], "there is no label field"),
        ):
            refused(
                fhi.SamplesError,
                rf"{found}.*this dataset has \['usable'\]",
                lambda s, field=field: run(s, field),
                wrong,
            )

    def test_labels(self, fo: Any, refused: Any, call: Any, other: Any, dataset: Any) -> None:
        def labelled(labels: list[Any]) -> Any:
            rows = zip(dataset.values("filepath"), labels, strict=False)
            return other(
                [
                    fo.Sample(
                        filepath=path,
                        ground_truth=fo.Classification(label=label) if label != "none" else None,
                        hardness=1.0,
                    )
                    for path, label in rows
                ]
            )

        for nothing in ("none", None, ""):
            labels = ["a", "b"] * 5 + [nothing] * 2
            refused(
                fhi.SamplesError,
                "2 of 12 samples have no label in 'ground_truth'",
                call,
                labelled(labels),
            )
        refused(fhi.SamplesError, r"one class only \('a'\)", call, labelled(["a"] * 10))
        refused(fhi.SamplesError, "class 'c' has one image", call, labelled(["a", "b"] * 5 + ["c"]))

    @pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "folder"])
    def test_files(
        self, refused: Any, call: Any, make_dataset: Any, unchanged: Any, damage: str
    ) -> None:
        bad = make_dataset(30, hardness=True)
        sample = bad.skip(25).first()
        path = Path(sample.filepath)
        content = path.read_bytes()
        path.unlink()
        if damage == "folder":
            path.mkdir()
        elif damage != "missing":
            path.write_bytes({"empty": b"", "text": b"hi", "truncated": content[:100]}[damage])
        refused(fhi.ImageError, rf"{path}.*\(sample {sample.id}\).*skip_failures=True", call, bad)

    @pytest.mark.parametrize(("mode", "name"), [("I;16", "png"), ("CMYK", "jpg"), ("F", "tif")])
    def test_modes_that_cannot_be_marked(
        self, refused: Any, call: Any, make_dataset: Any, mode: str, name: str
    ) -> None:
        odd = make_dataset(30, hardness=True)
        sample = odd.skip(3).first()
        path = Path(sample.filepath).with_suffix(f".{name}")
        pixels = np.arange(64, dtype=np.float32).reshape(8, 8)
        if mode == "I;16":
            Image.fromarray(pixels.astype(np.uint16) * 1000).save(path)
        else:
            Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(path)
        odd.set_values("filepath", {sample.id: str(path)}, key_field="id")
        refused(fhi.ImageError, f"{path} holds .* not supported", call, odd)

    def test_animated_images(self, refused: Any, call: Any, make_dataset: Any) -> None:
        odd = make_dataset(30, hardness=True)
        sample = odd.skip(3).first()
        path = Path(sample.filepath).with_suffix(".gif")
        frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
        frames[0].save(path, save_all=True, append_images=frames[1:])
        odd.set_values("filepath", {sample.id: str(path)}, key_field="id")
        refused(fhi.ImageError, "holds 2 frames", call, odd)

    def test_skipping_that_leaves_a_class_with_one_image(
        self, refused: Any, call: Any, make_dataset: Any
    ) -> None:
        bad = make_dataset(30, hardness=True)
        for path in bad.values("filepath")[0:27:3]:
            Path(path).write_bytes(b"")
        refused(
            fhi.SamplesError,
            "9 images could not be read, which leaves class '0' with 1",
            lambda samples: call(samples, skip_failures=True),
            bad,
        )

    def test_no_file_can_be_read(self, refused: Any, call: Any, make_dataset: Any) -> None:
        bad = make_dataset(30, hardness=True)
        for path in bad.values("filepath"):
            Path(path).unlink()
        for settings in ({}, {"input_size": None}, {"skip_failures": True}):
            with_settings = lambda samples, settings=settings: call(samples, **settings)  # noqa: E731
            refused(fhi.HoneyImageError, r"0000\.png", with_settings, bad)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"proxy": "resnet99"}, "resnet99"),
            ({"proxy": 3}, "not int"),
            ({"input_size": 4}, "input_size must be an integer from 8 to 512; found 4"),
            ({"input_size": 8.0}, "found 8.0"),
            ({"input_size": True}, "found True"),
            ({"training": {"epoch": 3}}, "training has no setting 'epoch'"),
            ({"training": {"epochs": 0}}, "epochs"),
            ({"training": {"learning_rate": float("nan")}}, "learning_rate"),
            ({"training": "long"}, "recipe must be 'default', .* found 'long'"),
            ({"training": {"recipe": 3}}, "recipe must be 'default', .* found 3"),
            ({"training": 3}, "a mapping or a recipe's name; found 3"),
            ({"seed": -1}, "seed must be an integer from 0 to 4294967295; found -1"),
            ({"seed": 1.5}, "found 1.5"),
            ({"seed": "51"}, "found '51'"),
            ({"device": "gpu"}, "gpu"),
        ],
    )
    def test_settings_of_both(
        self, refused: Any, call: Any, dataset: Any, changes: dict[str, Any], words: str
    ) -> None:
        refused(fhi.ParameterError, words, lambda s: call(s, **changes), dataset)


# Files that are left out, or converted


def test_unreadable_files_are_skipped_and_counted(make_dataset: Any, mark: Any) -> None:
    bad = make_dataset(30, hardness=True)
    ids, paths = bad.values(["id", "filepath"])
    hardest = np.argsort(bad.values("hardness"))[::-1][:3]
    contents = [b"", b"text", None]
    for row, content in zip(hardest, contents, strict=True):
        Path(paths[row]).unlink()
        if content is not None:
            Path(paths[row]).write_bytes(content)
    mark(bad, skip_failures=True)

    results = bad.load_run_results("honey", cache=False)
    assert sorted(sample_id for sample_id, _ in results.failures) == sorted(
        ids[row] for row in hardest
    )
    assert results.num_images == 27
    sources = set(bad.match_tags("honeyimage").values("honey.source"))
    assert not sources & {ids[row] for row in hardest}


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_other_modes_are_kept(make_dataset: Any, mark: Any, mode: str) -> None:
    odd = make_dataset(30, hardness=True)
    for path in odd.values("filepath"):
        image = Image.open(path)
        if mode in ("LA", "RGBA"):
            image.putalpha(100)
        image.convert(mode).save(path)
    mark(odd)
    for sample in odd.match_tags("honeyimage"):
        source = Image.open(odd[sample.honey.source].filepath)
        assert source.mode == Image.open(sample.filepath).mode == mode
        colours = np.asarray(source.convert("RGB")).astype(int)
        assert np.abs(np.asarray(Image.open(sample.filepath).convert("RGB")) - colours).max() <= 4


@pytest.mark.parametrize(("mode", "reason"), [("1", "two colours"), ("P", "a palette")])
def test_modes_without_small_changes_are_left_out(
    refused: Any, make_dataset: Any, mark: Any, mode: str, reason: str
) -> None:
    odd = make_dataset(30, hardness=True)
    for path in odd.values("filepath"):
        Image.open(path).convert(mode).save(path)
    refused(fhi.SamplesError, f"cannot_be_marked.*has {reason}", mark, odd)


# What only a marking asks for


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epsilon": 0}, "epsilon must be between 1 and 64.*found 0"),
        ({"epsilon": 65}, "found 65"),
        ({"epsilon": float("nan")}, "found nan"),
        ({"epsilon": "4"}, "found '4'"),
        ({"epsilon": None}, "found None"),
        ({"epsilon": True}, "found True"),
        ({"step_size": 0}, "step_size must be a number above 0 and at most 64; found 0"),
        ({"step_size": 4.1}, "found 4.1"),
        ({"step_size": -1}, "found -1"),
        ({"step_size": "1"}, "found '1'"),
        ({"num_steps": 0}, "num_steps must be an integer from 1 to 1000; found 0"),
        ({"num_steps": 1001}, "found 1001"),
        ({"num_steps": 2.0}, "found 2.0"),
        ({"num_steps": True}, "found True"),
        ({"inner": "cold"}, "inner must be 'warm', 'retrain' or 'redrawn'; found 'cold'"),
        (
            {"method": "watermark"},
            "method must be 'honeyimage', 'unperturbed', 'badnets', .*; found 'watermark'",
        ),
        ({"exclude": "duplicates"}, r"exclude takes a list .*found 'duplicates'"),
        ({"exclude": ["blurred"]}, "found 'blurred'"),
        ({"exclude": None}, "found None"),
        ({"exclude": [3]}, "found 3"),
        ({"alpha": 0}, "alpha must lie above 0"),
        ({"alpha": 0.2}, "not 0.2"),
        ({"alpha": "0.01"}, "not '0.01'"),
        ({"test": "t_test"}, "t_test"),
        ({"num_honeyimages": 0}, "num_honeyimages must be an integer of at least 1; found 0"),
        ({"num_honeyimages": 2.5}, "found 2.5"),
        ({"num_pairs": -1}, "num_pairs must be an integer of at least 0; found -1"),
        ({"num_pairs": "3"}, "found '3'"),
        ({"num_pairs": 5}, "num_pairs must be between 0 and num_honeyimages=4; found 5"),
    ],
)
def test_parameters(
    refused: Any, to_new_folder: Any, dataset: Any, changes: dict[str, Any], words: str
) -> None:
    refused(fhi.ParameterError, words, lambda s: to_new_folder(s, **changes), dataset)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"num_honeyimages": 31},
            "31 HoneyImages with 3 twins need 34 images; 30 of 30 can be chosen",
        ),
        ({"num_honeyimages": 16, "num_pairs": 15}, "need 31 images"),
        ({"num_pairs": None, "num_honeyimages": None, "exclude": ()}, None),
    ],
)
def test_fewer_images_than_pairs_need(
    refused: Any, to_new_folder: Any, dataset: Any, changes: dict[str, Any], words: str | None
) -> None:
    if words is None:  # the defaults
        pairs = default_num_pairs(21)
        view = dataset.limit(21)
        words = f"{pairs} HoneyImages with {pairs} twins need {2 * pairs} images; 21 of 21"
    else:
        view = dataset
    refused(fhi.SamplesError, words, lambda s: to_new_folder(s, **changes), view)


def test_fewer_pairs_of_one_label_than_asked_for(
    refused: Any, to_new_folder: Any, make_dataset: Any
) -> None:
    odd = make_dataset(15, hardness=True)  # five of each class: two pairs each
    refused(
        fhi.SamplesError,
        "7 pairs of twins with the same label are asked for; only 6 can be formed",
        lambda s: to_new_folder(s, num_pairs=7, num_honeyimages=8),
        odd,
    )


def test_too_few_images_once_duplicates_are_left_out(
    refused: Any, to_new_folder: Any, make_dataset: Any
) -> None:
    copies = make_dataset(12, hardness=True)
    paths = copies.values("filepath")
    for path in paths[1:]:
        shutil.copy(paths[0], path)
    refused(fhi.SamplesError, r"excluded: .* by duplicates", to_new_folder, copies)


def test_hardness_field(fo: Any, refused: Any, to_new_folder: Any, dataset: Any) -> None:
    view = dataset.select_fields("ground_truth")
    for samples, field, words in (
        (dataset, "honey_hardness", r"no field 'honey_hardness'.*run compute_hardness"),
        (dataset, "ground_truth", "does not hold numbers"),
        (dataset, "tags", "does not hold numbers"),
        (view, "hardness", "no field 'hardness'"),
    ):
        refused(
            fhi.SamplesError,
            words,
            lambda s, field=field: to_new_folder(s, hardness_field=field),
            samples,
        )


def test_hardness_field_without_scores(
    fo: Any, refused: Any, to_new_folder: Any, make_dataset: Any
) -> None:
    empty = make_dataset(30)
    empty.add_sample_field("hardness", fo.FloatField)
    refused(fhi.SamplesError, "'hardness' is empty on these samples", to_new_folder, empty)


@pytest.mark.parametrize(
    "key",
    ["1st", "my key", "my-key", "", "a.b", "_mine", "schlüssel", "ключ", None, 3, "a/b", "$a"],
)
def test_keys_that_are_no_identifiers(
    refused: Any, to_new_folder: Any, score: Any, dataset: Any, key: Any
) -> None:
    words = "must be a valid identifier"
    refused(fhi.ParameterError, words, lambda s: to_new_folder(s, key), dataset)
    refused(fhi.ParameterError, words, lambda s: score(s, hardness_field=key), dataset)


@pytest.mark.parametrize("key", ["honeyimage", "save", "clean", "pk"])
def test_keys_that_are_reserved(
    refused: Any, to_new_folder: Any, score: Any, dataset: Any, key: str
) -> None:
    refused(fhi.ParameterError, "is reserved", lambda s: to_new_folder(s, key), dataset)
    refused(fhi.ParameterError, "is reserved", lambda s: score(s, hardness_field=key), dataset)


def test_keys_that_are_taken(
    fo: Any, mark: Any, make_dataset: Any, request: pytest.FixtureRequest
) -> None:
    full = make_dataset(30, hardness=True)
    full.save_view("a view", full.limit(3))
    full.save_view("View-2", full.limit(3))
    full.register_run("a_run", full.init_run(x=1))
    full.add_sample_field("a_field", fo.StringField)
    mark(full, "first", method="unperturbed")
    refused, to_new_folder = map(request.getfixturevalue, ("refused", "to_new_folder"))
    for key, kind in (
        ("a_field", "a field"),
        ("a_run", "a run"),
        ("a_view", "a saved view"),
        ("view_2", "a saved view"),
        ("first", "a run and a field and a saved view"),
        ("ground_truth", "a field"),
    ):
        refused(
            fhi.ParameterError,
            f"honey_key '{key}' is taken: the dataset has {kind} of that name",
            lambda s, key=key: to_new_folder(s, key),
            full,
        )


def test_output_folders(
    refused: Any, to_new_folder: Any, dataset: Any, tmp_path: Path, read_only_folder: Path
) -> None:
    media = Path(dataset.first().filepath).parent
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to(media)
    (tmp_path / "foreign.partial").mkdir()
    (tmp_path / "foreign.partial" / "file").write_text("mine", encoding="utf-8")
    for folder, words in (
        (tmp_path / "mine", "output_dir .*mine' exists"),
        (tmp_path / "mine" / "file", "exists"),
        (tmp_path / "mine" / "file" / "below", "is not a folder"),
        (media, "inside the dataset's media"),
        (media / "marking", "inside the dataset's media"),
        (media / "deep" / "marking", "inside the dataset's media"),
        (tmp_path / "mine" / ".." / "link" / "marking", "inside the dataset's media"),
        (read_only_folder / "marking", "not writable"),
        (read_only_folder / "deep" / "marking", "not writable"),
        (tmp_path / "foreign", "is not an interrupted run"),
    ):
        refused(
            fhi.HoneyImageError,
            words,
            lambda s, folder=folder: to_new_folder(s, output_dir=folder),
            dataset,
        )


def test_lpips_backbone_that_is_missing(
    refused: Any, to_new_folder: Any, dataset: Any, tmp_path: Path
) -> None:
    backbone = tmp_path / "none.safetensors"
    refused(
        fhi.HoneyImageError,
        "none.safetensors",
        lambda s: to_new_folder(s, lpips_backbone=backbone),
        dataset,
    )


@pytest.mark.parametrize("num_bytes", [4096, 256 * 1024])
def test_a_disk_that_is_full(
    refused: Any, mark: Any, dataset: Any, small_disk: Any, num_bytes: int
) -> None:
    disk = small_disk(num_bytes)
    refused(
        OSError,
        "free some space|No space left",
        lambda s: mark(s, output_dir=disk / "new" / "marking"),
        dataset,
    )
    assert list(disk.iterdir()) == []


def test_a_disk_that_fills_up_before_anything_is_finished(
    mark: Any, dataset: Any, small_disk: Any, unchanged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fiftyone_honeyimage.core.pipeline import crafting

    monkeypatch.setattr(crafting, "ensure_free_space", lambda *_: None)
    disk = small_disk(256 * 1024)
    before = unchanged(dataset)
    with pytest.raises(OSError, match="free some space and run again"):
        mark(dataset, output_dir=disk / "marking")
    assert unchanged(dataset) == before
    assert list(disk.iterdir()) == []


def test_a_disk_that_fills_up_late_keeps_what_was_finished(
    mark: Any, make_dataset: Any, unchanged: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from fiftyone_honeyimage.core.pipeline import crafting

    full = make_dataset(30, hardness=True)
    before, _ = unchanged(full)

    def write(path: Path, data: bytes, **_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as context:
        context.setattr(crafting, "write_atomic", write)
        with pytest.raises(OSError, match="No space left"):
            mark(full, output_dir=tmp_path / "marking")
    after, _ = unchanged(full)
    assert after == before
    assert [path.name for path in tmp_path.iterdir()] == ["marking.partial"]

    stages: list[str] = []
    mark(full, output_dir=tmp_path / "marking", progress=lambda bar: stages.append(bar.stage))
    assert "Training a model without the marks" not in stages
    assert [path.name for path in tmp_path.iterdir()] == ["marking"]


@pytest.mark.parametrize(
    "function", ["add_samples", "save_view", "register_run", "save_run_results"]
)
def test_a_database_that_fails_while_the_marking_is_entered(
    fo: Any,
    mark: Any,
    make_dataset: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
) -> None:
    full = make_dataset(30, hardness=True)

    def content() -> Any:
        """What the database says of the dataset but for times of change, which nobody can turn back."""
        import fiftyone.core.odm as foo

        database = foo.get_db_conn()
        times = {"last_modified_at": 0, "last_deletion_at": 0, "last_loaded_at": 0}
        document = database.datasets.find_one({"_id": full._doc.id}, times)
        # FiftyOne drops the empty list with the last view
        document["saved_views"] = document.get("saved_views") or []
        return [
            document,
            *database[full._sample_collection_name].find({}, times).sort("_id"),
            *database.views.find({"dataset_id": full._doc.id}),
            *database.runs.find({"dataset_id": full._doc.id}),
        ]

    before = content()
    with monkeypatch.context() as context:

        def fail(*_: Any, **__: Any) -> None:
            raise ConnectionError("the database is gone")

        context.setattr(fo.Dataset, function, fail)
        with pytest.raises(ConnectionError, match="the database is gone"):
            mark(full, output_dir=tmp_path / "marking")
    assert content() == before

    stages: list[str] = []
    marking = mark(full, output_dir=tmp_path / "marking", progress=lambda b: stages.append(b.stage))
    assert set(stages) == {"Writing", "Done"}
    assert len(marking.view()) == 14
