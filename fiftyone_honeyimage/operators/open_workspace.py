"""Open workspace: both panels beside the grid."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from .. import save_workspace as run
from . import calls, placements


class OpenWorkspace(foo.Operator):
    """Opens the workspace that :func:`fiftyone_honeyimage.save_workspace` saves."""

    @property
    def config(self) -> foo.OperatorConfig:
        return calls.operator_config(
            "open_workspace",
            "Open workspace",
            "Shows the HoneyImage panels beside the grid, and saves this layout as a workspace",
            risk=types.RiskLevel.LOW,
            asks=False,
            view_target=False,
        )

    def __call__(self, samples: fo.core.collections.SampleCollection) -> Any:
        """Executes this operator from Python."""
        return calls.call(self, samples, {})

    def resolve_placement(self, ctx: Any) -> types.Placement:
        return placements.placement("Open workspace", "workspace", None, asks=False)

    def execute(self, ctx: Any) -> dict[str, Any]:
        from ..dataset.workspace import NAME, workspace

        saved = run(ctx.dataset)
        if saved:
            ctx.ops.set_spaces(name=NAME)
        else:
            ctx.ops.set_spaces(spaces=workspace())
        return {"saved": saved}
