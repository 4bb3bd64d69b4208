"""The sections of the verification panel: the verdict, its pairs, the loss gap, all suspects, the record.

A section gets the panel whose methods are called when something is pressed, and keeps nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fiftyone.operators.types as types

from ..app.layout import narrow_table, show_plot
from ..app.words import VERDICTS, table
from ..core.ledger.protocol import loss_unit
from . import comparison_figures, loss_histograms
from . import verification_data as data
from . import verification_figures as figures

if TYPE_CHECKING:
    from ..dataset.verification.verification import Verification
    from .verification_panel import VerificationPanel

_NO_PAIRS = (
    "**This marking has no pairs of twins**, so no verdict but *inconclusive* can be given. Generate "
    "HoneyImages again with pairs (16 by default), and release that marking."
)


def current_page(ctx: Any, verification: Verification) -> int:
    """The page of the table of pairs that is shown, within what there is."""
    page = int(ctx.panel.get_state("page") or 0)
    return min(max(page, 0), figures.num_pages(verification.pairs) - 1)


def _table(columns: dict[str, str], on_open: Any, tooltip: str, icon: str) -> types.TableView:
    """A table of which a click on a row, or on its button, opens it."""
    view = narrow_table(columns, on_click_row=on_open, actions_label="Open")
    view.add_row_action("open", on_click=on_open, icon=icon, tooltip=tooltip)
    return view


def show_verdict(
    ctx: Any,
    panel: types.Object,
    on: VerificationPanel,
    verification: Verification,
    state: data.LedgerState,
) -> None:
    from ..dataset.management.notes import from_config

    verdict = verification.verdict
    headline, severity = VERDICTS[verdict.verdict]
    panel.view(
        "verdict",
        types.AlertView(
            label=f"**{headline}:** {verification.suspect_name}",
            description=verdict.statement,
            severity=severity,
        ),
    )
    for number, notice in enumerate(data.notices(ctx.dataset, verification, state)):
        panel.view(
            f"notice_{number}",
            types.AlertView(label=notice.label, description=notice.text, severity=notice.severity),
        )
    config = data.marking_config(ctx.dataset, verification)
    panel.md(table(("Figures", ""), figures.summary_rows(verdict, config)), name="figures")
    if verification.pairs:
        panel.md(data.exactness(config, verification), name="exactness")
    decisions = figures.decisions_markdown(verdict.paper)
    if decisions is not None:
        panel.md(decisions, name="decisions")
    note = from_config(verification.config)
    if note.text:
        panel.md(f"**Note:** {note.text}", name="note_shown")
    _plots(panel, on, verification)


def _plots(panel: types.Object, on: VerificationPanel, verification: Verification) -> None:
    unit = loss_unit(verification.config)
    verdict = verification.verdict
    usable = figures.usable(verification.pairs)
    if not verification.pairs:
        panel.md(_NO_PAIRS, name="no_pairs")
    elif not usable:
        panel.md(
            "**Every pair had a failed query**, so there is nothing to plot. Make sure that the "
            "suspect answers, then verify it again.",
            name="no_answers",
        )
    elif verdict.kind == "scores":
        _plot(
            panel,
            on,
            "pairs",
            "Loss on released against withheld twins",
            figures.loss_traces(verification.pairs),
            figures.loss_layout(verification.pairs, unit),
        )
        _plot(
            panel,
            on,
            "histogram",
            "How the losses are distributed",
            loss_histograms.histogram_traces(verification.pairs),
            loss_histograms.histogram_layout(verification.pairs, unit),
            height="280px",
        )
    else:
        _plot(
            panel,
            on,
            "pairs",
            "Accuracy on released and withheld twins",
            figures.accuracy_traces(verification.pairs),
            figures.accuracy_layout(),
        )
    if verdict.e_values:
        show_plot(
            panel,
            "e_values",
            label="Evidence, pair by pair",
            data=figures.e_value_traces(verdict),
            layout=figures.e_value_layout(),
            height="280px",
        )


def _plot(
    panel: types.Object,
    on: VerificationPanel,
    name: str,
    label: str,
    traces: list[figures.Trace],
    layout: dict[str, Any],
    height: str = "360px",
) -> None:
    """A plot whose points and bars stand for pairs."""
    show_plot(
        panel,
        name,
        label=label,
        data=traces,
        layout=layout,
        height=height,
        on_click=on.on_click_point,
        on_selected=on.on_select_points,
    )


def show_pairs(
    ctx: Any, panel: types.Object, on: VerificationPanel, verification: Verification
) -> None:
    panel.md(figures.pairs_text(verification.verdict), name="pairs_text")
    if not verification.pairs:
        panel.md(_NO_PAIRS, name="no_pairs")
        return
    page, pages = current_page(ctx, verification), figures.num_pages(verification.pairs)
    columns = {"pair": "Pair", "released": "Released", "withheld": "Withheld"}
    if verification.verdict.kind == "scores":
        columns["difference"] = "Difference"
    view = _table(columns, on.on_open_pair, "Show images", "grid_view")
    ctx.panel.set_data("pair_table", figures.pair_rows(verification.pairs, page))
    panel.list("pair_table", types.Object(), view=view)
    if verification.verdict.kind == "scores":
        panel.md(
            f"The suspect's loss, {loss_unit(verification.config)}, ✓ where its answer was right. Difference: loss on "
            "the withheld less loss on the released twin.",
            name="pair_legend",
        )
    row = panel.h_stack("pair_actions", gap=1, align_x="left")
    row.btn(
        "previous",
        label="Previous",
        on_click=on.on_page,
        params={"page": page - 1},
        disabled=page == 0,
        variant="outlined",
    )
    row.btn(
        "next",
        label="Next",
        on_click=on.on_page,
        params={"page": page + 1},
        disabled=page + 1 >= pages,
        variant="outlined",
    )
    has_view = ctx.dataset.has_saved_view(verification.honey_key)
    row.btn(
        "marking",
        label="Show all HoneyImages",
        on_click=on.show_marking,
        variant="outlined",
        disabled=not has_view,
        title=None if has_view else f"The saved view '{verification.honey_key}' was deleted",
    )
    panel.md(f"Page {page + 1} of {pages}", name="page_text")


def show_gap(
    ctx: Any,
    panel: types.Object,
    on: VerificationPanel,
    verification: Verification,
    state: data.LedgerState,
) -> None:
    """The published method's figures, with their warning first."""
    paper = figures.paper_markdown(verification.verdict.paper)
    if not verification.pairs:
        panel.md(_NO_PAIRS, name="no_pairs")
        return
    if paper is None:
        panel.md(
            "**There is no loss gap.** The suspect gave labels alone, losses of its own, or no answer; the gap "
            "needs its logits or probabilities. The verdict does not need them.",
            name="no_gap",
        )
        return
    panel.view(
        "paper",
        types.AlertView(
            label="The paper's figures never decide", description=paper, severity="warning"
        ),
    )
    _, honey = data.honey_gaps(ctx.dataset, verification, state.ledger)
    random = verification.random_images
    if not honey:
        panel.md(
            "The plot of the gaps needs the ledger and the marking's field; one of them is not "
            "there.",
            name="no_gap_plot",
        )
        return
    gaps = random.get("gaps") or []
    show_plot(
        panel,
        "gaps",
        label="Loss gap: HoneyImages against random images",
        data=loss_histograms.gap_traces(honey, gaps),
        layout=loss_histograms.gap_layout(honey, gaps),
        height="320px",
        on_click=on.on_click_gap,
    )
    panel.md(figures.random_text(random), name="random_text")


