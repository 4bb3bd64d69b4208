"""What all plots of the panels look like, as Plotly takes it."""

from __future__ import annotations

from typing import Any

Trace = dict[str, Any]

#: What a plot is about, and what it is compared with
ORANGE, GREY = "#ffb020", "#7a8794"

#: A plot shows the theme's background, and does not cover the words below it
TRANSPARENT = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}

#: A legend in one line above the plot
LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
