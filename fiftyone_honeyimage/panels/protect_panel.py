"""The protection panel: from the first score to a marking that is ready for release.

One instance serves everyone, so nothing is kept on ``self``: the panel's state holds the keys of the
runs that are shown and the id of the sample at hand, and everything else is read from the dataset on
every event. Pictures travel as panel data, and only when they change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types
from bson import ObjectId
from fiftyone import ViewField as F
from fiftyone.operators.cache import execution_cache
from fiftyone.operators.categories import Categories

from ..core.errors import HoneyImageError
from . import protect_figures as figures

_HELP = """
Protects this dataset: scores how hard each image is, turns hard ones into HoneyImages, and exports a
release that holds them in place of their originals.

Click a bar of the histogram to see its images, and a point of the visibility plot to see a HoneyImage
beside its original. The pictures below are of the sample that is selected in the grid.
"""

_PICTURES = {
    "original": "Original",
    "honeyimage": "HoneyImage",
    **{f"difference_{factor}": f"Difference ×{factor}" for factor in figures.FACTORS},
}

_POINT_FIELDS = ("pair", "linf", "psnr", "ssim", "lpips", "proxy_loss")


class ProtectPanel(foo.Panel):
    """Hardness, markings and their visibility."""

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
        if ctx.panel.get_state("hardness_key") is None and ctx.panel.get_state("honey_key") is None:
            _choose_newest(ctx)
        # A panel that is opened while a sample is open lies beside that sample
        ctx.panel.set_state("beside_sample", ctx.current_sample is not None)
        if ctx.current_sample is not None:
            ctx.panel.set_state("sample", ctx.current_sample)
        _send_pictures(ctx)

    def on_change_dataset(self, ctx: Any) -> None:
        _choose_newest(ctx)
        _send_pictures(ctx)

    def on_change_selected(self, ctx: Any) -> None:
        """The sample at hand is the one that was selected last."""
        if ctx.selected:
            ctx.panel.set_state("sample", ctx.selected[-1])
            _send_pictures(ctx)

    def on_change_current_sample(self, ctx: Any) -> None:
        """Another sample was opened, or it was closed."""
        if ctx.current_sample is not None:
            ctx.panel.set_state("sample", ctx.current_sample)
            _send_pictures(ctx)

    def on_choose_hardness(self, ctx: Any) -> None:
        """Another hardness run was chosen."""
        ctx.panel.set_state("hardness_key", ctx.params.get("value"))

    def on_choose_marking(self, ctx: Any) -> None:
        """Another marking was chosen."""
        ctx.panel.set_state("honey_key", ctx.params.get("value"))
        _send_pictures(ctx)

    def on_click_bar(self, ctx: Any) -> None:
        """Shows the images of a bar."""
        view = _bar_view(ctx, ctx.params.get("id"))
        if view is not None:
            ctx.ops.set_view(view=view)

    def on_click_point(self, ctx: Any) -> None:
        """Shows a HoneyImage beside its original, in the grid and below."""
        if ctx.params.get("id") is not None:
            ctx.panel.set_state("sample", ctx.params["id"])
            _send_pictures(ctx)
            self.show_sample(ctx)

    def show_sample(self, ctx: Any) -> None:
        """Shows the images that are compared in the grid, to open and flip between at full size."""
        key = ctx.panel.get_state("honey_key")
        if key in _keys(ctx, "marking"):
            twin = _at_hand(ctx, key)
            if twin is not None:
                _show_pair(ctx, key, twin["source"])

    def show_label_errors(self, ctx: Any) -> None:
        """Shows the suspected label errors, the hardest first."""
        run = _load_hardness(ctx)
        if run is not None and ctx.dataset.has_field(run["errors_field"]):
            errors = ctx.dataset.match(F(run["errors_field"]) == True)  # noqa: E712 (a query)
            ctx.ops.set_view(view=errors.sort_by(run["field"], reverse=True))

    def show_marking(self, ctx: Any) -> None:
        """Shows every HoneyImage of the marking beside its original."""
        key = ctx.panel.get_state("honey_key")
        if key in _keys(ctx, "marking") and ctx.dataset.has_saved_view(key):
            ctx.ops.set_view(view=ctx.dataset.load_saved_view(key))

    def compute_hardness(self, ctx: Any) -> None:
        """The first step."""
        self._prompt(ctx, "compute_hardness")

    def generate_honeyimages(self, ctx: Any) -> None:
        """The second step."""
        self._prompt(ctx, "generate_honeyimages")

    def export_release(self, ctx: Any) -> None:
        """The third step."""
        self._prompt(ctx, "export_release")

    def audit_release(self, ctx: Any) -> None:
        """What a release would give away."""
        self._prompt(ctx, "audit_release")

    def on_run(self, ctx: Any) -> None:
        """A prompted operator was run or scheduled."""
        self.refresh(ctx)

    def refresh(self, ctx: Any) -> None:
        """Looks for runs that were finished meanwhile."""
        _choose_newest(ctx)
        _send_pictures(ctx)

    def render(self, ctx: Any) -> types.Property:
        panel = types.Object()
        problem = _problem(ctx)
        if problem is not None:
            panel.md("**{}**\n\n{}".format(*problem), name="empty")
            row = panel.h_stack("actions", gap=1, align_x="left")
            row.btn("refresh", label="Refresh", on_click=self.refresh, variant="outlined")
        elif ctx.panel.get_state("beside_sample") and ctx.current_sample is not None:
            self._sample(ctx, panel)
        else:
            self._actions(ctx, panel)
            self._hardness(ctx, panel)
            self._marking(ctx, panel)
        view = types.GridView(orientation="vertical", align_x="left", align_y="top", gap=2, pad=2)
        return types.Property(panel, view=view)

    def _prompt(self, ctx: Any, name: str) -> None:
        ctx.prompt(f"{self.plugin_name}/{name}", on_success=self.on_run)

    def _actions(self, ctx: Any, panel: types.Object) -> None:
        """The steps; the next one stands out."""
        steps = {
            "compute_hardness": ("Compute hardness…", self.compute_hardness),
            "generate_honeyimages": ("Generate HoneyImages…", self.generate_honeyimages),
            "export_release": ("Export release…", self.export_release),
        }
        if _has_operator("audit_release"):
            steps["audit_release"] = ("Audit release…", self.audit_release)
        following = "compute_hardness"
        if _keys(ctx, "marking"):
            following = "export_release"
        elif _keys(ctx, "hardness"):
            following = "generate_honeyimages"
        else:
            del steps["export_release"]
            steps.pop("audit_release", None)
        row = panel.h_stack("actions", gap=1, align_x="left")
        for name, (label, handler) in steps.items():
            variant = "contained" if name == following else "outlined"
            row.btn(name, label=label, on_click=handler, variant=variant)
        row.btn("refresh", label="Refresh", on_click=self.refresh, variant="outlined")

    def _sample(self, ctx: Any, panel: types.Object) -> None:
        """What there is to see beside an open sample."""
        keys = _keys(ctx, "marking")
        if not keys:
            panel.md("**This dataset is not marked yet.** Start in the grid's panel.", name="empty")
            return
        _dropdown(panel, "honey_key", "Marking", keys, self.on_choose_marking)
        run = _load_marking(ctx)
        if run is None:
            _explain_missing(ctx, panel, "marking", "honey_key", "Generate HoneyImages")
        else:
            self._comparison(ctx, panel, run["key"])

    def _hardness(self, ctx: Any, panel: types.Object) -> None:
        from ..operators.forms import table

        panel.md("##### Hardness", name="hardness_title")
        keys = _keys(ctx, "hardness")
        if not keys:
            panel.md(
                "**No hardness has been computed yet.** Hard images make the best HoneyImages, "
                "because a model only knows them if it was trained on them. *Compute hardness* trains "
                "two small proxy models on half of the images each, and shows its cost first.",
                name="no_hardness",
            )
            return
        _dropdown(panel, "hardness_key", "Hardness run", keys, self.on_choose_hardness)
        run = _load_hardness(ctx)
        if run is None:
            _explain_missing(ctx, panel, "hardness", "hardness_key", "Compute hardness")
            return
        panel.md(
            table(("Figures", ""), figures.hardness_rows(run["results"], run["config"])),
            name="hardness_figures",
        )
        missing = [
            name
            for name in (run["field"], run["config"]["label_field"])
            if not ctx.dataset.has_field(name)
        ]
        if missing:
            panel.md(
                f"**Field '{missing[0]}' was deleted since.** The histogram needs it; compute hardness "
                "again to bring it back.",
                name="hardness_stale",
            )
            return
        scores = _scores(ctx, run)
        if not scores["num_scored"]:
            panel.md(
                f"**Field '{run['field']}' is empty.** The scored samples were deleted, or their scores "
                "were; compute hardness again.",
                name="hardness_stale",
            )
            return
        unscored = _num_originals(ctx.dataset) - scores["num_scored"]
        if unscored > 0:
            panel.view(
                "hardness_stale",
                types.AlertView(
                    label=f"{unscored:,} samples have no score",
                    description="They were added since, could not be read, or lay outside the view that "
                    "was scored. They cannot become HoneyImages until hardness is computed again.",
                    severity="warning",
                ),
            )
        traces = figures.histogram_traces(scores["counts"], scores["low"], scores["high"])
        panel.plot(
            "hardness_histogram",
            label="Hardness by class: click a bar to see its images",
            data=traces,
            layout=figures.histogram_layout(len(traces)),
            height="320px",
            config={"scrollZoom": False},
            on_click=self.on_click_bar,
        )
        if scores["num_errors"] is None:
            return
        panel.md(
            figures.label_error_text(
                scores["num_errors"], scores["num_hard_errors"], scores["num_hardest"]
            ),
            name="label_errors",
        )
        if scores["num_errors"]:
            row = panel.h_stack("hardness_actions", gap=2, align_x="left")
            row.btn(
                "show_label_errors",
                label="Show suspected label errors",
                on_click=self.show_label_errors,
                variant="outlined",
            )

    def _marking(self, ctx: Any, panel: types.Object) -> None:
        from ..operators.forms import table

        panel.md("##### Marking", name="marking_title")
        keys = _keys(ctx, "marking")
        if not keys:
            text = (
                "*Generate HoneyImages* changes the hardest images, too little to be seen, and adds "
                "them beside their originals; no original is touched."
            )
            if not _keys(ctx, "hardness"):
                text += " It needs hardness first."
            panel.md(f"**This dataset is not marked yet.** {text}", name="no_marking")
            return
        _dropdown(panel, "honey_key", "Marking", keys, self.on_choose_marking)
        run = _load_marking(ctx)
        if run is None:
            _explain_missing(ctx, panel, "marking", "honey_key", "Generate HoneyImages")
            return
        config, results = run["config"], run["results"]
        panel.md(
            table(("Figures", ""), figures.marking_rows(config, results)), name="marking_figures"
        )
        _show_ledger(panel, run)
        if not ctx.dataset.has_field(run["key"]):
            panel.md(
                f"**Field '{run['key']}' was deleted since**, so that HoneyImages cannot be told from "
                "other samples. Delete the run with *Delete HoneyImage run* and generate anew.",
                name="marking_stale",
            )
            return
        points = _points(ctx.dataset, run["key"])
        for number, (label, text) in enumerate(_stale(ctx.dataset, run, points)):
            panel.view(
                f"marking_stale_{number}",
                types.AlertView(label=label, description=text, severity="warning"),
            )
        survival = results.get("survival")
        if survival:
            panel.md(
                table(("After", "What survives"), figures.survival_rows(survival)), name="survival"
            )
        row = panel.h_stack("marking_actions", gap=2, align_x="left")
        has_view = ctx.dataset.has_saved_view(run["key"])
        row.btn(
            "show_marking",
            label="Show all HoneyImages",
            on_click=self.show_marking,
            variant="outlined",
            disabled=not has_view,
            title=None if has_view else f"The saved view '{run['key']}' was deleted",
        )
        panel.md(
            "**Release:** which releases were exported, and where, is not recorded on the dataset. "
            "Publish or time-stamp the commitment above before the first one.",
            name="release",
        )
        self._visibility(panel, points)
        panel.md("##### Side by side", name="comparison_title")
        self._comparison(ctx, panel, run["key"])

    def _visibility(self, panel: types.Object, points: Sequence[Mapping[str, Any]]) -> None:
        traces = figures.visibility_traces(figures.thin(points))
        if not traces:
            if points:
                panel.md(
                    "**No pixel differs between the originals and their HoneyImages**, so there is no "
                    "visibility to plot. A larger budget ε or more steps change them.",
                    name="visibility_empty",
                )
            return
        label = "Visibility: click a HoneyImage to see it beside its original"
        if len(points) > figures.MAX_POINTS:
            label += f" ({figures.MAX_POINTS:,} of {len(points):,} drawn)"
        panel.plot(
            "visibility",
            label=label,
            data=traces,
            layout=figures.visibility_layout(len(traces)),
            height="320px",
            config={"scrollZoom": False},
            on_click=self.on_click_point,
        )

    def _comparison(self, ctx: Any, panel: types.Object, key: str) -> None:
        twin = _at_hand(ctx, key)
        if twin is None:
            text = (
                "There is no pair of images to compare: the HoneyImages or their originals were "
                "deleted."
            )
            if ctx.panel.get_state("sample") is not None:
                text = (
                    "This sample is not part of the marking, or its original or HoneyImage was "
                    "deleted. Choose one that *Show all HoneyImages* shows."
                )
            panel.md(text, name="comparison_empty")
            return
        try:
            _read_pair(twin)
        except HoneyImageError as error:
            panel.md(
                f"**The images cannot be compared:** {error}. Put the file back, or choose another "
                "sample.",
                name="comparison_broken",
            )
            return
        panel.md(figures.caption(twin), name="comparison_caption")
        # Two a row: a row of four would be wider than the panel, which then scrolls sideways
        for number in range(0, len(_PICTURES), 2):
            row = panel.h_stack(f"pictures_{number // 2}", gap=2, align_x="left")
            for name in list(_PICTURES)[number : number + 2]:
                column = row.v_stack(name, gap=0, align_x="left")
                column.md(_PICTURES[name], name="title")
                column.img(
                    "image",
                    width="220px",
                    alt_text=f"{_PICTURES[name]} of sample {twin['source']}",
                    on_click=self.show_sample,
                )


def _problem(ctx: Any) -> tuple[str, str] | None:
    """Why this dataset cannot be protected: a label and what to do."""
    if ctx.dataset is None:
        return "No dataset is open", "Open a dataset first."
    from ..dataset.samples import check_collection, classification_fields

    try:
        check_collection(ctx.dataset)
    except HoneyImageError as error:
        text = str(error)
        return "This dataset cannot be protected", f"{text[:1].upper()}{text[1:]}."
    if not classification_fields(ctx.dataset):
        return (
            "There are no labels",
            "HoneyImages keep the label of their original, so a field of type Classification is "
            "needed; this dataset has none. Add one, for example "
            "`sample['ground_truth'] = fo.Classification(label='cat')`, then press Refresh.",
        )
    return None


def _has_operator(name: str) -> bool:
    from ..operators import OPERATORS

    operators: list[Any] = list(OPERATORS)
    return any(operator().config.name == name for operator in operators)


def _keys(ctx: Any, kind: str) -> list[str]:
    """Every run of a kind, ``hardness`` or ``marking``, oldest first."""
    from ..dataset.runs import HARDNESS, MARKING, list_keys

    if ctx.dataset is None:
        return []
    return list_keys(ctx.dataset, HARDNESS if kind == "hardness" else MARKING)


def _choose_newest(ctx: Any) -> None:
    for name, kind in (("hardness_key", "hardness"), ("honey_key", "marking")):
        keys = _keys(ctx, kind)
        ctx.panel.set_state(name, keys[-1] if keys else None)
    ctx.panel.set_state("sample", None)


def _dropdown(
    panel: types.Object, name: str, label: str, keys: Sequence[str], handler: Any
) -> None:
    view = types.DropdownView(label=label)
    for key in reversed(keys):
        view.add_choice(key, label=key)
    panel.enum(name, view.values(), default=keys[-1], view=view, on_change=handler)


def _explain_missing(ctx: Any, panel: types.Object, kind: str, state: str, operator: str) -> None:
    """Says why a chosen run cannot be shown."""
    chosen = ctx.panel.get_state(state)
    if chosen in _keys(ctx, kind):
        text = (
            f"**The results of '{chosen}' cannot be read.** The run was interrupted, or written by a "
            f"version that this one does not know. Run *{operator}* again, or delete the run with "
            "*Delete HoneyImage run*."
        )
    else:
        text = (
            f"**Run '{chosen}' is no longer there.** It was deleted or renamed. Choose another one "
            "above."
        )
    panel.md(text, name=f"{kind}_gone")


def _load_hardness(ctx: Any) -> dict[str, Any] | None:
    """The chosen hardness run with its fields, or None if it cannot be loaded."""
    from ..dataset.hardness import label_error_field
    from ..dataset.runs import HARDNESS

    run = _load(ctx, ctx.panel.get_state("hardness_key"), HARDNESS)
    if run is not None:
        run["field"] = run["config"]["hardness_field"]
        run["errors_field"] = label_error_field(run["field"])
    return run


def _load_marking(ctx: Any) -> dict[str, Any] | None:
    """The chosen marking, or None if it cannot be loaded."""
    from ..dataset.runs import MARKING

    return _load(ctx, ctx.panel.get_state("honey_key"), MARKING)


def _load(ctx: Any, key: Any, method: str) -> dict[str, Any] | None:
    from ..dataset.runs import run_config, run_results

    try:
        config = run_config(ctx.dataset, key, method)
        return {"key": key, "config": config, "results": run_results(ctx.dataset, key)}
    except HoneyImageError:
        return None


def _num_originals(dataset: fo.Dataset) -> int:
    from ..dataset.samples import HONEYIMAGE_TAG

    return dataset.match_tags(HONEYIMAGE_TAG, bool=False).count()


def _version(dataset: fo.Dataset, run: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of a hardness run, and what changes whenever a sample or the run does."""
    last = dataset.sort_by("last_modified_at", reverse=True).limit(1).values("last_modified_at")
    return (
        run["field"],
        run["config"]["label_field"],
        run["errors_field"] if dataset.has_field(run["errors_field"]) else "",
        str(dataset._doc.id),
        str(run["config"]["timestamp"]),
        str(dataset.count()),
        str(last),
    )


