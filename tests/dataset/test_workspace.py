"""The sidebar's group and the saved workspace, beside what the user has of both."""

from __future__ import annotations

from typing import Any

import pytest

import fiftyone_honeyimage as fhi


def groups(dataset: Any) -> dict[str, list[str]]:
    dataset.reload()
    return {group.name: list(group.paths) for group in dataset.app_config.sidebar_groups or []}


def test_new_fields_have_a_group_and_descriptions(
    make_dataset: Any, mark: Any, tiny: dict[str, Any]
) -> None:
    dataset = make_dataset(30, hardness=True)
    fhi.compute_hardness(dataset, "ground_truth", progress=False, **tiny)
    scores = ["honey_hardness", "honey_hardness_label_error"]
    assert groups(dataset)["HoneyImage"] == scores
    assert "ground_truth" in groups(dataset)["labels"]

    mark(dataset)
    found = groups(dataset)
    parts = [
        "source",
        "role",
        "pair",
        "linf",
        "psnr",
        "ssim",
        "worst_window",
        "lpips",
        "proxy_loss",
    ]
    assert found["HoneyImage"] == [*scores, *(f"honey.{part}" for part in parts)]
    assert "honey" not in found
    schema = dataset.get_field_schema(flat=True)
    for path in found["HoneyImage"]:
        assert schema[path].description
    assert schema["honey"].description

    fhi.rename_run(dataset, "honey", "renamed")
    assert groups(dataset)["HoneyImage"][2] == "renamed.source"
    fhi.delete_run(dataset, "renamed")
    assert groups(dataset)["HoneyImage"] == scores
    fhi.delete_run(dataset, "honey_hardness")
    # As if nothing had been
    assert dataset.app_config.sidebar_groups is None


def test_the_users_groups_stay(fo: Any, make_dataset: Any, mark: Any, tiny: dict[str, Any]) -> None:
    dataset = make_dataset(30, hardness=True)
    own = [
        fo.core.odm.SidebarGroupDocument(name="mine", paths=["hardness", "ground_truth"]),
        fo.core.odm.SidebarGroupDocument(name="empty", paths=[]),
    ]
    dataset.app_config.sidebar_groups = own
    dataset.save()

    mark(dataset)
    found = groups(dataset)
    assert list(found) == ["mine", "empty", "HoneyImage"]
    assert found["mine"] == ["hardness", "ground_truth"]

    # What the user moves out of the group stays where it was put
    fhi.compute_hardness(dataset, "ground_truth", "scores", progress=False, **tiny)
    moved = dataset.app_config.sidebar_groups
    moved[2].paths.remove("scores")
    moved[0].paths.append("scores")
    dataset.save()
    fhi.compute_hardness(dataset, "ground_truth", "scores", progress=False, **tiny)
    assert "scores" in groups(dataset)["mine"]
    assert "scores" not in groups(dataset)["HoneyImage"]

    fhi.delete_run(dataset, "honey")
    fhi.delete_run(dataset, "scores")
    assert groups(dataset) == {
        "mine": ["hardness", "ground_truth"],
        "empty": [],
    }


def test_a_marking_saves_the_workspace(make_dataset: Any, mark: Any) -> None:
    dataset = make_dataset(30, hardness=True)
    mark(dataset)
    assert dataset.list_workspaces() == ["HoneyImage"]
    space = dataset.load_workspace("HoneyImage")
    panels = [panel.type for child in space.children for panel in child.children]
    assert panels == ["Samples", "protect_panel", "verification_panel"]
    assert fhi.save_workspace(dataset) is True
    mark(dataset, "second")
    assert dataset.list_workspaces() == ["HoneyImage"]


def test_nobodys_workspace_is_overwritten(fo: Any, make_dataset: Any, mark: Any) -> None:
    dataset = make_dataset(30, hardness=True)
    mine = fo.Space(children=[fo.Panel(type="Samples", pinned=True)])
    dataset.save_workspace("HoneyImage", mine, description="mine")

    assert fhi.save_workspace(dataset) is False
    mark(dataset)
    assert dataset.load_workspace("HoneyImage") == mine
    assert dataset.get_workspace_info("HoneyImage")["description"] == "mine"


@pytest.mark.parametrize("description", [None, "The HoneyImage panels beside the grid"])
def test_one_that_the_user_changed_stays(fo: Any, make_dataset: Any, description: Any) -> None:
    dataset = make_dataset(30, hardness=True)
    fhi.save_workspace(dataset)
    changed = fo.Space(children=[fo.Panel(type="Samples", pinned=True)])
    dataset.save_workspace("HoneyImage", changed, description=description, overwrite=True)
    assert fhi.save_workspace(dataset) is (description is not None)
    assert dataset.load_workspace("HoneyImage") == changed
