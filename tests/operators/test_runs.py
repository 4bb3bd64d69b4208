"""The operators list_runs, rename_run and delete_run."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def verified(make_marked: Callable[..., Any], suspect_file: str) -> Any:
    """A dataset with a run of every kind."""
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked()
    fhi.verify_model(dataset, "honey", suspect_file, "check", progress=False)
    return dataset


def test_runs_are_listed(verified: Any, execute: Any) -> None:
    runs = execute("list_runs", verified).result["runs"]

    assert [(run["key"], run["kind"]) for run in runs] == [
        ("honey_hardness", "hardness"),
        ("honey", "marking"),
        ("check", "verification"),
    ]
    assert "12 pairs of twins" in runs[1]["summary"]
    assert all(run["timestamp"] for run in runs)


def test_an_empty_list_says_how_to_start(
    make_digits_dataset: Callable[..., Any], execute: Any, resolve: Any
) -> None:
    executor = importlib.import_module("fiftyone.operators.executor")
    operators = importlib.import_module("fiftyone.operators")
    dataset = make_digits_dataset(num=6, size=8)
    results = execute("list_runs", dataset).result

    uri = "@honeyimage/ownership/list_runs"
    request = {"dataset_name": dataset.name, "params": {}, "results": results}
    ctx = executor.ExecutionContext(request, operator_uri=uri)
    shown = operators.get_operator(uri).resolve_type(ctx, "outputs").to_json()

    assert results == {"runs": []}
    assert "Compute hardness" in shown["type"]["properties"]["told"]["default"]


def test_a_run_is_renamed(verified: Any, execute: Any, resolve: Any, triggered: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    form = resolve("rename_run", verified, key="honey", new_key="spring")
    assert form.errors() == {}
    assert form.values("key") == ["honey", "check"], "a hardness run goes by its field"

    result = execute("rename_run", verified, key="honey", new_key="spring")

    assert "reload_dataset" in triggered(result)
    verified.reload()
    assert fhi.load_marking(verified, "spring").num_pairs == 12
    assert fhi.load_verification(verified, "check").honey_key == "spring"


@pytest.mark.parametrize(
    ("params", "path", "message"),
    [
        ({"key": "nothing"}, "key", "no run 'nothing'"),
        ({"key": "honey", "new_key": "check"}, "new_key", "is taken"),
        ({"key": "honey", "new_key": "a b"}, "new_key", "valid identifier"),
    ],
)
def test_rename_form_shows_what_is_refused(
    verified: Any, resolve: Any, params: dict[str, Any], path: str, message: str
) -> None:
    errors = resolve("rename_run", verified, **params).errors()

    assert list(errors) == [path]
    assert message in errors[path]


def test_nothing_is_deleted_without_confirmation(verified: Any, execute: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    executor = importlib.import_module("fiftyone.operators.executor")

    for params in (
        {"key": "check"},
        {"key": "honey", "confirm_honey": False},
        {"key": "honey", "delete_files_honey": True, "confirm_honey": True},
        {"key": "honey", "delete_files_honey": True, "confirm_key": "hony"},
        # What was ticked for another run
        {"key": "honey", "confirm_check": True},
    ):
        with pytest.raises(executor.ExecutionError, match="Confirm that this is what you want"):
            execute("delete_run", verified, **params)

    verified.reload()
    assert len(fhi.list_runs(verified)) == 3


def test_a_ledger_survives_unless_it_is_named(verified: Any, execute: Any, resolve: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    ledger = fhi.load_marking(verified, "honey").ledger_path

    form = resolve("delete_run", verified, key="honey", confirm_honey=True)
    assert form.errors() == {}
    assert form.properties["delete_files_honey"]["default"] is False
    assert "1 verifications leave the dataset" in form.text("consequence")
    execute("delete_run", verified, key="honey", confirm_honey=True)

    verified.reload()
    assert [run.kind for run in fhi.list_runs(verified)] == ["hardness"]
    assert ledger.is_file()


def test_a_ledger_is_deleted_with_a_warning(verified: Any, resolve: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    operators = importlib.import_module("fiftyone.operators")
    folder = fhi.load_marking(verified, "honey").output_dir

    form = resolve("delete_run", verified, key="honey", delete_files_honey=True)
    assert "can ever be verified again" in form.text("consequence")
    assert str(folder) in form.text("consequence")
    operators.get_operator("@honeyimage/ownership/delete_run")(verified, "honey", delete_files=True)

    assert not folder.exists()


def test_a_verification_is_deleted_but_still_counts(verified: Any, execute: Any) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")

    execute("delete_run", verified, key="check", confirm_check=True)

    verified.reload()
    assert [run.kind for run in fhi.list_runs(verified)] == ["hardness", "marking"]
    ledger = fhi.load_marking(verified, "honey").load_ledger()
    assert len(ledger.verifications) == 1


def test_forms_without_runs_or_dataset(
    make_digits_dataset: Callable[..., Any], resolve: Any
) -> None:
    dataset = make_digits_dataset(num=6, size=8)

    assert (
        "no marking or verification to rename" in resolve("rename_run", dataset).errors()["blocked"]
    )
    assert "to delete yet" in resolve("delete_run", dataset).errors()["blocked"]
    for name in ("list_runs", "rename_run", "delete_run", "verify_model", "export_release"):
        assert resolve(name, None).errors() == {"blocked": "Open a dataset first."}


def test_a_lost_marking_is_attached(
    make_marked: Callable[..., Any], execute: Any, resolve: Any, triggered: Any, tmp_path: Any
) -> None:
    fhi = importlib.import_module("fiftyone_honeyimage")
    dataset = make_marked()
    ledger = fhi.load_marking(dataset, "honey").ledger_path
    dataset.delete_run("honey")
    dataset.delete_sample_field("honey")
    assert "Attach HoneyImage marking" in resolve("export_release", dataset).errors()["blocked"]

    empty = resolve("attach_marking", dataset)
    assert empty.properties["ledger_path"]["required"]
    wrong = resolve("attach_marking", dataset, ledger_path=str(tmp_path / "none.json")).errors()
    assert "There is no ledger at" in wrong["ledger_path"]
    assert resolve("attach_marking", dataset, ledger_path=str(ledger)).errors() == {}
    taken = resolve(
        "attach_marking", dataset, ledger_path=str(ledger), honey_key="honey_hardness"
    ).errors()
    assert "is taken" in taken["honey_key"]

    result = execute("attach_marking", dataset, ledger_path=str(ledger))

    assert "reload_dataset" in triggered(result)
    assert result.result == {
        "honey_key": "honey",
        "num_images": 24,
        "num_originals": 24,
        "num_added": 0,
    }
    dataset.reload()
    assert len(fhi.load_marking(dataset, "honey").view()) == 48
    moved = ledger.rename(tmp_path / "ledger.json")
    form = resolve("verify_model", dataset, honey_key="honey")
    assert "Attach HoneyImage marking" in form.text("ledger_path")
    operators = importlib.import_module("fiftyone.operators")
    operators.get_operator("@honeyimage/ownership/attach_marking")(dataset, moved, ledger.parent)
    dataset.reload()
    assert fhi.load_marking(dataset, "honey").ledger_path == moved


def test_the_form_says_that_the_dataset_becomes_persistent(
    make_hard: Callable[..., Any], resolve: Any
) -> None:
    dataset = make_hard()
    assert not dataset.persistent
    sizes = {"num_pairs": 12, "proxy": "resnet_tiny"}
    assert "becomes **persistent**" in resolve("generate_honeyimages", dataset, **sizes).text(
        "cost"
    )
    dataset.persistent = True
    form = resolve("generate_honeyimages", dataset, **sizes)
    assert "persistent" not in form.text("cost")
