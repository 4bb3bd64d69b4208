"""The sections of the verification panel: the verdict, its pairs, the loss gap, all suspects, the record.

A section gets the panel whose methods are called when something is pressed, and keeps nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fiftyone.operators.types as types

from ..app.layout import alert, button, button_row, narrow_table, show_plot
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
    headline = f"**{headline}:** {verification.suspect_name}"
    alert(panel, "verdict", headline, verdict.statement, severity)
    for number, notice in enumerate(data.notices(ctx.dataset, verification, state)):
        alert(panel, f"notice_{number}", notice.label, notice.text, notice.severity)
    config = data.marking_config(ctx.dataset, verification)
    # What the publication would have decided stands beside what decides
    decisions = figures.decisions_markdown(verdict.paper)
    if decisions is not None:
        panel.md(decisions, name="decisions")
    if verification.pairs:
        panel.md(data.exactness(config, verification), name="exactness")
    panel.md(table(("Figures", ""), figures.summary_rows(verdict, config)), name="figures")
    note = from_config(verification.config)
    if note.text:
        panel.md(f"**Note:** {note.text}", name="note_shown")
    _plots(panel, on, verification)


def _plots(panel: types.Object, on: VerificationPanel, verification: Verification) -> None:
    verdict, pairs = verification.verdict, verification.pairs
    unit = loss_unit(verification.config)
    # Points and bars stand for pairs
    handlers = {"on_click": on.on_click_point, "on_selected": on.on_select_points}
    if not pairs:
        panel.md(_NO_PAIRS, name="no_pairs")
    elif not figures.usable(pairs):
        panel.md(
            "**Every pair had a failed query**, so there is nothing to plot. Make sure that the "
            "suspect answers, then verify it again.",
            name="no_answers",
        )
    elif verdict.kind == "scores":
        label = "Loss on released against withheld twins"
        traces, layout = figures.loss_traces(pairs), figures.loss_layout(pairs, unit)
        show_plot(panel, "pairs", label, traces, layout, "360px", **handlers)
        label = "How the losses are distributed"
        traces = loss_histograms.histogram_traces(pairs)
        layout = loss_histograms.histogram_layout(pairs, unit)
        show_plot(panel, "histogram", label, traces, layout, "280px", **handlers)
    else:
        label = "Accuracy on released and withheld twins"
        traces, layout = figures.accuracy_traces(pairs), figures.accuracy_layout()
        show_plot(panel, "pairs", label, traces, layout, "360px", **handlers)
    if verdict.e_values:
        traces, layout = figures.e_value_traces(verdict), figures.e_value_layout()
        show_plot(panel, "e_values", "Evidence, pair by pair", traces, layout, "280px")


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
            f"The suspect's loss, {loss_unit(verification.config)}, and whether it told the class that it was asked about: "
            "✓, or of several images the share. Difference: loss on the withheld less loss on the released twin.",
            name="pair_legend",
        )
    row = button_row(panel, "pair_actions")
    for name, label, target in (("previous", "Previous", page - 1), ("next", "Next", page + 1)):
        there = 0 <= target < pages
        button(row, name, label, on.on_page, params={"page": target}, disabled=not there)
    on.show_marking_button(ctx, row, "marking", verification.honey_key)
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
        why = (
            "The suspect gave labels alone, losses of its own, or no answer; the gap needs its logits or probabilities. "
            "The verdict does not need them."
        )
        if state.ledger is not None and state.ledger.asks_probes:
            why = (
                "This marking's method asks about other images with a secret in them, not about the HoneyImages. "
                "The published decision of such methods stands beside the verdict."
            )
        panel.md(f"**There is no loss gap.** {why}", name="no_gap")
        return
    alert(panel, "paper", "The paper's figures never decide", paper)
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
        "Loss gap: HoneyImages against random images",
        loss_histograms.gap_traces(honey, gaps),
        loss_histograms.gap_layout(honey, gaps),
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
        "holm": "p if all are judged together (Holm)",
        "pairs": "Pairs",
        "effect": "Effect (95 %)",
    }
    view = _table(columns, on.on_open_suspect, "Open this verification", "arrow_forward")
    ctx.panel.set_data("suspects", comparison_figures.table_rows(suspects))
    panel.list("suspects", types.Object(), view=view)
    show_plot(
        panel,
        "evidence",
        "Evidence: beyond the line α a model is derived",
        comparison_figures.evidence_traces(suspects),
        comparison_figures.evidence_layout(suspects),
        comparison_figures.height(suspects),
        on_click=on.on_click_suspect,
    )
    for kind in comparison_figures.effect_kinds(suspects):
        show_plot(
            panel,
            f"effects_{kind}",
            "Effect with its 95 % interval",
            comparison_figures.effect_traces(suspects, kind),
            comparison_figures.effect_layout(kind),
            comparison_figures.height(comparison_figures.with_effect(suspects, kind)),
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
    row = button_row(panel, "run_actions")
    button(row, "save_note", "Save note", on.save_note, main=True)
    button(row, "rename", "Rename…", on.rename)
    button(row, "delete", "Delete…", on.delete)
    panel.md(table(("Provenance", ""), figures.provenance_rows(verification)), name="provenance")
