"""How panels are laid out, and where they open: as a tab beside this plugin's other panel, or else beside the grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import fiftyone as fo
import fiftyone.operators.types as types

_PANELS = ("protect_panel", "verification_panel")


def open_panel(ctx: Any, name: str, state: Mapping[str, Any] | None = None) -> None:
    """Opens a panel of this plugin, or turns to it if it is open.

    The App alone would put it between the grid and the other panel, where neither can be read.

    Args:
        ctx: the context of an event or an operator
        name: the panel's
        state (None): its state, if it has to be opened in a place of its own
    """
    spaces = ctx.spaces
    containers = [] if spaces is None else list(_containers(spaces))
    types_ = {child.type for container in containers for child in container.children}
    beside = [
        container
        for container in containers
        if any(child.type in _PANELS for child in container.children)
    ]
    if name in types_ or not beside:
        ctx.ops.open_panel(name, layout="horizontal", state=dict(state) if state else None)
        return
    panel = fo.Panel(type=name)
    beside[0].children.append(panel)
    beside[0].active_child = panel.component_id
    ctx.ops.set_spaces(spaces=spaces)


def as_page(contents: types.Object) -> types.Property:
    """A panel's contents from top to bottom, as wide as the panel and never wider."""
    view = types.GridView(
        orientation="vertical",
        align_x="left",
        align_y="top",
        gap=2,
        pad=2,
        # A plot that was drawn in a wider panel would keep the column as wide as it was
        componentsProps={"grid": {"sx": {"gridTemplateColumns": "minmax(0, 1fr)"}}},
    )
    return types.Property(contents, view=view)


def show_plot(
    panel: types.Object,
    name: str,
    label: str,
    traces: Sequence[Mapping[str, Any]],
    layout: Mapping[str, Any],
    height: str = "320px",
    **options: Any,
) -> None:
    """A plot that is as wide as the window allows, and lets the mouse wheel scroll the panel.

    Args:
        panel: where to show it
        name, label: of its property
        traces, layout: as Plotly takes them
        height ("320px"): of the plot
        options: of ``types.PlotlyView``
    """
    panel.plot(
        name,
        label=label,
        data=traces,
        layout=layout,
        height=height,
        config={"scrollZoom": False, "displayModeBar": False},  # its buttons would lie on legends
        componentsProps={"plotly": {"useResizeHandler": True}},
        **options,
    )


def button(
    row: types.Object, name: str, label: str, handler: Any, main: bool = False, **options: Any
) -> None:
    """A button; the main one of a row stands out.

    Args:
        row: where to show it
        name, label: of its property
        handler: the panel's method that is called when it is pressed
        main (False): whether it stands out
        options: of ``types.Button``
    """
    variant = "contained" if main else "outlined"
    row.btn(name, label=label, on_click=handler, variant=variant, **options)


def button_row(panel: types.Object, name: str, gap: int = 1) -> types.Object:
    """Where buttons stand side by side."""
    return panel.h_stack(name, gap=gap, align_x="left")


def alert(panel: types.Object, name: str, label: str, text: str, severity: str = "warning") -> None:
    """A coloured note."""
    panel.view(name, types.AlertView(label=label, description=text, severity=severity))


def narrow_table(columns: Mapping[str, str], **options: Any) -> types.TableView:
    """A table that fits into half a small screen.

    ``columns`` are named in the data → what stands above them; ``options`` are of ``types.TableView``.
    """
    cell = {"sx": {"fontSize": "0.75rem", "padding": "6px 5px"}}
    props = {
        "table": {"sx": {"minWidth": 0}},  # 650 pixels by default
        "tableHeadCell": cell,
        "tableBodyCell": cell,
    }
    view = types.TableView(componentsProps=props, **options)
    for name, label in columns.items():
        view.add_column(name, label=label)
    return view


def _containers(space: fo.Space) -> Iterator[fo.Space]:
    """The spaces that hold panels."""
    if any(isinstance(child, fo.Panel) for child in space.children):
        yield space
    for child in space.children:
        if isinstance(child, fo.Space):
            yield from _containers(child)
