"""Measures how fast this machine trains a proxy, for the forms that say how long a run will take."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from . import calls


class EstimateTime(foo.Operator):
    """Runs beside a form while it is open; not listed."""

    @property
    def config(self) -> foo.OperatorConfig:
        return calls.operator_config(
            "estimate_time",
            "Estimate training time",
            "Measures how fast this machine trains a proxy model",
            risk=types.RiskLevel.LOW,
            unlisted=True,
        )

    def execute(self, ctx: Any) -> dict[str, Any]:
        from ..core.training_time import training_seconds

        names = ("proxy", "num_classes", "input_size", "batch_size", "precision", "device")
        request = {name: ctx.params.get(name) for name in names}
        return {"request": request, "seconds": training_seconds(**request)}
