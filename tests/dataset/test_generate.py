"""generate_honeyimages on real datasets: what is added, what stays as it was, and where no coin may be."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fiftyone_honeyimage as fhi
from fiftyone_honeyimage.core.metrics import LEAST_SIMILARITY

NUM, PAIRS = 6, 4


@pytest.fixture(scope="module")
def marked(make_dataset: Any, mark: Any, tiny: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """A dataset, its marking, and the originals as they were before."""
    dataset = make_dataset(60)
    fhi.compute_hardness(dataset, "ground_truth", **tiny, progress=False)
    before = originals(dataset)
    marking = mark(
        dataset,
        hardness_field="honey_hardness",
        num_honeyimages=NUM,
        num_pairs=PAIRS,
        epsilon=4,
        step_size=2,
        num_steps=3,
    )
    return dataset, marking, before


def originals(dataset: Any) -> dict[str, Any]:
    """The samples that are no HoneyImages as plain values, with the digests of their files."""
    found = {}
    for sample in dataset.match_tags("honeyimage", bool=False):
        values = sample.to_dict(include_private=True)
        values.pop("_last_modified_at", None)
        values.pop("last_modified_at", None)
        values.pop("honey", None)
        found[sample.id] = (values, hashlib.sha256(Path(sample.filepath).read_bytes()).hexdigest())
    return found


def pixels(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def by_source(marking: Any) -> dict[str, bytes]:
    """The bytes of each HoneyImage by the id of its source."""
    manifest = json.loads((marking.output_dir / "manifest.json").read_text(encoding="utf-8"))
    return {i["source"]: (marking.output_dir / i["file"]).read_bytes() for i in manifest["images"]}


def test_samples_are_added_with_tags_labels_and_metadata(fo: Any, marked: Any) -> None:
    dataset, marking, _ = marked
    added = dataset.match_tags("honeyimage")

    assert len(dataset) == 60 + NUM + PAIRS
    assert len(added) == NUM + PAIRS
    for sample in added:
        source = dataset[sample.honey.source]
        assert sample.tags == ["honeyimage", "honey"]
        assert sample.ground_truth.label == source.ground_truth.label
        assert (sample.metadata.width, sample.metadata.height) == (8, 8)
        assert marking.output_dir in Path(sample.filepath).parents
        assert Path(sample.filepath).stem == Path(source.filepath).stem


def test_stored_files_stay_within_epsilon(marked: Any) -> None:
    dataset, _, _ = marked
    changes = []
    for sample in dataset.match_tags("honeyimage"):
        source = dataset[sample.honey.source]
        change = np.abs(pixels(sample.filepath) - pixels(source.filepath))
        assert change.max() <= 4
        assert change.max() == sample.honey.linf
        changes.append(change.max())
    assert max(changes) > 0


def test_originals_are_untouched_but_for_the_marking_field(marked: Any) -> None:
    dataset, _, before = marked
    assert originals(dataset) == before
    own = dataset.match_tags("honeyimage", bool=False)
    marked_originals = [sample for sample in own if sample.honey is not None]
    assert len(marked_originals) == NUM + PAIRS
    for sample in marked_originals:
        assert (sample.honey.source, sample.honey.role) == (sample.id, "original")
        assert sample.tags == ["mine"]


def test_twins_have_the_same_label(marked: Any) -> None:
    dataset, _, _ = marked
    twins: dict[int, list[str]] = {}
    single = 0
    for sample in dataset.match_tags("honeyimage"):
        if sample.honey.pair is None:
            single += 1
        else:
            twins.setdefault(sample.honey.pair, []).append(sample.ground_truth.label)
    assert single == NUM - PAIRS
    assert sorted(twins) == list(range(PAIRS))
    assert all(len(labels) == 2 and len(set(labels)) == 1 for labels in twins.values())


def test_the_hardest_images_are_marked(marked: Any) -> None:
    dataset, _, _ = marked
    own = dataset.match_tags("honeyimage", bool=False)
    scores = dict(zip(*own.values(["id", "honey_hardness"]), strict=True))
    chosen = set(dataset.match_tags("honeyimage").values("honey.source"))
    mean = np.mean(list(scores.values()))
    assert np.mean([scores[i] for i in chosen]) > mean


def test_field_view_and_run_survive_a_reload(fo: Any, marked: Any) -> None:
    dataset, marking, _ = marked
    dataset.clear_cache()
    dataset.reload()
    loaded = fo.load_dataset(dataset.name)

    again = fhi.load_marking(loaded, "honey")
    assert again.commitment == marking.commitment == again.load_ledger().commitment
    assert again.metrics == marking.metrics
    assert again.metrics["linf"] <= 4
    assert again.config["epsilon"] == 4
    assert again.config["hardness_field"] == "honey_hardness"
    assert (again.num_honeyimages, again.num_pairs) == (NUM, PAIRS)
    schema = loaded.get_field_schema(flat=True)
    for name in ("source", "role", "pair", "linf", "psnr", "ssim", "lpips", "proxy_loss"):
        assert schema[f"honey.{name}"].description
    assert "honey" in loaded.list_saved_views()
    roles, sources = again.view().values(["honey.role", "honey.source"])
    assert roles == ["original", "honeyimage"] * (NUM + PAIRS)
    assert sources[::2] == sources[1::2] == sorted(sources[::2])


def test_the_ledger_is_private(marked: Any) -> None:
    _, marking, _ = marked
    assert marking.ledger_path.stat().st_mode & 0o777 == 0o600
    assert marking.output_dir.stat().st_mode & 0o777 == 0o700
    ledger = marking.load_ledger()
    assert len(ledger.singles) == NUM - PAIRS
    assert len(ledger.pairs) == PAIRS
    for image in (*ledger.released_images(), *ledger.withheld_images()):
        content = (marking.output_dir / image.file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == image.marked_sha256


def test_nothing_but_the_marking_is_left(marked: Any) -> None:
    _, marking, _ = marked
    assert sorted(path.name for path in marking.output_dir.parent.iterdir()) == ["honey"]
    models = json.loads((marking.output_dir / "manifest.json").read_text(encoding="utf-8"))[
        "models"
    ]
    known = {".ledger.json.lock", "images", "ledger.json", "manifest.json", *models}
    assert {path.name for path in marking.output_dir.iterdir()} == known


def dump(dataset: Any) -> str:
    """Everything that the database says of a dataset, without what differs between any two runs."""
    import fiftyone.core.odm as foo
    from bson import json_util

    database = foo.get_db_conn()
    document = database.datasets.find_one({"_id": dataset._doc.id})
    keep = {"datasets": [document]}
    keep["samples"] = list(database[dataset._sample_collection_name].find().sort("_id"))
    keep["runs"] = list(database.runs.find({"_id": {"$in": list(document["runs"].values())}}))
    keep["views"] = list(database.views.find({"dataset_id": document["_id"]}))
    keep["results"] = []
    for run in keep["runs"]:
        chunks = database.fs.chunks.find({"files_id": run["results"]}).sort("n")
        keep["results"].append(b"".join(chunk["data"] for chunk in chunks).decode())
    return json_util.dumps(keep, sort_keys=True)


def normal(text: str, marking: Any) -> str:
    """Numbers ids in the order in which they appear, and blanks times and the commitment."""
    text = text.replace(marking.commitment, "COMMITMENT")
    text = re.sub(r'\{"\$date": "[^"]*"\}', "TIME", text)
    text = re.sub(r'"_rand": [0-9.e-]+', "", text)  # FiftyOne's own random number of a sample
    numbers: dict[str, str] = {}
    return re.sub(
        r"\b[0-9a-f]{24}\b", lambda m: numbers.setdefault(m.group(), f"ID{len(numbers)}"), text
    )


def test_other_coins_change_nothing_in_the_database(
    make_dataset: Any,
    mark: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    from fiftyone_honeyimage.core.ledger import creation as new_ledger
    from fiftyone_honeyimage.core.pipeline import mark as marks

    dataset = make_dataset(30, hardness=True)
    folder = tmp_path_factory.mktemp("folder")
    dumps, released = [], []
    for coins in ("aba", "aaa", "bbb"):
        create = partial(
            new_ledger.create_ledger, draw_coins=lambda n, coins=coins: list(coins[:n])
        )
        monkeypatch.setattr(marks, "create_ledger", create)
        marking = mark(dataset, output_dir=folder / "marking")
        ledger = marking.load_ledger()
        released.append([pair.released_side().files[0].sample_id for pair in ledger.pairs])
        text = dump(dataset)
        assert not re.search("released|withheld|coin|salt", text)
        assert not any(salt in text for salt in ledger.salts)
        dumps.append(normal(text, marking))
        # What is noted of a release does not tell them either
        fhi.export_release(dataset, "honey", folder / "release", progress=False)
        shutil.rmtree(folder / "release")
        text = re.sub(r'"\d{4}-\d\d-\d\dT[^"]*"', "TIME", dump(dataset))
        dumps[-1] += normal(text, marking)
        assert "read_at" in text
        fhi.delete_run(dataset, "honey", delete_files=True)

    # The first deletion leaves its time on the dataset, so the other two are compared
    assert not set(released[1]) & set(released[2])
    assert dumps[1] == dumps[2]


def test_coins_come_last_and_from_the_system(
    make_dataset: Any, mark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fiftyone_honeyimage.core.ledger import creation as new_ledger
    from fiftyone_honeyimage.core.pipeline import mark as marks

    files: list[set[str]] = []

    def create(path: Path, *args: Any, **options: Any) -> Any:
        def draw(count: int) -> list[str]:
            files.append({str(p.relative_to(path.parent)) for p in path.parent.rglob("*.*")})
            return new_ledger.draw_coins(count)

        return new_ledger.create_ledger(path, *args, draw_coins=draw, **options)

    monkeypatch.setattr(marks, "create_ledger", create)
    marking = mark(make_dataset(30, hardness=True))

    (before,) = files
    images = json.loads((marking.output_dir / "manifest.json").read_text(encoding="utf-8"))[
        "images"
    ]
    assert {image["file"] for image in images} | {"manifest.json", "f_out.pt"} <= before


@pytest.mark.parametrize(
    ("method", "inner"),
    [("honeyimage", "warm"), ("honeyimage", "retrain"), ("unperturbed", "warm")],
)
def test_same_seed_same_bytes(make_dataset: Any, mark: Any, method: str, inner: str) -> None:
    dataset = make_dataset(30, hardness=True)
    settings = {"method": method, "inner": inner, "step_size": 2}
    first = by_source(mark(dataset, "first", **settings))
    fhi.delete_run(dataset, "first")  # else its images are not chosen again
    assert by_source(mark(dataset, "second", **settings)) == first
    fhi.delete_run(dataset, "second")
    other = by_source(mark(dataset, "third", **settings, seed=52))
    assert (other == first) == (method == "unperturbed")


def test_unperturbed_images_keep_their_pixels(make_dataset: Any, mark: Any) -> None:
    dataset = make_dataset(30, hardness=True)
    marking = mark(dataset, method="unperturbed")
    for sample in dataset.match_tags("honeyimage"):
        assert (pixels(sample.filepath) == pixels(dataset[sample.honey.source].filepath)).all()
    assert marking.metrics["linf"] == 0
    assert marking.metrics["psnr"] is None


def test_excluded_images_are_counted_and_not_marked(make_dataset: Any, mark: Any) -> None:
    dataset = make_dataset(30, hardness=True)
    ids, paths = dataset.values(["id", "filepath"])
    hard = np.argsort(dataset.values("hardness"))[::-1]
    shutil.copy(paths[hard[0]], paths[hard[-1]])  # the hardest has an exact duplicate
    wrong = [ids[hard[1]], ids[hard[2]]]
    dataset.set_values("hardness_label_error", {i: i in wrong for i in ids}, key_field="id")
    unscored = ids[hard[3]]
    dataset.set_values("hardness", {unscored: None}, key_field="id")

    kept = mark(dataset, "kept", exclude=())
    assert kept.excluded == {"no_hardness": 1}
    assert {ids[hard[0]], *wrong} <= by_source(kept).keys()
    fhi.delete_run(dataset, "kept")

    left = mark(dataset, "left", exclude=("duplicates", "label_errors"))
    assert left.excluded == {"no_hardness": 1, "label_errors": 2, "duplicates": 1}
    assert not {ids[hard[0]], *wrong, unscored} & by_source(left).keys()
    assert fhi.load_marking(dataset, "left").excluded == left.excluded


def test_images_without_room_are_left_out_before_anything_is_trained(
    make_dataset: Any, mark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset(30, hardness=True)
    ids, paths = dataset.values(["id", "filepath"])
    hard = np.argsort(dataset.values("hardness"))[::-1]
    plain = {ids[row] for row in hard[:3]}
    for row, value in zip(hard[:3], (255, 0, 128), strict=True):
        Image.new("RGB", (8, 8), (value, value, value)).save(paths[row])

    marking = mark(dataset, exclude=())
    assert marking.excluded == {"no_room": 3}
    assert not plain & by_source(marking).keys()
    assert plain <= by_source(mark(dataset, "same", method="unperturbed", exclude=())).keys()

    from fiftyone_honeyimage.core.methods import in_model, out_model

    for module in (in_model, out_model):
        monkeypatch.setattr(module, "train_models", None)
    for key in ("honey", "same"):  # else what they chose is left out as theirs
        fhi.delete_run(dataset, key)
    for path in paths:
        Image.new("RGB", (8, 8), "white").save(path)
    with pytest.raises(fhi.SamplesError, match=r"no_room.*saturated.*method='unperturbed'"):
        mark(dataset, "none", exclude=())


def test_the_most_visible_window_is_kept_with_image_and_run(
    write_digits: Any, fo: Any, mark: Any
) -> None:
    dataset = fo.Dataset()
    for path, label in write_digits(num=30, size=24):
        dataset.add_sample(
            fo.Sample(filepath=str(path), ground_truth=fo.Classification(label=label))
        )
    dataset.add_sample_field("hardness", fo.FloatField)
    dataset.set_values("hardness", np.linspace(0, 5, 30).tolist())
    try:
        marking = mark(dataset)
        windows = dataset.match_tags("honeyimage").values("honey.worst_window")
        assert marking.worst["worst_window"] == min(windows) >= LEAST_SIMILARITY
        assert marking.metrics["worst_window"] == pytest.approx(np.mean(windows))
        assert min(windows) < 1
    finally:
        dataset.delete()


def test_a_view_is_marked_and_the_rest_left_alone(make_dataset: Any, mark: Any) -> None:
    dataset = make_dataset(30, hardness=True)
    view = dataset.limit(18)
    marking = mark(view)
    inside = set(dataset.limit(18).values("id"))
    assert by_source(marking).keys() <= inside
    assert marking.config["dataset_id"] == str(dataset._doc.id)


def test_a_second_marking_leaves_out_the_first_ones_images(make_dataset: Any, mark: Any) -> None:
    dataset = make_dataset(30, hardness=True)
    first = mark(dataset, "first")
    second = mark(dataset, "second")
    own = set(dataset.match_tags("honeyimage", bool=False).values("id"))
    assert by_source(second).keys() <= own
    assert {len(first.view()), len(second.view())} == {14}


def test_no_pairs_is_the_papers_method(make_dataset: Any, mark: Any) -> None:
    marking = mark(make_dataset(30, hardness=True), num_pairs=0, num_honeyimages=3)
    ledger = marking.load_ledger()
    assert (len(ledger.singles), ledger.pairs) == (3, [])


def test_defaults_fit_the_dataset(make_dataset: Any, mark: Any) -> None:
    from fiftyone_honeyimage.core.methods.selection import default_num_pairs

    marking = mark(make_dataset(60, hardness=True), num_pairs=None, num_honeyimages=None)
    assert marking.num_honeyimages == marking.num_pairs == default_num_pairs(60)


def test_numpy_numbers_are_numbers(make_dataset: Any, mark: Any) -> None:
    marking = mark(
        make_dataset(30, hardness=True),
        num_honeyimages=np.int64(3),
        num_pairs=np.int64(2),
        num_steps=np.int32(1),
        epsilon=np.float32(4),
        step_size=np.float32(0.5),
        input_size=np.int64(8),
        seed=np.int64(7),
    )
    assert marking.config["seed"] == 7
    assert marking.config["epsilon"] == 4


def test_images_of_mixed_sizes_keep_their_sizes(make_dataset: Any, mark: Any) -> None:
    dataset = make_dataset(30, hardness=True)
    for number, path in enumerate(dataset.values("filepath")):
        image = Image.open(path)
        image.resize((8 + number % 3, 8 + number % 5)).save(path)
    mark(dataset, input_size=None)
    for sample in dataset.match_tags("honeyimage"):
        source = dataset[sample.honey.source]
        assert Image.open(sample.filepath).size == Image.open(source.filepath).size


def test_lpips_with_a_local_backbone(make_dataset: Any, mark: Any, data_dir: Path) -> None:
    backbone = data_dir / "lpips" / "alexnet_features.safetensors"
    marking = mark(make_dataset(30, hardness=True), lpips_backbone=backbone)
    assert 0 <= marking.metrics["lpips"] < 0.1
    assert 0 < marking.metrics["stl"] <= 1


def test_progress_names_every_stage(make_dataset: Any, mark: Any) -> None:
    seen: list[tuple[str, float]] = []
    mark(
        make_dataset(30, hardness=True),
        progress=lambda bar: seen.append((bar.stage, bar.progress)),
    )
    stages = list(dict.fromkeys(stage for stage, _ in seen))
    known = [
        "Reading images",
        "Looking for duplicates",
        "Training a model without the marks",
        "Training a model with the marks",
        "Crafting HoneyImages",
        "Measuring",
        "Writing",
        "Done",
    ]
    assert [stage for stage in stages if stage in known] == known
    assert stages[-1] == "Done"
    shares = [share for _, share in seen]
    assert shares == sorted(shares)


def test_a_key_that_was_taken_meanwhile_is_left_alone(
    fo: Any, make_dataset: Any, mark: Any, tmp_path: Path
) -> None:
    dataset = make_dataset(30, hardness=True)

    def take(bar: Any) -> None:
        if bar.stage == "Crafting HoneyImages" and not dataset.has_field("honey"):
            dataset.add_sample_field("honey", fo.StringField)
            dataset.set_values("honey", ["mine"] * 30)

    with pytest.raises(fhi.ParameterError, match="'honey' is taken: the dataset has a field"):
        mark(dataset, output_dir=tmp_path / "marking", progress=take)
    assert dataset.values("honey") == ["mine"] * 30

    # Out of the way, the same call goes on from what was finished
    dataset.rename_sample_field("honey", "notes")
    stages: list[str] = []
    marking = mark(
        dataset, output_dir=tmp_path / "marking", progress=lambda bar: stages.append(bar.stage)
    )
    assert set(stages) == {"Writing", "Done"}
    assert len(marking.view()) == 14


def test_two_runs_at_once_in_one_folder_are_refused(
    make_dataset: Any, mark: Any, tmp_path: Path
) -> None:
    dataset = make_dataset(30, hardness=True)
    errors: list[Callable[..., Any] | Exception] = []

    def other(bar: Any) -> None:
        if bar.stage == "Crafting HoneyImages" and not errors:
            try:
                mark(dataset, output_dir=tmp_path / "marking")
            except fhi.InterruptedRunError as error:
                errors.append(error)

    marking = mark(dataset, output_dir=tmp_path / "marking", progress=other)
    assert "another run is writing" in str(errors[0])
    assert len(marking.view()) == 14
    assert [path.name for path in tmp_path.iterdir()] == ["marking"]


def test_no_sample_is_saved_on_its_own(
    fo: Any,
    make_dataset: Any,
    mark: Any,
    tiny: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def save(*_: Any, **__: Any) -> None:
        pytest.fail("a sample was saved on its own")

    dataset = make_dataset(30)
    monkeypatch.setattr(fo.Sample, "save", save)
    monkeypatch.setattr(fo.Dataset, "add_sample", save)
    fhi.compute_hardness(dataset, "ground_truth", **tiny, progress=False)
    mark(dataset, hardness_field="honey_hardness", method="unperturbed")
    fhi.export_release(dataset, "honey", tmp_path / "release", progress=False)
    fhi.rename_run(dataset, "honey", "renamed")
    fhi.delete_run(dataset, "renamed", delete_files=True)
    assert len(dataset) == 30