def show_comparison(
    ctx: Any,
    panel: types.Object,
    on: VerificationPanel,
    verification: Verification,
    state: data.LedgerState,
) -> None:
    suspects = data.family(ctx.dataset, verification.honey_key, state.ledger)
    panel.md(
        f"All verifications with marking `{verification.honey_key}`, in their order.",
        name="compare_title",
    )
    columns = {
        "suspect": "Suspect",
        "verdict": "Verdict",
        "p": "p",
        "level": "Level",
        "holm": "p, Holm",
        "pairs": "Pairs",
        "effect": "Effect (95 %)",
    }
    view = _table(columns, on.on_open_suspect, "Open this verification", "arrow_forward")
    ctx.panel.set_data("suspects", comparison_figures.table_rows(suspects))
    panel.list("suspects", types.Object(), view=view)
    show_plot(
        panel,
        "evidence",
        label="Evidence: beyond the line α a model is derived",
        data=comparison_figures.evidence_traces(suspects),
        layout=comparison_figures.evidence_layout(suspects),
        height=comparison_figures.height(suspects),
        on_click=on.on_click_suspect,
    )
    for kind in comparison_figures.effect_kinds(suspects):
        show_plot(
            panel,
            f"effects_{kind}",
            label="Effect with its 95 % interval",
            data=comparison_figures.effect_traces(suspects, kind),
            layout=comparison_figures.effect_layout(kind),
            height=comparison_figures.height(comparison_figures.with_effect(suspects, kind)),
            on_click=on.on_click_suspect,
        )
    panel.md(comparison_figures.explanation(suspects, state.ledger is not None), name="explanation")


def show_record(panel: types.Object, on: VerificationPanel, verification: Verification) -> None:
    from ..dataset.management.notes import from_config

    note = from_config(verification.config)
    panel.str(
        "note",
        default=note.text,
        label="Note",
        description="Kept with this verification on the dataset, in no release and no evidence",
        view=types.TextFieldView(multiline=True, rows=4),
    )
    if note.text and note.time is not None:
        who = f" by {note.user}" if note.user else ""
        panel.md(f"Last saved{who}, {note.time:%Y-%m-%d %H:%M} UTC", name="note_time")
    row = panel.h_stack("run_actions", gap=1, align_x="left")
    row.btn("save_note", label="Save note", on_click=on.save_note, variant="contained")
    row.btn("rename", label="Rename…", on_click=on.rename, variant="outlined")
    row.btn("delete", label="Delete…", on_click=on.delete, variant="outlined")
    panel.md(table(("Provenance", ""), figures.provenance_rows(verification)), name="provenance")
