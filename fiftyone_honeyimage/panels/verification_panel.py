"""The verification panel: a verdict first, then what it rests on.

One instance serves everyone, so nothing is kept on ``self``: the panel's state holds the key of the
verification that is shown, and everything else is read from the dataset on every event. A run that
was deleted meanwhile is noticed by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone.operators.categories import Categories

from ..core.errors import HoneyImageError
from . import pending
from . import verification_figures as figures

if TYPE_CHECKING:
    from ..dataset.verification import Verification

_HELP = """
Shows whether a suspect model was trained on a release of this dataset.

Each point is a pair of twins: two HoneyImages of which a secret coin released one. A model that
never saw the release cannot know which, so its losses on both are alike; a model that trained on it
has the lower loss on the released one. Click a point to see the images of its pair.
"""

#: The protection panel waits for the others
_AWAITED = ("verify_model",)


class VerificationPanel(foo.Panel):
    """Verdicts on suspect models."""

    @property
    def config(self) -> foo.PanelConfig:
        return foo.PanelConfig(
            name="verification_panel",
            label="HoneyImage verification",
            icon="fingerprint",
            help_markdown=_HELP,
            category=Categories.ANALYZE,
        )

    def on_load(self, ctx: Any) -> None:
        if ctx.panel.get_state("verify_key") is None:
            _choose_newest(ctx)

    def on_change_dataset(self, ctx: Any) -> None:
        _choose_newest(ctx)

    def on_choose(self, ctx: Any) -> None:
        """Another verification was chosen."""
        ctx.panel.set_state("verify_key", ctx.params.get("value"))

    def on_click_point(self, ctx: Any) -> None:
        """A pair, or a category of pairs, was clicked."""
        _show_pairs(ctx, [ctx.params.get("id")])

    def on_select_points(self, ctx: Any) -> None:
        """Several pairs were selected."""
        _show_pairs(ctx, [point.get("id") for point in ctx.params.get("data") or []])

    def show_marking(self, ctx: Any) -> None:
        """Shows every HoneyImage of the marking in the grid."""
        verification = _load(ctx)
        if verification is not None and ctx.dataset.has_saved_view(verification.honey_key):
            ctx.ops.set_view(view=ctx.dataset.load_saved_view(verification.honey_key))

    def verify(self, ctx: Any) -> None:
        """Asks for a model to verify."""
        self._prompt(ctx, "verify_model")

    def compute_hardness(self, ctx: Any) -> None:
        """The first step towards a marking."""
        self._prompt(ctx, "compute_hardness")

    def generate_honeyimages(self, ctx: Any) -> None:
        """The second step."""
        self._prompt(ctx, "generate_honeyimages")

    def on_run(self, ctx: Any) -> None:
        """A prompted operator was run or scheduled."""
        result = ctx.params.get("result") or {}
        if pending.was_scheduled(result):
            ctx.ops.notify("Scheduled: the panel shows how far it is")
            return
        if result.get("verify_key") in _keys(ctx):
            ctx.panel.set_state("verify_key", result["verify_key"])
        else:
            _choose_newest(ctx)

    def refresh(self, ctx: Any) -> None:
        """Looks for verifications that were finished meanwhile."""
        _choose_newest(ctx)

    def on_tick(self, ctx: Any) -> None:
        """Time to look how far a pending run is: ``render`` does."""

    def on_dismiss(self, ctx: Any) -> None:
        """A failure was read."""
        pending.dismiss(ctx)

    def on_retry(self, ctx: Any) -> None:
        """A failed run is to be run again."""
        pending.retry(ctx, on_success=self.on_run)

    def render(self, ctx: Any) -> types.Property:
        panel = types.Object()
        self._pending(ctx, panel)
        problem = _problem(ctx)
        if problem is not None:
            self._empty(panel, *problem)
        else:
            self._verification(ctx, panel)
        view = types.GridView(orientation="vertical", align_x="left", align_y="top", gap=2, pad=2)
        return types.Property(panel, view=view)

    def _pending(self, ctx: Any, panel: types.Object) -> None:
        """Shows the runs that are waited for, and opens the panel on one that has succeeded."""
        finished = pending.finished_since(ctx, _AWAITED)
        pending.notify(ctx, finished)
        if any(not run.failed for run in finished):
            from ..dataset.runs import catch_up

            # Another process has written to the dataset, which the App does not know yet
            catch_up(ctx.dataset)
            ctx.trigger("reload_dataset")
        for run in finished:
            if run.result.get("verify_key") in _keys(ctx):
                ctx.panel.set_state("verify_key", run.result["verify_key"])
        pending.show_pending(
            ctx,
            panel,
            _AWAITED,
            on_tick=self.on_tick,
            on_dismiss=self.on_dismiss,
            on_retry=self.on_retry,
        )

    def _prompt(self, ctx: Any, name: str) -> None:
        ctx.prompt(f"{self.plugin_name}/{name}", on_success=self.on_run)

    def _empty(self, panel: types.Object, label: str, text: str, steps: tuple[str, ...]) -> None:
        """Says why there is nothing to show, and how to go on."""
        panel.md(f"**{label}**\n\n{text}", name="empty")
        buttons = {
            "compute_hardness": ("Compute hardness…", self.compute_hardness),
            "generate_honeyimages": ("Generate HoneyImages…", self.generate_honeyimages),
            "verify": ("Verify a model…", self.verify),
        }
        row = panel.h_stack("steps", gap=2, align_x="left")
        for number, step in enumerate(steps):
            label, handler = buttons[step]
            row.btn(
                step,
                label=label,
                on_click=handler,
                variant="contained" if number == 0 else "outlined",
            )
        row.btn("refresh", label="Refresh", on_click=self.refresh, variant="outlined")

    def _verification(self, ctx: Any, panel: types.Object) -> None:
        keys = _keys(ctx)
        chosen = ctx.panel.get_state("verify_key")
        view = types.DropdownView(label="Verification")
        for key in reversed(keys):
            view.add_choice(key, label=key)
        panel.enum(
            "verify_key", view.values(), default=keys[-1], view=view, on_change=self.on_choose
        )
        row = panel.h_stack("actions", gap=2, align_x="left")
        row.btn("verify", label="Verify a model…", on_click=self.verify, variant="contained")
        row.btn(
            "marking", label="Show all HoneyImages", on_click=self.show_marking, variant="outlined"
        )
        row.btn("refresh", label="Refresh", on_click=self.refresh, variant="outlined")

        if chosen not in keys:
            panel.md(
                f"**Verification '{chosen}' is no longer there.** It was deleted or renamed. "
                "Choose another one above.",
                name="gone",
            )
            return
        verification = _load(ctx)
        if verification is None:
            panel.md(
                "**The result cannot be read.** The run was interrupted, or written by a version "
                "that this one does not know. The ledger still counts it. Delete the run with "
                "*Delete HoneyImage run*.",
                name="unreadable",
            )
            return
        self._verdict(panel, verification)
        self._plots(panel, verification)
        self._details(panel, verification)

    def _verdict(self, panel: types.Object, verification: Verification) -> None:
        from ..operators.forms import table

        verdict = verification.verdict
        headline, severity = figures.VERDICTS[verdict.verdict]
        panel.view(
            "verdict",
            types.AlertView(
                label=f"**{headline}:** {verification.suspect_name}",
                description=verdict.statement,
                severity=severity,
            ),
        )
        panel.md(table(("Figures", ""), figures.summary_rows(verdict)), name="figures")

    def _plots(self, panel: types.Object, verification: Verification) -> None:
        verdict = verification.verdict
        if figures.usable(verification.pairs):
            if verdict.kind == "scores":
                label = "Loss on released against withheld twins"
                data = figures.loss_traces(verification.pairs)
                layout = figures.loss_layout(verification.pairs)
            else:
                label = "Accuracy on released and withheld twins"
                data = figures.accuracy_traces(verification.pairs)
                layout = figures.accuracy_layout()
            panel.plot(
                "pairs",
                label=label,
                data=data,
                layout=layout,
                height="360px",
                config={"scrollZoom": False},
                on_click=self.on_click_point,
                on_selected=self.on_select_points,
            )
        if verdict.e_values:
            panel.plot(
                "e_values",
                label="Evidence, pair by pair",
                data=figures.e_value_traces(verdict),
                layout=figures.e_value_layout(),
                height="280px",
                config={"scrollZoom": False},
            )

    def _details(self, panel: types.Object, verification: Verification) -> None:
        from ..operators.forms import table

        paper = figures.paper_markdown(verification.verdict.paper)
        if paper is not None:
            panel.view(
                "paper",
                types.AlertView(label="The paper's figures", description=paper, severity="warning"),
            )
        panel.md(
            table(("Provenance", ""), figures.provenance_rows(verification)), name="provenance"
        )


def _problem(ctx: Any) -> tuple[str, str, tuple[str, ...]] | None:
    """Why there is no verification to show: a label, what to do, and the steps to offer."""
    if ctx.dataset is None:
        return "No dataset is open", "Open a dataset first.", ()
    from ..dataset.runs import HARDNESS, MARKING, list_keys
    from ..dataset.samples import check_collection

    try:
        check_collection(ctx.dataset)
    except HoneyImageError as error:
        text = str(error)
        return "This dataset cannot be verified", f"{text[:1].upper()}{text[1:]}.", ()
    if _keys(ctx):
        return None
    if list_keys(ctx.dataset, MARKING):
        return (
            "No model has been verified yet",
            "This dataset is marked. When you suspect a model of having been trained on a release "
            "of it, verify it: a model file or a field of its predictions is enough.",
            ("verify",),
        )
    steps = ("compute_hardness", "generate_honeyimages")
    if list_keys(ctx.dataset, HARDNESS):
        steps = ("generate_honeyimages", "compute_hardness")
    return (
        "This dataset is not marked yet",
        "Compute hardness, generate HoneyImages and export a protected release. A model that was "
        "trained on the release can then be told from one that was not.",
        steps,
    )


def _keys(ctx: Any) -> list[str]:
    """Every verification of the dataset, oldest first."""
    from ..dataset.runs import VERIFICATION, list_keys

    return [] if ctx.dataset is None else list_keys(ctx.dataset, VERIFICATION)


def _choose_newest(ctx: Any) -> None:
    keys = _keys(ctx)
    ctx.panel.set_state("verify_key", keys[-1] if keys else None)


def _load(ctx: Any) -> Verification | None:
    """The chosen verification, or None if it cannot be loaded."""
    from ..dataset.verification import load_verification

    try:
        return load_verification(ctx.dataset, ctx.panel.get_state("verify_key"))
    except HoneyImageError:
        return None


def _show_pairs(ctx: Any, points: list[Any]) -> None:
    """Shows the images of some pairs in the grid: originals and HoneyImages, side by side.

    Which twin was released is not told: both are found by the number of their pair.
    """
    verification = _load(ctx)
    if verification is None:
        return
    numbers = {
        number
        for point in points
        if point is not None
        for number in figures.pairs_of(str(point), verification.pairs)
    }
    key = verification.honey_key
    if not numbers or not ctx.dataset.has_field(key):
        return
    from fiftyone import ViewField as F

    view = ctx.dataset.match(F(f"{key}.pair").is_in(sorted(numbers)))
    ctx.ops.set_view(
        view=view.sort_by([(f"{key}.pair", 1), (f"{key}.source", 1), (f"{key}.role", -1)])
    )
