"""The protection panel: from the first score to a release.

One instance serves everyone, so nothing is kept on ``self``: the panel's state holds the keys of the
runs that are shown, the id of the sample at hand and how it is looked at, and everything else is read
from the dataset on every event. Pictures travel as panel data, and only when they change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone.operators.categories import Categories

from ..app.layout import as_page, button, button_row, open_panel
from .base import HoneyImagePanel
from .choices import choose_run
from .comparison_section import at_hand, open_other, send_pictures, show_comparison, show_pair
from .hardness_section import bars_view, hardest_view, label_error_view, show_hardness
from .marking_section import show_marking, show_visibility
from .problems import nothing_to_protect
from .protect_runs import choose, choose_newest, explain_missing, keys, load_marking
from .release_section import newest_releases, show_releases, was_released

_HELP = """
Protects this dataset: scores how hard each image is, turns hard ones into HoneyImages, and exports a
release that holds them in place of their originals.

- Click a bar of the histogram to see its images, or drag over several bars.
- Click a point of the visibility plot to see a HoneyImage beside its original. The pictures at the end
  are of the sample that is selected in the grid; open a sample and this panel beside it to see its own.
- The table of releases says where each lies, whether it was audited, and what changed since.

Keep the ledger secret. The verification panel shows whether a model was trained on a release.
"""

_VERIFICATION_PANEL = "verification_panel"

_BUTTONS_A_ROW = 3


class ProtectPanel(HoneyImagePanel):
    """Hardness, markings, their visibility and their releases."""

    #: The verification panel waits for the others
    AWAITED = ("compute_hardness", "generate_honeyimages", "export_release", "audit_release")

    KEY, NOTE = "honey_key", "marking_note"

    OUTSIDE = frozenset(
        {
            "on_change_selected",
            "on_change_current_sample",
            "on_click_bar",
            "on_select_bars",
            "show_sample",
            "open_full_size",
            "show_hardest",
            "show_label_errors",
            "show_marking",
            "compute_hardness",
            "generate_honeyimages",
            "export_release",
            "verify_model",
            "audit_row",
            "audit_release",
            "draw_coins",
            "rename_marking",
            "delete_marking",
            "delete_hardness",
        }
    )

    @property
    def config(self) -> foo.PanelConfig:
        return foo.PanelConfig(
            name="protect_panel",
            label="HoneyImage protection",
            icon="shield",
            help_markdown=_HELP,
            category=Categories.ANALYZE,
            surfaces="grid modal",
        )

    def on_load(self, ctx: Any) -> None:
        """Chooses what to show; also where the App lost the panel's state, as it does in a modal."""
        if ctx.panel.get_state("hardness_key") is None and ctx.panel.get_state("honey_key") is None:
            choose_newest(ctx)
        # A panel that is opened while a sample is open lies beside that sample
        ctx.panel.set_state("beside_sample", ctx.current_sample is not None)
        if ctx.current_sample is not None:
            ctx.panel.set_state("sample", ctx.current_sample)
        self._start_note(ctx)
        send_pictures(ctx)

    def on_change_dataset(self, ctx: Any) -> None:
        self.refresh(ctx)

    def on_change_selected(self, ctx: Any) -> bool:
        """The sample at hand is the one that was selected last. Another view has none selected."""
        return not self._take_up(ctx, ctx.selected[-1] if ctx.selected else None)

    def on_change_current_sample(self, ctx: Any) -> bool:
        """Another sample was opened, or it was closed."""
        taken = self._take_up(ctx, ctx.current_sample)
        return not taken and not ctx.panel.get_state("beside_sample")

    def on_choose_hardness(self, ctx: Any) -> None:
        """Another hardness run was chosen."""
        ctx.panel.set_state("hardness_key", ctx.params.get("value"))
        ctx.panel.set_state("label_field", None)

    def on_choose_label_field(self, ctx: Any) -> None:
        """Hardness is to be shown by the classes of another field."""
        ctx.panel.set_state("label_field", ctx.params.get("value"))

    def on_choose_marking(self, ctx: Any) -> None:
        """Another marking was chosen."""
        ctx.panel.set_state("honey_key", ctx.params.get("value"))
        self._start_note(ctx)
        send_pictures(ctx)

    def on_choose_measure(self, ctx: Any) -> None:
        """Another measure of visibility was chosen."""
        ctx.panel.set_state("measure", ctx.params.get("value"))

    def on_click_bar(self, ctx: Any) -> bool:
        """Shows the images of a bar."""
        return self.set_view(ctx, bars_view(ctx, [ctx.params.get("id")]))

    def on_select_bars(self, ctx: Any) -> bool:
        """Shows the images of the bars that were dragged over. A click comes here too, with none."""
        bars = [point.get("id") for point in ctx.params.get("data") or ()]
        return not bars or self.set_view(ctx, bars_view(ctx, bars))

    def on_click_point(self, ctx: Any) -> None:
        """Shows a HoneyImage beside its original, in the grid and below."""
        if self._take_up(ctx, ctx.params.get("id")):
            self.show_sample(ctx)

    def show_sample(self, ctx: Any) -> bool:
        """Shows the images that are compared in the grid."""
        twin = self._at_hand(ctx)
        if twin is None:
            return False
        show_pair(ctx, ctx.panel.get_state("honey_key"), twin["source"])
        return True

    def flip(self, ctx: Any) -> None:
        """Shows the original in the place of the HoneyImage, or the other way round."""
        now = ctx.panel.get_state("flip")
        ctx.panel.set_state("flip", "honeyimage" if now == "original" else "original")
        send_pictures(ctx)

    def unflip(self, ctx: Any) -> None:
        """Shows the pictures beside each other again."""
        ctx.panel.set_state("flip", None)
        send_pictures(ctx)

    def open_full_size(self, ctx: Any) -> bool:
        """Opens the HoneyImage at its full size, or its original if the HoneyImage is open."""
        twin = self._at_hand(ctx)
        if twin is None:
            return False
        if ctx.current_sample is None:
            show_pair(ctx, ctx.panel.get_state("honey_key"), twin["source"])
        open_other(ctx, twin)
        return True

    def show_hardest(self, ctx: Any) -> bool:
        """Shows every scored image, the hardest first."""
        return self.set_view(ctx, hardest_view(ctx))

    def show_label_errors(self, ctx: Any) -> bool:
        """Shows the suspected label errors, the hardest first."""
        return self.set_view(ctx, label_error_view(ctx))

    def show_marking(self, ctx: Any) -> bool:
        """Shows every HoneyImage of the marking beside its original."""
        key = ctx.panel.get_state("honey_key")
        if key not in keys(ctx, "marking") or not ctx.dataset.has_saved_view(key):
            return False
        return self.set_view(ctx, ctx.dataset.load_saved_view(key))

    def generate_honeyimages(self, ctx: Any) -> bool:
        """The second step, with the hardness that is shown."""
        params = self._shown(ctx, hardness_field="hardness_key")
        return self.prompt(ctx, "generate_honeyimages", params)

    def export_release(self, ctx: Any) -> bool:
        """The third step, with the marking that is shown."""
        return self.prompt(ctx, "export_release", self._shown(ctx, honey_key="honey_key"))

    def verify_model(self, ctx: Any) -> bool:
        """The last step, with the marking that is shown; the other panel shows its verdict."""
        params = self._shown(ctx, honey_key="honey_key")
        return self.prompt(ctx, "verify_model", params, on_success=self.on_verify)

    def audit_row(self, ctx: Any) -> bool:
        """What the release of a row would give away."""
        releases = newest_releases(ctx, ctx.panel.get_state("honey_key"))
        row = ctx.params.get("row")
        if not isinstance(row, int) or not 0 <= row < len(releases):
            return False
        return self._audit(ctx, str(releases[row].export_dir))

    def audit_release(self, ctx: Any) -> bool:
        """What the newest release would give away."""
        key = ctx.panel.get_state("honey_key")
        releases = newest_releases(ctx, key) if key in keys(ctx, "marking") else []
        there = [str(release.export_dir) for release in releases if release.is_there]
        return self._audit(ctx, there[0] if there else None)

    def draw_coins(self, ctx: Any) -> bool:
        """Asks for the round that a marking waits for."""
        return self.prompt(ctx, "draw_coins", self._shown(ctx, honey_key="honey_key"))

    def rename_marking(self, ctx: Any) -> bool:
        """Asks for another name."""
        return self.prompt(ctx, "rename_run", self._shown(ctx, key="honey_key"))

    def delete_marking(self, ctx: Any) -> bool:
        """Asks whether to delete the marking that is shown."""
        return self.prompt(ctx, "delete_run", self._shown(ctx, key="honey_key"))

    def delete_hardness(self, ctx: Any) -> bool:
        """Asks whether to delete the hardness that is shown."""
        return self.prompt(ctx, "delete_run", self._shown(ctx, key="hardness_key"))

    def noted_config(self, ctx: Any) -> Mapping[str, Any] | None:
        run = load_marking(ctx)
        return None if run is None else run["config"]

    def open_on(self, ctx: Any, result: Mapping[str, Any]) -> None:
        choose(ctx, result)
        self._start_note(ctx)
        send_pictures(ctx)

    def on_verify(self, ctx: Any) -> None:
        """A verification was run or scheduled: the panel that shows it is opened."""
        result = ctx.params.get("result") or {}
        state = {"verify_key": result["verify_key"]} if result.get("verify_key") else None
        open_panel(ctx, _VERIFICATION_PANEL, state)

    def refresh(self, ctx: Any) -> None:
        """Looks for runs that were finished meanwhile."""
        choose_newest(ctx)
        self._start_note(ctx)
        send_pictures(ctx)

    def render(self, ctx: Any) -> types.Property:
        panel = types.Object()
        if ctx.panel.get_state("beside_sample") is None:
            self.on_load(ctx)
        if ctx.panel.get_state("beside_sample") and ctx.current_sample is not None:
            self._show_sample(ctx, panel)
        else:
            self.show_pending(ctx, panel)
            found = nothing_to_protect(ctx)
            if found is None:
                self._show_all(ctx, panel)
            else:
                self._show_problem(panel, *found)
        return as_page(panel)

    def _show_problem(self, panel: types.Object, label: str, text: str) -> None:
        """Says why this dataset cannot be protected."""
        panel.md(f"**{label}**\n\n{text}", name="empty")
        button(button_row(panel, "actions"), "refresh", "Refresh", self.refresh)

    def _show_sample(self, ctx: Any, panel: types.Object) -> None:
        """What there is to see beside an open sample."""
        known = keys(ctx, "marking")
        if not known:
            panel.md("**This dataset is not marked yet.** Start in the grid's panel.", name="empty")
            return
        choose_run(ctx, panel, "honey_key", "Marking", known, self.on_choose_marking)
        run = load_marking(ctx)
        if run is None:
            explain_missing(ctx, panel, "marking", "honey_key", "Generate HoneyImages")
        else:
            show_comparison(ctx, panel, self, run["key"])

    def _show_all(self, ctx: Any, panel: types.Object) -> None:
        self._show_steps(ctx, panel)
        show_hardness(ctx, panel, self)
        run = show_marking(ctx, panel, self)
        if run is not None:
            show_releases(ctx, panel, self, run)
            show_visibility(ctx, panel, self, run)
            panel.md("##### Side by side", name="comparison_title")
            show_comparison(ctx, panel, self, run["key"])

    def _show_steps(self, ctx: Any, panel: types.Object) -> None:
        """The steps that can be taken; the next one stands out."""
        steps = {
            "compute_hardness": ("Compute hardness…", self.compute_hardness),
            "generate_honeyimages": ("Generate HoneyImages…", self.generate_honeyimages),
        }
        following = "compute_hardness"
        if keys(ctx, "marking"):
            steps["export_release"] = ("Export release…", self.export_release)
            steps["verify_model"] = ("Verify a model…", self.verify_model)
            following = "export_release"
            key = ctx.panel.get_state("honey_key")
            if key in keys(ctx, "marking") and was_released(ctx, key):
                following = "verify_model"
        elif keys(ctx, "hardness"):
            following = "generate_honeyimages"
        buttons = {**steps, "refresh": ("Refresh", self.refresh)}
        for number, (name, (label, handler)) in enumerate(buttons.items()):
            # Beside the grid of a small window, no more than three stand in a row
            if number % _BUTTONS_A_ROW == 0:
                row_name = "actions" if number == 0 else f"actions_{number // _BUTTONS_A_ROW}"
                row = button_row(panel, row_name)
            button(row, name, label, handler, main=name == following)

    def _at_hand(self, ctx: Any) -> dict[str, Any] | None:
        key = ctx.panel.get_state("honey_key")
        return at_hand(ctx, key) if key in keys(ctx, "marking") else None

    def _take_up(self, ctx: Any, sample: str | None) -> bool:
        """Makes a sample the one at hand, if there is one."""
        if sample is None:
            return False
        ctx.panel.set_state("sample", sample)
        send_pictures(ctx)
        return True

    def _start_note(self, ctx: Any) -> None:
        """Puts the note of the marking that is shown into its field."""
        from ..dataset.management.notes import from_config

        run = None if ctx.dataset is None else load_marking(ctx)
        text = "" if run is None else from_config(run["config"]).text
        ctx.panel.set_state(self.NOTE, text)

    def _shown(self, ctx: Any, **named: str) -> dict[str, Any]:
        """Parameters of an operator that name what is shown: parameter → part of the state."""
        found = {name: ctx.panel.get_state(state) for name, state in named.items()}
        known = {*keys(ctx, "hardness"), *keys(ctx, "marking")}
        return {name: key for name, key in found.items() if key in known}

    def _audit(self, ctx: Any, export_dir: str | None) -> bool:
        params = self._shown(ctx, honey_key="honey_key")
        if export_dir is not None:
            params["export_dir"] = export_dir
        return self.prompt(ctx, "audit_release", params)
