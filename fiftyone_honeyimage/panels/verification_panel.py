"""The verification panel: a verdict first, then what it rests on.

One instance serves everyone, so nothing is kept on ``self``: the panel's state holds the key of the
verification, the section and the page that are shown, and the text of a note that is being written.
Everything else is read from the dataset on every event. A run that was deleted meanwhile is noticed by
itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone.operators.categories import Categories

from ..core.errors import HoneyImageError
from . import comparison_figures, loss_histograms, pending
from . import verification_data as data
from . import verification_figures as figures

if TYPE_CHECKING:
    from ..dataset.verification import Verification

_HELP = """
Shows whether a suspect model was trained on a release of this dataset.

Each point is a pair of twins: two HoneyImages of which a secret coin released one. A model that
never saw the release cannot know which, so its losses on both are alike; a model that trained on it
has the lower loss on the released one. Click a point, a bar or a row to see the images of its pair.

A verdict always comes with its p-value, its level α and the size of the effect with its interval.
"Not shown" is no acquittal.
"""

#: The protection panel waits for the others
_AWAITED = ("verify_model",)

#: Sections of a verification, as buttons
_SECTIONS = {
    "verdict": "Verdict",
    "pairs": "Pairs",
    "gap": "Loss gap",
    "compare": "Compare",
    "record": "Record",
}

_NO_PAIRS = (
    "**This marking has no pairs of twins**, so no verdict but *inconclusive* can be given. Generate "
    "HoneyImages again with pairs (16 by default), and release that marking."
)


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
        else:
            _choose(ctx, ctx.panel.get_state("verify_key"))

    def on_change_dataset(self, ctx: Any) -> None:
        _choose_newest(ctx)

    def on_choose(self, ctx: Any) -> None:
        """Another verification was chosen: its verdict comes first.

        The dropdown sends this too when the panel itself has turned to another verification.
        """
        _choose(ctx, ctx.params.get("value"), section="verdict")

    def on_section(self, ctx: Any) -> None:
        """Another section of the verification was chosen."""
        section = ctx.params.get("section")
        if section in _SECTIONS:
            ctx.panel.set_state("section", section)

    def on_page(self, ctx: Any) -> None:
        """Another page of the table of pairs was chosen."""
        ctx.panel.set_state("page", int(ctx.params.get("page") or 0))

    def on_click_point(self, ctx: Any) -> None:
        """A pair, a bar of the histogram, or a category of pairs, was clicked."""
        _show_pairs(ctx, [ctx.params.get("id")])

    def on_select_points(self, ctx: Any) -> None:
        """Several pairs were selected."""
        _show_pairs(ctx, [point.get("id") for point in ctx.params.get("data") or []])

    def on_open_pair(self, ctx: Any) -> None:
        """A row of the table of pairs was chosen."""
        verification, row = _load(ctx), ctx.params.get("row")
        if verification is None or not isinstance(row, int):
            return
        rows = figures.pair_rows(verification.pairs, _page(ctx, verification))
        if 0 <= row < len(rows):
            _show_pairs(ctx, [rows[row]["id"]])

    def on_click_gap(self, ctx: Any) -> None:
        """A bar of the plot of loss gaps was clicked."""
        verification = _load(ctx)
        if verification is None:
            return
        state = _ledger(ctx, verification)
        numbers, honey = data.honey_gaps(ctx.dataset, verification, state.ledger)
        random = verification.random_images
        if not honey:
            return
        found = loss_histograms.gap_members(
            str(ctx.params.get("id")), honey, random.get("gaps") or []
        )
        if found is None or not found[1]:
            return
        kind, members = found
        if kind == "honey":
            _show_pairs(ctx, [str(numbers[member]) for member in members])
        else:
            ctx.ops.set_view(view=ctx.dataset.select([random["ids"][m] for m in members]))

    def on_open_suspect(self, ctx: Any) -> None:
        """A row of the comparison was chosen."""
        row = ctx.params.get("row")
        verification = _load(ctx)
        if verification is None or not isinstance(row, int):
            return
        suspects = _family(ctx, verification)
        if 0 <= row < len(suspects):
            _open_suspect(ctx, suspects[row].key)

    def on_click_suspect(self, ctx: Any) -> None:
        """A point of the comparison was clicked."""
        _open_suspect(ctx, ctx.params.get("id"))

    def show_marking(self, ctx: Any) -> None:
        """Shows every HoneyImage of the marking in the grid."""
        verification = _load(ctx)
        if verification is not None and ctx.dataset.has_saved_view(verification.honey_key):
            ctx.ops.set_view(view=ctx.dataset.load_saved_view(verification.honey_key))

    def verify(self, ctx: Any) -> None:
        """Asks for a model to verify, with the marking that is shown."""
        verification = _load(ctx) if _keys(ctx) else None
        params = {} if verification is None else {"honey_key": verification.honey_key}
        self._prompt(ctx, "verify_model", params)

    def compute_hardness(self, ctx: Any) -> None:
        """The first step towards a marking."""
        self._prompt(ctx, "compute_hardness")

    def generate_honeyimages(self, ctx: Any) -> None:
        """The second step."""
        self._prompt(ctx, "generate_honeyimages")

    def export_evidence(self, ctx: Any) -> None:
        """Writes the evidence for the verification that is shown."""
        key = ctx.panel.get_state("verify_key")
        ctx.prompt(f"{self.plugin_name}/export_evidence", params={"verify_key": key})

    def rename(self, ctx: Any) -> None:
        """Gives the verification that is shown another key."""
        self._prompt_run(ctx, "rename_run")

    def delete(self, ctx: Any) -> None:
        """Deletes the verification that is shown."""
        self._prompt_run(ctx, "delete_run")

    def save_note(self, ctx: Any) -> None:
        """Keeps the note that was written."""
        from ..dataset.notes import write_note

        key = ctx.panel.get_state("verify_key")
        try:
            note = write_note(ctx.dataset, key, ctx.panel.get_state("note") or "", user=ctx.user_id)
        except HoneyImageError as error:
            ctx.ops.notify(f"The note was not saved: {error}", variant="error")
            return
        ctx.panel.set_state("note", note.text)
        ctx.ops.notify("The note is saved" if note.text else "The note is deleted")

    def on_run(self, ctx: Any) -> None:
        """A prompted operator was run or scheduled."""
        result = ctx.params.get("result") or {}
        if pending.was_scheduled(result):
            ctx.ops.notify("Scheduled: the panel shows how far it is")
            return
        if result.get("verify_key") in _keys(ctx):
            _choose(ctx, result["verify_key"])
        else:
            _choose_newest(ctx)

    def on_renamed(self, ctx: Any) -> None:
        """The verification was renamed."""
        result = ctx.params.get("result") or {}
        if result.get("new_key") in _keys(ctx):
            _choose(ctx, result["new_key"])

    def on_deleted(self, ctx: Any) -> None:
        """The verification was deleted."""
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
                _choose(ctx, run.result["verify_key"])
        pending.show_pending(
            ctx,
            panel,
            _AWAITED,
            on_tick=self.on_tick,
            on_dismiss=self.on_dismiss,
            on_retry=self.on_retry,
        )

    def _prompt(self, ctx: Any, name: str, params: dict[str, Any] | None = None) -> None:
        ctx.prompt(f"{self.plugin_name}/{name}", params=params, on_success=self.on_run)

    def _prompt_run(self, ctx: Any, name: str) -> None:
        """Prompts an operator for the run that is shown."""
        handlers = {"rename_run": self.on_renamed, "delete_run": self.on_deleted}
        ctx.prompt(
            f"{self.plugin_name}/{name}",
            params={"key": ctx.panel.get_state("verify_key")},
            on_success=handlers[name],
        )

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
        verification = _load(ctx) if chosen in keys else None
        state = None if verification is None else _ledger(ctx, verification)
        self._actions(panel, verification, state)
        if chosen not in keys:
            panel.md(
                f"**Verification '{chosen}' is no longer there.** It was deleted or renamed. "
                "Choose another one above.",
                name="gone",
            )
            return
        if verification is None or state is None:
            panel.md(
                "**The result cannot be read.** The run was interrupted, or written by a version "
                "that this one does not know. The ledger still counts it. Delete the run, then verify "
                "the model again.",
                name="unreadable",
            )
            row = panel.h_stack("run_actions", gap=1, align_x="left")
            row.btn("delete", label="Delete…", on_click=self.delete, variant="outlined")
            return
        section = ctx.panel.get_state("section")
        section = section if section in _SECTIONS else "verdict"
        self._sections(panel, section)
        if section == "verdict":
            self._verdict(ctx, panel, verification, state)
        elif section == "pairs":
            self._pairs(ctx, panel, verification)
        elif section == "gap":
            self._gap(ctx, panel, verification, state)
        elif section == "compare":
            self._compare(ctx, panel, verification, state)
        else:
            self._record(panel, verification)

    def _actions(self, panel: types.Object, verification: Verification | None, state: Any) -> None:
        row = panel.h_stack("actions", gap=1, align_x="left")
        row.btn("verify", label="Verify a model…", on_click=self.verify, variant="contained")
        reason = None
        if verification is None:
            reason = "There is no result to export"
        elif state.ledger is None:
            reason = state.reason
        row.btn(
            "export_evidence",
            label="Export evidence…",
            on_click=self.export_evidence,
            variant="outlined",
            disabled=reason is not None,
            title=reason,
        )
        row.btn("refresh", label="Refresh", on_click=self.refresh, variant="outlined")

    def _sections(self, panel: types.Object, shown: str) -> None:
        row = panel.h_stack("sections", gap=1, align_x="left")
        for section, label in _SECTIONS.items():
            row.btn(
                f"section_{section}",
                label=label,
                on_click=self.on_section,
                params={"section": section},
                variant="contained" if section == shown else "outlined",
            )

    def _verdict(
        self, ctx: Any, panel: types.Object, verification: Verification, state: data.LedgerState
    ) -> None:
        from ..dataset.notes import from_config
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
        for number, notice in enumerate(data.notices(ctx.dataset, verification, state)):
            panel.view(
                f"notice_{number}",
                types.AlertView(
                    label=notice.label, description=notice.text, severity=notice.severity
                ),
            )
        panel.md(table(("Figures", ""), figures.summary_rows(verdict)), name="figures")
        note = from_config(verification.config)
        if note.text:
            panel.md(f"**Note:** {note.text}", name="note_shown")
        self._plots(panel, verification)

    def _plots(self, panel: types.Object, verification: Verification) -> None:
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
            self._plot(
                panel,
                "pairs",
                "Loss on released against withheld twins",
                figures.loss_traces(verification.pairs),
                figures.loss_layout(verification.pairs),
            )
            self._plot(
                panel,
                "histogram",
                "How the losses are distributed",
                loss_histograms.histogram_traces(verification.pairs),
                loss_histograms.histogram_layout(verification.pairs),
                height="280px",
            )
        else:
            self._plot(
                panel,
                "pairs",
                "Accuracy on released and withheld twins",
                figures.accuracy_traces(verification.pairs),
                figures.accuracy_layout(),
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

    def _plot(
        self,
        panel: types.Object,
        name: str,
        label: str,
        traces: list[figures.Trace],
        layout: dict[str, Any],
        height: str = "360px",
    ) -> None:
        """A plot whose points and bars stand for pairs."""
        panel.plot(
            name,
            label=label,
            data=traces,
            layout=layout,
            height=height,
            config={"scrollZoom": False},
            on_click=self.on_click_point,
            on_selected=self.on_select_points,
        )

    def _pairs(self, ctx: Any, panel: types.Object, verification: Verification) -> None:
        panel.md(figures.pairs_text(verification.verdict), name="pairs_text")
        if not verification.pairs:
            panel.md(_NO_PAIRS, name="no_pairs")
            return
        page, pages = _page(ctx, verification), figures.num_pages(verification.pairs)
        columns = {"pair": "Pair", "released": "Released", "withheld": "Withheld"}
        if verification.verdict.kind == "scores":
            columns["difference"] = "Difference"
        view = _table(columns, self.on_open_pair, "Show images", "grid_view")
        ctx.panel.set_data("pair_table", figures.pair_rows(verification.pairs, page))
        panel.list("pair_table", types.Object(), view=view)
        if verification.verdict.kind == "scores":
            panel.md(
                "The suspect's loss in nats, ✓ where its answer was right. Difference: loss on the "
                "withheld less loss on the released twin.",
                name="pair_legend",
            )
        row = panel.h_stack("pair_actions", gap=1, align_x="left")
        row.btn(
            "previous",
            label="Previous",
            on_click=self.on_page,
            params={"page": page - 1},
            disabled=page == 0,
            variant="outlined",
        )
        row.btn(
            "next",
            label="Next",
            on_click=self.on_page,
            params={"page": page + 1},
            disabled=page + 1 >= pages,
            variant="outlined",
        )
        has_view = ctx.dataset.has_saved_view(verification.honey_key)
        row.btn(
            "marking",
            label="Show all HoneyImages",
            on_click=self.show_marking,
            variant="outlined",
            disabled=not has_view,
            title=None if has_view else f"The saved view '{verification.honey_key}' was deleted",
        )
        panel.md(f"Page {page + 1} of {pages}", name="page_text")

    def _gap(
        self, ctx: Any, panel: types.Object, verification: Verification, state: data.LedgerState
    ) -> None:
        """The published method's figures, with their warning first."""
        paper = figures.paper_markdown(verification.verdict.paper)
        if not verification.pairs:
            panel.md(_NO_PAIRS, name="no_pairs")
            return
        if paper is None:
            panel.md(
                "**There is no loss gap.** The suspect gave labels alone, or no answer; the gap needs "
                "its logits or probabilities. The verdict does not need them.",
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
        panel.plot(
            "gaps",
            label="Loss gap: HoneyImages against random images",
            data=loss_histograms.gap_traces(honey, gaps),
            layout=loss_histograms.gap_layout(honey, gaps),
            height="320px",
            config={"scrollZoom": False},
            on_click=self.on_click_gap,
        )
        panel.md(figures.random_text(random), name="random_text")

    def _compare(
        self, ctx: Any, panel: types.Object, verification: Verification, state: data.LedgerState
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
        view = _table(columns, self.on_open_suspect, "Open this verification", "arrow_forward")
        ctx.panel.set_data("suspects", comparison_figures.table_rows(suspects))
        panel.list("suspects", types.Object(), view=view)
        panel.plot(
            "evidence",
            label="Evidence: beyond the line α a model is derived",
            data=comparison_figures.evidence_traces(suspects),
            layout=comparison_figures.evidence_layout(suspects),
            height=comparison_figures.height(suspects),
            config={"scrollZoom": False},
            on_click=self.on_click_suspect,
        )
        for kind in comparison_figures.effect_kinds(suspects):
            panel.plot(
                f"effects_{kind}",
                label="Effect with its 95 % interval",
                data=comparison_figures.effect_traces(suspects, kind),
                layout=comparison_figures.effect_layout(kind),
                height=comparison_figures.height(comparison_figures.with_effect(suspects, kind)),
                config={"scrollZoom": False},
                on_click=self.on_click_suspect,
            )
        panel.md(
            comparison_figures.explanation(suspects, state.ledger is not None), name="explanation"
        )

    def _record(self, panel: types.Object, verification: Verification) -> None:
        from ..dataset.notes import from_config
        from ..operators.forms import table

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
        row.btn("save_note", label="Save note", on_click=self.save_note, variant="contained")
        row.btn("rename", label="Rename…", on_click=self.rename, variant="outlined")
        row.btn("delete", label="Delete…", on_click=self.delete, variant="outlined")
        panel.md(
            table(("Provenance", ""), figures.provenance_rows(verification)), name="provenance"
        )


def _problem(ctx: Any) -> tuple[str, str, tuple[str, ...]] | None:
    """Why there is no verification to show: a label, what to do, and the steps to offer."""
    if ctx.dataset is None:
        return "No dataset is open", "Open a dataset first.", ()
    from ..dataset.runs import HARDNESS, MARKING, list_keys
    from ..dataset.samples import check_collection, classification_fields

    try:
        check_collection(ctx.dataset)
    except HoneyImageError as error:
        text = str(error)
        return "This dataset cannot be verified", f"{text[:1].upper()}{text[1:]}.", ()
    if _keys(ctx):
        return None
    markings = list_keys(ctx.dataset, MARKING)
    if markings:
        text = (
            "This dataset is marked. When you suspect a model of having been trained on a release "
            "of it, verify it: a model file or a field of its predictions is enough."
        )
        begun = [s.name for key in markings for s in data.unfinished(ctx.dataset, key)]
        if begun:
            text += (
                f"\n\nThe ledger counts {len(begun):,} that began and gave no verdict "
                f"({', '.join(begun)}): still running, or stopped half-way. What the suspect was "
                "shown stays counted; verify it again."
            )
        return "No model has been verified yet", text, ("verify",)
    if not classification_fields(ctx.dataset):
        return (
            "There are no labels",
            "HoneyImages keep the label of their original, so a field of type Classification is "
            "needed; this dataset has none. Add one, for example "
            "`sample['ground_truth'] = fo.Classification(label='cat')`, then press Refresh.",
            (),
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


def _table(columns: dict[str, str], on_open: Any, tooltip: str, icon: str) -> types.TableView:
    """A table that fits into half a small screen; a click on a row, or on its button, opens it."""
    cell = {"sx": {"fontSize": "0.75rem", "padding": "6px 5px"}}
    view = types.TableView(
        on_click_row=on_open,
        actions_label="Open",
        componentsProps={
            "table": {"sx": {"minWidth": 0}},  # 650 pixels by default
            "tableHeadCell": cell,
            "tableBodyCell": cell,
        },
    )
    for key, label in columns.items():
        view.add_column(key, label=label)
    view.add_row_action("open", on_click=on_open, icon=icon, tooltip=tooltip)
    return view


def _keys(ctx: Any) -> list[str]:
    """Every verification of the dataset, oldest first."""
    return data.verification_keys(ctx.dataset)


def _choose_newest(ctx: Any) -> None:
    keys = _keys(ctx)
    _choose(ctx, keys[-1] if keys else None)


def _choose(ctx: Any, key: str | None, section: str | None = None) -> None:
    """Turns to a verification, its first page and its note, and to a section if one is given."""
    from ..dataset.notes import from_config

    verification = None if key is None else data.load(ctx.dataset, key)
    note = "" if verification is None else from_config(verification.config).text
    changes: dict[str, Any] = {"verify_key": key}
    if section is not None and ctx.panel.get_state("section", "verdict") != section:
        changes["section"] = section
    for name, value, default in (("page", 0, 0), ("note", note, "")):
        if ctx.panel.get_state(name, default) != value:
            changes[name] = value
    # All at once: the dropdown answers a change with an event, which must not see half of it
    ctx.panel.set_state(changes)


def _open_suspect(ctx: Any, key: Any) -> None:
    """Turns from the comparison to one verification."""
    if key in _keys(ctx):
        _choose(ctx, key, section="verdict")
    else:
        ctx.ops.notify("This verification is only in the ledger: the dataset holds no result of it")


def _load(ctx: Any) -> Verification | None:
    """The chosen verification, or None if it cannot be loaded."""
    return data.load(ctx.dataset, ctx.panel.get_state("verify_key"))


def _ledger(ctx: Any, verification: Verification) -> data.LedgerState:
    return data.open_ledger(
        ctx.dataset, verification.honey_key, verification.config.get("ledger_path")
    )


def _family(ctx: Any, verification: Verification) -> list[comparison_figures.Suspect]:
    state = _ledger(ctx, verification)
    return data.family(ctx.dataset, verification.honey_key, state.ledger)


def _page(ctx: Any, verification: Verification) -> int:
    """The page of the table of pairs that is shown, within what there is."""
    page = int(ctx.panel.get_state("page") or 0)
    return min(max(page, 0), figures.num_pages(verification.pairs) - 1)


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
        for found in (figures.pairs_of, loss_histograms.bar_pairs)
        for number in found(str(point), verification.pairs)
    }
    if not numbers:
        return
    from fiftyone import ViewField as F

    key = verification.honey_key
    view = None
    if ctx.dataset.has_field(key):
        view = ctx.dataset.match(F(f"{key}.pair").is_in(sorted(numbers)))
    if view is None or not view:
        ctx.ops.notify("The images of these pairs are no longer in the dataset", variant="warning")
        return
    ctx.ops.set_view(
        view=view.sort_by([(f"{key}.pair", 1), (f"{key}.source", 1), (f"{key}.role", -1)])
    )
