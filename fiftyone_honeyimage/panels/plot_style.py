"""What all plots of the panels look like, as Plotly takes it."""

from __future__ import annotations

from typing import Any

Trace = dict[str, Any]

#: What a plot is about, and what it is compared with
ORANGE, GREY = "#ffb020", "#7a8794"

#: A plot shows the theme's background, and does not cover the words below it
TRANSPARENT = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}

#: A legend above the plot. From the top of the figure downwards: Plotly places one that ends at the plot before it knows
#: how high it is, and several lines then lie on the bars
LEGEND = {"orientation": "h", "x": 0, "yref": "container", "y": 1, "yanchor": "top"}
