"""SIGKILL at every stage: the next run finishes, and nothing that was there before is lost."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import fiftyone_honeyimage as fhi

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")

FLOOR = "fiftyone_honeyimage.dataset"
DATASET = "fiftyone:Dataset"

SETTINGS = {
    "label_field": "ground_truth",
    "honey_key": "honey",
    "hardness_field": "hardness",
    "num_honeyimages": 3,
    "num_pairs": 2,
    "method": "honeyimage",
    "num_steps": 2,
    "proxy": "resnet_tiny",
    "training": {"epochs": 1},
    "input_size": 8,
    "device": "cpu",
}


def content(dataset: Any) -> Any:
    """What a dataset holds, but for times of change: samples, schema, runs, views."""
    dataset.reload()
    samples = [sample.to_mongo_dict(include_id=True) for sample in dataset]
    for sample in samples:
        sample.pop("last_modified_at")
    schema = {name: str(field) for name, field in dataset.get_field_schema(flat=True).items()}
    return samples, schema, dataset.list_runs(), sorted(dataset.list_saved_views())


def files(folder: Path) -> dict[str, bytes]:
    """The files below a folder; the lock of a killed run aside, which the next call clears."""
    found = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.endswith(".lock")}


def by_source(folder: Path) -> dict[str, bytes]:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return {i["source"]: (folder / i["file"]).read_bytes() for i in manifest["images"]}


class Protected:
    """A dataset with a finished marking that must survive everything, and what an undisturbed run makes."""

    def __init__(self, dataset: Any, folder: Path) -> None:
        self.dataset = dataset
        self.folder = folder
        self.earlier = fhi.generate_honeyimages(
            dataset,
            **{**SETTINGS, "honey_key": "earlier", "method": "unperturbed"},
            output_dir=folder / "earlier",
            progress=False,
        )
        fhi.generate_honeyimages(
            dataset, **SETTINGS, output_dir=folder / "undisturbed", progress=False
        )
        self.undisturbed = by_source(folder / "undisturbed")
        fhi.delete_run(dataset, "honey", delete_files=True)
        self.before = content(dataset)
        self.media = Path(dataset.first().filepath).parent
        self.files_before = files(self.media), files(self.earlier.output_dir)

    def check_as_before(self) -> None:
        assert content(self.dataset) == self.before
        self.check_files()
        assert sorted(path.name for path in self.folder.iterdir()) == ["earlier"]

    def check_files(self) -> None:
        assert (files(self.media), files(self.earlier.output_dir)) == self.files_before
        self.earlier.load_ledger()

    def finish(self, **changes: Any) -> tuple[Any, list[str]]:
        """The next run, in this process; its marking and its stages."""
        stages: list[str] = []
        marking = fhi.generate_honeyimages(
            self.dataset,
            **{**SETTINGS, "output_dir": self.folder / "honey", **changes},
            progress=lambda bar: stages.append(bar.stage),
        )
        return marking, list(dict.fromkeys(stages))

    def check_whole(
        self,
        marking: Any,
        images: dict[str, bytes] | None = None,
        also: frozenset[str] = frozenset(),
    ) -> None:
        """The marking is whole and nothing else is there; then it is deleted, which leaves all as before."""
        assert by_source(marking.output_dir) == (images or self.undisturbed)
        ledger = marking.load_ledger()
        assert len(ledger.released_images()) == 3
        assert len(marking.view()) == 10
        tags = self.dataset.count_values("tags")
        assert tags == {"mine": 24, "honeyimage": 10, "earlier": 5, "honey": 5}
        models = json.loads((marking.output_dir / "manifest.json").read_text(encoding="utf-8"))[
            "models"
        ]
        known = {".ledger.json.lock", "images", "ledger.json", "manifest.json", *models, *also}
        assert {path.name for path in marking.output_dir.iterdir()} == known
        assert not list(self.folder.rglob("*.tmp"))
        fhi.delete_run(self.dataset, "honey", delete_files=True)
        self.check_as_before()


@pytest.fixture(scope="module")
def protected(make_dataset: Any, tmp_path_factory: pytest.TempPathFactory) -> Protected:
    from fiftyone_honeyimage.core.pipeline import crafting

    load = crafting._load_lpips
    crafting._load_lpips = lambda file: (None, "not asked for")
    try:
        return Protected(make_dataset(24, hardness=True), tmp_path_factory.mktemp("markings"))
    finally:
        crafting._load_lpips = load


def arguments(protected: Protected) -> dict[str, Any]:
    return {**SETTINGS, "output_dir": str(protected.folder / "honey")}


#: Where a marking is killed, and the first stage that the next run goes through
POINTS = [
    ({"before": f"{FLOOR}.storage:write_json_atomic"}, "Reading images"),
    ({"before": "os:replace"}, "Reading images"),
    ({"stage": "Reading images"}, "Reading images"),
    ({"stage": "Training a model without the marks"}, "Reading images"),
    ({"stage": "Training a model with the marks"}, "Reading images"),
    ({"stage": "Crafting HoneyImages"}, "Reading images"),
    ({"stage": "Measuring", "nth": 2}, "Reading images"),
    ({"before": "fiftyone_honeyimage.core.pipeline.crafting:write_json_atomic"}, "Reading images"),
    ({"stage": "Writing"}, "Writing"),
    ({"before": "fiftyone_honeyimage.core.ledger.creation:write_ledger_file"}, "Writing"),
    ({"after": "fiftyone_honeyimage.core.pipeline.mark:create_ledger"}, "Writing"),
    ({"before": "os:rename"}, "Writing"),
    ({"before": f"{FLOOR}.marking.generate:enter_in_dataset"}, "Writing"),
    ({"after": f"{FLOOR}.marking.entry:_declare_fields"}, "Writing"),
    ({"after": f"{DATASET}.add_samples"}, "Writing"),
    ({"after": f"{DATASET}.set_values"}, "Writing"),
    ({"after": f"{FLOOR}.marking.entry:save_marking_view"}, "Writing"),
    ({"after": f"{DATASET}.register_run"}, "Writing"),
    ({"after": f"{FLOOR}.marking.entry:save_run"}, None),
    ({"before": f"{FLOOR}.marking.generate:load_marking"}, "taken"),
]


@pytest.mark.parametrize(("point", "first"), POINTS, ids=[json.dumps(point) for point, _ in POINTS])
def test_a_marking_is_finished_by_the_next_run(
    protected: Protected, killed: Any, point: dict[str, Any], first: str | None
) -> None:
    killed(protected.dataset, "generate_honeyimages", arguments(protected), **point)
    protected.check_files()
    if first == "taken":  # nothing was left to do
        with pytest.raises(fhi.ParameterError, match="'honey' is taken"):
            protected.finish()
        protected.dataset.reload()
        marking = fhi.load_marking(protected.dataset, "honey")
    else:
        marking, stages = protected.finish()
        assert stages[:1] == ([first] if first else [])
    protected.check_whole(marking)


def test_what_was_trained_is_not_trained_again(protected: Protected, killed: Any) -> None:
    killed(
        protected.dataset,
        "generate_honeyimages",
        arguments(protected),
        stage="Crafting HoneyImages",
        nth=2,
    )
    marking, stages = protected.finish()
    assert not {"Training a model without the marks", "Training a model with the marks"} & set(
        stages
    )
    protected.check_whole(marking)


@pytest.mark.parametrize(
    "point",
    [
        {"stage": "Crafting HoneyImages"},
        {"after": "fiftyone_honeyimage.core.pipeline.mark:create_ledger"},
        {"after": f"{FLOOR}.marking.entry:save_marking_view"},
        {"after": f"{DATASET}.register_run"},
    ],
    ids=json.dumps,
)
def test_other_arguments_start_anew(
    protected: Protected, killed: Any, point: dict[str, Any]
) -> None:
    killed(protected.dataset, "generate_honeyimages", arguments(protected), **point)
    marking, stages = protected.finish(method="unperturbed")
    assert stages[0] == "Reading images"
    manifest = json.loads((marking.output_dir / "manifest.json").read_text(encoding="utf-8"))
    originals = dict(zip(*protected.dataset.values(["id", "filepath"]), strict=True))
    assert marking.metrics["linf"] == 0
    assert {image["source"] for image in manifest["images"]} == protected.undisturbed.keys()
    assert all(Path(originals[image["source"]]).is_file() for image in manifest["images"])
    protected.check_whole(marking, by_source(marking.output_dir))


def test_changed_files_start_anew(protected: Protected, killed: Any) -> None:
    killed(
        protected.dataset,
        "generate_honeyimages",
        arguments(protected),
        stage="Crafting HoneyImages",
        nth=2,
    )
    path = Path(protected.dataset.first().filepath)
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    marking, stages = protected.finish()
    assert "Training a model without the marks" in stages
    protected.check_whole(marking)


def test_another_folder_leaves_nothing_of_the_first_in_the_dataset(
    protected: Protected, killed: Any
) -> None:
    killed(
        protected.dataset,
        "generate_honeyimages",
        arguments(protected),
        after=f"{FLOOR}.marking.entry:save_marking_view",
    )
    marking, _ = protected.finish(output_dir=protected.folder / "elsewhere")
    assert len(marking.view()) == 10
    assert (protected.folder / "honey.partial").is_dir()
    fhi.delete_run(protected.dataset, "honey", delete_files=True)
    # Its own folder is for the first run to be resumed
    marking, stages = protected.finish()
    assert stages == ["Writing", "Done"]
    protected.check_whole(marking)


def test_another_key_does_not_take_over_the_folder(protected: Protected, killed: Any) -> None:
    killed(
        protected.dataset,
        "generate_honeyimages",
        arguments(protected),
        stage="Crafting HoneyImages",
        nth=2,
    )
    before = files(protected.folder)
    with pytest.raises(fhi.InterruptedRunError, match="interrupted run of marking 'honey' of this"):
        protected.finish(honey_key="other")
    assert files(protected.folder) == before
    marking, _ = protected.finish()
    protected.check_whole(marking)


def test_another_dataset_does_not_take_over_the_folder(
    protected: Protected, killed: Any, make_dataset: Any, mark: Any
) -> None:
    other = make_dataset(24, hardness=True)
    for after in ("core.pipeline.mark:create_ledger", "dataset.marking.entry:save_run"):
        killed(
            protected.dataset,
            "generate_honeyimages",
            arguments(protected),
            after=f"fiftyone_honeyimage.{after}",
        )
        before = files(protected.folder)
        with pytest.raises(fhi.InterruptedRunError, match="'honey' of another dataset"):
            mark(other, output_dir=protected.folder / "honey")
        assert files(protected.folder) == before
        marking, _ = protected.finish()
        protected.check_whole(marking)


def test_a_marking_that_was_released_keeps_its_ledger(
    protected: Protected, killed: Any, tmp_path: Path
) -> None:
    # Killed in its very last step: nobody noticed, and the marking was used
    killed(
        protected.dataset,
        "generate_honeyimages",
        arguments(protected),
        after=f"{FLOOR}.marking.entry:save_run",
    )
    protected.dataset.reload()
    fhi.export_release(protected.dataset, "honey", tmp_path / "release", progress=False)
    before = files(protected.folder / "honey")
    before.pop("request.json")
    for changes in ({"epsilon": 3, "step_size": 0.1}, {"honey_key": "other"}):
        with pytest.raises(fhi.ParameterError, match=r"is taken|exists"):
            protected.finish(**changes)
        left = files(protected.folder / "honey")
        left.pop("request.json", None)
        assert left == before
    marking = fhi.load_marking(protected.dataset, "honey")
    protected.check_whole(marking, also=frozenset({"released_views.json"}))


@pytest.mark.parametrize(
    "after",
    ["fiftyone:Dataset.add_samples", f"{FLOOR}.marking.entry:save_run"],
    ids=["half", "whole"],
)
def test_an_interrupted_marking_can_be_deleted(
    protected: Protected, killed: Any, after: str
) -> None:
    killed(protected.dataset, "generate_honeyimages", arguments(protected), after=after)
    fhi.delete_run(protected.dataset, "honey", delete_files=True)
    protected.check_as_before()


@pytest.mark.parametrize(
    "point",
    [
        {"after": "pathlib:Path.unlink", "nth": 3},
        {"after": f"{FLOOR}.storage:delete_files"},
        {"after": f"{DATASET}.delete_run"},
        {"after": f"{DATASET}.delete_saved_view"},
        {"after": f"{DATASET}.delete_samples"},
        {"after": f"{DATASET}.delete_sample_field"},
    ],
    ids=json.dumps,
)
def test_a_deletion_is_finished_by_the_next(
    protected: Protected, killed: Any, point: dict[str, Any]
) -> None:
    protected.finish()
    killed(protected.dataset, "delete_run", {"key": "honey", "delete_files": True}, **point)
    protected.check_files()
    protected.dataset.reload()
    if protected.dataset.has_field("honey"):
        fhi.delete_run(protected.dataset, "honey", delete_files=True)
    assert fhi.list_runs(
        protected.dataset
    )  # which clears the lock where nothing else is left to do
    protected.check_as_before()


@pytest.mark.parametrize(
    "point",
    [
        {"after": "fiftyone.core.fields:Field.save"},
        {"after": f"{DATASET}.rename_sample_field"},
        {"after": "fiftyone.core.collections:SampleCollection.tag_samples"},
        {"after": f"{DATASET}.delete_saved_view"},
        {"after": f"{FLOOR}.management.run_list:save_marking_view"},
        {"after": f"{DATASET}.update_run_config"},
    ],
    ids=json.dumps,
)
def test_a_renaming_is_finished_by_the_next(
    protected: Protected, killed: Any, point: dict[str, Any]
) -> None:
    protected.finish()
    names = {"key": "honey", "new_key": "renamed"}
    killed(protected.dataset, "rename_run", names, **point)
    protected.dataset.reload()
    fhi.rename_run(protected.dataset, **names)
    assert len(fhi.load_marking(protected.dataset, "renamed").view()) == 10
    tags = protected.dataset.count_values("tags")
    assert tags == {"mine": 24, "honeyimage": 10, "earlier": 5, "renamed": 5}
    assert sorted(protected.dataset.list_saved_views()) == ["earlier", "renamed"]
    fhi.rename_run(protected.dataset, "renamed", "honey")
    protected.check_whole(fhi.load_marking(protected.dataset, "honey"))


@pytest.mark.parametrize(
    "point",
    [
        {"stage": "Training the two half proxies"},
        {"stage": "Writing"},
        {"after": f"{DATASET}.add_sample_field"},
        {"after": f"{DATASET}.set_values"},
        {"after": f"{DATASET}.register_run"},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("earlier", [False, True], ids=["new", "overwritten"])
def test_scores_are_written_by_the_next_run(
    make_dataset: Any, killed: Any, tiny: dict[str, Any], point: dict[str, Any], earlier: bool
) -> None:
    if earlier and "add_sample_field" in str(point):
        return  # the field is there
    dataset = make_dataset(12)
    settings = {"label_field": "ground_truth", "hardness_field": "scores", **tiny}
    if earlier:
        fhi.compute_hardness(dataset, **settings, seed=1, progress=False)
    killed(dataset, "compute_hardness", settings, **point)
    dataset.reload()
    summary = fhi.compute_hardness(dataset, **settings, progress=False)
    fhi.compute_hardness(dataset, **{**settings, "hardness_field": "undisturbed"}, progress=False)
    assert dataset.values("scores") == dataset.values("undisturbed")
    assert dataset.values("scores_label_error") == dataset.values("undisturbed_label_error")
    assert dataset.load_run_results("scores", cache=False).mean == summary.mean
