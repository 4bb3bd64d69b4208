"""The protection panel's section on releases: exported where, when, and whether they passed an audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import fiftyone.operators.types as types

from ..app.layout import alert, button, button_row, narrow_table
from . import release_figures as figures

if TYPE_CHECKING:
    from ..dataset.release.history import Release
    from .protect_panel import ProtectPanel


def show_releases(ctx: Any, panel: types.Object, on: ProtectPanel, run: Mapping[str, Any]) -> None:
    """Shows the releases of a marking."""
    panel.md("##### Releases", name="release_title")
    releases = newest_releases(ctx, run["key"])
    if not releases:
        panel.md(
            "**Nothing was released yet.** *Export release* writes the dataset with its HoneyImages in "
            "place of their originals. Publish or time-stamp the commitment above first.",
            name="no_release",
        )
        return
    urgent = figures.advice(releases)
    if urgent is not None:
        alert(panel, "release_advice", *urgent)
    table = narrow_table(dict(figures.COLUMNS))
    for row, release in enumerate(releases):
        table.add_tooltip(row, "release", figures.details(release))
    table.add_row_action(
        "audit", on.audit_row, label="Audit…", icon="policy", tooltip="Audit this release"
    )
    panel.list("releases", types.Object(), view=table)
    ctx.panel.set_data("releases", figures.rows(releases))
    panel.md(f"The newest: {figures.details(releases[0])}", name="release_details")
    row = button_row(panel, "release_actions")
    button(row, "audit_release", "Audit release…", on.audit_release)


def was_released(ctx: Any, honey_key: str) -> bool:
    """Whether a marking was ever released."""
    from ..dataset.release.history import has_releases

    return has_releases(ctx.dataset, honey_key)


def newest_releases(ctx: Any, honey_key: str) -> list[Release]:
    """The releases that are shown, newest first."""
    from ..dataset.release.history import list_releases

    return list_releases(ctx.dataset, honey_key, last=figures.MAX_RELEASES)[::-1]
