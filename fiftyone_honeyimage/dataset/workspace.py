"""What the App shows of this plugin by itself: a group in the sidebar, and a saved workspace."""

from __future__ import annotations

from collections.abc import Sequence

import fiftyone as fo
from fiftyone.core.odm import SidebarGroupDocument

from .runs import catch_up, root_dataset

#: The sidebar's group, and the workspace.
NAME = "HoneyImage"

_DESCRIPTION = "The HoneyImage panels beside the grid"


def workspace() -> fo.Space:
    """The grid on the left; on the right the panel that protects and the one that verifies."""
    return beside_grid("protect_panel", "verification_panel")


def beside_grid(*names: str) -> fo.Space:
    """The grid on the left; on the right panels as tabs, of which the first is shown."""
    panels = [fo.Panel(type=name) for name in names]
    samples = fo.Panel(type="Samples", pinned=True)
    return fo.Space(
        children=[
            fo.Space(children=[samples], active_child=samples.component_id),
            fo.Space(children=panels, active_child=panels[0].component_id),
        ],
        orientation="horizontal",
        sizes=[0.4, 0.6],
    )


def save_workspace(samples: fo.core.collections.SampleCollection) -> bool:
    """See :func:`fiftyone_honeyimage.save_workspace`."""
    dataset = root_dataset(samples)
    catch_up(dataset)
    if dataset.has_workspace(NAME):
        return dataset.get_workspace_info(NAME)["description"] == _DESCRIPTION
    dataset.save_workspace(NAME, workspace(), description=_DESCRIPTION)
    return True


def group_in_sidebar(dataset: fo.Dataset, paths: Sequence[str]) -> None:
    """Puts new fields into the sidebar's own group; the user's groups keep what they hold."""
    groups = dataset.app_config.sidebar_groups
    if groups is None:
        groups = fo.DatasetAppConfig.default_sidebar_groups(dataset)
    own = next((group for group in groups if group.name == NAME), None)
    if own is None:
        own = SidebarGroupDocument(name=NAME, paths=[])
        names = [group.name for group in groups]
        groups.insert(names.index("labels") + 1 if "labels" in names else len(groups), own)
    for group in list(groups):
        if group is own:
            continue
        moved = [path for path in group.paths if path in paths]
        group.paths = [path for path in group.paths if path not in moved]
        if moved and not group.paths and group.name in {path.split(".")[0] for path in moved}:
            groups.remove(group)  # FiftyOne's own for the parts of an embedded field
    own.paths = [*own.paths, *(path for path in paths if path not in own.paths)]
    dataset.app_config.sidebar_groups = groups
    dataset.save()


def tidy_sidebar(dataset: fo.Dataset) -> None:
    """Removes the group if nothing is left in it, and all groups if they are FiftyOne's own again."""
    groups = dataset.app_config.sidebar_groups
    if groups is None:
        return
    left = [group for group in groups if group.name != NAME or group.paths]
    if len(left) == len(groups):
        return
    default = fo.DatasetAppConfig.default_sidebar_groups(dataset)
    dataset.app_config.sidebar_groups = None if left == default else left
    dataset.save()
