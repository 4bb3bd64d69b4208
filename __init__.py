"""The FiftyOne plugin @honeyimage/ownership.

FiftyOne imports this file whenever it lists plugins, so everything is imported inside
:func:`register`, relative to this folder: the plugin works from any folder and any name.
"""

from __future__ import annotations

from typing import Any


def register(plugin: Any) -> None:
    """Registers the operators and panels.

    Args:
        plugin: the ``fiftyone.plugins.context.PluginContext`` that FiftyOne hands in
    """
    from .fiftyone_honeyimage.operators import OPERATORS
    from .fiftyone_honeyimage.panels import PANELS

    for operator in (*OPERATORS, *PANELS):
        plugin.register(operator)
