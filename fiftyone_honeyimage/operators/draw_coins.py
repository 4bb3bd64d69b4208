"""Draw coins: finishes a marking that waits for its public round."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from .. import draw_coins as run
from . import calls, questions, results
from .form_errors import block, errors_on, reject
from .form_parts import dropdown, form


class DrawCoins(foo.Operator):
    """The form and the run of :func:`fiftyone_honeyimage.draw_coins`."""

    @property
    def config(self) -> foo.OperatorConfig:
        return calls.operator_config(
            "draw_coins",
            "Draw coins",
            "To finish a marking that waits for its public round, from the internet or from a pasted answer",
            risk=types.RiskLevel.MEDIUM,
            view_target=False,
        )

    def __call__(
        self, samples: fo.core.collections.SampleCollection, *args: Any, **kwargs: Any
    ) -> Any:
        """Executes this operator from Python.

        Args:
            samples, args, kwargs: see :func:`fiftyone_honeyimage.draw_coins` and :func:`.calls.call_like`
        """
        return calls.call_like(run, self, samples, *args, **kwargs)

    def resolve_input(self, ctx: Any) -> types.Property:
        return form(ctx, _fill, "Draw HoneyImage coins", "Draw")

    def resolve_run_name(self, ctx: Any) -> str:
        return f"Coins of '{ctx.params.get('honey_key')}'"

    def execute(self, ctx: Any) -> dict[str, Any]:
        marking = run(ctx.dataset, progress=calls.progress(ctx), **calls.given(ctx, run))
        return {"honey_key": marking.honey_key, "commitment": marking.commitment}

    def resolve_output(self, ctx: Any) -> types.Property | None:
        return results.shown(ctx, _drawn)


def _drawn(result: dict[str, Any]) -> types.Property:
    text = (
        f"The coins of `{result['honey_key']}` are drawn, from the public round that its commitment names. "
        "**Next:** run *Export release*."
    )
    return results.output(text, "The marking is finished")


def _fill(ctx: Any, inputs: types.Object) -> None:
    if not questions.has_dataset(ctx, inputs):
        return
    from ..core.ledger.beacon import now
    from ..core.ledger.relays import RELAYS, clock, read_round
    from ..core.limits import shown
    from ..dataset.marking.marking import load_marking

    waiting = questions.waiting_markings(ctx.dataset)
    if not waiting:
        block(
            inputs,
            "No marking waits for its coins",
            "Only markings that were generated with coins from a public round do, until the round is out.",
        )
        return
    prop = dropdown(
        inputs, "honey_key", waiting, required=True, default=waiting[0], label="Marking"
    )
    key = ctx.params.get("honey_key", waiting[0])
    if key not in waiting:
        reject(prop, f"No marking {shown(key)} waits for its coins; choose {', '.join(waiting)}")
        return
    beacon = load_marking(ctx.dataset, key).load_ledger().beacon
    assert beacon is not None
    if now() < beacon.coins_at:
        block(
            inputs,
            f"The coins come at {clock(beacon.coins_at)}",
            "Publish the commitment before then. A run that waits for them goes on by itself; else open this form again.",
        )
        return
    inputs.md(
        f"Round {beacon.round:,} of {beacon.chain.name} is out since {clock(beacon.coins_at)}.",
        name="round_out",
    )
    prop = inputs.str(
        "round_file",
        label="The round, if this machine has no internet",
        description=f"What {RELAYS[0]}/{beacon.chain.hash}/public/{beacon.round} answers elsewhere: paste it, or name a "
        "file with it. Empty: it is fetched",
    )
    if ctx.params.get("round_file"):
        with errors_on(prop):
            read_round(ctx.params["round_file"], beacon.chain, beacon.round)
