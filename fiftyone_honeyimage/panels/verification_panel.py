"""The verification panel: a verdict first, then what it rests on.

One instance serves everyone, so nothing is kept on ``self``: the panel's state holds the key of the
verification, the section and the page that are shown, and the text of a note that is being written.
Everything else is read from the dataset on every event. A run that was deleted meanwhile is noticed by
itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone.operators.categories import Categories

from ..app.layout import as_page
from ..core.errors import HoneyImageError
from . import comparison_figures, loss_histograms, pending
from . import verification_data as data
from . import verification_figures as figures
from . import verification_sections as sections
from .base import HoneyImagePanel
from .choices import choose_run

if TYPE_CHECKING:
    from ..dataset.verification.verification import Verification

_HELP = """
Shows whether a suspect model was trained on a release of this dataset.

Each point is a pair of twins: two HoneyImages of which a secret coin released one. A model that
never saw the release cannot know which, so its losses on both are alike; a model that trained on it
has the lower loss on the released one. Click a point, a bar or a row to see the images of its pair.

A verdict always comes with its p-value, its level α and the size of the effect with its interval.
"Not shown" is no acquittal.
"""

#: Sections of a verification, as buttons
_SECTIONS = {
    "verdict": "Verdict",
    "pairs": "Pairs",
    "gap": "Loss gap",
    "compare": "Compare",
    "record": "Record",
}


class VerificationPanel(HoneyImagePanel):
    """Verdicts on suspect models."""

    #: The protection panel waits for the others
    AWAITED = ("verify_model",)

    NOTE = "note"

    OUTSIDE = frozenset(
        {
            "on_click_point",
            "on_select_points",
            "on_open_pair",
            "on_click_gap",
            "show_marking",
            "verify",
            "compute_hardness",
            "generate_honeyimages",
            "export_evidence",
            "rename",
            "delete",
        }
    )

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
        """Another verification was chosen."""
        _choose(ctx, ctx.params.get("value"))

    def on_section(self, ctx: Any) -> None:
        """Another section of the verification was chosen."""
        section = ctx.params.get("section")
        if section in _SECTIONS:
            ctx.panel.set_state("section", section)

    def on_page(self, ctx: Any) -> None:
        """Another page of the table of pairs was chosen."""
        ctx.panel.set_state("page", int(ctx.params.get("page") or 0))

    def on_click_point(self, ctx: Any) -> bool:
        """A pair, a bar of the histogram, or a category of pairs, was clicked."""
        return _show_pairs(ctx, [ctx.params.get("id")])

    def on_select_points(self, ctx: Any) -> bool:
        """Several pairs were selected. A click may come here too, with none."""
        points = [point.get("id") for point in ctx.params.get("data") or ()]
        return not points or _show_pairs(ctx, points)

    def on_open_pair(self, ctx: Any) -> bool:
        """A row of the table of pairs was chosen."""
        verification, row = _load(ctx), ctx.params.get("row")
        if verification is None or not isinstance(row, int):
            return False
        rows = figures.pair_rows(verification.pairs, sections.current_page(ctx, verification))
        return 0 <= row < len(rows) and _show_pairs(ctx, [rows[row]["id"]])

    def on_click_gap(self, ctx: Any) -> bool:
        """A bar of the plot of loss gaps was clicked."""
        verification = _load(ctx)
        if verification is None:
            return False
        state = _ledger(ctx, verification)
        numbers, honey = data.honey_gaps(ctx.dataset, verification, state.ledger)
        random = verification.random_images
        if not honey:
            return False
        found = loss_histograms.gap_members(
            str(ctx.params.get("id")), honey, random.get("gaps") or []
        )
        if found is None or not found[1]:
            return False
        kind, members = found
        if kind == "honey":
            return _show_pairs(ctx, [str(numbers[member]) for member in members])
        return self.set_view(ctx, ctx.dataset.select([random["ids"][m] for m in members]))

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

    def show_marking(self, ctx: Any) -> bool:
        """Shows every HoneyImage of the marking in the grid."""
        verification = _load(ctx)
        if verification is None or not ctx.dataset.has_saved_view(verification.honey_key):
            return False
        return self.set_view(ctx, ctx.dataset.load_saved_view(verification.honey_key))

    def verify(self, ctx: Any) -> bool:
        """Asks for a model to verify, with the marking that is shown."""
        verification = _load(ctx) if _keys(ctx) else None
        params = {} if verification is None else {"honey_key": verification.honey_key}
        return self.prompt(ctx, "verify_model", params)

    def compute_hardness(self, ctx: Any) -> bool:
        """The first step towards a marking."""
        return self.prompt(ctx, "compute_hardness")

    def generate_honeyimages(self, ctx: Any) -> bool:
        """The second step."""
        return self.prompt(ctx, "generate_honeyimages")

    def export_evidence(self, ctx: Any) -> bool:
        """Writes the evidence for the verification that is shown."""
        key = ctx.panel.get_state("verify_key")
        ctx.prompt(f"{self.plugin_name}/export_evidence", params={"verify_key": key})
        return True

    def rename(self, ctx: Any) -> bool:
        """Gives the verification that is shown another key."""
        params = {"key": ctx.panel.get_state("verify_key")}
        return self.prompt(ctx, "rename_run", params, on_success=self.on_renamed)

    def delete(self, ctx: Any) -> bool:
        """Deletes the verification that is shown."""
        params = {"key": ctx.panel.get_state("verify_key")}
        return self.prompt(ctx, "delete_run", params, on_success=self.on_deleted)

    def save_note(self, ctx: Any) -> None:
        """Keeps the note that was written."""
        from ..dataset.management.notes import write_note

        key = ctx.panel.get_state("verify_key")
        try:
            note = write_note(ctx.dataset, key, ctx.panel.get_state("note") or "", user=ctx.user_id)
        except HoneyImageError as error:
            ctx.ops.notify(f"The note was not saved: {error}", variant="error")
            return
        ctx.panel.set_state("note", note.text)
        ctx.ops.notify("The note is saved" if note.text else "The note is deleted")

    def noted_config(self, ctx: Any) -> Mapping[str, Any] | None:
        verification = _load(ctx) if ctx.panel.get_state("section") == "record" else None
        return None if verification is None else verification.config

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
            _choose(ctx, result["new_key"], section=ctx.panel.get_state("section"))

    def on_deleted(self, ctx: Any) -> None:
        """The verification was deleted."""
        _choose_newest(ctx)

    def refresh(self, ctx: Any) -> None:
        """Looks for verifications that were finished meanwhile."""
        _choose_newest(ctx)

    def render(self, ctx: Any) -> types.Property:
        panel = types.Object()
        self._pending(ctx, panel)
        problem = _problem(ctx)
        if problem is not None:
            self._empty(panel, *problem)
        else:
            self._verification(ctx, panel)
        return as_page(panel)

    def _pending(self, ctx: Any, panel: types.Object) -> None:
        """Shows the runs that are waited for, and opens the panel on one that has succeeded."""
        for run in self.take_finished(ctx):
            if run.result.get("verify_key") in _keys(ctx):
                _choose(ctx, run.result["verify_key"])
        self.show_pending(ctx, panel)

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
        choose_run(ctx, panel, "verify_key", "Verification", keys, self.on_choose)
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
            sections.show_verdict(ctx, panel, self, verification, state)
        elif section == "pairs":
            sections.show_pairs(ctx, panel, self, verification)
        elif section == "gap":
            sections.show_gap(ctx, panel, self, verification, state)
        elif section == "compare":
            sections.show_comparison(ctx, panel, self, verification, state)
        else:
            sections.show_record(panel, self, verification)

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


def _begun(ctx: Any, names: Sequence[str]) -> str:
    """What is said of verifications that the ledger counts and that have no verdict."""
    counted = (
        f"The ledger counts {len(names):,} that began and gave no verdict yet ({', '.join(names)})"
    )
    runs = pending.pending_runs(ctx, ("verify_model",))
    if any(run.running for run in runs):
        return (
            f"{counted}. One is running now: its verdict will show here. Do not start it again "
            "meanwhile, which would count as another verification."
        )
    return (
        f"{counted}: stopped half-way, or running elsewhere. What the suspect was shown stays counted; "
        "if it was stopped, verify it again."
    )


def _problem(ctx: Any) -> tuple[str, str, tuple[str, ...]] | None:
    """Why there is no verification to show: a label, what to do, and the steps to offer."""
    if ctx.dataset is None:
        return "No dataset is open", "Open a dataset first.", ()
    from ..dataset.checks import check_collection, classification_fields
    from ..dataset.runs import HARDNESS, MARKING, list_keys

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
            text += f"\n\n{_begun(ctx, begun)}"
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


def _keys(ctx: Any) -> list[str]:
    """Every verification of the dataset, oldest first."""
    return data.verification_keys(ctx.dataset)


def _choose_newest(ctx: Any) -> None:
    keys = _keys(ctx)
    _choose(ctx, keys[-1] if keys else None)


def _choose(ctx: Any, key: str | None, section: str | None = None) -> None:
    """Turns to a verification, its first page and its note.

    Args:
        ctx: the context of the event
        key: the verification; None if there is none
        section (None): what to show of it; by default the verdict, unless it is shown already
    """
    from ..dataset.management.notes import from_config

    verification = None if key is None else data.load(ctx.dataset, key)
    note = "" if verification is None else from_config(verification.config).text
    changes: dict[str, Any] = {"verify_key": key}
    shown = ctx.panel.get_state("section") or "verdict"
    if section is None:
        section = shown if key == ctx.panel.get_state("verify_key") else "verdict"
    if section != shown:
        changes["section"] = section
    for name, value, default in (("page", 0, 0), ("note", note, "")):
        if ctx.panel.get_state(name, default) != value:
            changes[name] = value
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


def _family(ctx: Any, verification: Verification) -> list[comparison_figures.ComparedSuspect]:
    state = _ledger(ctx, verification)
    return data.family(ctx.dataset, verification.honey_key, state.ledger)


def _show_pairs(ctx: Any, points: list[Any]) -> bool:
    """Shows the images of some pairs in the grid: originals and HoneyImages, side by side.

    Which twin was released is not told: both are found by the number of their pair.

    Returns:
        whether there are any
    """
    verification = _load(ctx)
    if verification is None:
        return False
    numbers = {
        number
        for point in points
        if point is not None
        for found in (figures.pairs_of, loss_histograms.bar_pairs)
        for number in found(str(point), verification.pairs)
    }
    if not numbers:
        return False
    samples = data.pair_samples(ctx.dataset, verification.honey_key)
    ids = [row["id"] for row in samples if row["pair"] in numbers]
    if not ids:
        ctx.ops.notify("The images of these pairs are no longer in the dataset", variant="warning")
        return False
    ctx.ops.set_view(view=ctx.dataset.select(ids, ordered=True))
    return True
