"""The operator export_release: the same release in three ways, and a form that keeps from mistakes."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def files(folder: Path) -> dict[str, str]:
    """Relative path → digest of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_sdk_app_and_delegated_run_agree(
    make_marked: Callable[..., Any], execute: Any, delegate: Any, tmp_path: Path
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked()

    fhi.export_release(dataset, "honey", tmp_path / "sdk", progress=False)
    immediate = execute(
        "export_release", dataset, honey_key="honey", export_dir=str(tmp_path / "app")
    )
    delegated = delegate(
        "export_release", dataset, honey_key="honey", export_dir=str(tmp_path / "worker")
    )

    assert len(files(tmp_path / "sdk")) == 60
    assert files(tmp_path / "sdk") == files(tmp_path / "app") == files(tmp_path / "worker")
    for result in (immediate.result, delegated.result):
        assert result["num_images"] == 60
        assert result["num_honeyimages"] == result["num_withheld"] == 12
        assert result["commitment"] == fhi.load_marking(dataset, "honey").commitment
        # Kept in the database, it would be a target for trying all coins
        assert "digest" not in str(result)
    assert delegated.document.label == "Release of 'honey'"
    assert delegated.result["commitment"] in str(delegated.outputs)


def test_the_proposed_folder_is_new_and_away_from_the_ledger(
    make_marked: Callable[..., Any], execute: Any, resolve: Any
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked()
    secret = fhi.load_marking(dataset, "honey").output_dir

    first = execute("export_release", dataset, honey_key="honey").result["export_dir"]
    assert Path(first).is_dir()
    assert secret not in Path(first).parents
    # The next proposal is another folder
    form = resolve("export_release", dataset)
    assert f"{first}-2" in form.text("export_dir")
    assert form.errors() == {}


def test_form_shows_what_the_release_holds(make_marked: Callable[..., Any], resolve: Any) -> None:
    form = resolve("export_release", make_marked())

    assert form.errors() == {}
    assert form.properties["honey_key"]["default"] == "honey"
    assert "**60 images** in the release, 12 of them HoneyImages" in form.text("cost")
    assert "**12 images** withheld" in form.text("cost")
    assert "ledger_path" not in form.properties, "it lies where it was written"


def test_the_whole_dataset_is_the_default(make_marked: Callable[..., Any], resolve: Any) -> None:
    dataset = make_marked()
    form = resolve("export_release", dataset.limit(5))

    assert form.properties["view_target"]["default"] == "DATASET"


def test_form_refuses_a_view_without_marked_images(
    make_marked: Callable[..., Any], resolve: Any
) -> None:
    dataset = make_marked()
    errors = resolve(
        "export_release", dataset.exists("honey.source", bool=False), view_target="CURRENT_VIEW"
    ).errors()

    assert "are not in these samples" in errors["blocked"]


def test_form_refuses_a_folder_that_exists(
    make_marked: Callable[..., Any], resolve: Any, tmp_path: Path
) -> None:
    errors = resolve("export_release", make_marked(), export_dir=str(tmp_path)).errors()

    assert "nothing is overwritten" in errors["export_dir"]


def test_form_asks_for_a_ledger_that_was_moved(
    make_marked: Callable[..., Any], resolve: Any, execute: Any, tmp_path: Path
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked()
    ledger = fhi.load_marking(dataset, "honey").ledger_path
    moved = ledger.rename(tmp_path / "safe.json")

    errors = resolve("export_release", dataset).errors()
    assert f"is not at '{ledger}'" in errors["ledger_path"]
    assert resolve("export_release", dataset, ledger_path=str(moved)).errors() == {}
    result = execute(
        "export_release",
        dataset,
        honey_key="honey",
        export_dir=str(tmp_path / "release"),
        ledger_path=str(moved),
    ).result
    assert result["num_images"] == 60


def test_every_option_reaches_the_release(
    make_marked: Callable[..., Any], resolve: Any, tmp_path: Path
) -> None:
    operators = importlib.import_module("fiftyone.operators")
    types = importlib.import_module("fiftyone.types")
    dataset = make_marked()
    dataset.set_values("camera", [f"camera {number % 2}" for number in range(len(dataset))])
    operator = operators.get_operator("@honeyimage/ownership/export_release")

    operator(
        dataset,
        "honey",
        tmp_path / "release",
        dataset_type=types.CSVDataset,
        reencode="all",
        names="renumber",
        fields=["camera"],
    )

    lines = (tmp_path / "release" / "labels.csv").read_text(encoding="utf-8").splitlines()
    assert "camera" in lines[0]
    assert len(lines) == 61
    assert sorted(path.name for path in (tmp_path / "release").rglob("*.png"))[-1] == "59.png"
    form = resolve("export_release", dataset, names="renumber", fields=["camera"])
    assert "cannot be carried along" in form.errors()["fields"]
    csv = {"dataset_type": "CSVDataset", "names": "renumber", "fields": ["camera"]}
    form = resolve("export_release", dataset, **csv)
    assert "was exported with reencode='all'" in str(form.errors())
    form = resolve("export_release", dataset, **csv, reencode="all")
    assert "new number, `camera` and nothing else" in form.text("cost")


def test_form_shows_what_the_sdk_refuses(
    make_marked: Callable[..., Any], resolve: Any, tmp_path: Path
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked()
    secret = fhi.load_marking(dataset, "honey").output_dir

    for params, path in (
        ({"dataset_type": "CSVDataset", "fields": ["honey"]}, "fields"),
        ({"dataset_type": "CSVDataset", "fields": ["nothing"]}, "fields"),
        ({"fields": ["filepath"]}, "fields"),
        ({"dataset_type": "VideoDirectory"}, "dataset_type"),
        ({"export_dir": str(secret / "release")}, "export_dir"),
    ):
        errors = resolve("export_release", dataset, **params).errors()
        assert list(errors) == [path], params


def test_form_needs_a_marking_first(make_hard: Callable[..., Any], resolve: Any) -> None:
    errors = resolve("export_release", make_hard(num=24)).errors()

    assert "*Generate HoneyImages* first" in errors["blocked"]


def test_each_recipient_has_a_release_of_his_own(
    make_marked: Callable[..., Any], resolve: Any, execute: Any, tmp_path: Path
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked(
        num_pairs=6,
        num_honeyimages=12,
        recipients=["hospital-a", "hospital-b"],
        num_tracing_pairs=6,
    )
    form = resolve("export_release", dataset)
    assert form.values("recipient") == ["hospital-a", "hospital-b"]
    assert "name one of them as recipient" in form.errors()["recipient"]
    assert resolve("export_release", dataset, recipient="nobody").errors()
    form = resolve("export_release", dataset, recipient="hospital-b")
    assert form.errors() == {}
    assert "**60 images** in the release, 12 of them HoneyImages" in form.text("cost")
    reports = [
        execute(
            "export_release",
            dataset,
            honey_key="honey",
            recipient=name,
            export_dir=str(tmp_path / name),
        ).result
        for name in ("hospital-a", "hospital-b")
    ]
    assert [report["recipient"] for report in reports] == ["hospital-a", "hospital-b"]
    assert files(tmp_path / "hospital-a") != files(tmp_path / "hospital-b")
    assert [one.recipient for one in fhi.list_releases(dataset, "honey")] == [
        "hospital-a",
        "hospital-b",
    ]
    form = resolve(
        "audit_release",
        dataset,
        honey_key="honey",
        export_dir=str(tmp_path / "hospital-a"),
        proxy="none",
    )
    assert form.errors() == {}


def test_a_marking_without_coins_or_recipients_says_so(
    make_marked: Callable[..., Any], resolve: Any
) -> None:
    form = resolve("export_release", make_marked(), recipient="hospital-a")
    assert "no release for 'hospital-a'" in form.errors()["blocked"]