def _scores(ctx: Any, run: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`_score_counts` found, with (class, number of the bar) → images."""
    found = _score_counts(ctx, *_version(ctx.dataset, run))
    counts = {(name, number): count for name, number, count in found.get("counts", ())}
    return {**found, "counts": counts}


@execution_cache(
    residency="ephemeral",
    max_size=16,
    key_fn=lambda ctx, *version: list(version),
)
def _score_counts(
    ctx: Any, field: str, label_field: str, errors_field: str, *version: str
) -> dict[str, Any]:
    """Counts hardness by class and bar, and suspected label errors, in the database.

    What comes back does not grow with the number of samples. It is counted once for each version.
    """
    dataset = ctx.dataset
    scored = dataset.match(F(field) != None)  # noqa: E711 (a query)
    (low, high), hard, num_scored = scored.aggregate(
        [fo.Bounds(field), fo.Quantiles(field, 0.9), fo.Count()]
    )
    if not num_scored:
        return {"num_scored": 0}
    number = _bar_number(field, low, high).to_string()
    label = F(f"{label_field}.label").if_else(F(f"{label_field}.label"), "")
    counts: list[list[Any]] = []  # JSON-safe, as the cache needs it
    for value, count in scored.count_values(number.concat("/", label)).items():
        bar, _, name = value.partition("/")
        counts.append([name, int(float(bar)), count])
    found: dict[str, Any] = {
        "num_scored": num_scored,
        "low": low,
        "high": high,
        "counts": counts,
        "num_errors": None,
    }
    if errors_field:
        is_hard = F(field) >= hard
        errors = scored.match(F(errors_field) == True)  # noqa: E712 (a query)
        found["num_errors"] = errors.count()
        found["num_hard_errors"] = errors.match(is_hard).count()
        found["num_hardest"] = scored.match(is_hard).count()
    return found


def _bar_number(field: str, low: float, high: float) -> Any:
    """The number of the bar that a score belongs to: the plot and a click agree to the last sample."""
    number = ((F(field) - low) / figures.bin_width(low, high)).floor()
    return number.min(figures.NUM_BINS - 1)


def _bar_view(ctx: Any, bar: Any) -> fo.DatasetView | None:
    """The images of a clicked bar; None if it is no longer there."""
    parsed, run = figures.parse_bar(bar), _load_hardness(ctx)
    if parsed is None or run is None:
        return None
    label_field = run["config"]["label_field"]
    if not (ctx.dataset.has_field(run["field"]) and ctx.dataset.has_field(label_field)):
        return None
    scores = _scores(ctx, run)
    if not scores["num_scored"]:
        return None
    number, position = parsed
    classes = figures.shown_classes(scores["counts"])
    label = F(f"{label_field}.label")
    if position is None:
        of_class = ~label.is_in(classes)
    elif position < len(classes):
        of_class = label == classes[position]
    else:
        return None
    in_bar = _bar_number(run["field"], scores["low"], scores["high"]) == number
    view = ctx.dataset.match((F(run["field"]) != None) & of_class & in_bar)  # noqa: E711 (a query)
    return view.sort_by(run["field"], reverse=True)


def _points(dataset: fo.Dataset, key: str) -> list[dict[str, Any]]:
    """Every HoneyImage that is still in the dataset; the coins play no part."""
    names = ("id", "filepath", f"{key}.source", *(f"{key}.{name}" for name in _POINT_FIELDS))
    honey = dataset.match(F(f"{key}.role") == "honeyimage").sort_by(f"{key}.source")
    columns = honey.values(list(names))
    return [
        dict(zip(("id", "filepath", "source", *_POINT_FIELDS), row, strict=True))
        for row in zip(*columns, strict=True)
    ]


def _stale(
    dataset: fo.Dataset, run: Mapping[str, Any], points: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """What changed since the marking was made: a label and what to do, each."""
    found = []
    expected = run["config"]["num_honeyimages"] + run["config"]["num_pairs"]
    gone = expected - len(points)
    if gone > 0:
        found.append(
            (
                f"{gone:,} of {expected:,} HoneyImages were deleted from the dataset",
                "Their files and the ledger still hold them, and a release still does; they are "
                "missing here only. Generate a new marking to have all of them.",
            )
        )
    originals = dataset.match(F(f"{run['key']}.role") == "original").count()
    if originals < expected:
        found.append(
            (
                f"{expected - originals:,} of {expected:,} marked originals were deleted",
                "A release would miss their HoneyImages. Add the samples again from a backup, or "
                "generate a new marking.",
            )
        )
    added = _num_originals(dataset) - run["results"].get("num_images", 0)
    if added > 0:
        found.append(
            (
                f"{added:,} samples are not covered by this marking",
                "They were added since, could not be read, or lay outside the view that was marked. "
                "A release holds them as they are. To mark some of them, compute hardness again and "
                "generate a new marking.",
            )
        )
    missing = [point["filepath"] for point in points if not Path(point["filepath"]).is_file()]
    if missing:
        found.append(
            (
                f"{len(missing):,} HoneyImage files are missing",
                f"The first is `{missing[0]}`. Put them back before a release or a verification.",
            )
        )
    return found


def _show_ledger(panel: types.Object, run: Mapping[str, Any]) -> None:
    """Says where the ledger is, and whether it is whole. Nothing that it holds is shown."""
    from ..core.evidence.ledger import load_ledger

    path = Path(run["config"]["ledger_path"])
    if not path.is_file():
        label, severity = "The ledger is missing", "error"
        text = (
            f"It is not at `{path}`. Without it nothing can be released or verified: put it back, or "
            "pass its new place when you export or verify."
        )
    else:
        try:
            load_ledger(path, commitment=run["config"]["commitment"])
        except (HoneyImageError, OSError) as error:
            label, severity = "The ledger cannot be used", "error"
            text = f"`{path}`: {error}. Restore it from a backup."
        else:
            label, severity = "The ledger is in its place and matches the commitment", "info"
            text = f"`{path}`. Keep it secret, and keep a backup."
    panel.view("ledger", types.AlertView(label=label, description=text, severity=severity))


def _at_hand(ctx: Any, key: str) -> dict[str, Any] | None:
    """The HoneyImage of the sample at hand, with its original's file; None if there is none."""
    if not ctx.dataset.has_field(key):
        return None
    sample = ctx.panel.get_state("sample")
    is_honey = F(f"{key}.role") == "honeyimage"
    if sample is None:
        view = ctx.dataset.match(is_honey).sort_by([(f"{key}.pair", 1), (f"{key}.source", 1)])
        # Images without a twin sort first: they have no number
        paired = view.match(F(f"{key}.pair") != None)  # noqa: E711 (a query)
        view = paired if len(paired) else view
        sources = view.limit(1).values(f"{key}.source")
    else:
        if not ObjectId.is_valid(sample):
            return None
        sources = ctx.dataset.select([sample]).values(f"{key}.source")
    if not sources or sources[0] is None:
        return None
    pair = ctx.dataset.match(F(f"{key}.source") == sources[0])
    names = ("filepath", "source", "role", *_POINT_FIELDS)
    columns = pair.values(["filepath", *(f"{key}.{name}" for name in names[1:])])
    rows = {row[2]: dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)}
    if "original" not in rows or "honeyimage" not in rows:
        return None
    return {**rows["honeyimage"], "original": rows["original"]["filepath"]}


