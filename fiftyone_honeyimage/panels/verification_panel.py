"""The verification panel: a verdict first, then what it rests on.

One instance serves everyone, so nothing is kept on ``self``: the panel's state holds the key of the
verification, the section and the page that are shown, and the text of a note that is being written.
Everything else is read from the dataset on every event. A run that was deleted meanwhile is noticed by
itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone.operators.categories import Categories

from ..app.layout import as_page, button, button_row
from . import loss_histograms
from . import verification_data as data
from . import verification_figures as figures
from . import verification_sections as sections
from .base import HoneyImagePanel
from .choices import choose_run
from .problems import no_verification

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

    KEY, NOTE = "verify_key", "note"

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
        ledger = _ledger(ctx, verification).ledger
        suspects = data.family(ctx.dataset, verification.honey_key, ledger)
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

    def noted_config(self, ctx: Any) -> Mapping[str, Any] | None:
        verification = _load(ctx) if ctx.panel.get_state("section") == "record" else None
        return None if verification is None else verification.config

    def open_on(self, ctx: Any, result: Mapping[str, Any]) -> None:
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
        self.show_pending(ctx, panel)
        problem = no_verification(ctx)
        if problem is not None:
            self._empty(panel, *problem)
        else:
            self._verification(ctx, panel)
        return as_page(panel)

    def _empty(self, panel: types.Object, label: str, text: str, steps: tuple[str, ...]) -> None:
        """Says why there is nothing to show, and how to go on."""
        panel.md(f"**{label}**\n\n{text}", name="empty")
        buttons = {
            "compute_hardness": ("Compute hardness…", self.compute_hardness),
            "generate_honeyimages": ("Generate HoneyImages…", self.generate_honeyimages),
            "verify": ("Verify a model…", self.verify),
        }
        row = button_row(panel, "steps", gap=2)
        for number, step in enumerate(steps):
            button(row, step, *buttons[step], main=number == 0)
        button(row, "refresh", "Refresh", self.refresh)

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
            button(button_row(panel, "run_actions"), "delete", "Delete…", self.delete)
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
        row = button_row(panel, "actions")
        button(row, "verify", "Verify a model…", self.verify, main=True)
        reason = None
        if verification is None:
            reason = "There is no result to export"
        elif state.ledger is None:
            reason = state.reason
        button(
            row,
            "export_evidence",
            "Export evidence…",
            self.export_evidence,
            disabled=reason is not None,
            title=reason,
        )
        button(row, "refresh", "Refresh", self.refresh)

    def _sections(self, panel: types.Object, shown: str) -> None:
        row = button_row(panel, "sections")
        for section, label in _SECTIONS.items():
            name, params = f"section_{section}", {"section": section}
            button(row, name, label, self.on_section, main=section == shown, params=params)


def _keys(ctx: Any) -> list[str]:
    """Every verification of the dataset, oldest first."""
    return data.verification_keys(ctx.dataset)


def _choose_newest(ctx: Any) -> None:
    keys = _keys(ctx)
    _choose(ctx, keys[-1] if keys else None)


def _choose(ctx: Any, key: str | None, section: str | None = None) -> None:
    """Turns to a verification, its first page and its note.

    By default its verdict is shown, unless it is shown already.
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