def _read_pair(twin: Mapping[str, Any]) -> tuple[Any, Any]:
    """The pixels of an original and its HoneyImage.

    Raises:
        ImageError: if one of them cannot be read, or was replaced by another
    """
    from ..core.errors import ImageError
    from ..core.images import read_image

    original, marked = read_image(twin["original"]), read_image(twin["filepath"])
    if original.shape != marked.shape:
        raise ImageError(f"'{twin['original']}' no longer has the size of its HoneyImage")
    return original, marked


def _send_pictures(ctx: Any) -> None:
    """Sends the pictures of the sample at hand, if there are any."""
    if _problem(ctx) is not None or ctx.panel.get_state("honey_key") not in _keys(ctx, "marking"):
        return
    twin = _at_hand(ctx, ctx.panel.get_state("honey_key"))
    if twin is None:
        return
    try:
        pair = _read_pair(twin)
    except HoneyImageError:
        return  # said where the pictures would be
    urls = figures.comparison(*pair)
    for number, name in enumerate(_PICTURES):
        ctx.panel.set_data(f"pictures_{number // 2}.{name}.image", urls[name])


def _show_pair(ctx: Any, key: str, source: str) -> None:
    view = ctx.dataset.match(F(f"{key}.source") == source)
    ctx.ops.set_view(view=view.sort_by(f"{key}.role", reverse=True))
